//! Passes that put right what is not as recorded, and those that find nothing to do.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::attachment::ledger::{ClusterTag, NodeTag, Nonce, Record, Sharing, State};
use rds_sim::apiserver::{Fault as ApiFault, On, Verb};
use rds_sim::routeros::Fault;
use tokio::time::sleep;

use crate::create::foreign_disk;
use crate::in_memory::{FOLDER, LIMITS, World, id, node, shared_block};

#[tokio::test(start_paused = true)]
async fn a_pass_with_nothing_to_do_is_one_exec_and_no_write() {
    let world = World::new().await;
    for slot in ["one", "two", "three"] {
        world.provision(slot).await;
    }
    world.attach("one", "node-a").await;
    world.publish_as("two", "node-b", shared_block()).await.unwrap();
    world.want_attached("two", "node-b").await;
    world.pass().await;
    world.events("StartupReconciliation").await;
    let (execs, revision) = (world.execs(), world.api.revision());
    world.api.forget_requests();
    let report = world.pass().await;
    assert_eq!(report, Default::default());
    assert_eq!(world.execs() - execs, 1);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.api.writes(), []);
    assert_eq!(world.api.revision(), revision);
}

#[tokio::test(start_paused = true)]
async fn an_export_that_is_not_as_recorded_is_put_back_exactly() {
    let changes = [
        "nvme-tcp-export=no",
        "nvme-tcp-server-allow-host-name=nqn.stranger",
        "nvme-tcp-server-allow-host-name=\"\"",
        "nvme-tcp-server-nqn=nqn.other",
        "nvme-tcp-server-port=4421",
        "nvme-tcp-export=no nvme-tcp-server-port=4421 nvme-tcp-server-nqn=nqn.other",
    ];
    for change in changes {
        let world = World::new().await;
        world.provision("data").await;
        let context = world.attach("data", "node-a").await;
        let record = world.record("data");
        world.os.exec(&format!("/disk/set data {change}"));
        // A suspect node waits for its disk all the same.
        world.ready("node-a", "Unknown").await;
        let report = world.pass().await;
        assert_eq!(report.done.get("repair"), Some(&1), "{change}: {report:?}");
        // Announced in the copy first, so that no detach that is under way succeeds as well.
        assert_eq!(world.record("data"), record.next(), "{change}");
        world.assert_agreed("data");
        assert_eq!(world.property("data", "nvme-tcp-server-nqn"), context["nqn"]);
        assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]), "{change}");
        let execs = world.execs();
        world.pass().await;
        assert_eq!(world.execs() - execs, 1, "{change}: repaired twice");
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_repairs_the_export_that_it_finds_closed() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    world.os.exec("/disk/set data nvme-tcp-export=no");
    assert_eq!(world.publish("data", "node-a").await.unwrap(), context);
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
}

