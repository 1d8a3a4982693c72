//! kubelet and the node plugin come and go; the pod that uses a volume does not notice.

use std::time::Duration;

use rds_csi_testbed::cluster::NAMESPACE;
use rds_csi_testbed::vm::{Daemon, VmCluster};
use rds_csi_testbed::wait;

use crate::installed::{STEP, plugin_ready, registered};
use crate::writer;

/// Longest wait for a registration. A kubelet that met the socket of before a power cut pauses up to two
/// minutes (its backoff knows the path alone).
const RENEWED: Duration = Duration::from_secs(360);

/// A restarted kubelet asks again, and an emptied folder gets a socket that it finds.
pub async fn registration_is_renewed(cluster: &mut VmCluster, node: &str) {
    let before = registration(cluster, node).await;
    cluster.node_mut(node).unwrap().stop_kubelet().await.unwrap();
    cluster.node_mut(node).unwrap().start_kubelet().await.unwrap();
    let after = registered_after(cluster, node, before).await;
    let empty = "rm /var/lib/kubelet/plugins_registry/*";
    cluster.node(node).unwrap().vm.shell(empty).await.unwrap();
    registered_after(cluster, node, after).await;
    registered(cluster, node, true).await;
}

/// The plugin dies, and later its pod is replaced: the writer goes on, in the same container.
pub async fn the_writer_does_not_notice(cluster: &VmCluster, node: &str, says: &Daemon) {
    let vm = &cluster.node(node).unwrap().vm;
    let before = registration(cluster, node).await;
    vm.shell("kill -9 $(pidof rds-csi)").await.unwrap();
    writer::goes_on(says, 5).await;
    registered_after(cluster, node, before).await;
    let pod = plugin_ready(cluster, node).await.metadata;
    let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(
        cluster.cluster.api.clone(),
        NAMESPACE,
    );
    pods.delete(pod.name.as_deref().unwrap(), &kube::api::DeleteParams::default()).await.unwrap();
    wait::until("the pod is another", STEP, async || {
        let now = plugin_ready(cluster, node).await.metadata.uid;
        if now == pod.uid { Err("the same") } else { Ok(()) }
    })
    .await
    .unwrap();
    registered(cluster, node, true).await;
    writer::goes_on(says, 5).await;
    let (pod, _) = writer::runs(cluster, None).await;
    let all = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    assert!(all.iter().all(|one| one.restart_count == 0), "{all:?}");
}

/// When a plugin of a node was registered last, as far as its logs are there; kubelet keeps those of two
/// containers.
pub async fn registration(cluster: &VmCluster, node: &str) -> Option<String> {
    let node = cluster.node(node).unwrap();
    let said = node.log(NAMESPACE, "rds-csi-node-*", "rds-csi").await.unwrap_or_default();
    let lines = said.lines().filter(|line| line.contains("registered with kubelet"));
    lines.filter_map(|line| line.split(' ').next()).max().map(str::to_owned)
}

/// Waits until it was registered later than that.
pub async fn registered_after(
    cluster: &VmCluster,
    node: &str,
    before: Option<String>,
) -> Option<String> {
    wait::until("registration is renewed", RENEWED, async || {
        let now = registration(cluster, node).await;
        if now > before { Ok(now) } else { Err(format!("{now:?}")) }
    })
    .await
    .unwrap()
}
