//! Two replicas of the controller over one box and one API server, in memory, under paused time: one
//! reconciles, chosen by the Lease, and the other never fences, also not late.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "support/in_memory.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod in_memory;
#[path = "leadership/replica.rs"]
mod replica;

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::attachment::ledger::State;
use rds_sim::apiserver::world as objects;
use tokio::time::{sleep, timeout};

use self::in_memory::World;
use self::replica::Replica;

const VOLUME: &str = "pvc-database";

/// A volume that node-a writes to, a replica that leads, and one that follows.
async fn stage() -> (World, Replica, Replica) {
    tokio::time::pause();
    let world = World::new().await;
    world.provision(VOLUME).await;
    world.attach(VOLUME, "node-a").await;
    let first = Replica::start(&world, "first");
    timeout(Duration::from_secs(10), first.leader.mandate.gained()).await.unwrap();
    let second = Replica::start(&world, "second");
    sleep(Duration::from_secs(20)).await;
    assert!(first.leads() && !second.leads());
    assert_eq!(world.writers(VOLUME), BTreeSet::from(["node-a"]));
    (world, first, second)
}

async fn within(seconds: u64, what: &str, so: impl Fn() -> bool) {
    let look = async {
        while !so() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let limit = Duration::from_secs(seconds);
    timeout(limit, look).await.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
}

fn is_fenced(world: &World) -> bool {
    world.record(VOLUME).state == State::Fenced
}

#[actix::test]
async fn the_leader_fences_and_the_other_replica_does_nothing() {
    let (world, first, second) = stage().await;
    world.delete_node("node-a").await;
    within(40, "the volume is fenced", || is_fenced(&world)).await;
    within(10, "the VolumeAttachment is deleted", || {
        let name = world.attachment(VOLUME, "node-a").unwrap();
        let attachment = world.api.get("volumeattachments", &name).unwrap();
        attachment["metadata"]["deletionTimestamp"].is_string()
    })
    .await;
    assert!(world.writers(VOLUME).is_empty());
    assert!(first.changes() > 0);
    assert_eq!(second.changes(), 0);
    assert_eq!(second.passes(), 0);
}

#[actix::test]
async fn whoever_takes_over_fences_and_whoever_lost_the_lease_does_not() {
    let (world, first, second) = stage().await;
    first.lose_sight_of_the_lease();
    world.delete_node("node-a").await;
    within(20, "the other one leads", || second.leads()).await;
    assert!(!first.leads());
    within(50, "the volume is fenced", || is_fenced(&world)).await;
    assert_eq!(first.changes(), 0);
    assert!(second.changes() > 0);
    // A Lease that can be seen again is the other one's.
    first.see_the_lease();
    sleep(Duration::from_secs(60)).await;
    assert!(second.leads() && !first.leads());
}

#[actix::test]
async fn a_line_of_whoever_lost_the_lease_that_was_delayed_on_its_way_is_not_sent_any_more() {
    let (world, first, second) = stage().await;
    first.hold_changes();
    world.delete_node("node-a").await;
    within(40, "the fence is on its way", || first.held() > 0).await;
    // While it is, the node comes back and the lease goes.
    first.lose_sight_of_the_lease();
    world.api.create(objects::node("node-a").build()).unwrap();
    within(20, "the other one leads", || second.leads()).await;
    first.let_changes_go();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(first.changes(), 0, "the loser's line came through");
    assert!(second.passes() > 0);
    assert_eq!(world.record(VOLUME).state, State::Attached);
    assert_eq!(world.writers(VOLUME), BTreeSet::from(["node-a"]));
}

#[actix::test]
async fn a_replica_that_stops_gives_the_lease_free_and_nobody_waits_for_it() {
    let (world, first, second) = stage().await;
    world.delete_node("node-a").await;
    sleep(Duration::from_secs(15)).await;
    first.stop().await;
    within(3, "the other one leads", || second.leads()).await;
    // It has seen the node go as well, so that no grace begins anew but the one of its first pass.
    within(50, "the volume is fenced", || is_fenced(&world)).await;
    assert!(second.changes() > 0);
}