#[tokio::test(start_paused = true)]
async fn an_export_that_nobody_may_have_is_closed() {
    let world = World::new().await;
    world.provision("data").await;
    world.operations.create(world.wanted("unclaimed")).await.unwrap();
    let report = world.pass().await;
    assert_eq!(report.done.get("follow"), Some(&1), "the first copy: {report:?}");
    world.assert_agreed("data");
    world.attach("data", "node-a").await;
    world.detach("data", "node-a").await;
    for slot in ["data", "unclaimed"] {
        world.os.exec(&format!("/disk/set {slot} nvme-tcp-export=yes"));
    }
    let report = world.pass().await;
    assert_eq!(report.done.get("close"), Some(&2), "{report:?}");
    assert!(!world.is_exported("data") && !world.is_exported("unclaimed"));
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_lost_is_made_again_with_its_data() {
    for attached in [true, false] {
        let world = World::new().await;
        world.provision("data").await;
        let context = world.attach("data", "node-a").await;
        if !attached {
            world.detach("data", "node-a").await;
        }
        let image = format!("{FOLDER}/data.img");
        let content = world.os.content_of(&image).unwrap();
        let record = world.record("data");
        assert!(world.os.lose_disk("data"));
        let report = world.pass().await;
        assert_eq!(report.done.get("rebuild"), Some(&1), "{report:?}");
        assert_eq!(world.os.content_of(&image), Some(content));
        let announced = if attached { record.next() } else { record };
        assert_eq!(world.record("data"), announced);
        world.assert_agreed("data");
        if attached {
            let connection = world.connect("node-a", &context["nqn"]).unwrap();
            assert!(connection.is_live());
        }
        let writers: BTreeSet<_> = attached.then_some("node-a").into_iter().collect();
        assert_eq!(world.writers("data"), writers);
        assert_eq!(world.operations.get(id("data")).await.unwrap().bytes, 1 << 30);
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_whose_image_is_lost_too_is_told_of_and_not_made_up() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.os.lose_disk("data");
    world.os.exec(&format!("/file/remove {FOLDER}/data.img"));
    let report = world.pass().await;
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert!(!world.has_disk("data") && !world.has_image("data"));
    assert_eq!(world.events("RecoveryFailed").await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_being_deleted_is_never_made_again() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.detach("data", "node-a").await;
    world.os.lose_disk("data");
    let released = |pv: &mut serde_json::Value| pv["status"]["phase"] = "Released".into();
    world.api.modify("persistentvolumes", "data", released).unwrap();
    assert_eq!(world.pass().await.done, Default::default());
    assert!(!world.has_disk("data"));
}

#[tokio::test(start_paused = true)]
async fn a_comment_that_cannot_be_read_is_restored_from_the_copy() {
    for damage in ["", "rds1 nonsense", "who wrote this?", "rds1 c=1 k=00"] {
        let world = World::new().await;
        world.provision("data").await;
        let context = world.attach("data", "node-a").await;
        let connection = world.connect("node-a", &context["nqn"]).unwrap();
        let record = world.record("data");
        world.os.exec(&format!("/disk/set data comment=\"{damage}\""));
        let refused = world.publish("data", "node-b").await.unwrap_err();
        assert!(refused.message.contains("record"), "{refused}");
        let report = world.pass().await;
        assert_eq!(report.done.get("restore"), Some(&1), "{damage}: {report:?}");
        assert_eq!(world.record("data"), record.next());
        assert!(connection.is_live(), "{damage}: the export was right and was closed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_comment_of_a_tainted_nodes_volume_becomes_a_fence() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.os.exec("/disk/set data comment=\"rds1 nonsense\"");
    world.taint("node-a").await;
    world.pass().await;
    let record = world.record("data");
    assert_eq!((record.state, record.generation), (State::Fenced, 2));
    world.assert_agreed("data");
    assert_eq!(world.copy("data").unwrap().fenced_from.len(), 1);
    assert_eq!(world.writers("data"), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_not_written_follows_a_record_that_is_wanted() {
    let world = World::new().await;
    world.provision("data").await;
    world.want_attached("data", "node-a").await;
    let patch = On::verb(Verb::Patch).resource("persistentvolumes");
    world.api.faults().next(1, patch, ApiFault::Unavailable);
    world.publish("data", "node-a").await.unwrap_err();
    let report = world.pass().await;
    assert_eq!(report.done.get("follow"), Some(&1), "{report:?}");
    world.assert_agreed("data");
    assert_eq!(world.copy("data").unwrap().nodes, [node("node-a")]);
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
}

#[tokio::test(start_paused = true)]
async fn an_attachment_that_nobody_waits_for_is_undone() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-b").await;
    world.detach("data", "node-b").await;
    world.os.arm_on("nvme-tcp-export=yes", Fault::DropAfter);
    world.publish("data", "node-a").await.unwrap_err();
    assert!(world.is_exported("data"));
    let report = world.pass().await;
    assert_eq!(report.done.get("undo"), Some(&1), "{report:?}");
    assert_eq!(world.record("data").state, State::Detached);
    world.assert_agreed("data");
    assert_eq!(world.writers("data"), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn a_second_node_that_nobody_waits_for_leaves_without_disturbing_the_first() {
    for waited_for in [false, true] {
        let world = World::new().await;
        world.provision("data").await;
        world.want_attached("data", "node-a").await;
        let context = world.publish_as("data", "node-a", shared_block()).await.unwrap();
        let first = world.connect("node-a", &context["nqn"]).unwrap();
        if waited_for {
            world.want_attached("data", "node-b").await;
        }
        let patch = On::verb(Verb::Patch).resource("persistentvolumes");
        world.api.faults().next(1, patch, ApiFault::Unavailable);
        world.publish_as("data", "node-b", shared_block()).await.unwrap_err();
        let report = world.pass().await;
        let word = if waited_for { "follow" } else { "undo" };
        assert_eq!(report.done.get(word), Some(&1), "{report:?}");
        assert!(first.is_live(), "the first node was cut off");
        world.assert_agreed("data");
        assert_eq!(world.record("data").nodes.len(), 1 + usize::from(waited_for));
    }
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_ends_while_a_pass_looks_is_not_undone() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-b").await;
    world.detach("data", "node-b").await;
    world.operations.create(world.wanted("unclaimed")).await.unwrap();
    // The pass reads the box while the copy is being written, and the watch has not shown the
    // VolumeAttachment yet. Closing another volume gives the publish time to end.
    let patch = On::verb(Verb::Patch).resource("persistentvolumes");
    world.api.faults().always(patch, ApiFault::Delay(Duration::from_millis(75)));
    world.os.set_latency(Duration::from_millis(20), Duration::ZERO);
    for start in 0..30 {
        world.os.exec("/disk/set unclaimed nvme-tcp-export=yes");
        let pass = async {
            sleep(Duration::from_millis(start * 5)).await;
            world.reconciler.pass().await.unwrap()
        };
        let (published, report) = tokio::join!(world.publish("data", "node-a"), pass);
        let context = published.unwrap();
        assert_eq!(report.done.get("undo"), None, "after {} ms: {report:?}", start * 5);
        assert_eq!(world.property("data", "nvme-tcp-server-nqn"), context["nqn"]);
        world.unpublish("data", "node-a").await.unwrap();
        world.assert_agreed("data");
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_without_a_pv_is_told_of_after_the_orphan_grace_and_kept() {
    let world = World::new().await;
    world.operations.create(world.wanted("data")).await.unwrap();
    world.pass().await;
    sleep(LIMITS.orphan_grace - Duration::from_secs(60)).await;
    assert_eq!(world.pass().await.done, Default::default());
    sleep(Duration::from_secs(60)).await;
    let report = world.pass().await;
    assert_eq!(report.done.get("orphan"), Some(&1), "{report:?}");
    assert_eq!(world.events("OrphanDetected").await, 1);
    assert!(world.has_disk("data") && world.has_image("data"));
}

#[tokio::test(start_paused = true)]
async fn what_another_cluster_or_a_person_owns_is_invisible() {
    let world = World::new().await;
    let cluster = ClusterTag::of("another cluster");
    let holder = NodeTag::of("another cluster", &node("node-a"));
    let theirs =
        Record::created(cluster).attach(holder, Sharing::Single, 0, Nonce::random()).text();
    foreign_disk(&world, "theirs", &theirs);
    foreign_disk(&world, "mine", "my own disk");
    for slot in ["theirs", "mine"] {
        world.os.exec(&format!("/disk/set {slot} nvme-tcp-export=yes"));
    }
    let (lines, before) = (world.changing_lines(), world.property("theirs", "comment"));
    for _ in 0..2 {
        assert_eq!(world.pass().await.done, Default::default());
        sleep(LIMITS.orphan_grace).await;
    }
    assert_eq!(world.changing_lines(), lines);
    assert_eq!(world.property("theirs", "comment"), before);
    assert!(world.is_exported("theirs") && world.is_exported("mine"));
    assert_eq!(world.operations.list("", 0).await.unwrap().volumes, []);
}

#[tokio::test(start_paused = true)]
async fn an_attached_item_whose_pv_is_gone_is_shut_out() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    let unlock =
        |pv: &mut serde_json::Value| pv["metadata"]["finalizers"] = serde_json::Value::Null;
    world.api.modify("persistentvolumes", "data", unlock).unwrap();
    world.api.delete("persistentvolumes", "data").unwrap();
    let report = world.pass().await;
    assert_eq!(report.done.get("fence"), Some(&1), "{report:?}");
    assert_eq!(world.writers("data"), BTreeSet::new());
    assert!(world.has_image("data"));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_cannot_see_the_cluster_changes_nothing_that_is_current() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.delete_node("node-a").await;
    world.pass().await;
    sleep(LIMITS.grace).await;
    world.api.faults().unreachable(ApiFault::Refuse);
    sleep(Duration::from_secs(20)).await;
    let lines = world.changing_lines();
    let report = world.reconciler.pass().await.unwrap();
    assert!(!report.blind.is_empty(), "{report:?}");
    assert_eq!(world.changing_lines(), lines);
    assert_eq!(world.record("data").state, State::Attached);
}

/// While this controller puts an export back, another one takes the volume from its node. Their
/// lines run at the same moment, command by command, in every order.
#[tokio::test(start_paused = true)]
async fn a_repair_and_a_detach_whose_lines_interleave_do_not_both_succeed() {
    let mut ends = BTreeSet::new();
    for (by_pass, start) in
        [true, false].into_iter().flat_map(|by| (50..85).map(move |ms| (by, ms)))
    {
        let world = World::new().await;
        world.provision("data").await;
        let context = world.attach("data", "node-a").await;
        let other = World::over(world.os.clone(), world.api.clone()).await;
        world.os.exec("/disk/set data nvme-tcp-export=no");
        world.os.change_quirks(|quirks| quirks.interleave = true);
        let repair = async {
            match by_pass {
                true => world.pass().await.done.contains_key("repair"),
                false => world.publish("data", "node-a").await.is_ok(),
            }
        };
        let detach = async {
            sleep(Duration::from_millis(start)).await;
            other.unpublish("data", "node-a").await.is_ok()
        };
        let (repaired, detached) = tokio::join!(repair, detach);
        let lets_in = world.connect("node-a", &context["nqn"]).is_ok();
        assert!(!(detached && lets_in), "{start} ms, by a pass: {by_pass}, repaired: {repaired}");
        ends.insert((by_pass, repaired, detached));
        world.pass().await;
        world.pass().await;
        world.assert_agreed("data");
    }
    assert!(ends.len() > 2, "they never met: {ends:?}");
}
