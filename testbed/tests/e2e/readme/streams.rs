//! What `kubectl exec`, `logs` and `port-forward` ask kubelet for: kwok serves it, for the containers
//! that run now. A command runs in the namespaces of its container, with its root, user and variables.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use rds_csi_testbed::cluster::sidecar::CONTAINER;
use rds_csi_testbed::cluster::{NAMESPACE, NODES};
use rds_csi_testbed::process::Process;
use rds_csi_testbed::{Cluster, parts, wait};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::STEP;

/// kubelet's own port.
const PORT: u16 = 10250;
/// The driver's port.
const HTTP: u16 = 9809;
const ENTER: &str = "#!/bin/sh\nexec nsenter --target \"$OF_PROCESS\" --mount --net --root --wd \
                     --setuid \"$OF_USER\" --setgid \"$OF_USER\" -- /rds-csi \"$@\"\n";

/// Serves it, until the answer is dropped.
pub async fn serve(cluster: &Cluster) -> Process {
    let folder = cluster.folder().join("streams");
    std::fs::create_dir_all(&folder).unwrap();
    let enter = folder.join("rds-csi");
    std::fs::write(&enter, ENTER).unwrap();
    std::fs::set_permissions(&enter, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = folder.join("config.yaml");
    std::fs::write(&config, rules(cluster, &folder).await).unwrap();
    let host = cluster.plane.lock().await.host();
    tell_nodes(cluster, &host.to_string()).await;
    let process = start(cluster, &folder, &format!("{host}:{PORT}"));
    wait::until("kwok listens", STEP, async || {
        tokio::net::TcpStream::connect((host, PORT)).await.map(|_| ()).map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    process
}

fn start(cluster: &Cluster, folder: &Path, address: &str) -> Process {
    let of = |name: &str| cluster.folder().join(name).display().to_string();
    let system = std::env::var("PATH").unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(parts::program("kwok").unwrap())
        .arg(format!("--kubeconfig={}", of("admin.kubeconfig")))
        .arg(format!("--config={}", of("stages.yaml")))
        .arg(format!("--config={}", folder.join("config.yaml").display()))
        // It plays no node.
        .args([
            "--manage-all-nodes=false",
            "--manage-nodes-with-label-selector=testbed/machine=none",
        ])
        .arg(format!("--server-address={address}"))
        .arg(format!("--tls-cert-file={}", of("apiserver.crt")))
        .arg(format!("--tls-private-key-file={}", of("apiserver.key")))
        .env("PATH", format!("{}:{system}", folder.display()));
    Process::spawn("streams", cluster.folder(), command).unwrap()
}

/// The API server finds kubelet by the Node.
async fn tell_nodes(cluster: &Cluster, host: &str) {
    let nodes: Api<Node> = Api::all(cluster.api.clone());
    let status = Patch::Merge(json!({"status": {
        "addresses": [{"type": "InternalIP", "address": host}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
    }}));
    for name in NODES {
        nodes.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }
}

/// For each pod of ours: how to get into its container, where its log is, and its address.
async fn rules(cluster: &Cluster, folder: &Path) -> String {
    let pods: Api<Pod> = Api::namespaced(cluster.api.clone(), NAMESPACE);
    let mut all = String::new();
    for (pod, containers) in cluster.kubelet.processes() {
        let (Some(id), Ok(object)) = (containers.get(CONTAINER), pods.get(&pod).await) else {
            continue;
        };
        let address = object.status.and_then(|status| status.pod_ip).unwrap_or_default();
        let log = folder.join(format!("{pod}.log"));
        let said = cluster.folder().join(format!("{pod}.{CONTAINER}.log"));
        std::fs::write(&log, as_written_by_a_runtime(&said)).unwrap();
        let of_container = json!([CONTAINER]);
        for (kind, spec) in [
            (
                "Exec",
                json!({"execs": [{"containers": of_container, "local": {"envs": inside(*id)}}]}),
            ),
            ("Logs", json!({"logs": [{"containers": of_container, "logsFile": log}]})),
            (
                "PortForward",
                json!({"forwards":
                [{"ports": [HTTP], "target": {"address": address, "port": HTTP}}]}),
            ),
        ] {
            let rule = json!({
                "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": kind,
                "metadata": {"name": pod, "namespace": NAMESPACE}, "spec": spec,
            });
            all.push_str(&format!("---\n{rule}\n"));
        }
    }
    all
}

/// The variables of a container, and what the script must know of it.
fn inside(id: u32) -> Vec<Value> {
    let text = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap();
    let status = text("status");
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    let user = user.split_whitespace().next().unwrap().to_owned();
    let environment = text("environ");
    let variables = environment.split('\0').filter_map(|pair| pair.split_once('='));
    let mut all: Vec<Value> =
        variables.map(|(name, value)| json!({"name": name, "value": value})).collect();
    all.push(json!({"name": "OF_PROCESS", "value": id.to_string()}));
    all.push(json!({"name": "OF_USER", "value": user}));
    all
}

/// Container runtimes put time and stream before every line.
fn as_written_by_a_runtime(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| format!("2026-01-01T00:00:00.000000000Z stderr F {line}\n")).collect()
}
