//! ControllerUnpublishVolume.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::attachment::ledger::{FencedFrom, State};
use rds_csi::operations::{Happened, Kind};
use rds_sim::apiserver::{Fault as ApiFault, On, Verb};
use rds_sim::routeros::Fault;
use tokio::time::Instant;

use crate::in_memory::{World, id, node, shared_block};

#[tokio::test(start_paused = true)]
async fn a_node_that_let_go_is_shut_out_by_one_exec() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    let before = world.execs();
    world.unpublish("data", "node-a").await.unwrap();
    assert_eq!(world.execs() - before, 1);
    assert_eq!(world.record("data").state, State::Detached);
    world.assert_agreed("data");
    assert_eq!(world.writers("data"), BTreeSet::new());
    assert!(world.connect("node-a", &context["nqn"]).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_unpublish_changes_nothing() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.unpublish("data", "node-a").await.unwrap();
    let (lines, revision) = (world.changing_lines(), world.api.revision());
    world.unpublish("data", "node-a").await.unwrap();
    world.unpublish("data", "node-b").await.unwrap();
    assert_eq!((world.changing_lines(), world.api.revision()), (lines, revision));
}

#[tokio::test(start_paused = true)]
async fn an_empty_node_id_means_all_nodes() {
    let world = World::new().await;
    world.provision("data").await;
    world.publish_as("data", "node-a", shared_block()).await.unwrap();
    world.publish_as("data", "node-b", shared_block()).await.unwrap();
    world.operations.unpublish(id("data"), None).await.unwrap();
    assert_eq!(world.record("data").state, State::Detached);
    assert_eq!(world.writers("data"), BTreeSet::new());
    world.settle().await;
    world.assert_agreed("data");
}

#[tokio::test(start_paused = true)]
async fn a_volume_or_node_that_is_not_there_is_no_error() {
    let world = World::new().await;
    world.unpublish("nothing", "node-a").await.unwrap();
    world.operations.unpublish(id("nothing"), None).await.unwrap();
    world.provision("data").await;
    world.unpublish("data", "node-z").await.unwrap();
    world.attach("data", "node-a").await;
    world.unpublish("data", "node-z").await.unwrap();
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]), "another node holds it");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_ready_or_gone_is_fenced_with_proof() {
    for gone in [false, true] {
        let world = World::new().await;
        world.provision("data").await;
        let context = world.attach("data", "node-a").await;
        let connection = world.connect("node-a", &context["nqn"]).unwrap();
        match gone {
            true => world.delete_node("node-a").await,
            false => world.ready("node-a", "Unknown").await,
        }
        let begun = Instant::now();
        world.unpublish("data", "node-a").await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(1), "two reads a second apart");
        assert!(!connection.is_live());
        let record = world.record("data");
        assert_eq!((record.state, record.generation), (State::Fenced, 2));
        world.assert_agreed("data");
        let copy = world.copy("data").unwrap();
        assert_eq!(copy.fenced_from.len(), 1);
        assert_eq!(copy.fenced_from[0].node, node("node-a"));
        assert_eq!(world.told.count(|what| matches!(what, Happened::Fenced(_, Ok(())))), 1);
        assert_eq!(world.events("VolumeFenced").await, 1);
    }
}

/// Something is in flight on the disk for so long.
async fn keep_busy(world: &World, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        world.os.set_counters("data", |counters| counters.write_ops += 1);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_fence_is_not_confirmed_before_the_counters_stand() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.ready("node-a", "False").await;
    let begun = Instant::now();
    let busy = keep_busy(&world, Duration::from_secs(4));
    let (unpublished, ()) = tokio::join!(world.unpublish("data", "node-a"), busy);
    unpublished.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_fence_whose_counters_never_stand_is_no_success_until_they_do() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.ready("node-a", "False").await;
    let busy = keep_busy(&world, Duration::from_secs(30));
    let (unpublished, ()) = tokio::join!(world.unpublish("data", "node-a"), busy);
    assert_eq!(unpublished.unwrap_err().kind, Kind::Unknown);
    assert_eq!(world.record("data").state, State::Fenced, "shut out, and not yet released");
    world.assert_agreed("data");
    // Something that began and has not ended counts, too.
    world.os.set_counters("data", |counters| counters.in_flight_ops = 1);
    assert_eq!(world.unpublish("data", "node-a").await.unwrap_err().kind, Kind::Unknown);
    let elsewhere = world.publish("data", "node-b").await.unwrap_err();
    assert_eq!(elsewhere.kind, Kind::Unknown, "{elsewhere}");
    assert!(!world.is_exported("data"));
    world.os.set_counters("data", |counters| counters.in_flight_ops = 0);
    world.unpublish("data", "node-a").await.unwrap();
    world.attach("data", "node-b").await;
}

