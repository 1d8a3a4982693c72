//! File systems that are copies of each other.

use rds_csi_testbed::vm::Kind;

use crate::teller::tell;
use crate::world::{MIB, World};

#[test]
#[ignore = "boots machines: make vm-test"]
fn a_copy_of_a_file_system_is_mounted_beside_its_origin_and_fills_its_larger_volume() {
    tell(copied);
}

async fn copied(world: &mut World) {
    for (kind, name) in [(Kind::Files("xfs"), "x"), (Kind::Files("ext4"), "e")] {
        let origin = world.driver.provision(name, kind, 320 * MIB).await.unwrap();
        world.runs(&origin, 0).await;
        let sum = world.data(&origin, 0, true).await;
        world.ends(&origin, 0).await;
        // As a restored backup or a copy that the box made: the same UUID twice.
        let copy = world.driver.provision(&format!("{name}copy"), kind, 640 * MIB).await.unwrap();
        let (from, to) = (world.storage.image(&origin.name), world.storage.image(&copy.name));
        let line = format!("dd if={from} of={to} bs=1M conv=notrunc,sparse status=none; sync");
        world.storage.vm.shell(&line).await.unwrap();

        world.runs(&origin, 0).await;
        world.runs(&copy, 0).await;
        assert_eq!(world.data(&copy, 0, false).await, sum, "{kind:?}");
        let stats = world.nodes[0].1.stats(&copy, "pod").await.unwrap();
        let bytes = stats.usage.iter().map(|usage| usage.total).max().unwrap_or_default();
        assert!(u64::try_from(bytes).unwrap() > 500 * MIB, "it has grown: {stats:?}");
        let changed = world.data(&copy, 0, true).await;
        assert_ne!(changed, sum);
        assert_eq!(world.data(&origin, 0, false).await, sum, "each has its own");
        world.gone(&copy, 0).await;
        world.gone(&origin, 0).await;
    }
}
