//! The box goes back in time: a restored backup, a power cut before the configuration was saved.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::attachment::ledger::{Record, State};
use rds_csi::operations::{Expand, Kind};
use rds_sim::apiserver::{Fault as ApiFault, On, Verb};
use tokio::time::sleep;

use crate::in_memory::{FOLDER, GIB, World, id};

/// `data` was attached to node-a, then to node-b; then the box is back where node-a had it.
async fn rolled_back() -> (World, String) {
    let world = World::new().await;
    world.provision("data").await;
    let old = world.attach("data", "node-a").await["nqn"].clone();
    let backup = world.os.snapshot();
    world.detach("data", "node-a").await;
    world.attach("data", "node-b").await;
    world.os.restore(&backup, Duration::ZERO);
    assert!(world.connect("node-a", &old).is_ok(), "the story does not tell what it should");
    (world, old)
}

#[tokio::test(start_paused = true)]
async fn the_old_host_is_shut_out_first_and_the_newest_record_restored_exactly() {
    let (world, old) = rolled_back().await;
    let wanted = world.copy("data").unwrap();
    let lines = world.changing_lines();
    let closed = std::cell::Cell::new(false);
    let watch = async {
        loop {
            let lets_in = world.connect("node-a", &old).map(|connection| connection.disconnect());
            // The journal has a line once it has run.
            closed.set(closed.get() || world.changing_lines() > lines);
            assert!(!closed.get() || lets_in.is_err(), "the old host was let in again");
            sleep(Duration::from_millis(5)).await;
        }
    };
    let report = tokio::select! {
        report = world.pass() => report,
        () = watch => unreachable!(),
    };
    assert!(closed.get(), "{report:?}");
    assert_eq!(report.done.get("close"), Some(&1), "{report:?}");
    assert_eq!(report.done.get("restore"), Some(&1), "{report:?}");
    assert_eq!(world.record("data"), Record::parse(&wanted.record).unwrap().next());
    world.assert_agreed("data");
    assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]));
    assert_eq!(world.events("RDSRolledBack").await, 1);
}

#[tokio::test(start_paused = true)]
async fn no_operation_builds_on_a_box_that_went_back() {
    let (world, _) = rolled_back().await;
    let wanted = world.copy("data").unwrap();
    let grow = Expand { id: id("data"), required: 2 * GIB, limit: None, capability: None };
    let answers = [
        world.publish("data", "node-a").await.map(drop),
        world.publish("data", "node-b").await.map(drop),
        world.unpublish("data", "node-a").await,
        world.unpublish("data", "node-b").await,
        world.operations.unpublish(id("data"), None).await,
        world.operations.expand(grow).await.map(drop),
    ];
    for answer in answers {
        assert_eq!(answer.map_err(|error| error.kind), Err(Kind::Unavailable));
    }
    assert!(world.operations.delete(id("data")).await.is_err());
    assert_eq!(world.copy("data").unwrap(), wanted, "the copy went back");
    let asked = world.wanted_passes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(asked >= 6, "a pass was asked for {asked} times");
    world.pass().await;
    world.unpublish("data", "node-b").await.unwrap();
    world.assert_agreed("data");
}

