//! How every story begins and ends.

use std::collections::BTreeMap;

use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::{Cluster, audit};
use rds_sim::routeros::{Connection, Refusal};
use serde_json::{Value, json};

use crate::figures::say;

/// Longest wait for one step of the real parts.
pub const STEP: std::time::Duration = std::time::Duration::from_secs(60);

/// A cluster with the driver in it, beside a StorageClass that binds at once.
pub async fn installed(name: &str, values: &Value) -> Cluster {
    let cluster = Cluster::start(name).await.unwrap();
    cluster.install(values).await.unwrap();
    cluster.create(now_class()).await.unwrap();
    cluster
}

/// `rds-now`: claims need no pod to be bound.
pub fn now_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "rds-now"},
        "provisioner": rds_csi_testbed::cluster::DRIVER,
        "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate", "allowVolumeExpansion": true,
        "parameters": {"csi.storage.k8s.io/fstype": "ext4"},
    })
}

/// One controller: quicker to start.
pub fn alone() -> Value {
    json!({"controller": {"replicas": 1}})
}

/// A volume that a pod on a node has, and to which the node's machine is connected.
pub struct Attached {
    /// Its name, and that of its slot.
    pub volume: String,
    /// What the node was told.
    pub context: BTreeMap<String, String>,
    /// The machine's connection.
    pub host: Connection,
}

/// A new claim, a pod of the same name on this node, and its machine connected.
pub async fn attached(cluster: &Cluster, name: &str, node: &str) -> Attached {
    cluster.create(objects::claim(name, "rds-now", "1Gi")).await.unwrap();
    let volume = cluster.bound(name, STEP).await.unwrap();
    pod_on(cluster, name, name, node).await;
    let (context, _) = cluster.attached(&volume, Some(node), STEP).await.unwrap();
    let host = connect(cluster, &context).unwrap();
    Attached { volume, context, host }
}

/// A pod that wants a claim, bound to a node by hand.
pub async fn pod_on(cluster: &Cluster, name: &str, claim: &str, node: &str) {
    let mut pod = objects::pod(name, claim);
    pod["spec"]["nodeName"] = json!(node);
    cluster.create(pod).await.unwrap();
}

/// Connects as a node that was told this; or why the box refuses.
pub fn connect(
    cluster: &Cluster,
    context: &BTreeMap<String, String>,
) -> Result<Connection, Refusal> {
    let port = context["nvmePort"].parse().unwrap();
    cluster.storage.rds.connect_host(&context["hostNqn"], &context["nqn"], port)
}

/// What holds at the end of every story.
pub async fn finish(cluster: Cluster) {
    nothing_forbidden(&cluster);
    all_played(&cluster).await;
    say(&format!("{}: told in {:.0?}", cluster.name(), cluster.begun().elapsed()));
}

/// The parts run, and everything that was asked of the testbed was played.
pub async fn all_played(cluster: &Cluster) {
    cluster.plane.lock().await.check().unwrap();
    assert_eq!(cluster.kubelet.troubles(), Vec::<String>::new());
}

/// No request of ours was refused for want of a right.
pub fn nothing_forbidden(cluster: &Cluster) {
    let requests = cluster.requests().unwrap();
    assert!(!requests.is_empty(), "the audit log has nothing of ours");
    let refused = audit::forbidden(&requests);
    assert!(refused.is_empty(), "for want of a right: {refused:#?}");
}
