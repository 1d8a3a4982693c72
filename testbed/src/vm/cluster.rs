//! A real cluster with power switches: the control plane as plain processes, nodes with kubelet and
//! containerd in machines, the box in another. The controller runs as in [`crate::Cluster`], on a played
//! node of its own; everything else of the chart is run by the nodes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::{Value, json};

use super::image;
use super::kernel::Kernel;
use super::kubelet::{KubeletVm, LABEL};
use super::lend::{self, Lent};
use super::network::Network;
use super::storage::StorageVm;
use crate::cluster::install::merge;
use crate::cluster::{Cluster, Site};
use crate::{Trouble, control_plane, network, parts, wait};

/// The node where the controller runs.
const CONTROL: &str = "control";
/// The address of the API server that kubelet tells its pods: the first of the range of services.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Longest wait for a node, on a machine that others use, too.
const READY: Duration = Duration::from_secs(240);

/// Everything of it. Dropping it ends everything.
pub struct VmCluster {
    /// Control plane, controller and box.
    pub cluster: Cluster<StorageVm>,
    /// The nodes, whose kernels are 6.1 and 6.12.
    pub nodes: [KubeletVm; 2],
    _service: Lent,
}

impl VmCluster {
    /// Boots all of it, without the driver. Logs lie in `target/cluster/<name>/`.
    ///
    /// # Errors
    /// When a part is missing or does not start.
    pub async fn start(name: &str) -> Result<Self, Trouble> {
        let driver = image::driver()?;
        let machines = Network::start_in(parts::target().join("cluster").join(name)).await?;
        let folder = machines.folder().to_owned();
        let pods = network::Network::start().await?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        pods.answer_at(SERVICE).await?;
        let api = SocketAddr::from((pods.gateway(), control_plane::PORT));
        let service = lend::pass(SocketAddr::from((SERVICE, 443)), api).await?;
        let storage = StorageVm::start(&machines, Kernel::Debian12).await?;
        let images = [image::work(&folder).await?, driver];
        let site = Site { folder, network: pods, nodes: &[CONTROL], driver: false };
        let cluster = Cluster::around(name, storage, site).await?;
        let kubeconfig = cluster.kubeconfig();
        let start = |kernel, name| KubeletVm::start(&machines, kernel, name, kubeconfig, &images);
        let (a, b) = tokio::try_join!(
            start(Kernel::Debian12, "node-a"),
            start(Kernel::Debian12Linux612, "node-b"),
        )?;
        let started = Self { cluster, nodes: [a, b], _service: service };
        for node in &started.nodes {
            started.node_ready(node.name(), true).await?;
        }
        Ok(started)
    }

    /// Waits until a node is Ready, or until it is not.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn node_ready(&self, name: &str, wanted: bool) -> Result<(), Trouble> {
        let nodes: Api<Node> = Api::all(self.cluster.api.clone());
        wait::until(&format!("{name} is Ready: {wanted}"), READY, async || {
            for node in &self.nodes {
                if node.name() == name && wanted {
                    node.check().map_err(|error| error.to_string())?;
                }
            }
            let found = nodes.get(name).await.map_err(|error| error.to_string())?;
            let all = found.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = all.into_iter().find(|one| one.type_ == "Ready");
            let is = ready.as_ref().is_some_and(|one| one.status == "True");
            if is == wanted { Ok(()) } else { Err(format!("{ready:?}")) }
        })
        .await
    }

    /// A node by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<&KubeletVm, Trouble> {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.ok_or_else(|| format!("no node {name}").into())
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// As there.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut KubeletVm, Trouble> {
        let found = self.nodes.iter_mut().find(|node| node.name() == name);
        found.ok_or_else(|| format!("no node {name}").into())
    }

    /// Installs the chart: the controller on its node, the DaemonSet on the machines; waits for the
    /// controller.
    ///
    /// # Errors
    /// When helm refuses or the controller does not become ready.
    pub async fn install(&self, more: &Value) -> Result<(), Trouble> {
        let mut values = json!({
            "controller": {"replicas": 1, "nodeSelector": {"kubernetes.io/hostname": CONTROL}},
            "node": {"nodeSelector": {LABEL.0: LABEL.1}},
        });
        merge(&mut values, more);
        self.cluster.install(&values).await
    }
}