#[tokio::test(start_paused = true)]
async fn a_detached_volume_that_is_attached_again_by_a_backup_is_closed() {
    let world = World::new().await;
    world.provision("data").await;
    let old = world.attach("data", "node-a").await["nqn"].clone();
    let backup = world.os.snapshot();
    world.detach("data", "node-a").await;
    world.os.restore(&backup, Duration::ZERO);
    world.pass().await;
    assert!(world.connect("node-a", &old).is_err());
    assert_eq!(world.record("data").state, State::Detached);
    world.assert_agreed("data");
    assert_eq!(world.writers("data"), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn whoever_is_connected_as_the_copy_says_stays_connected() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    let older = world.record("data").text();
    let grow = Expand { id: id("data"), required: 2 * GIB, limit: None, capability: None };
    world.operations.expand(grow).await.unwrap();
    world.settle().await;
    world.os.exec(&format!("/disk/set data comment=\"{older}\""));
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    let report = world.pass().await;
    assert_eq!(report.done.get("restore"), Some(&1), "{report:?}");
    assert!(connection.is_live());
    world.assert_agreed("data");
}

#[tokio::test(start_paused = true)]
async fn a_fence_is_never_undone_by_a_backup() {
    let world = World::new().await;
    world.provision("data").await;
    let old = world.attach("data", "node-a").await["nqn"].clone();
    let backup = world.os.snapshot();
    world.ready("node-a", "Unknown").await;
    world.unpublish("data", "node-a").await.unwrap();
    let fenced = world.record("data");
    world.os.restore(&backup, Duration::ZERO);
    world.pass().await;
    assert_eq!(world.record("data"), fenced);
    assert!(world.connect("node-a", &old).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_tainted_nodes_volume_comes_back_as_fenced_under_a_new_generation() {
    let (world, _) = rolled_back().await;
    world.taint("node-b").await;
    world.pass().await;
    let record = world.record("data");
    assert_eq!((record.state, record.generation), (State::Fenced, 3));
    world.assert_agreed("data");
    assert_eq!(world.copy("data").unwrap().fenced_from.len(), 1);
    assert_eq!(world.writers("data"), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn a_lost_configuration_is_rebuilt_from_the_copies_with_all_data() {
    let world = World::new().await;
    for (slot, to) in [("one", "node-a"), ("two", "node-b")] {
        world.provision(slot).await;
        world.attach(slot, to).await;
    }
    let content = |slot: &str| world.os.content_of(&format!("{FOLDER}/{slot}.img"));
    let before = [content("one"), content("two")];
    world.os.reset_configuration(Duration::ZERO);
    let report = world.pass().await;
    assert_eq!(report.done.get("rebuild"), Some(&2), "{report:?}");
    assert_eq!([content("one"), content("two")], before);
    assert_eq!(world.writers("one"), BTreeSet::from(["node-a"]));
    assert_eq!(world.writers("two"), BTreeSet::from(["node-b"]));
}

#[tokio::test(start_paused = true)]
async fn even_without_the_api_server_what_is_older_than_its_copy_is_closed() {
    let (world, old) = rolled_back().await;
    world.api.faults().unreachable(ApiFault::Refuse);
    sleep(Duration::from_secs(20)).await;
    let report = world.reconciler.pass().await.unwrap();
    assert!(!report.blind.is_empty(), "{report:?}");
    assert_eq!(report.done.get("close"), Some(&1), "{report:?}");
    assert!(world.connect("node-a", &old).is_err());
    world.api.faults().lift_all();
    sleep(Duration::from_secs(30)).await;
    world.pass().await;
    assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]));
}

/// Another controller, on its way out, has closed the export; the box forgets that and the disk
/// with it while the copy of it is still under way.
#[tokio::test(start_paused = true)]
async fn a_detach_whose_copy_comes_late_and_a_rebuild_do_not_both_succeed() {
    for late in [Duration::from_millis(200), Duration::from_millis(450), Duration::from_secs(5)] {
        let world = World::new().await;
        world.provision("data").await;
        let context = world.attach("data", "node-a").await;
        let other = World::over(world.os.clone(), world.api.clone()).await;
        let patch = On::verb(Verb::Patch).resource("persistentvolumes");
        world.api.faults().next(1, patch, ApiFault::Delay(late));
        let detach = other.unpublish("data", "node-a");
        let rebuild = async {
            sleep(Duration::from_millis(100)).await;
            assert_eq!(world.record("data").state, State::Detached);
            world.os.exec("/disk/remove data");
            world.pass().await
        };
        let (detached, report) = tokio::join!(detach, rebuild);
        let lets_in = world.connect("node-a", &context["nqn"]).is_ok();
        assert_eq!(detached.is_ok(), !lets_in, "{late:?}: {detached:?}, {report:?}");
        world.pass().await;
        world.assert_agreed("data");
    }
}
