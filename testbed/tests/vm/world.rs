//! How every story with the node plugin begins, and what it does and sees.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rds_csi_testbed::vm::{
    Cable, Daemon, Driver, Kernel, Kind, Network, NodePlugin, StorageVm, Vm, Volume, driver,
    node_plugin, oracle,
};
use rds_csi_testbed::wait;
use tonic::Code;

pub const MIB: u64 = 1 << 20;
/// Longest wait for one step, on a machine that others use, too.
pub const STEP: Duration = Duration::from_secs(60);
/// The pod that uses a volume.
pub const POD: &str = "pod";
/// Where agents answer.
pub const AGENT_PORT: u16 = 9809;
/// Where the nodes have the cluster Secret.
const SECRET: &str = "/etc/rds-csi-cluster";
/// Agents are heard in passes; nobody waits five minutes for one.
const OFTEN: &str = "interval = \"10s\"\n";
const NAMES: [&str; 2] = ["node-a", "node-b"];

/// Writers so far: each has a log of its own.
static WRITERS: AtomicU32 = AtomicU32::new(1);

/// A box, two nodes of different kernels, and the driver on all of them, with the nodes' agents.
pub struct World {
    pub network: Network,
    pub storage: StorageVm,
    pub driver: Driver,
    pub nodes: [(Vm, NodePlugin); 2],
    /// Does the plugin run as other stories expect it?
    plain: [bool; 2],
}

impl World {
    /// Boots all of it; the nodes' kernels are 6.1 and 6.12.
    pub async fn start(name: &str) -> World {
        let network = Network::start(name).await.unwrap();
        let (storage, old, new) = tokio::join!(
            StorageVm::start(&network, Kernel::Debian12),
            Vm::boot_with(&network, Kernel::Debian12, NAMES[0], 768),
            Vm::boot_with(&network, Kernel::Debian12Linux612, NAMES[1], 768),
        );
        let (storage, old, new) = (storage.unwrap(), old.unwrap(), new.unwrap());
        let driver = Driver::start_with(&network, &storage, &NAMES, OFTEN).await.unwrap();
        for vm in [&old, &new] {
            driver.place(vm.name(), vm.address(Cable::Control)).unwrap();
        }
        let (a, b) = tokio::join!(plugin(&old, &driver, &[]), plugin(&new, &driver, &[]));
        let nodes = [(old, a), (new, b)];
        World { network, storage, driver, nodes, plain: [true; 2] }
    }

    /// What stories leave to each other: nothing. Returns the world for the next one.
    pub async fn left(mut self) -> World {
        self.driver.check().unwrap();
        for node in 0..self.nodes.len() {
            if !self.plain[node] {
                self.restart(node, &[]).await;
            }
            self.nodes[node].1.daemon.check().unwrap();
            clean(&self.nodes[node].0).await;
        }
        driver::nothing_left(&self.storage).await.unwrap();
        self
    }

    /// The node plugin is killed, and started again with these variables.
    pub async fn restart(&mut self, node: usize, variables: &[(&str, &str)]) {
        let (vm, plug) = &mut self.nodes[node];
        plug.daemon.kill().await.unwrap();
        *plug = plugin(vm, &self.driver, variables).await;
        self.plain[node] = variables.is_empty();
    }

    /// The node loses power and gets it back.
    pub async fn power_cut(&mut self, node: usize) -> Duration {
        let (vm, plug) = &mut self.nodes[node];
        let took = vm.reset().await.unwrap();
        *plug = plugin(vm, &self.driver, &[]).await;
        self.plain[node] = true;
        took
    }

    /// Attached, staged and published: a pod of the volume's name runs there.
    pub async fn runs(&self, volume: &Volume, node: usize) -> HashMap<String, String> {
        let (vm, plugin) = &self.nodes[node];
        let context = self.driver.attach(volume, vm.name()).await.unwrap();
        // The agent may be looking at what an earlier call left of it; kubelet asks again.
        let staged = wait::until("it is staged", STEP, async || {
            let staged = plugin.stage(vm, volume, &context).await;
            let is_busy = staged.as_ref().is_err_and(|status| status.code() == Code::Aborted);
            if is_busy { Err("somebody works on it") } else { Ok(staged) }
        });
        staged.await.unwrap().unwrap();
        plugin.publish(vm, volume, &context, POD).await.unwrap();
        context
    }

    /// The pod is gone, and everything that was made for it.
    pub async fn ends(&self, volume: &Volume, node: usize) {
        let (vm, plugin) = &self.nodes[node];
        plugin.unpublish(volume, POD).await.unwrap();
        plugin.unstage(volume).await.unwrap();
        self.driver.detach(volume, vm.name()).await.unwrap();
    }

    /// The pod is gone, and the volume with it.
    pub async fn gone(&self, volume: &Volume, node: usize) {
        self.ends(volume, node).await;
        self.driver.delete(volume).await.unwrap();
    }

    /// Data of the pod: written, or summed up.
    pub async fn data(&self, volume: &Volume, node: usize, write: bool) -> String {
        let path = node_plugin::target(volume, POD).display().to_string();
        let path = if volume.kind.is_block() { path } else { format!("{path}/data") };
        let vm = &self.nodes[node].0;
        if write {
            let line = format!("dd if=/dev/urandom of={path} bs=1M count=4 conv=fsync status=none");
            vm.shell(&line).await.unwrap();
        }
        vm.shell(&format!("head -c 4194304 {path} | sha256sum")).await.unwrap()
    }
}

/// The node plugin, with its agent.
async fn plugin(vm: &Vm, driver: &Driver, variables: &[(&str, &str)]) -> NodePlugin {
    let secret = wait::until("the cluster Secret", STEP, async || driver.secret()).await.unwrap();
    vm.write(SECRET, secret).await.unwrap();
    let listen = format!("0.0.0.0:{AGENT_PORT}");
    let mut all =
        vec![("RDSCSI__NODE__CLUSTER_SECRET_PATH", SECRET), ("RDSCSI__HTTP__LISTEN", &listen)];
    all.extend(variables);
    NodePlugin::start_with(vm, driver, "", &all).await.unwrap()
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
        Kind::Block | Kind::SharedBlock => path,
        Kind::Files(_) => {
            let file = format!("{path}/blocks");
            vm.shell(&format!("truncate -s 16M {file}")).await.unwrap();
            file
        }
    };
    writes_to(vm, &path, name, 4096).await
}

/// A program that writes so many numbered blocks to a file or device, over and over again.
pub async fn writes_to(vm: &Vm, path: &str, name: &str, count: u64) -> Daemon {
    let log = format!("{name}-{}", WRITERS.fetch_add(1, Ordering::Relaxed));
    let writer = vm.start(&log, oracle::writer(vm, path, name, 0, count)).await.unwrap();
    more_than(&writer, 10).await;
    writer
}
