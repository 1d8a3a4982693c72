//! README.md, done: each command that it gives for installing, upgrading, troubleshooting and
//! uninstalling, run as a person copies it, with what must come of it. Commands that are not listed
//! here fail.

mod commands;
mod person;
mod streams;

use rds_csi_testbed::cluster::{DRIVER, NAMESPACE, NODES, objects};
use rds_csi_testbed::{Cluster, parts};
use serde_json::{Value, json};

use self::commands::Command;
use self::person::Person;
use crate::support::{STEP, all_played, nothing_forbidden};

/// Sections that are done here.
const SECTIONS: [&str; 6] = [
    "Install",
    "Troubleshoot",
    "Upgrade",
    "Uninstall",
    "In the place of the first driver",
    "Plain manifests",
];

/// The claim of the story.
const CLAIM: &str = "of-mine";

/// What becomes of a command.
enum How {
    /// It succeeds and says this.
    Says(&'static str),
    /// It goes on; something answers at this port.
    Serves(u16),
    /// Another test runs it: this file has this in it.
    By(&'static str, &'static str),
}
use How::{By, Says, Serves};

/// Every command of the README by its beginning.
const COMMANDS: &[(&str, How)] = &[
    // Install.
    ("make image", By("Makefile", "deploy/image/build")),
    (
        "sudo ctr --namespace k8s.io images import target/image/rds-csi.tar",
        By("deploy/image/strangers.py", "ctr --namespace k8s.io images import"),
    ),
    (
        "skopeo copy oci-archive:target/image/rds-csi.tar docker://",
        By("deploy/image/strangers.py", "skopeo copy oci-archive:"),
    ),
    ("kubectl create namespace rds-csi", Says("namespace/rds-csi created")),
    ("kubectl label namespace rds-csi pod-security.kubernetes.io/enforce=", Says("labeled")),
    ("ssh-keygen -q -t ed25519 -N '' -f id_ed25519", Says("")),
    ("kubectl --namespace rds-csi create secret generic rds-csi-ssh", Says("rds-csi-ssh created")),
    ("ssh-keyscan -t ed25519 10.0.0.10 | cut", Says("ssh-ed25519 AAAA")),
    (
        "helm install rds-csi deploy/chart --namespace rds-csi --values values.yaml --dry-run=server",
        Says("NOTES:"),
    ),
    (
        "helm install rds-csi deploy/chart --namespace rds-csi --values values.yaml",
        Says("STATUS: deployed"),
    ),
    ("kubectl --namespace rds-csi rollout status", Says("successfully rolled out")),
    ("kubectl --namespace rds-csi exec deployment/rds-csi-controller", Says("main (")),
    ("kubectl --namespace rds-csi get secret rds-csi-cluster --output yaml >", Says("")),
    // Plain manifests.
    ("kubectl apply --filename deploy/manifests/namespace.yaml", Says("namespace/rds-csi")),
    ("head -c 32 /dev/urandom | kubectl", Says("rds-csi-cluster created")),
    ("kubectl apply --filename deploy/manifests/rds-csi.yaml", Says("controller created")),
    ("kubectl --namespace rds-csi edit configmap rds-csi-config", Says("config edited")),
    ("kubectl --namespace rds-csi rollout restart", Says("restarted")),
    ("kubectl delete --filename deploy/manifests/rds-csi.yaml", Says("deleted")),
    // Upgrade.
    ("helm upgrade rds-csi deploy/chart", Says("has been upgraded")),
    ("helm rollback rds-csi --namespace rds-csi", Says("Rollback was a success")),
    // Uninstall.
    ("helm uninstall rds-csi --namespace rds-csi", Says("uninstalled")),
    ("kubectl get persistentvolumes --output jsonpath=", Says("")),
    ("kubectl --namespace rds-csi delete secret rds-csi-cluster", Says("deleted")),
    ("kubectl --namespace rds-csi delete configmap rds-csi-deleting", Says("")),
    ("kubectl --namespace rds-csi delete lease --all", Says("rds-csi-reconciler")),
    // Troubleshoot.
    ("kubectl --namespace rds-csi get pods,leases", Says("rds-csi-reconciler")),
    ("kubectl --namespace rds-csi get events --sort-by=.lastTimestamp", Says("Scheduled")),
    ("kubectl --namespace rds-csi logs deployment/rds-csi-controller", Says("rds-csi")),
    ("kubectl --namespace rds-csi port-forward deployment/rds-csi-controller 9809", Serves(9809)),
    ("curl http://127.0.0.1:9809/statusz", Says("leader")),
    ("rds-csi controller --check-config --config config.toml", Says("renew_deadline")),
    ("kubectl describe pvc NAME", Says("ProvisioningSucceeded")),
    ("kubectl get csistoragecapacities -A", Says("")),
    ("kubectl taint node NAME node.kubernetes.io/out-of-service=", Says("tainted")),
    ("kubectl taint node NAME node.kubernetes.io/out-of-service-", Says("untainted")),
    ("kubectl --namespace rds-csi get lease rds-csi-reconciler", Says("rds-csi-controller-")),
    // Drill.
    (
        "kubectl apply --filename deploy/manifests/drill.yaml",
        By("tests/chart.rs", "deploy/manifests/drill.yaml"),
    ),
    (
        "kubectl --namespace rds-csi logs --follow job/rds-csi-drill",
        By("tests/chart.rs", "\"Job\", \"rds-csi-drill\""),
    ),
    (
        "kubectl delete --filename deploy/manifests/drill.yaml",
        By("tests/chart.rs", "deploy/manifests/drill.yaml"),
    ),
    ("sudo rds-csi doctor --config", By("testbed/tests/vm/drill.rs", "\"--drill\"")),
    // Elsewhere in the README.
    ("make demo", By(".ci/run", "make demo")),
    ("make test", By(".ci/run", "make test")),
    ("make check", By(".ci/run", "make check")),
    ("make simulate", By(".ci/run", "make simulate")),
    ("make host-test", By(".ci/run", "make host-test")),
    ("make vm-test", By("Makefile", "vm-test:")),
    ("make conformance", By("Makefile", "conformance:")),
    ("make e2e", By("Makefile", "e2e:")),
    ("make cluster-test", By("Makefile", "cluster-test:")),
    ("make chart", By("Makefile", "chart:")),
    ("make bench", By("Makefile", "bench:")),
    ("make help", By("Makefile", "help:")),
    ("cargo run -p rds-sim -- --no-key", By("sim/tests/program.rs", "--no-key")),
    ("rds-csi controller --config", By("tests/support/daemon.rs", "\"--config\"")),
    ("rds-csi doctor --config", By("tests/doctor.rs", "&[\"--config\"")),
];

fn readme() -> String {
    std::fs::read_to_string(parts::workspace().join("README.md")).unwrap()
}

/// The first entry that it begins with.
fn known(command: &Command) -> Option<&'static How> {
    let of_it = |(begin, _): &&(&str, How)| command.line.starts_with(begin);
    COMMANDS.iter().find(of_it).map(|(_, how)| how)
}

