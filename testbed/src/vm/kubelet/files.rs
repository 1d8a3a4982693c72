//! What containerd and kubelet read when they start.

use std::path::Path;

use serde_json::json;

use super::super::image;

/// Where containerd listens.
pub(super) const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Where kubelet keeps everything.
pub(super) const KUBELET: &str = "/var/lib/kubelet";

/// Every file: path and content.
pub(super) fn all() -> [(&'static str, String); 3] {
    [
        ("/etc/containerd/config.toml", containerd()),
        ("/etc/cni/net.d/10-loopback.conflist", loopback()),
        ("/etc/kubelet.json", kubelet()),
    ]
}

/// containerd's: the sandbox is our own image, and nothing else is unusual.
fn containerd() -> String {
    format!(
        "version = 3\nroot = \"/var/lib/containerd\"\nstate = \"/run/containerd\"\n\
         [grpc]\naddress = \"{CONTAINERD}\"\n\
         [plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = \"{}\"\n\
         [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n\
         [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n\
         BinaryName = \"/usr/sbin/runc\"\nSystemdCgroup = false\n",
        image::WORK
    )
}

/// A network that only pods in the network of their node can use; without any the node is never Ready.
fn loopback() -> String {
    json!({"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "loopback"}]}).to_string()
}

/// kubelet's: no systemd, nobody who evicts, and a node that is noticed as soon as the control plane of the
/// testbed wants it.
fn kubelet() -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "nodeLeaseDurationSeconds": 8,
        "nodeStatusUpdateFrequency": "2s",
        "resolvConf": "",
    })
    .to_string()
}

/// kubelet's arguments.
pub(super) fn arguments(node: &str, address: &str, kubeconfig: &Path, labels: &str) -> [String; 7] {
    [
        "--config=/etc/kubelet.json".into(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-dir={KUBELET}"),
        format!("--hostname-override={node}"),
        format!("--node-ip={address}"),
        format!("--node-labels={labels}"),
        "--v=2".into(),
    ]
}
