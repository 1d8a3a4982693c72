//! RouterOS below 7.21, volumes with a record: the slot is the name of the export, for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::agent::{Connection, Formatting, VolumeWord};
use rds_csi::attachment::ledger::State;
use rds_csi::operations::reconcile::PassReport;
use rds_csi::operations::{Expand, Kind};
use rds_sim::routeros::{Quirks, Reboot, Version};
use tokio::time::sleep;

use crate::in_memory::{FOLDER, GIB, LIMITS, World, id, node, shared_block};

pub async fn old_box() -> World {
    World::with(Version::V7_20_8, Quirks::default()).await
}

pub fn done(report: &PassReport) -> Vec<(&'static str, usize)> {
    assert_eq!(report.failed, [] as [String; 0]);
    report.done.iter().map(|(word, count)| (*word, *count)).collect()
}

/// Kubernetes takes the volume from a node that is silent; its host waits for the name.
async fn leave_silently(world: &World, slot: &str, from: &str) {
    world.ready(from, "Unknown").await;
    world.unpublish(slot, from).await.unwrap();
    world.forget_attached(slot, from).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_lives_under_the_name_of_its_slot_whatever_is_true_of_the_box() {
    for switch in Quirks::all_switches() {
        let mut quirks = Quirks::default();
        (switch.turn_on)(&mut quirks);
        let world = World::with(Version::V7_20_8, quirks).await;
        let name = switch.name;
        world.provision("data").await;
        let first = world.attach("data", "node-a").await;
        assert_eq!((first["nqn"].as_str(), first["generation"].as_str()), ("data", "1"), "{name}");
        assert_eq!(first["hostNqn"], world.host_nqn("node-a"));
        assert_eq!(world.publish("data", "node-a").await.unwrap(), first, "{name}");
        assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]), "{name}");
        let old = world.connect("node-a", "data").unwrap();
        let late = world.publish("data", "node-b").await.unwrap_err();
        assert_eq!(late.kind, Kind::Precondition, "{name}: {late}");
        assert_eq!(done(&world.pass().await), [], "{name}");
        old.write(1).unwrap();
        // kubelet lets go before Kubernetes detaches.
        old.disconnect();
        world.detach("data", "node-a").await;
        assert_eq!(world.writers("data"), BTreeSet::new(), "{name}");
        let second = world.attach("data", "node-b").await;
        assert_eq!(second["nqn"], "data", "{name}");
        assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]), "{name}");
        world.assert_agreed("data");
        world.detach("data", "node-b").await;
        let wanted = Expand { id: id("data"), required: 2 * GIB, limit: None, capability: None };
        assert_eq!(world.operations.expand(wanted).await.unwrap().bytes, 2 * GIB, "{name}");
        world.operations.delete(id("data")).await.unwrap();
        assert!(!world.has_disk("data") && !world.has_image("data"), "{name}: something is left");
    }
}

