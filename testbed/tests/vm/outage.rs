//! The box away, and back.

use std::time::Duration;

use rds_csi_testbed::vm::{Cable, Daemon, Kind, Vm, Volume, node_plugin, oracle};
use tokio::time::{Instant, sleep, timeout};

use crate::teller::tell;
use crate::world::{MIB, POD, World, more_than, writes};

/// On node-b longer than all of the kernel's timeouts one after the other ([`SHORT`]); on node-a they
/// are the kernel's own.
const AWAY: Duration = Duration::from_secs(90);
/// I/O and admin commands on node-b, in seconds; keep-alive is 2 s, a new attempt comes after 2 s.
const SHORT: u32 = 5;
/// An answer that comes later hangs kubelet's worker for that volume.
const ANSWER: Duration = Duration::from_secs(60);
/// How long an unmount may take here.
const MOUNT: &str = "10s";

/// A pod that writes, and what is to be as it was.
struct Running {
    volume: Volume,
    writer: Daemon,
    mounts: String,
    stopped: u64,
}

#[test]
#[ignore = "boots machines: make vm-test"]
fn writing_waits_for_a_box_that_is_away_and_goes_on_when_it_is_back() {
    tell(box_away);
}

async fn box_away(world: &mut World) {
    world.restart(0, &[("RDSCSI__NODE__MOUNT_DEADLINE", MOUNT)]).await;
    let short = [("RDSCSI__NODE__MOUNT_DEADLINE", MOUNT), ("RDSCSI__NVME__KEEP_ALIVE", "2s")];
    world.restart(1, &short).await;
    kernel_waits(&world.nodes[1].0, SHORT, SHORT).await;
    let mut running = Vec::new();
    for (claim, node) in [("a", 0), ("b", 1)] {
        let volume = world.driver.provision(claim, Kind::Files("ext4"), 64 * MIB).await.unwrap();
        world.runs(&volume, node).await;
        let vm = &world.nodes[node].0;
        let writer = writes(vm, &volume, claim).await;
        let mounts = mounts(vm, &volume).await;
        running.push(Running { volume, writer, mounts, stopped: 0 });
    }
    // One that nobody stages yet, one that is staged, one that is published and not used.
    let mut others = Vec::new();
    for claim in ["o", "p", "u"] {
        let volume = world.driver.provision(claim, Kind::Files("ext4"), 64 * MIB).await.unwrap();
        let (vm, plugin) = &world.nodes[0];
        let context = world.driver.attach(&volume, vm.name()).await.unwrap();
        if claim != "o" {
            plugin.stage(vm, &volume, &context).await.unwrap();
        }
        if claim == "u" {
            plugin.publish(vm, &volume, &context, POD).await.unwrap();
        }
        others.push((volume, context));
    }

    world.storage.order("target closed").await.unwrap();
    let began = Instant::now();
    sleep(Duration::from_secs(3)).await;
    for one in &mut running {
        one.stopped = oracle::acknowledged(&one.writer.said()).unwrap();
    }
    world.restart(0, &[("RDSCSI__NODE__MOUNT_DEADLINE", MOUNT)]).await;
    world.restart(1, &short).await;
    meanwhile(world, &others).await;
    assert!(began.elapsed() < AWAY, "too slow a machine to show it: {:?}", began.elapsed());
    sleep(AWAY.saturating_sub(began.elapsed())).await;
    for one in &running {
        let said = oracle::acknowledged(&one.writer.said()).unwrap();
        assert_eq!(said, one.stopped, "nothing is acknowledged without a box");
        one.writer.check().unwrap();
    }
    world.storage.order("target serving").await.unwrap();
    let back = Instant::now();
    for one in &running {
        more_than(&one.writer, one.stopped + 50).await;
    }
    eprintln!("after {AWAY:?} without the box both write again, {:?} later", back.elapsed());

    for (node, one) in running.iter_mut().enumerate() {
        let vm = &world.nodes[node].0;
        assert_eq!(mounts(vm, &one.volume).await, one.mounts, "it was mounted anew");
        let acknowledged = oracle::acknowledged(&one.writer.said()).unwrap();
        one.writer.kill().await.unwrap();
        let file = node_plugin::target(&one.volume, POD).join("blocks").display().to_string();
        let found = oracle::found(vm, &file).await.unwrap();
        let last = found.iter().map(|block| block.number).max().unwrap();
        assert!(last >= acknowledged, "{last} is there, {acknowledged} was acknowledged");
        world.gone(&one.volume, node).await;
    }
    afterwards(world, &others).await;
    kernel_waits(&world.nodes[1].0, 30, 60).await;
}

