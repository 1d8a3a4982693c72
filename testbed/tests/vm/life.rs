//! The life of volumes on a real kernel: formatted, written, moved to another node, grown, deleted.

use rds_csi_testbed::vm::{Kind, Volume, driver, node_plugin};

use crate::teller::tell;
use crate::world::{MIB, World, clean};

#[test]
#[ignore = "boots machines: make vm-test"]
fn volumes_of_every_kind_move_between_nodes_with_their_data_grow_and_leave_nothing() {
    tell(lives);
}

async fn lives(world: &mut World) {
    for (claim, kind) in [
        ("e", Kind::Files("ext4")),
        ("x", Kind::Files("xfs")),
        ("t", Kind::Files("btrfs")),
        ("b", Kind::Block),
    ] {
        let began = tokio::time::Instant::now();
        // The least that mkfs.xfs takes is 300 MiB.
        let volume = world.driver.provision(claim, kind, 320 * MIB).await.unwrap();
        world.runs(&volume, 0).await;
        let sum = world.data(&volume, 0, true).await;
        world.ends(&volume, 0).await;
        clean(&world.nodes[0].0).await;
        eprintln!("{kind:?}: used on 6.1 after {:?}", began.elapsed());

        world.runs(&volume, 1).await;
        assert_eq!(world.data(&volume, 1, false).await, sum, "{kind:?} on the other node");
        grows(world, &volume, 1).await;
        assert_eq!(world.data(&volume, 1, false).await, sum, "{kind:?} when it has grown");
        world.gone(&volume, 1).await;
        clean(&world.nodes[1].0).await;
        driver::nothing_left(&world.storage).await.unwrap();
        eprintln!("{kind:?}: its whole life took {:?}", began.elapsed());
    }
}

async fn grows(world: &World, volume: &Volume, node: usize) {
    let (vm, plugin) = &world.nodes[node];
    assert!(world.driver.expand(volume, 512 * MIB).await.unwrap());
    plugin.expand(volume, "pod", 512 * MIB).await.unwrap();
    let path = node_plugin::target(volume, "pod").display().to_string();
    let size = match volume.kind {
        Kind::Block | Kind::SharedBlock => format!("blockdev --getsize64 {path}"),
        Kind::Files(_) => format!("echo $(($(stat -f -c '%S * %b' {path})))"),
    };
    // xfs takes 64 MiB for its log.
    let size: u64 = vm.shell(&size).await.unwrap().trim().parse().unwrap();
    assert!(size > 420 * MIB, "{:?} has {size} bytes", volume.kind);
    let stats = plugin.stats(volume, "pod").await.unwrap();
    let bytes = stats.usage.iter().map(|usage| usage.total).max().unwrap_or_default();
    assert_eq!(u64::try_from(bytes).unwrap(), size, "{stats:?}");
}
