//! What users install, shown to a real API server without being installed: it takes every object of
//! the chart and of the plain manifests, with every field, and refuses one that is broken.

use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::{Cluster, parts};

use crate::tools::Terminal;

/// Values that are rendered, and for which namespace: the least that the chart takes; the controller
/// alone, where nothing may be privileged; everything.
const VALUES: [(&str, &str); 3] = [
    ("deploy/chart/ci/minimal-values.yaml", "rds-csi"),
    ("deploy/chart/ci/minimal-values.yaml --set node.enabled=false", "restricted"),
    ("deploy/chart/ci/everything-values.yaml", "storage"),
];
/// Strict: a field that nobody knows is an error, not dropped, and so is what is deprecated.
const DRY: &str = "kubectl apply --server-side --validate=strict --warnings-as-errors --dry-run=server --filename -";

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn the_chart_with_every_value_and_the_plain_manifests_pass_a_dry_run_on_the_server() {
    let cluster = Cluster::start("installable").await.unwrap();
    let terminal = Terminal::open(&cluster).await;
    let run = async |line: &str| terminal.run(line).await.unwrap();
    for crd in parts::crds().unwrap() {
        run(&format!("kubectl apply --server-side --filename {}", crd.display())).await;
    }
    run("kubectl wait --for=condition=Established customresourcedefinitions --all").await;
    run("kubectl apply --filename deploy/manifests/namespace.yaml").await;
    run("kubectl create namespace storage").await;
    run("kubectl create namespace restricted").await;
    run("kubectl label namespace restricted pod-security.kubernetes.io/enforce=restricted").await;

    let mut everything = String::new();
    for (values, namespace) in VALUES {
        let chart = format!("deploy/chart --namespace {namespace} --values {values}");
        run(&format!("helm lint --strict {chart}")).await;
        // What a person runs before an installation; helm itself asks the server.
        let shown = run(&format!("helm install rds-csi {chart} --dry-run=server")).await;
        assert!(shown.contains("NOTES:"), "{shown}");
        everything = run(&format!("helm template rds-csi {chart}")).await;
        accepted(&terminal, &everything).await;
    }
    accepted(&terminal, &run("kubectl kustomize deploy/manifests").await).await;
    refuses_what_is_broken(&terminal, &everything).await;

    let made = objects::list(&cluster.api, "apps/v1", "Deployment").await.unwrap();
    assert!(made.is_empty(), "a dry run makes nothing: {made:?}");
    cluster.plane.lock().await.check().unwrap();
}

/// The server takes each object.
async fn accepted(terminal: &Terminal, manifests: &str) {
    let said = terminal.feed(DRY, manifests).await.unwrap();
    let objects = manifests.lines().filter(|line| line.starts_with("kind: ")).count();
    let taken = said.lines().filter(|line| line.ends_with("(server dry run)")).count();
    assert!(objects > 20 && taken == objects, "{taken} of {objects}: {said}");
}

/// One fault of each sort, and what the server says about it.
async fn refuses_what_is_broken(terminal: &Terminal, manifests: &str) {
    for (good, bad, told) in [
        ("serviceAccountName:", "serviceAcountName:", "serviceAcountName"),
        ("volumeBindingMode: Immediate", "volumeBindingMode: Soon", "Soon"),
        ("unhealthyPodEvictionPolicy: AlwaysAllow", "unhealthyPodEvictionPolicy: Al", "Al"),
        ("variables.driver ==", "variables.diver ==", "diver"),
        ("storageCapacity: true", "storageCapacity: 1", "storageCapacity"),
        ("deletionPolicy: Retain", "deletionPolicy: Keep", "deletionPolicy"),
        ("interval: 15s", "interval: soon", "interval"),
        ("alert: RdsCsiFenceFailed", "alarm: RdsCsiFenceFailed", "alarm"),
    ] {
        let broken = manifests.replacen(good, bad, 1);
        assert_ne!(broken, manifests, "nothing says {good}");
        let said = terminal.feed(DRY, &broken).await.expect_err(bad);
        assert!(said.contains(told), "{bad}: {said}");
    }
}
