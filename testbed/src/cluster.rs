//! A cluster with the driver's box beside it: what a story is told with.

pub mod install;
pub mod objects;
pub mod sidecar;
pub mod volumes;
pub mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use crate::audit::{self, Request};
use crate::control_plane::ControlPlane;
use crate::kubelet::{Kubelet, Power};
use crate::network::Network;
use crate::node::Node;
use crate::storage::StorageBox;
use crate::{Trouble, parts, process};

/// The driver's name, in every PV.
pub const DRIVER: &str = "rds.csi.srvlab.io";
/// The namespace of the driver.
pub const NAMESPACE: &str = "rds-csi";
/// The nodes at the beginning.
pub const NODES: [&str; 2] = ["node-a", "node-b"];

/// A box, as the chart's values name it.
pub trait Backend {
    /// The values of the box: address, host key, key of the user, and what else it needs.
    fn values(&self) -> Value;
}

/// Everything that runs. Dropping it ends everything. The box `B` is a simulated one in this process, or a
/// machine.
pub struct Cluster<B = StorageBox> {
    /// Plays kubelet for the driver's pods.
    pub kubelet: Kubelet,
    /// The box.
    pub storage: B,
    /// A client that may do everything.
    pub api: kube::Client,
    /// The control plane; stories stop and start parts of it.
    pub plane: tokio::sync::Mutex<ControlPlane>,
    nodes: BTreeMap<String, Arc<Node>>,
    kubeconfig: PathBuf,
    audit_log: PathBuf,
    folder: PathBuf,
    name: String,
    begun: Instant,
}

/// Where a cluster begins.
pub(crate) struct Site {
    /// Where logs and data lie.
    pub folder: PathBuf,
    /// The network of played pods and of the control plane.
    pub network: Network,
    /// Played nodes at the beginning.
    pub nodes: &'static [&'static str],
    /// Is the driver on them, as a kubelet would say?
    pub driver: bool,
}

impl Cluster {
    /// Starts control plane, nodes and box, without the driver. Logs lie in
    /// `target/e2e/<name>/`.
    ///
    /// # Errors
    /// When a part is missing or does not start.
    pub async fn start(name: &str) -> Result<Self, Trouble> {
        let folder = parts::target().join("e2e").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let network = Network::start().await?;
        let storage = StorageBox::start(network.gateway()).await?;
        let site = Site { folder, network, nodes: &NODES, driver: true };
        Self::around(name, storage, site).await
    }
}

impl<B> Cluster<B> {
    /// Starts control plane and played nodes around a box.
    pub(crate) async fn around(name: &str, storage: B, site: Site) -> Result<Self, Trouble> {
        let begun = Instant::now();
        let Site { folder, network, nodes: wanted, driver } = site;
        let network = Arc::new(network);
        let address = network.gateway();
        let plane = ControlPlane::start(address, &folder).await?;
        let api = plane.client().await?;
        let kubeconfig = plane.kubeconfig();
        let mut nodes = BTreeMap::new();
        for name in wanted {
            let driver = driver.then_some(DRIVER);
            let node = Node::start(name, driver, &folder, &kubeconfig, api.clone()).await?;
            nodes.insert((*name).to_owned(), Arc::new(node));
        }
        let machines = nodes.clone();
        let power: Power = Arc::new(move |name| machines.get(name).map(|node| node.is_on()));
        let kubelet =
            Kubelet::start(NAMESPACE, api.clone(), network, address, folder.clone(), power);
        let audit_log = plane.audit_log();
        let plane = tokio::sync::Mutex::new(plane);
        let name = name.to_owned();
        Ok(Self { kubelet, storage, api, plane, nodes, kubeconfig, audit_log, folder, name, begun })
    }

    /// A node by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, name: &str) -> Result<&Node, Trouble> {
        self.nodes.get(name).map(Arc::as_ref).ok_or_else(|| format!("no node {name}").into())
    }

    /// What it was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Since when it has been starting or running.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Where logs and everything else of this cluster lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What service accounts of the driver's namespace asked so far.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn requests(&self) -> Result<Vec<Request>, Trouble> {
        audit::requests(&self.audit_log, NAMESPACE)
    }

    /// Makes an object from JSON.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn create(&self, object: Value) -> Result<Value, Trouble> {
        objects::create(&self.api, object).await
    }
}

impl<B> Drop for Cluster<B> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            use std::io::Write as _;
            let mut told = process::tails(&self.folder);
            told.push(format!("logs are in {}", self.folder.display()));
            told.extend(self.kubelet.troubles());
            let _ = writeln!(std::io::stderr(), "{}", told.join("\n"));
        }
    }
}