#[test]
fn every_command_of_the_readme_is_known_and_run_by_a_test() {
    let all = commands::all(&readme());
    assert!(all.len() > 50, "{all:#?}");
    for command in &all {
        let how = known(command).unwrap_or_else(|| panic!("nobody runs {command:?}"));
        let here = SECTIONS.contains(&command.section.as_str());
        match how {
            By(file, needle) => {
                let path = parts::workspace().join(file);
                let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
                assert!(text.contains(needle), "{file} has no {needle}");
            }
            Says(_) | Serves(_) => {
                assert!(here, "{command:?} stands in a section that nobody does")
            }
        }
    }
    for (begin, _) in COMMANDS {
        let used = all.iter().any(|command| command.line.starts_with(begin));
        assert!(used, "the README does not say {begin}");
    }
}

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn every_command_for_users_does_what_the_readme_says() {
    let cluster = Cluster::start("readme").await.unwrap();
    let mut person = Person::new(&cluster).await;
    person.does("Install").await;
    cluster.create(objects::claim(CLAIM, "rds-csi", "1Gi")).await.unwrap();
    cluster.create(objects::pod("user", CLAIM)).await.unwrap();
    let volume = cluster.bound(CLAIM, STEP).await.unwrap();
    let (_, node) = cluster.attached(&volume, None, STEP).await.unwrap();
    person.other_node = NODES.into_iter().find(|name| *name != node).unwrap();
    person.does("Troubleshoot").await;

    let before = secret(&cluster).await;
    person.does("Upgrade").await;
    cluster.ready().await.unwrap();
    assert_eq!(secret(&cluster).await, before, "an upgrade keeps the Secret");
    nothing_forbidden(&cluster);
    person.run("kubectl delete pod user").await;
    cluster.delete_claim(CLAIM, STEP).await.unwrap();
    person.does("Uninstall").await;
    assert_eq!(left(&cluster).await, ["Secret rds-csi-ssh"]);

    cluster.create(first_drivers_object()).await.unwrap();
    person.does("In the place of the first driver").await;
    cluster.ready().await.unwrap();
    person.does("Uninstall").await;

    person.run("kubectl --namespace rds-csi delete secret rds-csi-ssh").await;
    person.does("Plain manifests").await;
    let left = left(&cluster).await;
    assert!(!left.iter().any(|one| one.starts_with("Deployment")), "{left:?}");
    assert!(left.contains(&"Secret rds-csi-cluster".to_owned()), "{left:?}");
    all_played(&cluster).await;
}

fn first_drivers_object() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
        "spec": {"attachRequired": true, "podInfoOnMount": true, "fsGroupPolicy": "File"},
    })
}

/// What the Secret of the cluster holds.
async fn secret(cluster: &Cluster) -> Value {
    let all = objects::list(&cluster.api, "v1", "Secret").await.unwrap();
    let one = all.into_iter().find(|one| one["metadata"]["name"] == "rds-csi-cluster").unwrap();
    assert!(one["data"]["key"].as_str().is_some_and(|key| key.len() == 44), "no 32 bytes");
    one["data"].clone()
}

/// What is left in the driver's namespace.
async fn left(cluster: &Cluster) -> Vec<String> {
    let mut left = Vec::new();
    for (version, kind) in [
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("coordination.k8s.io/v1", "Lease"),
        ("apps/v1", "Deployment"),
    ] {
        let all = objects::list(&cluster.api, version, kind).await.unwrap();
        let ours = all.iter().filter(|one| one["metadata"]["namespace"] == NAMESPACE);
        let names = ours.filter_map(|one| one["metadata"]["name"].as_str());
        left.extend(
            names.filter(|name| *name != "kube-root-ca.crt").map(|n| format!("{kind} {n}")),
        );
    }
    left
}