#[tokio::test(start_paused = true)]
async fn an_export_that_somebody_else_closed_or_opened_is_closed_in_the_end() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.os.exec("/disk/set data nvme-tcp-export=no");
    world.unpublish("data", "node-a").await.unwrap();
    assert_eq!(world.record("data").state, State::Detached);
    world.os.exec("/disk/set data nvme-tcp-export=yes");
    world.unpublish("data", "node-a").await.unwrap();
    assert!(!world.is_exported("data"));
    world.assert_agreed("data");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_finished_by_the_retry_and_the_copy_follows() {
    for ready in [true, false] {
        for fault in [Fault::DropBefore, Fault::DropAfter] {
            let world = World::new().await;
            world.provision("data").await;
            world.attach("data", "node-a").await;
            if !ready {
                world.ready("node-a", "Unknown").await;
            }
            world.os.arm_on("nvme-tcp-export=no", fault);
            let lost = world.unpublish("data", "node-a").await.unwrap_err();
            assert_eq!(lost.kind, Kind::Unknown, "{lost}");
            world.unpublish("data", "node-a").await.unwrap();
            let state = if ready { State::Detached } else { State::Fenced };
            assert_eq!(world.record("data").state, state);
            world.assert_agreed("data");
            let shut_out = world.copy("data").unwrap().fenced_from;
            assert_eq!(shut_out.is_empty(), ready, "{fault:?}: {shut_out:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_shut_out_is_written_down_even_when_another_finishes_the_fence() {
    let world = World::new().await;
    world.provision("data").await;
    let name = world.want_attached("data", "node-a").await;
    world.publish("data", "node-a").await.unwrap();
    world.ready("node-a", "Unknown").await;
    let patch = On::verb(Verb::Patch).resource("persistentvolumes");
    world.api.faults().next(1, patch, ApiFault::Unavailable);
    world.unpublish("data", "node-a").await.unwrap_err();
    let report = world.pass().await;
    assert_eq!(report.done.get("follow"), Some(&1), "{report:?}");
    world.assert_agreed("data");
    let uid = world.api.get("volumeattachments", &name).unwrap()["metadata"]["uid"].clone();
    let expected = FencedFrom {
        node: node("node-a"),
        attachment: uid.as_str().unwrap().into(),
        node_uid: None,
        boot_id: None,
        unknown: Default::default(),
    };
    assert_eq!(world.copy("data").unwrap().fenced_from, [expected]);
    world.ready("node-a", "True").await;
    assert_eq!(world.publish("data", "node-a").await.unwrap_err().kind, Kind::Precondition);
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leaves_without_disturbing_the_other() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.publish_as("data", "node-a", shared_block()).await.unwrap();
    world.publish_as("data", "node-b", shared_block()).await.unwrap();
    let stays = world.connect("node-b", &context["nqn"]).unwrap();
    world.unpublish("data", "node-a").await.unwrap();
    assert!(stays.is_live());
    world.assert_agreed("data");
    assert_eq!(world.copy("data").unwrap().nodes, [node("node-b")]);
    world.unpublish("data", "node-b").await.unwrap();
    assert_eq!(world.writers("data"), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn one_of_two_that_is_not_ready_cannot_be_shut_out_alone() {
    let world = World::new().await;
    world.provision("data").await;
    world.publish_as("data", "node-a", shared_block()).await.unwrap();
    world.publish_as("data", "node-b", shared_block()).await.unwrap();
    world.ready("node-a", "Unknown").await;
    let refused = world.unpublish("data", "node-a").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Precondition, "{refused}");
    assert_eq!(world.record("data").nodes.len(), 2);
}
