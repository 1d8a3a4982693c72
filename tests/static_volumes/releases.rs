//! A box that gets another release while volumes are attached: to 7.21 and back.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::attachment::ledger::State;
use rds_csi::operations::Kind;
use rds_sim::routeros::Version;
use tokio::time::sleep;

use crate::in_memory::{World, node};
use crate::old_box::{done, old_box};

async fn install(world: &World, version: Version) {
    world.os.install(version, Duration::from_secs(60));
    sleep(Duration::from_secs(61)).await;
}

#[tokio::test(start_paused = true)]
async fn after_an_upgrade_an_attachment_keeps_its_name_and_the_next_one_has_its_own() {
    let world = old_box().await;
    world.provision("data").await;
    let before = world.attach("data", "node-a").await;
    install(&world, Version::V7_21_5).await;
    // The host waits for the slot, whatever the box made of it.
    assert_eq!(done(&world.pass().await), [("repair", 1)]);
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
    assert!(world.connect("node-a", "data").is_ok());
    assert_eq!(world.publish("data", "node-a").await.unwrap(), before);
    assert_eq!(done(&world.pass().await), []);
    world.detach("data", "node-a").await;
    let usual = world.attach("data", "node-b").await;
    assert!(usual["nqn"].starts_with("nqn.2000-02.com.mikrotik:data.g2-"), "{usual:?}");
    assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]));
}

#[tokio::test(start_paused = true)]
async fn after_an_upgrade_nobody_waits_for_a_silent_node_and_a_downgrade_remembers_it() {
    let world = old_box().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.ready("node-a", "Unknown").await;
    world.unpublish("data", "node-a").await.unwrap();
    world.forget_attached("data", "node-a").await;
    world.want_attached("data", "node-b").await;
    assert_eq!(world.publish("data", "node-b").await.unwrap_err().kind, Kind::Precondition);
    install(&world, Version::V7_21_5).await;
    let usual = world.publish("data", "node-b").await.unwrap();
    assert_ne!(usual["nqn"], "data");
    assert!(world.connect("node-a", "data").is_err());
    world.detach("data", "node-b").await;
    install(&world, Version::V7_20_8).await;
    world.want_attached("data", "node-c").await;
    let late = world.publish("data", "node-c").await.unwrap_err();
    assert!(late.message.contains("node-a"), "{late}");
    // Not even itself: somebody else has written meanwhile.
    world.ready("node-a", "True").await;
    assert_eq!(world.publish("data", "node-a").await.unwrap_err().kind, Kind::Precondition);
    assert!(!world.is_exported("data"));
    world.delete_node("node-a").await;
    world.publish("data", "node-c").await.unwrap();
    assert_eq!(world.writers("data"), BTreeSet::from(["node-c"]));
}

#[tokio::test(start_paused = true)]
async fn after_a_downgrade_what_cannot_be_named_is_closed_until_it_is_detached() {
    let world = World::new().await;
    world.provision("data").await;
    let usual = world.attach("data", "node-a").await;
    install(&world, Version::V7_20_8).await;
    assert!(world.is_exported("data"), "the box exports it under another name");
    assert_eq!(done(&world.pass().await), [("close", 1)]);
    assert_eq!(world.writers("data"), BTreeSet::new());
    assert_eq!(done(&world.pass().await), [("report", 1)]);
    let refused = world.publish("data", "node-a").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Precondition);
    assert!(refused.message.contains("7.21"), "{refused}");
    // Back again: the exact NQN for which the host waits.
    install(&world, Version::V7_24_4).await;
    assert_eq!(done(&world.pass().await), [("repair", 1)]);
    assert!(world.connect("node-a", &usual["nqn"]).is_ok());
    assert_eq!(world.publish("data", "node-a").await.unwrap(), usual);
    // Or on: it is detached, and goes on in the static form. Nobody knows the slot's name yet.
    install(&world, Version::V7_20_8).await;
    world.ready("node-a", "Unknown").await;
    world.unpublish("data", "node-a").await.unwrap();
    world.forget_attached("data", "node-a").await;
    assert_eq!(world.record("data").state, State::Fenced);
    assert_eq!(world.attach("data", "node-b").await["nqn"], "data");
    assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]));
    assert_eq!(world.copy("data").unwrap().nodes, [node("node-b")]);
}

#[tokio::test(start_paused = true)]
async fn an_older_configuration_that_is_restored_with_an_older_release_stays_closed() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-b").await;
    world.detach("data", "node-b").await;
    let backup = world.os.snapshot();
    let usual = world.attach("data", "node-a").await;
    world.os.restore(&backup, Duration::ZERO);
    install(&world, Version::V7_20_8).await;
    assert_eq!(done(&world.pass().await), [("restore", 1)]);
    world.assert_agreed("data");
    assert_eq!(world.writers("data"), BTreeSet::new());
    install(&world, Version::V7_24_4).await;
    world.pass().await;
    assert!(world.connect("node-a", &usual["nqn"]).is_ok());
}
