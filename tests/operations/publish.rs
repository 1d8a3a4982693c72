//! ControllerPublishVolume.

use std::time::Duration;

use std::collections::BTreeSet;

use rds_csi::attachment::ledger::{
    COPY_ANNOTATION, Copy, FENCED_FROM_MAX, FencedFrom, Formatted, State,
};
use rds_csi::operations::{Kind, Publish};
use rds_csi::volume::capability::{AccessMode, Capability, Medium};
use rds_sim::apiserver::{Fault as ApiFault, On, Verb};
use rds_sim::routeros::Fault;
use serde_json::Value;

use crate::in_memory::{World, ext4, id, node, shared_block};

#[tokio::test(start_paused = true)]
async fn one_exec_and_one_write_of_the_copy_let_one_node_in() {
    let world = World::new().await;
    world.provision("data").await;
    world.want_attached("data", "node-a").await;
    let before = world.execs();
    world.api.forget_requests();
    let context = world.publish("data", "node-a").await.unwrap();
    assert_eq!(world.execs() - before, 1);
    assert_eq!(world.api.count(Verb::Patch, "persistentvolumes"), 1);
    world.assert_agreed("data");
    assert_eq!(world.copy("data").unwrap().nodes, [node("node-a")]);
    assert_eq!(world.copy("data").unwrap().file_system, "ext4");
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
    let keys: Vec<&str> = context.keys().map(String::as_str).collect();
    let expected =
        ["bytes", "format", "generation", "hostId", "hostNqn", "nqn", "nvmeAddress", "nvmePort"];
    assert_eq!(keys, expected);
    assert_eq!(
        (context["nvmeAddress"].as_str(), context["nvmePort"].as_str()),
        ("10.0.0.1", "4420")
    );
    assert_eq!(context["nqn"], world.property("data", "nvme-tcp-server-nqn"));
    assert_eq!(context["hostNqn"], world.host_nqn("node-a"));
    assert_eq!(context["generation"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_publish_changes_nothing_and_answers_the_same() {
    let world = World::new().await;
    world.provision("data").await;
    let first = world.attach("data", "node-a").await;
    let connection = world.connect("node-a", &first["nqn"]).unwrap();
    let (lines, revision) = (world.changing_lines(), world.api.revision());
    for _ in 0..3 {
        assert_eq!(world.publish("data", "node-a").await.unwrap(), first);
    }
    assert_eq!(world.changing_lines(), lines);
    assert_eq!(world.api.revision(), revision, "something was written to the API server");
    assert!(connection.is_live());
}

#[tokio::test(start_paused = true)]
async fn every_attachment_has_a_new_generation_and_an_nqn_of_its_own() {
    let world = World::new().await;
    world.provision("data").await;
    let (mut nqns, mut generation) = (BTreeSet::new(), 0);
    for to in ["node-a", "node-a", "node-b"] {
        let context = world.attach("data", to).await;
        assert!(nqns.insert(context["nqn"].clone()), "an NQN came back");
        let next: u64 = context["generation"].parse().unwrap();
        assert!(next > generation);
        generation = next;
        assert_eq!(world.writers("data"), BTreeSet::from([to]));
        world.detach("data", to).await;
        assert_eq!(world.writers("data"), BTreeSet::new());
        world.assert_agreed("data");
    }
}

#[tokio::test(start_paused = true)]
async fn formatting_is_allowed_only_before_anybody_could_have_done_it() {
    let world = World::new().await;
    world.provision("data").await;
    assert_eq!(world.attach("data", "node-a").await["format"], "allowed");
    assert_eq!(world.publish("data", "node-a").await.unwrap()["format"], "allowed", "repeated");
    world.detach("data", "node-a").await;
    assert_eq!(world.record("data").formatted, Formatted::Maybe);
    assert_eq!(world.attach("data", "node-a").await.get("format"), None);
}

#[tokio::test(start_paused = true)]
async fn formatting_is_never_allowed_to_readers_or_for_raw_devices() {
    let reader = Capability { mode: AccessMode::SingleNodeReaderOnly, ..ext4() };
    let raw = Capability { mode: AccessMode::SingleNodeWriter, medium: Medium::Block };
    for (capability, read_only) in [(reader, false), (raw, false), (ext4(), true)] {
        let world = World::new().await;
        world.provision("data").await;
        world.want_attached("data", "node-a").await;
        let wanted = Publish { id: id("data"), node: node("node-a"), capability, read_only };
        let context = world.operations.publish(wanted).await.unwrap();
        assert_eq!(context.get("format"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_node_is_refused_and_the_first_is_not_disturbed() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    let refused = world.publish("data", "node-b").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Precondition);
    assert!(refused.message.contains("node-a"), "{refused}");
    assert!(connection.is_live());
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
}

#[tokio::test(start_paused = true)]
async fn two_nodes_share_a_raw_device_and_a_third_is_refused() {
    let world = World::new().await;
    world.provision("data").await;
    let first = world.publish_as("data", "node-a", shared_block()).await.unwrap();
    let connection = world.connect("node-a", &first["nqn"]).unwrap();
    let second = world.publish_as("data", "node-b", shared_block()).await.unwrap();
    assert_eq!(first["nqn"], second["nqn"], "one NQN serves both");
    assert!(connection.is_live(), "the first was cut off when the second joined");
    world.assert_agreed("data");
    assert_eq!(world.copy("data").unwrap().nodes, [node("node-a"), node("node-b")]);
    let third = world.publish_as("data", "node-c", shared_block()).await.unwrap_err();
    assert_eq!(third.kind, Kind::Precondition);
    assert!(third.message.contains("node-a") && third.message.contains("node-b"), "{third}");
    let alone = world.publish("data", "node-a").await.unwrap_err();
    assert_eq!(alone.kind, Kind::Exists, "for one node alone, while two hold it");
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_a_node_that_is_not_well() {
    let world = World::new().await;
    world.provision("data").await;
    world.publish_as("data", "node-a", shared_block()).await.unwrap();
    world.ready("node-a", "Unknown").await;
    let late = world.publish_as("data", "node-b", shared_block()).await.unwrap_err();
    assert_eq!(late.kind, Kind::Precondition, "{late}");
    world.ready("node-a", "True").await;
    world.taint("node-a").await;
    let tainted = world.publish_as("data", "node-b", shared_block()).await.unwrap_err();
    assert_eq!(tainted.kind, Kind::Precondition, "{tainted}");
    assert_eq!(world.record("data").nodes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_node_is_not_found_and_a_tainted_one_refused() {
    let world = World::new().await;
    world.provision("data").await;
    assert_eq!(world.publish("data", "node-z").await.unwrap_err().kind, Kind::NotFound);
    world.taint("node-a").await;
    let tainted = world.publish("data", "node-a").await.unwrap_err();
    assert_eq!(tainted.kind, Kind::Precondition);
    assert!(tainted.message.contains("out-of-service"), "{tainted}");
    assert_eq!(world.publish("nothing", "node-b").await.unwrap_err().kind, Kind::NotFound);
    assert!(!world.is_exported("data"));
}

#[tokio::test(start_paused = true)]
async fn a_volume_without_a_pv_is_never_exported() {
    let world = World::new().await;
    world.operations.create(world.wanted("data")).await.unwrap();
    let refused = world.publish("data", "node-a").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Precondition, "{refused}");
    assert!(!world.is_exported("data"));
}

#[tokio::test(start_paused = true)]
async fn a_fenced_node_comes_back_only_when_its_old_volumeattachment_is_gone() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.ready("node-a", "Unknown").await;
    world.unpublish("data", "node-a").await.unwrap();
    assert_eq!(world.record("data").state, State::Fenced);
    world.ready("node-a", "True").await;
    let refused = world.publish("data", "node-a").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Precondition, "{refused}");
    assert!(refused.message.contains("VolumeAttachment"), "{refused}");
    // Another node may have it, and that does not let the first one in.
    world.attach("data", "node-b").await;
    world.detach("data", "node-b").await;
    assert_eq!(world.publish("data", "node-a").await.unwrap_err().kind, Kind::Precondition);
    world.forget_attached("data", "node-a").await;
    world.attach("data", "node-a").await;
    assert_eq!(world.copy("data").unwrap().fenced_from, []);
    world.assert_agreed("data");
}

#[tokio::test(start_paused = true)]
async fn a_publish_whose_answer_was_lost_is_finished_by_its_retry() {
    for fault in [Fault::DropBefore, Fault::DropAfter, Fault::StallAfter] {
        let world = World::new().await;
        world.provision("data").await;
        world.want_attached("data", "node-a").await;
        world.os.arm_on("nvme-tcp-export=yes", fault);
        let lost = world.publish("data", "node-a").await.unwrap_err();
        assert_eq!(lost.kind, Kind::Unknown, "{fault:?}: {lost}");
        let other = world.publish("data", "node-b").await;
        if fault != Fault::DropBefore {
            assert!(other.is_err(), "{fault:?}: an unfinished attachment was given to another");
            world.publish("data", "node-a").await.unwrap();
            assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
            assert_eq!(world.record("data").generation, 1, "{fault:?}");
        }
        world.assert_agreed("data");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_write_of_the_copy_is_finished_by_a_retry() {
    for fault in [ApiFault::LoseAnswer, ApiFault::Unavailable, ApiFault::Refuse] {
        let world = World::new().await;
        world.provision("data").await;
        world.want_attached("data", "node-a").await;
        let patch = On::verb(Verb::Patch).resource("persistentvolumes");
        world.api.faults().next(1, patch, fault.clone());
        let lost = world.publish("data", "node-a").await.unwrap_err();
        assert_eq!(lost.kind, Kind::Unavailable, "{fault:?}: {lost}");
        let context = world.publish("data", "node-a").await.unwrap();
        assert_eq!(context["generation"], "1", "{fault:?}: the NQN stays");
        world.assert_agreed("data");
    }
}

/// Changes the PV right after the box has answered, before the copy is written.
async fn publish_while(world: &World, edit: impl FnOnce(&mut Value)) -> Result<(), Kind> {
    let patch = On::verb(Verb::Patch).resource("persistentvolumes");
    let held = world.api.faults().always(patch, ApiFault::Hang);
    let meanwhile = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        assert!(world.is_exported("data"), "the copy is not being written yet");
        world.api.modify("persistentvolumes", "data", edit).unwrap();
        world.api.faults().lift(held);
    };
    let (published, ()) = tokio::join!(world.publish("data", "node-a"), meanwhile);
    published.map(|_| ()).map_err(|error| error.kind)
}

#[tokio::test(start_paused = true)]
async fn a_label_that_is_set_meanwhile_does_not_hinder_the_copy() {
    let world = World::new().await;
    world.provision("data").await;
    world.want_attached("data", "node-a").await;
    let label = |pv: &mut Value| pv["metadata"]["labels"]["team"] = "blue".into();
    publish_while(&world, label).await.unwrap();
    world.assert_agreed("data");
    assert_eq!(
        world.api.get("persistentvolumes", "data").unwrap()["metadata"]["labels"]["team"],
        "blue"
    );
}

#[tokio::test(start_paused = true)]
async fn who_loses_against_anothers_copy_is_aborted() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-b").await;
    world.detach("data", "node-b").await;
    world.want_attached("data", "node-a").await;
    let mut theirs: Copy = world.copy("data").unwrap();
    theirs.file_system = "xfs".into();
    let text = serde_json::to_string(&theirs).unwrap();
    let other = |pv: &mut Value| pv["metadata"]["annotations"][COPY_ANNOTATION] = text.into();
    assert_eq!(publish_while(&world, other).await, Err(Kind::Contended));
    assert_eq!(world.copy("data").unwrap(), theirs, "the other's copy stays");
}

#[tokio::test(start_paused = true)]
async fn only_one_operation_changes_a_volume_at_a_time() {
    let world = World::new().await;
    world.provision("data").await;
    world.want_attached("data", "node-a").await;
    let publish = |to| {
        world.operations.publish(Publish {
            id: id("data"),
            node: node(to),
            capability: ext4(),
            read_only: false,
        })
    };
    // One that takes long sends the other away; a quick one is waited for.
    world.os.set_latency(Duration::from_secs(5), Duration::ZERO);
    let (a, b) = tokio::join!(publish("node-a"), publish("node-b"));
    assert!(a.is_ok());
    assert_eq!(b.unwrap_err().kind, Kind::Contended);
    world.os.set_latency(Duration::ZERO, Duration::ZERO);
    let (a, b) = tokio::join!(publish("node-a"), publish("node-b"));
    assert!(a.is_ok());
    assert_eq!(b.unwrap_err().kind, Kind::Precondition);
}

#[tokio::test(start_paused = true)]
async fn whom_a_volume_was_fenced_from_is_never_forgotten_for_want_of_room() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-b").await;
    world.unpublish("data", "node-b").await.unwrap();
    world.want_attached("data", "node-a").await;
    let attachment = world.attachment("data", "node-b").unwrap();
    let found = world.api.get("volumeattachments", &attachment).unwrap();
    let entry = |n: usize| FencedFrom {
        node: node(&format!("gone-{n}")),
        // One that is there still.
        attachment: found["metadata"]["uid"].as_str().unwrap().into(),
        node_uid: None,
        boot_id: None,
        unknown: [("since".to_owned(), "noon".into())].into(),
    };
    let edit = async |count: usize| {
        let mut copy: Value = serde_json::to_value(world.copy("data").unwrap()).unwrap();
        let entries: Vec<FencedFrom> = (0..count).map(entry).collect();
        copy["fencedFrom"] = serde_json::to_value(entries).unwrap();
        copy["later"] = "kept".into();
        let text = copy.to_string();
        let write = |pv: &mut Value| pv["metadata"]["annotations"][COPY_ANNOTATION] = text.into();
        world.api.modify("persistentvolumes", "data", write).unwrap();
        world.settle().await;
    };
    edit(FENCED_FROM_MAX).await;
    let before = world.record("data");
    let refused = world.publish("data", "node-a").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Precondition);
    assert!(refused.message.contains("fenced from 24 nodes"), "{refused}");
    assert_eq!(world.record("data"), before);
    edit(FENCED_FROM_MAX - 1).await;
    world.publish("data", "node-a").await.unwrap();
    // What a newer release had written there is there still.
    let copy = serde_json::to_value(world.copy("data").unwrap()).unwrap();
    assert_eq!(
        (&copy["later"], &copy["fencedFrom"][22]["since"]),
        (&"kept".into(), &"noon".into())
    );
}