#[tokio::test(start_paused = true)]
async fn create_publish_unpublish_and_delete_cost_one_exec_each() {
    let world = old_box().await;
    let mut execs = world.execs();
    let mut cost = || {
        let before = std::mem::replace(&mut execs, world.execs());
        world.execs() - before
    };
    world.provision("data").await;
    assert_eq!(cost(), 1);
    world.attach("data", "node-a").await;
    assert_eq!(cost(), 1);
    world.detach("data", "node-a").await;
    assert_eq!(cost(), 1);
    world.operations.delete(id("data")).await.unwrap();
    assert_eq!(cost(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_share_a_raw_device() {
    let world = old_box().await;
    world.provision("data").await;
    let first = world.publish_as("data", "node-a", shared_block()).await.unwrap();
    let connection = world.connect("node-a", &first["nqn"]).unwrap();
    let second = world.publish_as("data", "node-b", shared_block()).await.unwrap();
    assert_eq!(first["nqn"], second["nqn"]);
    assert!(connection.is_live());
    world.assert_agreed("data");
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_the_volume_of_a_silent_node_before_an_operator_vouches_for_it() {
    for order in ["taint", "delete", "delete and come back"] {
        let world = old_box().await;
        world.provision("data").await;
        world.attach("data", "node-a").await;
        let old = world.connect("node-a", "data").unwrap();
        leave_silently(&world, "data", "node-a").await;
        assert!(!old.is_live() && world.writers("data").is_empty(), "it is not shut out");
        assert_eq!(world.record("data").state, State::Fenced);
        world.want_attached("data", "node-b").await;
        for _ in 0..3 {
            let late = world.publish("data", "node-b").await.unwrap_err();
            assert_eq!(late.kind, Kind::Precondition, "{late}");
            for word in ["node-a", "out-of-service", "delete the Node"] {
                assert!(late.message.contains(word), "{late}");
            }
            assert_eq!(done(&world.pass().await), [], "nothing is done without an order");
        }
        // That kubelet is back proves nothing of what the kernel has queued.
        world.ready("node-a", "True").await;
        assert_eq!(world.publish("data", "node-b").await.unwrap_err().kind, Kind::Precondition);
        assert!(!world.is_exported("data"));
        match order {
            "taint" => world.taint("node-a").await,
            _ => world.delete_node("node-a").await,
        }
        if order == "delete and come back" {
            let back = rds_sim::apiserver::world::node("node-a").build();
            world.api.create(back).unwrap();
            world.settle().await;
        }
        assert_eq!(world.publish("data", "node-b").await.unwrap()["nqn"], "data", "{order}");
        assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]));
        assert_eq!(world.copy("data").unwrap().fenced_from, [], "{order}: the order was followed");
        world.assert_agreed("data");
    }
}

#[tokio::test(start_paused = true)]
async fn the_agent_of_a_silent_node_vouches_for_it_when_it_shows_that_nothing_waits_for_the_name() {
    let word = |nqn: &str| VolumeWord {
        nqn: nqn.into(),
        connection: Connection::Connecting,
        mounts: 1,
        file_system: None,
        uuid: None,
        formatting: Formatting::None,
    };
    let world = old_box().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    leave_silently(&world, "data", "node-a").await;
    world.want_attached("data", "node-b").await;
    world.says("node-a", "b1", vec![word("data")]).await;
    let early = world.publish("data", "node-b").await.unwrap_err();
    assert_eq!(early.kind, Kind::Precondition, "{early}");
    assert!(early.message.contains("shows a controller"), "{early}");
    // A volume of another name is no reason to wait.
    world.says("node-a", "b1", vec![word("data2")]).await;
    assert_eq!(world.publish("data", "node-b").await.unwrap()["nqn"], "data");
    assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_that_comes_back_gets_its_own_volume_again() {
    let world = old_box().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    leave_silently(&world, "data", "node-a").await;
    world.ready("node-a", "True").await;
    assert_eq!(world.attach("data", "node-a").await["nqn"], "data");
    world.detach("data", "node-a").await;
    // It has let go now: others need not wait.
    world.attach("data", "node-b").await;
    assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_remembered_across_a_controller_that_dies_anywhere() {
    let mut world = old_box().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    leave_silently(&world, "data", "node-a").await;
    world.restart().await;
    world.want_attached("data", "node-b").await;
    assert_eq!(world.publish("data", "node-b").await.unwrap_err().kind, Kind::Precondition);
    // Also where the fence came to the box and its copy was not written.
    let world = old_box().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.ready("node-a", "Unknown").await;
    let patch = rds_sim::apiserver::On::verb(rds_sim::apiserver::Verb::Patch);
    let fault = rds_sim::apiserver::Fault::Unavailable;
    let held = world.api.faults().always(patch.resource("persistentvolumes"), fault);
    assert!(world.unpublish("data", "node-a").await.is_err());
    world.api.faults().lift(held);
    world.forget_attached("data", "node-a").await;
    world.want_attached("data", "node-b").await;
    let late = world.publish("data", "node-b").await.unwrap_err();
    assert_eq!(late.kind, Kind::Precondition, "{late}");
    assert!(!world.is_exported("data"));
}

#[tokio::test(start_paused = true)]
async fn a_pass_follows_orders_and_only_reports_what_it_concludes_itself() {
    for order in ["taint", "delete"] {
        let world = old_box().await;
        world.provision("data").await;
        world.attach("data", "node-a").await;
        let old = world.connect("node-a", "data").unwrap();
        match order {
            "taint" => world.taint("node-a").await,
            _ => {
                world.delete_node("node-a").await;
                assert_eq!(done(&world.pass().await), [("waiting", 1)]);
                sleep(LIMITS.grace).await;
            }
        }
        assert_eq!(done(&world.pass().await), [("fence", 1)], "{order}");
        assert!(!old.is_live() && !world.is_exported("data"), "{order}");
        world.unpublish("data", "node-a").await.unwrap();
        world.forget_attached("data", "node-a").await;
        world.attach("data", "node-b").await;
        assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]), "{order}");
        assert_eq!(world.events("VolumeFenced").await, 1);
    }
    let world = old_box().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    let connection = world.connect("node-a", "data").unwrap();
    world.forget_attached("data", "node-a").await;
    world.pass().await;
    sleep(LIMITS.grace * 2).await;
    assert_eq!(done(&world.pass().await), [("report", 1)]);
    assert!(connection.is_live(), "fenced without an order");
    assert_eq!(world.events("RecoveryHeld").await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_box_forgot_is_put_back_exactly() {
    let world = old_box().await;
    world.provision("data").await;
    world.os.mark_saved();
    world.attach("data", "node-a").await;
    // Power off before the configuration was saved: an older record.
    world.os.reboot(Reboot::LoseUnsaved, Duration::from_secs(30));
    sleep(Duration::from_secs(31)).await;
    assert_eq!(done(&world.pass().await), [("restore", 1)]);
    world.assert_agreed("data");
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
    // Somebody closed the export.
    world.os.exec("/disk/set data nvme-tcp-export=no");
    assert_eq!(done(&world.pass().await), [("repair", 1)]);
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
    // The item is lost, the image is there.
    let content = world.os.content_of(&format!("{FOLDER}/data.img"));
    assert!(world.os.lose_disk("data"));
    assert_eq!(done(&world.pass().await), [("rebuild", 1)]);
    assert_eq!(world.os.content_of(&format!("{FOLDER}/data.img")), content);
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
    let listed = world.operations.list("", 0).await.unwrap();
    assert_eq!(listed.volumes[0].published, [node("node-a")]);
}

#[tokio::test(start_paused = true)]
async fn who_was_silent_is_remembered_also_where_the_box_has_lost_the_item() {
    let world = old_box().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    assert!(world.os.lose_disk("data"));
    leave_silently(&world, "data", "node-a").await;
    assert_eq!(done(&world.pass().await), [("rebuild", 1)]);
    world.assert_agreed("data");
    world.want_attached("data", "node-b").await;
    let late = world.publish("data", "node-b").await.unwrap_err();
    assert_eq!(late.kind, Kind::Precondition, "{late}");
    assert!(!world.is_exported("data"));
    world.taint("node-a").await;
    world.publish("data", "node-b").await.unwrap();
}
