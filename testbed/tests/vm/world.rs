//! How every story with the node plugin begins, and what it does and sees.

use std::collections::HashMap;
use std::time::Duration;

use rds_csi_testbed::vm::{
    Daemon, Driver, Kernel, Kind, Network, NodePlugin, StorageVm, Vm, Volume, node_plugin, oracle,
};
use rds_csi_testbed::wait;

pub const MIB: u64 = 1 << 20;
/// Longest wait for one step, on a machine that others use, too.
pub const STEP: Duration = Duration::from_secs(60);
/// The pod that uses a volume.
pub const POD: &str = "pod";

/// A box, two nodes of different kernels, and the driver on all of them.
pub struct World {
    pub storage: StorageVm,
    pub driver: Driver,
    pub nodes: [(Vm, NodePlugin); 2],
}

impl World {
    /// Boots all of it; the nodes' kernels are 6.1 and 6.12.
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

    /// The node plugin is killed, and started again with these variables.
    pub async fn restart(&mut self, node: usize, variables: &[(&str, &str)]) {
        let (vm, plugin) = &mut self.nodes[node];
        plugin.daemon.kill().await.unwrap();
        *plugin = NodePlugin::start_with(vm, &self.driver, "", variables).await.unwrap();
    }

    /// Attached, staged and published: a pod of the volume's name runs there.
    pub async fn runs(&self, volume: &Volume, node: usize) -> HashMap<String, String> {
        let (vm, plugin) = &self.nodes[node];
        let context = self.driver.attach(volume, vm.name()).await.unwrap();
        plugin.stage(vm, volume, &context).await.unwrap();
        plugin.publish(vm, volume, &context, POD).await.unwrap();
        context
    }

    /// The pod is gone, and everything that was made for it.
    pub async fn ends(&self, volume: &Volume, node: usize) {
        let (vm, plugin) = &self.nodes[node];
        plugin.unpublish(volume, POD).await.unwrap();
        plugin.unstage(volume).await.unwrap();
        self.driver.detach(volume, vm.name()).await.unwrap();
        clean(vm).await;
    }

    /// Data of the pod: written, or summed up.
    pub async fn data(&self, volume: &Volume, node: usize, write: bool) -> String {
        let path = node_plugin::target(volume, POD).display().to_string();
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
pub async fn clean(vm: &Vm) {
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

/// Waits until a writer had more than this acknowledged.
pub async fn more_than(writer: &Daemon, number: u64) {
    wait::until("it writes", STEP, async || {
        writer.check().map_err(|error| error.to_string())?;
        let said = oracle::acknowledged(&writer.said());
        if said > Some(number) { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await
    .unwrap();
}

/// A pod that writes numbered blocks to a file of the volume, past every cache.
pub async fn writes(vm: &Vm, volume: &Volume, name: &str) -> Daemon {
    let path = node_plugin::target(volume, POD).display().to_string();
    let path = match volume.kind {
        Kind::Block => path,
        Kind::Files(_) => {
            let file = format!("{path}/blocks");
            vm.shell(&format!("truncate -s 16M {file}")).await.unwrap();
            file
        }
    };
    let writer = vm.start(name, oracle::writer(vm, &path, name, 0, 4096)).await.unwrap();
    more_than(&writer, 10).await;
    writer
}
