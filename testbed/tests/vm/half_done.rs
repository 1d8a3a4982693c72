//! Work of which the report was lost: a file system that was made, or not, and a volume that has grown.

use rds_csi_testbed::vm::{Kind, Volume};
use tokio::time::timeout;
use tonic::Code;

use crate::teller::tell;
use crate::world::{MIB, STEP, World, clean};

#[test]
#[ignore = "boots machines: make vm-test"]
fn what_a_killed_plugin_had_formatted_is_used_elsewhere_and_what_it_had_not_is_not_formatted() {
    tell(formatted_and_not_told);
}

async fn formatted_and_not_told(world: &mut World) {
    // mkfs has ended, and nobody was told.
    let made = killed_at(world, "m", "formatted").await;
    let uuid = format!("blkid -p -o value -s UUID {}", world.storage.image(&made.name));
    let before = world.storage.vm.shell(&uuid).await.unwrap();
    world.driver.detach(&made, "node-a").await.unwrap();
    let context = world.runs(&made, 1).await;
    assert!(!context.contains_key("format"), "nobody knows whether it is empty: {context:?}");
    assert_eq!(world.storage.vm.shell(&uuid).await.unwrap(), before, "a second mkfs");
    let sum = world.data(&made, 1, true).await;
    world.ends(&made, 1).await;
    world.restart(0, &[]).await;
    let context = world.runs(&made, 0).await;
    assert!(!context.contains_key("format"), "{context:?}");
    assert_eq!(world.data(&made, 0, false).await, sum);
    assert_eq!(world.storage.vm.shell(&uuid).await.unwrap(), before, "a second mkfs");
    world.gone(&made, 0).await;

    // It was noted that mkfs begins, and it did not.
    let empty = killed_at(world, "n", "format-noted").await;
    world.driver.detach(&empty, "node-a").await.unwrap();
    let (vm, plugin) = &world.nodes[1];
    let context = world.driver.attach(&empty, vm.name()).await.unwrap();
    let refused = plugin.stage(vm, &empty, &context).await.unwrap_err();
    eprintln!("mkfs had not begun, and nobody was told: {refused:?}");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for fact in ["format=allowed", "zeros"] {
        assert!(refused.message().contains(fact), "{}", refused.message());
    }
    let image = world.storage.image(&empty.name);
    let other = format!("tr -d '\\000' <{image} | head -c 1 | wc -c");
    assert_eq!(world.storage.vm.shell(&other).await.unwrap().trim(), "0", "it was written to");
    plugin.unstage(&empty).await.unwrap();
    world.driver.detach(&empty, vm.name()).await.unwrap();
    // What the killed plugin had connected is swept by its agent once it is there again.
    world.restart(0, &[]).await;
    clean(&world.nodes[0].0).await;
    // As kubelet does, to which staging may have been half done.
    world.nodes[0].1.unstage(&empty).await.unwrap();
    world.driver.delete(&empty).await.unwrap();
}

/// A new volume, and the plugin of node-a killed at that point of staging it.
async fn killed_at(world: &mut World, claim: &str, point: &str) -> Volume {
    let volume = world.driver.provision(claim, Kind::Files("ext4"), 64 * MIB).await.unwrap();
    let context = world.driver.attach(&volume, "node-a").await.unwrap();
    assert_eq!(context.get("format").map(String::as_str), Some("allowed"));
    world.restart(0, &[("RDSCSI_KILL_AT", point)]).await;
    let (vm, plugin) = &mut world.nodes[0];
    plugin.stage(vm, &volume, &context).await.unwrap_err();
    plugin.daemon.wait(STEP).await.unwrap();
    volume
}

#[test]
#[ignore = "boots machines: make vm-test"]
fn a_volume_whose_growth_was_not_told_grows_to_its_end_when_it_is_asked_again() {
    tell(grown_and_not_told);
}

async fn grown_and_not_told(world: &mut World) {
    for kind in [Kind::Files("ext4"), Kind::Files("xfs")] {
        let volume = world.driver.provision("g", kind, 320 * MIB).await.unwrap();
        world.runs(&volume, 0).await;
        let sum = world.data(&volume, 0, true).await;
        // The box grows it, and its answer is lost; the caller has not even waited.
        world.storage.order("arm drop-after file-size").await.unwrap();
        let grow = world.driver.expand(&volume, 512 * MIB);
        let first = timeout(std::time::Duration::from_millis(50), grow).await;
        assert!(first.is_err(), "nobody heard the answer");
        let again = rds_csi_testbed::wait::until("it is grown", STEP, async || {
            world.driver.expand(&volume, 512 * MIB).await.map_err(|error| error.to_string())
        });
        assert!(again.await.unwrap(), "the node has its part to do");
        let image = format!("stat -c %s {}", world.storage.image(&volume.name));
        let size = world.storage.vm.shell(&image).await.unwrap();
        assert_eq!(size.trim().parse::<u64>().unwrap(), 512 * MIB);

        // The node's part is cut off, too.
        let cut = world.nodes[0].1.expand(&volume, "pod", 512 * MIB);
        let _ = timeout(std::time::Duration::from_millis(20), cut).await;
        world.restart(0, &[]).await;
        let plugin = &world.nodes[0].1;
        plugin.expand(&volume, "pod", 512 * MIB).await.unwrap();
        plugin.expand(&volume, "pod", 512 * MIB).await.unwrap();
        let stats = plugin.stats(&volume, "pod").await.unwrap();
        let bytes = stats.usage.iter().map(|usage| usage.total).max().unwrap_or_default();
        assert!(u64::try_from(bytes).unwrap() > 420 * MIB, "{kind:?} has {stats:?}");
        assert_eq!(world.data(&volume, 0, false).await, sum, "{kind:?}");
        world.gone(&volume, 0).await;
    }
}
