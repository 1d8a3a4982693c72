//! With which flags each part of the control plane runs.

use std::net::Ipv4Addr;
use std::path::Path;

use super::PORT;
use crate::Trouble;

/// The Go program of a part, and its flags.
pub(super) fn of(
    name: &str,
    address: Ipv4Addr,
    folder: &Path,
) -> Result<(&'static str, Vec<String>), Trouble> {
    let file = |name: &str| folder.join(name).display().to_string();
    let flags = match name {
        "etcd" => ("server", etcd(address, &file("etcd"))),
        "kube-apiserver" => ("kube-apiserver", apiserver(address, folder, &file)),
        "kube-controller-manager" => ("kube-controller-manager", controllers(&file)),
        "kube-scheduler" => ("kube-scheduler", client(&file)),
        _ => return Err(format!("the control plane has no {name}").into()),
    };
    Ok(flags)
}

fn etcd(address: Ipv4Addr, data: &str) -> Vec<String> {
    let (client, peer) = (etcd_url(address), format!("http://{address}:2380"));
    vec![
        format!("--data-dir={data}"),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // Nothing here outlives the machine.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn etcd_url(address: Ipv4Addr) -> String {
    format!("http://{address}:2379")
}

fn apiserver(address: Ipv4Addr, folder: &Path, file: &dyn Fn(&str) -> String) -> Vec<String> {
    vec![
        format!("--etcd-servers={}", etcd_url(address)),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={PORT}"),
        // It makes apiserver.crt and apiserver.key there.
        format!("--cert-dir={}", folder.display()),
        "--service-cluster-ip-range=10.96.0.0/24".into(),
        "--endpoint-reconciler-type=none".into(),
        "--authorization-mode=RBAC".into(),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", file("service-accounts.pem")),
        format!("--service-account-signing-key-file={}", file("service-accounts.pem")),
        format!("--audit-policy-file={}", file("audit-policy.json")),
        format!("--audit-log-path={}", file("audit.log")),
        "--profiling=false".into(),
        // As everywhere: without it a DaemonSet that mounts is refused as a whole.
        "--allow-privileged=true".into(),
    ]
}

fn controllers(file: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut flags = client(file);
    flags.extend([
        format!("--service-account-private-key-file={}", file("service-accounts.pem")),
        format!("--root-ca-file={}", file("apiserver.crt")),
        // A node that says nothing is NotReady after 12 s instead of 50: tests do not wait longer.
        // kwok renews leases every 2 s, see `node`.
        "--node-monitor-grace-period=12s".into(),
        "--node-monitor-period=2s".into(),
    ]);
    flags
}

/// What controller-manager and scheduler share.
fn client(file: &dyn Fn(&str) -> String) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", file("admin.kubeconfig")),
        "--leader-elect=false".into(),
        "--secure-port=0".into(),
        // There is one of each; the client's own limit of 20 requests a second would be measured.
        "--kube-api-qps=200".into(),
        "--kube-api-burst=400".into(),
    ]
}
