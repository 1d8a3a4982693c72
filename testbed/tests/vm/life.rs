//! The life of volumes on a real kernel: formatted, written, moved to another node, grown, deleted.

use std::collections::HashMap;
use std::time::Duration;

use rds_csi_testbed::vm::{Driver, Kernel, Kind, Network, NodePlugin, StorageVm, Vm, Volume};
use rds_csi_testbed::vm::{driver, node_plugin};
use rds_csi_testbed::wait;

const MIB: u64 = 1 << 20;

/// A box, two nodes of different kernels, and the driver on all of them.
pub struct World {
    pub storage: StorageVm,
    pub driver: Driver,
    pub nodes: [(Vm, NodePlugin); 2],
}

impl World {
    pub async fn start(name: &str) -> World {
        let network = Network::start(name).await.unwrap();
        let (storage, old, new) = tokio::join!(
            StorageVm::start(&network, Kernel::Debian12),
            Vm::boot_with(&network, Kernel::Debian12, "node-a", 768),
            Vm::boot_with(&network, Kernel::Debian12Linux612, "node-b", 768),
        );
        let (storage, old, new) = (storage.unwrap(), old.unwrap(), new.unwrap());
        let driver = Driver::start(&network, &storage, &["node-a", "node-b"]).await.unwrap();
        let (a, b) = tokio::join!(
            NodePlugin::start(&old, &driver, ""),
            NodePlugin::start(&new, &driver, "")
        );
        World { storage, driver, nodes: [(old, a.unwrap()), (new, b.unwrap())] }
    }

    /// Attached, staged and published: a pod of the volume's name runs there.
    pub async fn runs(&self, volume: &Volume, node: usize) -> HashMap<String, String> {
        let (vm, plugin) = &self.nodes[node];
        let context = self.driver.attach(volume, vm.name()).await.unwrap();
        plugin.stage(vm, volume, &context).await.unwrap();
        plugin.publish(vm, volume, &context, "pod").await.unwrap();
        context
    }

    /// The pod is gone, and everything that was made for it.
    pub async fn ends(&self, volume: &Volume, node: usize) {
        let (vm, plugin) = &self.nodes[node];
        plugin.unpublish(volume, "pod").await.unwrap();
        plugin.unstage(volume).await.unwrap();
        self.driver.detach(volume, vm.name()).await.unwrap();
        clean(vm).await;
    }

    /// Data of the pod: written, or summed up.
    async fn data(&self, volume: &Volume, node: usize, write: bool) -> String {
        let path = node_plugin::target(volume, "pod").display().to_string();
        let path = if volume.kind == Kind::Block { path } else { format!("{path}/data") };
        let vm = &self.nodes[node].0;
        if write {
            let line = format!("dd if=/dev/urandom of={path} bs=1M count=4 conv=fsync status=none");
            vm.shell(&line).await.unwrap();
        }
        vm.shell(&format!("head -c 4194304 {path} | sha256sum")).await.unwrap()
    }
}

/// Nothing of ours is left: no controller, no mount, no folder that a volume was seen in.
async fn clean(vm: &Vm) {
    let left = "cat /sys/class/nvme/nvme*/subsysnqn 2>/dev/null || true; \
                grep kubelet /proc/self/mounts || true; \
                find /var/lib/kubelet/pods -name mount || true";
    wait::until("nothing is left on the node", Duration::from_secs(20), async || {
        match vm.shell(left).await {
            Ok(left) if left.is_empty() => Ok(()),
            Ok(left) => Err(left),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
#[ignore = "boots machines: make vm-test"]
async fn volumes_of_every_kind_move_between_nodes_with_their_data_grow_and_leave_nothing() {
    let mut world = World::start("life").await;
    for (claim, kind) in [("e", Kind::Files("ext4")), ("x", Kind::Files("xfs")), ("b", Kind::Block)]
    {
        let began = tokio::time::Instant::now();
        // The least that mkfs.xfs takes is 300 MiB.
        let volume = world.driver.provision(claim, kind, 320 * MIB).await.unwrap();
        world.runs(&volume, 0).await;
        let sum = world.data(&volume, 0, true).await;
        world.ends(&volume, 0).await;
        eprintln!("{kind:?}: used on 6.1 after {:?}", began.elapsed());

        world.runs(&volume, 1).await;
        assert_eq!(world.data(&volume, 1, false).await, sum, "{kind:?} on the other node");
        grows(&world, &volume, 1).await;
        assert_eq!(world.data(&volume, 1, false).await, sum, "{kind:?} when it has grown");
        world.ends(&volume, 1).await;
        world.driver.delete(&volume).await.unwrap();
        driver::nothing_left(&world.storage).await.unwrap();
        eprintln!("{kind:?}: its whole life took {:?}", began.elapsed());
    }
    world.driver.check().unwrap();
}

async fn grows(world: &World, volume: &Volume, node: usize) {
    let (vm, plugin) = &world.nodes[node];
    assert!(world.driver.expand(volume, 512 * MIB).await.unwrap());
    plugin.expand(volume, "pod", 512 * MIB).await.unwrap();
    let path = node_plugin::target(volume, "pod").display().to_string();
    let size = match volume.kind {
        Kind::Block => format!("blockdev --getsize64 {path}"),
        Kind::Files(_) => format!("echo $(($(stat -f -c '%S * %b' {path})))"),
    };
    // xfs takes 64 MiB for its log.
    let size: u64 = vm.shell(&size).await.unwrap().trim().parse().unwrap();
    assert!(size > 420 * MIB, "{:?} has {size} bytes", volume.kind);
    let stats = plugin.stats(volume, "pod").await.unwrap();
    let bytes = stats.usage.iter().map(|usage| usage.total).max().unwrap_or_default();
    assert_eq!(u64::try_from(bytes).unwrap(), size, "{stats:?}");
}
