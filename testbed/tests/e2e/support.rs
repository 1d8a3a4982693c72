//! How every story begins and ends.

use rds_csi_testbed::{Cluster, audit};
use serde_json::{Value, json};

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

/// What holds at the end of every story.
pub async fn finish(cluster: Cluster) {
    nothing_forbidden(&cluster);
    all_played(&cluster).await;
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