/// What kubelet asks while the box is away is answered, whatever the answer.
async fn meanwhile(world: &World, others: &[(Volume, std::collections::HashMap<String, String>)]) {
    let (vm, plugin) = &world.nodes[0];
    let [(unstaged, o), (staged, p), (unused, _)] = others else { panic!("three volumes") };
    let began = Instant::now();
    let publish = timeout(ANSWER, plugin.publish(vm, staged, p, POD)).await;
    let publish = publish.expect("an answer to publish");
    eprintln!("publishing a staged volume, after {:?}: {publish:?}", began.elapsed());
    let stage = async {
        let stage = timeout(ANSWER, plugin.stage(vm, unstaged, o)).await;
        let refused = stage.expect("an answer to stage").unwrap_err();
        eprintln!("staging, after {:?}: {refused:?}", began.elapsed());
    };
    let unstage = async {
        let end = timeout(ANSWER, plugin.unpublish(unused, POD)).await;
        eprintln!("unpublishing, after {:?}: {:?}", began.elapsed(), end.expect("an answer"));
        let end = timeout(ANSWER, plugin.unstage(unused)).await;
        eprintln!("unstaging, after {:?}: {:?}", began.elapsed(), end.expect("an answer"));
    };
    tokio::join!(stage, unstage);
}

/// With the box back, everything that was refused goes through.
async fn afterwards(world: &World, others: &[(Volume, std::collections::HashMap<String, String>)]) {
    let (vm, plugin) = &world.nodes[0];
    for (volume, context) in others {
        let began = Instant::now();
        let done = rds_csi_testbed::wait::until("it is unstaged", ANSWER, async || {
            let done = async {
                plugin.unpublish(volume, POD).await?;
                plugin.unstage(volume).await
            };
            done.await.map_err(|status| status.to_string())
        });
        done.await.unwrap();
        eprintln!("{} is unstaged after {:?}", volume.name, began.elapsed());
        plugin.stage(vm, volume, context).await.unwrap();
        plugin.publish(vm, volume, context, POD).await.unwrap();
        world.gone(volume, 0).await;
    }
}

/// Where the kernel has it mounted, by the number of each mount.
async fn mounts(vm: &Vm, volume: &Volume) -> String {
    let line = format!("grep {} /proc/self/mountinfo | cut -d' ' -f1,3,5", volume.name);
    vm.shell(&line).await.unwrap()
}

/// How long the kernel waits for I/O and for admin commands of what is connected from now on.
async fn kernel_waits(vm: &Vm, io: u32, admin: u32) {
    let folder = "/sys/module/nvme_core/parameters";
    let line = format!("echo {io} >{folder}/io_timeout; echo {admin} >{folder}/admin_timeout");
    vm.shell(&line).await.unwrap();
}

#[test]
#[ignore = "boots machines: make vm-test"]
fn a_node_without_its_storage_cable_waits_and_goes_on() {
    tell(without_cable);
}

async fn without_cable(world: &mut World) {
    let volume = world.driver.provision("c", Kind::Block, 64 * MIB).await.unwrap();
    world.runs(&volume, 1).await;
    let vm = &world.nodes[1].0;
    let mut writer = writes(vm, &volume, "c").await;
    vm.plug(Cable::Storage, false).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    let stopped = oracle::acknowledged(&writer.said()).unwrap();
    vm.plug(Cable::Storage, true).await.unwrap();
    more_than(&writer, stopped + 50).await;
    writer.kill().await.unwrap();
    world.gone(&volume, 1).await;
}
