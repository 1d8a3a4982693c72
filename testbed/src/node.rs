//! A node whose machine is played by a kwok of its own: killing it is the node's death.
//!
//! kwok keeps the Node Ready and its lease fresh, and plays the pods with [`PLAYED`]. What kubelet
//! says about volumes (`status.volumesInUse`) is played here, while the machine is on.

mod in_use;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use k8s_openapi::api::core::v1::Node as NodeObject;
use k8s_openapi::api::storage::v1::CSINode;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use self::in_use::InUse;
use rds_csi::grpc::node::topology;

use crate::cluster::install::merge;
use crate::process::Process;
use crate::{Trouble, parts};

/// The label of pods that kwok plays.
pub const PLAYED: (&str, &str) = ("testbed/played", "yes");
/// The label by which each kwok finds its node.
const MACHINE: &str = "testbed/machine";
const STAGES: &str = include_str!("node/stages.yaml");

/// A node and its machine.
pub struct Node {
    /// Its name.
    pub name: String,
    folder: PathBuf,
    kubeconfig: PathBuf,
    client: kube::Client,
    machine: tokio::sync::Mutex<Option<(Process, AbortOnDropHandle<()>)>>,
    powered: Mutex<bool>,
}

impl Node {
    /// Makes the Node, with the driver on it (where one is named) as a kubelet would register it, and
    /// powers it on.
    ///
    /// # Errors
    /// When the API server refuses, or kwok is not there.
    pub async fn start(
        name: &str,
        driver: Option<&str>,
        folder: &Path,
        kubeconfig: &Path,
        client: kube::Client,
    ) -> Result<Self, Trouble> {
        let node = Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            client,
            machine: tokio::sync::Mutex::default(),
            powered: Mutex::new(false),
        };
        match driver {
            Some(driver) => node.register(driver).await?,
            None => drop(node.make(json!({})).await?),
        }
        node.power_on().await?;
        Ok(node)
    }

    /// Makes Node and CSINode anew, as kubelet does when it starts on a machine that is new.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn register(&self, driver: &str) -> Result<(), Trouble> {
        let name = &self.name;
        let (key, zone) = topology(driver);
        let made = self.make(json!({&key: zone})).await?;
        let owner = json!({
            "apiVersion": "v1", "kind": "Node", "name": name, "uid": made.metadata.uid,
        });
        let csi: CSINode = serde_json::from_value(json!({
            "metadata": {"name": name, "ownerReferences": [owner]},
            "spec": {"drivers": [{"name": driver, "nodeID": name, "topologyKeys": [key]}]},
        }))?;
        let nodes: Api<CSINode> = Api::all(self.client.clone());
        let _ = nodes.delete(name, &DeleteParams::default()).await;
        nodes.create(&PostParams::default(), &csi).await?;
        Ok(())
    }

    /// Makes the Node, with these labels beside its own.
    async fn make(&self, mut labels: Value) -> Result<NodeObject, Trouble> {
        let name = &self.name;
        merge(
            &mut labels,
            &json!({
                MACHINE: name, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            }),
        );
        let node: NodeObject = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": labels,
                // Without it the controller-manager makes no VolumeAttachment for the node.
                "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            },
        }))?;
        Ok(self.nodes().create(&PostParams::default(), &node).await?)
    }

    /// Is its machine on?
    pub fn is_on(&self) -> bool {
        self.powered.lock().map(|on| *on).unwrap_or(false)
    }

    /// The machine dies, at once. The Node object stays, and nobody renews its lease.
    ///
    /// # Errors
    /// When the process does not end.
    pub async fn power_off(&self) -> Result<(), Trouble> {
        self.set(false);
        if let Some((mut machine, says)) = self.machine.lock().await.take() {
            drop(says);
            machine.kill().await?;
        }
        Ok(())
    }

    /// The machine starts.
    ///
    /// # Errors
    /// When kwok does not start.
    pub async fn power_on(&self) -> Result<(), Trouble> {
        let stages = self.folder.join("stages.yaml");
        std::fs::write(&stages, STAGES)?;
        let name = format!("node-{}", self.name);
        let flags = vec![
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--config={}", stages.display()),
            "--manage-all-nodes=false".into(),
            format!("--manage-nodes-with-label-selector={MACHINE}={}", self.name),
            "--node-lease-duration-seconds=8".into(),
        ];
        let process = Process::start(&name, &self.folder, &parts::program("kwok")?, &flags)?;
        let says = tokio::spawn(InUse::new(self.client.clone(), &self.name).play());
        *self.machine.lock().await = Some((process, AbortOnDropHandle::new(says)));
        self.set(true);
        Ok(())
    }

    /// The Node object is deleted. Its machine is not asked, and it is off.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self) -> Result<(), Trouble> {
        self.power_off().await?;
        self.nodes().delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// An operator says that the machine is off: the taint `node.kubernetes.io/out-of-service`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn taint_out_of_service(&self) -> Result<(), Trouble> {
        set_out_of_service(&self.client, &self.name, true).await
    }

    fn nodes(&self) -> Api<NodeObject> {
        Api::all(self.client.clone())
    }

    fn set(&self, on: bool) {
        if let Ok(mut powered) = self.powered.lock() {
            *powered = on;
        }
    }
}

/// An operator says that the machine of a node is off, with the taint `node.kubernetes.io/out-of-service`, or
/// takes that back.
///
/// # Errors
/// When the API server refuses.
pub async fn set_out_of_service(
    client: &kube::Client,
    name: &str,
    on: bool,
) -> Result<(), Trouble> {
    const KEY: &str = "node.kubernetes.io/out-of-service";
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let found = nodes.get(name).await?;
    let mut taints = found.spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints.retain(|taint| taint.key != KEY);
    if on {
        let taint = json!({"key": KEY, "value": "nodeshutdown", "effect": "NoExecute"});
        taints.push(serde_json::from_value(taint)?);
    }
    let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
    nodes.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}
