//! Connections that the kernel dropped, and devices that come back under another number.

use std::time::Duration;

use rds_csi_testbed::vm::{Connect, Kind, VOLUMES, Volume, node_plugin, oracle};
use rds_csi_testbed::wait;
use tokio::time::{Instant, sleep};

use crate::teller::tell;
use crate::world::{MIB, POD, STEP, World, more_than, writes};

/// How long a starting box listens before it exports; longer than the hosts' `reconnect_delay`.
const BARE: Duration = Duration::from_secs(5);
const HOST: &str = "nqn.2014-08.org.nvmexpress:somebody-else";
const OTHER: &str = "nqn.2000-02.com.mikrotik:taken.g1-a";

#[test]
#[ignore = "boots machines: make vm-test"]
fn a_box_that_listens_before_it_exports_is_survived_or_its_mounts_are_reported_broken() {
    tell(listens_before_it_exports);
}

async fn listens_before_it_exports(world: &mut World) {
    let mut running = Vec::new();
    for (claim, node) in [("a", 0), ("b", 1)] {
        let volume = world.driver.provision(claim, Kind::Files("ext4"), 64 * MIB).await.unwrap();
        let context = world.runs(&volume, node).await;
        let sum = world.data(&volume, node, true).await;
        let writer = writes(&world.nodes[node].0, &volume, claim).await;
        running.push((volume, context, sum, writer));
    }
    world.storage.order("target bare").await.unwrap();
    sleep(BARE).await;
    world.storage.order("target serving").await.unwrap();
    let back = Instant::now();

    let (volume, _, sum, writer) = &mut running[0];
    let stopped = oracle::acknowledged(&writer.said()).unwrap();
    more_than(writer, stopped + 50).await;
    eprintln!("6.1 writes again {:?} after the exports are back", back.elapsed());
    writer.kill().await.unwrap();
    assert_eq!(world.data(volume, 0, false).await, *sum);
    world.gone(volume, 0).await;

    let (volume, context, sum, writer) = &mut running[1];
    let acknowledged = oracle::acknowledged(&writer.said()).unwrap();
    connected_again(world, 1, volume).await;
    eprintln!("6.12 is connected to the same NQN {:?} after", back.elapsed());
    let (vm, plugin) = &world.nodes[1];
    let ailments = plugin.health(volume, POD).await.unwrap();
    eprintln!("6.12: {ailments:?}; the writer: {:?}", writer.check().err().map(|_| "has ended"));
    if ailments.is_empty() {
        more_than(writer, acknowledged).await;
    } else {
        assert!(ailments.contains(&"StaleMount".to_owned()), "{ailments:?}");
        let told = wait::until("the mount is reported", STEP, async || {
            let told = world.driver.events(volume, "MountBroken");
            told.into_iter().next_back().ok_or("no event MountBroken")
        });
        eprintln!("6.12: {}", told.await.unwrap());
        // The pod is deleted and comes again: kubelet tears down and sets up.
        plugin.unpublish(volume, POD).await.unwrap();
        plugin.unstage(volume).await.unwrap();
        plugin.stage(vm, volume, context).await.unwrap();
        plugin.publish(vm, volume, context, POD).await.unwrap();
        assert!(plugin.health(volume, POD).await.unwrap().is_empty());
    }
    writer.kill().await.unwrap();
    assert_eq!(world.data(volume, 1, false).await, *sum);
    let file = node_plugin::target(volume, POD).join("blocks").display().to_string();
    let found = oracle::found(vm, &file).await.unwrap();
    let last = found.iter().map(|block| block.number).max();
    assert!(last >= Some(acknowledged), "{last:?} is there, {acknowledged} was acknowledged");
    world.gone(volume, 1).await;
}

/// Waits until the agent has connected the volume again, to the NQN of its publish context.
async fn connected_again(world: &World, node: usize, volume: &Volume) {
    let vm = &world.nodes[node].0;
    let nqn = world.storage.property(&volume.name, "nvme-tcp-server-nqn").await.unwrap();
    let line = format!(
        "for c in /sys/class/nvme/nvme*; do if grep -qx '{nqn}' $c/subsysnqn && \
         grep -qx live $c/state; then echo there; fi; done 2>/dev/null || true"
    );
    wait::until("it is connected again", STEP, async || {
        let said = vm.shell(&line).await.map_err(|error| error.to_string())?;
        if said.contains("there") { Ok(()) } else { Err(format!("not live: {nqn}")) }
    })
    .await
    .unwrap();
}

#[test]
#[ignore = "boots machines: make vm-test"]
fn volumes_that_come_back_under_other_numbers_are_not_mixed_up_with_who_has_theirs() {
    tell(renumbered);
}

async fn renumbered(world: &mut World) {
    let mut running = Vec::new();
    let kinds = [("r", Kind::Files("ext4")), ("s", Kind::Files("xfs")), ("t", Kind::Block)];
    for (claim, kind) in kinds {
        let volume = world.driver.provision(claim, kind, 320 * MIB).await.unwrap();
        let context = world.runs(&volume, 0).await;
        let sum = world.data(&volume, 0, true).await;
        running.push((volume, context, sum));
    }
    let numbers = "cd /dev; ls nvme*n1 | tr '\\n' ' '; cd /sys/class/nvme; \
                   for c in nvme*; do echo $c $(cat $c/subsysnqn); done";
    let vm = &world.nodes[0].0;
    let before = vm.shell(numbers).await.unwrap();
    // The plugin is away while the kernel drops everything and gives a number to another one: that of
    // the device that is bound, for a mounted one keeps its own.
    world.nodes[0].1.daemon.kill().await.unwrap();
    vm.shell("for c in /sys/class/nvme/nvme*; do echo 1 >$c/delete_controller; done")
        .await
        .unwrap();
    world.storage.add_disk("taken", 64).await.unwrap();
    world.storage.export("taken", OTHER, HOST).await.unwrap();
    let taken = Connect::to(OTHER, HOST).from(vm, world.storage.target()).await.unwrap();
    world.restart(0, &[]).await;
    for (volume, _, _) in &running {
        connected_again(world, 0, volume).await;
    }
    let (vm, plugin) = &world.nodes[0];
    eprintln!("before: {before}after: {}", vm.shell(numbers).await.unwrap());
    for (volume, context, sum) in &running {
        let health = plugin.health(volume, POD).await.unwrap();
        // A second pod of the volume starts; kubelet thinks that it is staged.
        plugin.publish(vm, volume, context, "second").await.unwrap();
        plugin.publish(vm, volume, context, POD).await.unwrap();
        let healed = plugin.health(volume, POD).await.unwrap();
        eprintln!("{:?}: {health:?}, and after publishing {healed:?}", volume.kind);
        assert!(healed.is_empty(), "{healed:?}");
        assert_eq!(world.data(volume, 0, false).await, *sum, "{:?}", volume.kind);
        plugin.unpublish(volume, "second").await.unwrap();
    }
    for (volume, _, _) in &running {
        world.gone(volume, 0).await;
    }
    taken.delete(&world.nodes[0].0).await.unwrap();
    world.storage.exec("/disk/remove [find slot=taken]").await.unwrap();
    let image = format!("/file/remove [find name={VOLUMES}/taken.img]");
    world.storage.exec(&image).await.unwrap();
}
