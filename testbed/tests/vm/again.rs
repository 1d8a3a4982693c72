//! Everything that kubelet does twice, and the plugin killed wherever it may be.

use rds_csi_testbed::vm::Kind;
use tokio::time::Instant;

use crate::teller::tell;
use crate::world::{MIB, POD, STEP, World, clean};

#[test]
#[ignore = "boots machines: make vm-test"]
fn what_is_asked_twice_is_done_once_and_data_stay() {
    tell(asked_twice);
}

async fn asked_twice(world: &mut World) {
    for kind in [Kind::Files("ext4"), Kind::Block] {
        let claim = if kind == Kind::Block { "block" } else { "files" };
        let volume = world.driver.provision(claim, kind, 64 * MIB).await.unwrap();
        let context = world.runs(&volume, 0).await;
        let sum = world.data(&volume, 0, true).await;
        for restart in [false, true] {
            if restart {
                world.restart(0, &[]).await;
            }
            let (vm, plugin) = &world.nodes[0];
            plugin.stage(vm, &volume, &context).await.unwrap();
            plugin.publish(vm, &volume, &context, POD).await.unwrap();
            plugin.publish(vm, &volume, &context, "second").await.unwrap();
            plugin.unpublish(&volume, "second").await.unwrap();
            plugin.unpublish(&volume, "second").await.unwrap();
            assert_eq!(world.data(&volume, 0, false).await, sum, "{kind:?}, restarted: {restart}");
        }
        let (vm, plugin) = &world.nodes[0];
        plugin.unpublish(&volume, POD).await.unwrap();
        // The device goes behind the plugin's back.
        vm.shell("for c in /sys/class/nvme/nvme*; do echo 1 >$c/delete_controller; done")
            .await
            .unwrap();
        plugin.unstage(&volume).await.unwrap();
        plugin.unstage(&volume).await.unwrap();
        clean(vm).await;
        plugin.stage(vm, &volume, &context).await.unwrap();
        plugin.publish(vm, &volume, &context, POD).await.unwrap();
        assert_eq!(world.data(&volume, 0, false).await, sum, "{kind:?}, staged again");
        world.gone(&volume, 0).await;
    }
}

/// In the order in which the flows come to them.
const STAGE: [&str; 7] = [
    "stage-begun",
    "stage-noted",
    "connected",
    "format-noted",
    "formatted",
    "file-system-noted",
    "mounted",
];
const PUBLISH: [&str; 4] = ["publish-begun", "target-noted", "target-made", "bound"];
const UNPUBLISH: [&str; 3] = ["target-unmounted", "target-removed", "target-forgotten"];
const UNSTAGE: [&str; 3] = ["unmounted", "disconnected", "forgotten"];

#[test]
#[ignore = "boots machines: make vm-test"]
fn the_plugin_killed_at_any_point_goes_on_where_it_was() {
    tell(killed);
}

async fn killed(world: &mut World) {
    let volume = world.driver.provision("k", Kind::Files("ext4"), 64 * MIB).await.unwrap();
    let context = world.driver.attach(&volume, "node-a").await.unwrap();
    let began = Instant::now();
    for point in STAGE {
        world.restart(0, &[("RDSCSI_KILL_AT", point)]).await;
        let (vm, plugin) = &mut world.nodes[0];
        plugin.stage(vm, &volume, &context).await.unwrap_err();
        plugin.daemon.wait(STEP).await.unwrap();
    }
    for point in PUBLISH {
        world.restart(0, &[("RDSCSI_KILL_AT", point)]).await;
        let (vm, plugin) = &mut world.nodes[0];
        plugin.stage(vm, &volume, &context).await.unwrap();
        plugin.publish(vm, &volume, &context, POD).await.unwrap_err();
        plugin.daemon.wait(STEP).await.unwrap();
    }
    world.restart(0, &[]).await;
    let (vm, plugin) = &world.nodes[0];
    plugin.publish(vm, &volume, &context, POD).await.unwrap();
    let sum = world.data(&volume, 0, true).await;
    for point in UNPUBLISH {
        world.restart(0, &[("RDSCSI_KILL_AT", point)]).await;
        let plugin = &mut world.nodes[0].1;
        plugin.unpublish(&volume, POD).await.unwrap_err();
        plugin.daemon.wait(STEP).await.unwrap();
    }
    for point in UNSTAGE {
        world.restart(0, &[("RDSCSI_KILL_AT", point)]).await;
        let plugin = &mut world.nodes[0].1;
        plugin.unpublish(&volume, POD).await.unwrap();
        plugin.unstage(&volume).await.unwrap_err();
        plugin.daemon.wait(STEP).await.unwrap();
    }
    world.restart(0, &[]).await;
    world.ends(&volume, 0).await;
    eprintln!("killed at 17 points in {:?}", began.elapsed());
    world.runs(&volume, 1).await;
    assert_eq!(world.data(&volume, 1, false).await, sum, "on the other node");
    world.gone(&volume, 1).await;
}
