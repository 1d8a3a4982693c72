//! The chart, as it was rendered, under a real kubelet.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::CSINode;
use kube::api::{Api, ListParams};
use rds_csi_testbed::cluster::{DRIVER, NAMESPACE};
use rds_csi_testbed::vm::VmCluster;
use rds_csi_testbed::wait;

/// Longest wait for one step of a node.
pub const STEP: Duration = Duration::from_secs(180);

/// Every node runs a ready pod of the DaemonSet, and CSINode names the driver.
pub async fn the_node_plugin_registers_itself(cluster: &VmCluster) {
    for node in &cluster.nodes {
        plugin_ready(cluster, node.name()).await;
        registered(cluster, node.name(), true).await;
    }
}

/// The pod of the DaemonSet on a node, once it is ready.
pub async fn plugin_ready(cluster: &VmCluster, node: &str) -> Pod {
    let pods: Api<Pod> = Api::namespaced(cluster.cluster.api.clone(), NAMESPACE);
    let wanted = ListParams::default().labels("app.kubernetes.io/component=node");
    wait::until(&format!("the node plugin of {node} is ready"), STEP, async || {
        let all = pods.list(&wanted).await.map_err(|error| error.to_string())?.items;
        let on =
            |pod: &Pod| pod.spec.as_ref().is_some_and(|s| s.node_name.as_deref() == Some(node));
        let pod = all.into_iter().find(on).ok_or("no pod there")?;
        let status = pod.status.clone().unwrap_or_default();
        let ready = status.container_statuses.iter().flatten().all(|one| one.ready);
        let any = status.container_statuses.iter().flatten().count() > 0;
        if ready && any { Ok(pod) } else { Err(format!("{status:?}")) }
    })
    .await
    .unwrap()
}

/// CSINode names the driver, or does not.
pub async fn registered(cluster: &VmCluster, node: &str, wanted: bool) {
    let nodes: Api<CSINode> = Api::all(cluster.cluster.api.clone());
    wait::until(&format!("{node} has the driver: {wanted}"), STEP, async || {
        let found = nodes.get(node).await.map_err(|error| error.to_string())?;
        let has = found.spec.drivers.iter().any(|one| one.name == DRIVER && one.node_id == node);
        if has == wanted { Ok(()) } else { Err(format!("{:?}", found.spec)) }
    })
    .await
    .unwrap();
}
