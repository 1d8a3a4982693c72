//! The box away, and back.

use std::time::Duration;

use rds_csi_testbed::vm::{Cable, Kind, node_plugin, oracle};
use tokio::time::{Instant, sleep, timeout};

use crate::world::{MIB, POD, World, more_than, writes};

/// Longer than every timeout of the kernel that is not "for ever": keep-alive and admin commands are
/// short here, I/O commands (30 s) are not.
const AWAY: Duration = Duration::from_secs(45);

#[tokio::test]
#[ignore = "boots machines: make vm-test"]
async fn writing_waits_for_a_box_that_is_away_and_goes_on_when_it_is_back() {
    let mut world = World::start("outage").await;
    let mut volumes = Vec::new();
    for (claim, node) in [("a", 0), ("b", 1)] {
        let volume = world.driver.provision(claim, Kind::Files("ext4"), 64 * MIB).await.unwrap();
        world.runs(&volume, node).await;
        let writer = writes(&world.nodes[node].0, &volume, claim).await;
        volumes.push((volume, writer));
    }
    let other = world.driver.provision("o", Kind::Files("ext4"), 64 * MIB).await.unwrap();
    let context = world.driver.attach(&other, "node-a").await.unwrap();
    world.storage.order("target closed").await.unwrap();
    let began = Instant::now();
    sleep(Duration::from_secs(3)).await;
    let stopped: Vec<_> =
        volumes.iter().map(|(_, writer)| oracle::acknowledged(&writer.said()).unwrap()).collect();
    // Meanwhile the plugin does not hang: not when it starts, and not over another volume.
    world.restart(0, &[]).await;
    let (vm, plugin) = &world.nodes[0];
    let refused = timeout(Duration::from_secs(90), plugin.stage(vm, &other, &context)).await;
    let refused = refused.expect("an answer within the deadline").unwrap_err();
    eprintln!("staging while the box is away: {refused:?}");
    sleep(AWAY.saturating_sub(began.elapsed())).await;
    world.storage.order("target serving").await.unwrap();
    let back = Instant::now();
    for ((_, writer), stopped) in volumes.iter().zip(&stopped) {
        more_than(writer, stopped + 50).await;
    }
    eprintln!("after {AWAY:?} without the box both write again, {:?} later", back.elapsed());
    plugin.stage(vm, &other, &context).await.unwrap();
    plugin.unstage(&other).await.unwrap();

    for (node, (volume, writer)) in volumes.iter_mut().enumerate() {
        let acknowledged = oracle::acknowledged(&writer.said()).unwrap();
        writer.kill().await.unwrap();
        let vm = &world.nodes[node].0;
        let file = node_plugin::target(volume, POD).join("blocks").display().to_string();
        let found = oracle::found(vm, &file).await.unwrap();
        let last = found.iter().map(|block| block.number).max().unwrap();
        assert!(last >= acknowledged, "{last} is there, {acknowledged} was acknowledged");
        world.ends(volume, node).await;
    }
}

#[tokio::test]
#[ignore = "boots machines: make vm-test"]
async fn a_node_without_its_storage_cable_waits_and_goes_on() {
    let world = World::start("cable").await;
    let volume = world.driver.provision("c", Kind::Block, 64 * MIB).await.unwrap();
    world.runs(&volume, 1).await;
    let vm = &world.nodes[1].0;
    let writer = writes(vm, &volume, "c").await;
    vm.plug(Cable::Storage, false).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    let stopped = oracle::acknowledged(&writer.said()).unwrap();
    vm.plug(Cable::Storage, true).await.unwrap();
    more_than(&writer, stopped + 50).await;
}
