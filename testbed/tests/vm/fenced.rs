//! A node that is fenced while it writes, and what its agent makes of what is left there.

use rds_csi_testbed::vm::{Daemon, Kind, Volume, node_plugin, oracle};
use rds_csi_testbed::wait;
use tokio::time::Instant;

use crate::teller::tell;
use crate::world::{MIB, POD, STEP, World, more_than, writes_to};

/// The pod that comes after the fence.
const SECOND: &str = "second";
/// Large enough for ext4 to take blocks of 4 KiB, so that those of a writer are found in the image.
const SIZE: u64 = 640 * MIB;
/// Blocks that each writer fills.
const BLOCKS: u64 = 1024;

#[test]
#[ignore = "boots machines: make vm-test"]
fn after_a_fence_the_agent_sweeps_and_the_image_holds_only_what_the_new_node_wrote() {
    tell(fenced);
}

async fn fenced(world: &mut World) {
    for old in [0, 1] {
        let mut volumes = Vec::new();
        for (claim, kind) in [("d", Kind::Block), ("f", Kind::Files("ext4"))] {
            let volume = world.driver.provision(claim, kind, SIZE).await.unwrap();
            world.runs(&volume, old).await;
            let writer = written(world, &volume, old, "old").await;
            volumes.push((volume, writer));
        }
        let vm = &world.nodes[old].0;
        // Whoever stands in the folder keeps it from being unmounted.
        let folder = node_plugin::target(&volumes[1].0, POD).display().to_string();
        let stays = vm.command("sh").args(["-c", &format!("cd {folder}; exec sleep 600")]);
        let mut stays = vm.start("stays", stays).await.unwrap();

        let began = Instant::now();
        world.driver.set_out_of_service(vm.name(), true).unwrap();
        for (volume, writer) in &mut volumes {
            closed(world, volume).await;
            // As the attach/detach controller does for a node with this taint.
            world.driver.detach(volume, vm.name()).await.unwrap();
            let stopped = oracle::acknowledged(&writer.said());
            eprintln!(
                "{} released {:?} after {:?}; {stopped:?} was acknowledged",
                vm.name(),
                volume.kind,
                began.elapsed()
            );
        }
        moves_on(world, &mut volumes, old, began).await;
        comes_back(world, &volumes, old, &mut stays).await;
    }
}

/// The other node has the volumes, and the agent of the old one lets them go.
async fn moves_on(world: &World, volumes: &mut [(Volume, Daemon)], old: usize, began: Instant) {
    let other = 1 - old;
    let vm = &world.nodes[old].0;
    for (volume, writer) in volumes.iter_mut() {
        let stopped = oracle::acknowledged(&writer.said());
        world.runs(volume, other).await;
        let mut new = written(world, volume, other, "new").await;
        more_than(&new, BLOCKS).await;
        // Nobody helps: the agent deletes the controller, and what was queued fails.
        writer.wait(STEP).await.unwrap();
        assert_eq!(oracle::acknowledged(&writer.said()), stopped, "a write after the fence");
        new.kill().await.unwrap();
        let image = world.storage.image(&volume.name);
        let found = oracle::found(&world.storage.vm, &image).await.unwrap();
        let of_old = found.iter().filter(|block| block.writer == "old").count();
        let all = usize::try_from(BLOCKS).unwrap();
        assert_eq!((of_old, found.len()), (0, all), "blocks of the old writer, and all");
    }
    // What nobody uses is unmounted; what is in use is told of, and left.
    let staged = node_plugin::staging(&volumes[1].0).display().to_string();
    let left = "cat /sys/class/nvme/nvme*/subsysnqn 2>/dev/null || true; \
                grep kubelet /proc/self/mounts || true";
    let swept = wait::until("the agent has swept", STEP, async || {
        let left = vm.shell(left).await.map_err(|error| error.to_string())?;
        let is_swept = !left.contains("nqn.") && !left.contains(&staged);
        if is_swept && left.lines().count() <= 1 { Ok(left) } else { Err(left) }
    });
    let left = swept.await.unwrap();
    eprintln!("{} swept {:?} after the order; left: {left:?}", vm.name(), began.elapsed());
    assert!(left.contains(&node_plugin::target(&volumes[1].0, POD).display().to_string()));
    let held = wait::until("what is in use is told of", STEP, async || {
        let told = world.driver.events(&volumes[1].0, "RecoveryHeld").into_iter();
        let mut told = told.filter(|note| note.contains(vm.name()));
        told.next_back().ok_or("no event RecoveryHeld")
    });
    eprintln!("{}", held.await.unwrap());
}

/// The old node has the volumes again, beside what is still left of the first time.
async fn comes_back(world: &World, volumes: &[(Volume, Daemon)], old: usize, stays: &mut Daemon) {
    let (vm, plugin) = &world.nodes[old];
    world.driver.set_out_of_service(vm.name(), false).unwrap();
    for (volume, _) in volumes {
        world.ends(volume, 1 - old).await;
        let context = world.driver.attach(volume, vm.name()).await.unwrap();
        plugin.stage(vm, volume, &context).await.unwrap();
        plugin.publish(vm, volume, &context, SECOND).await.unwrap();
        let seen = target(volume, SECOND);
        let found = oracle::found(vm, &seen).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|block| block.writer == "new"), "{seen}");
    }
    // The old pod ends at last.
    stays.kill().await.unwrap();
    for (volume, _) in volumes {
        plugin.unpublish(volume, POD).await.unwrap();
        plugin.unpublish(volume, SECOND).await.unwrap();
        plugin.unstage(volume).await.unwrap();
        world.driver.detach(volume, vm.name()).await.unwrap();
        world.driver.delete(volume).await.unwrap();
    }
}

/// Where a pod of that name sees blocks.
fn target(volume: &Volume, pod: &str) -> String {
    let path = node_plugin::target(volume, pod).display().to_string();
    if volume.kind.is_block() { path } else { format!("{path}/blocks") }
}

async fn written(world: &World, volume: &Volume, node: usize, name: &str) -> Daemon {
    let vm = &world.nodes[node].0;
    let path = target(volume, POD);
    if !volume.kind.is_block() {
        vm.shell(&format!("test -e {path} || truncate -s {} {path}", BLOCKS * 4096)).await.unwrap();
    }
    writes_to(vm, &path, name, BLOCKS).await
}

async fn closed(world: &World, volume: &Volume) {
    wait::until("the export is closed", STEP, async || {
        let exported = world.storage.property(&volume.name, "nvme-tcp-export").await;
        match exported {
            Ok(exported) if exported == "false" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}
