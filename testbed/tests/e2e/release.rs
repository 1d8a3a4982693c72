//! The release itself: linted, rendered with everything on, installed, followed, removed.

use std::process::Stdio;
use std::time::Duration;

use rds_csi_testbed::audit::{self, Request};
use rds_csi_testbed::cluster::{NAMESPACE, objects};
use rds_csi_testbed::{Cluster, parts, wait};
use serde_json::json;
use tokio::process::Command;

use crate::figures::say;
use crate::support::{STEP, all_played, alone, installed, nothing_forbidden};

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn a_release_is_linted_installed_followed_while_it_runs_and_leaves_nothing_but_its_secret() {
    let lint = helm(&["lint", "--strict", "--values", "ci/minimal-values.yaml"]).await;
    assert!(lint.0, "{}", lint.1);
    let wrong = helm(&["template", "x", "--set", "controller.replicaz=3"]).await;
    assert!(!wrong.0 && wrong.1.contains("replicaz"), "{}", wrong.1);

    let cluster = installed("release", &alone()).await;
    follows_its_config_map(&cluster).await;
    cluster.create(objects::claim("kept", "rds-now", "1Gi")).await.unwrap();
    let volume = cluster.bound("kept", STEP).await.unwrap();
    nothing_forbidden(&cluster);

    // helm takes the rights away before the pods that have them have ended: what those still want to
    // say (a Lease given back, a last Event) is refused. They do nothing instead of it.
    let from = cluster.storage.rds.exec_count();
    cluster.uninstall().await.unwrap();
    wait::until("nothing of the driver runs", STEP, async || {
        let left = cluster.kubelet.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
    .unwrap();
    let left = objects::list(&cluster.api, "v1", "Secret").await.unwrap();
    let names: Vec<_> = left.iter().filter_map(|one| one["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["rds-csi-cluster"], "the Secret from which host NQNs come is kept");
    assert_eq!(cluster.storage.slots(), [volume], "data is never touched by an uninstall");
    assert_eq!(cluster.storage.changes_since(from), Vec::<String>::new());

    let asked = cluster.requests().unwrap().len();
    cluster.install(&alone()).await.unwrap();
    cluster.delete_claim("kept", STEP).await.unwrap();
    let requests = cluster.requests().unwrap();
    assert!(requests.len() > asked);
    assert_eq!(audit::forbidden(&requests[asked..]), Vec::<&Request>::new());
    all_played(&cluster).await;
    say(&format!("{}: told in {:.0?}", cluster.name(), cluster.begun().elapsed()));
}

/// A live key changes by `helm upgrade`: the file is swapped, no pod is replaced.
async fn follows_its_config_map(cluster: &Cluster) {
    let before = cluster.kubelet.processes();
    let mut values = alone();
    values["config"] = json!({"reconcile": {"interval": "1s"}});
    let passes = async || cluster.scrape("rds_csi_reconcile_passes_total", &[]).await;
    let seen = passes().await.unwrap_or(0.0);
    cluster.upgrade(&values).await.unwrap();
    wait::until("passes come every second", Duration::from_secs(30), async || {
        let now = passes().await.unwrap_or(0.0);
        if now >= seen + 3.0 { Ok(()) } else { Err(format!("{seen} to {now}")) }
    })
    .await
    .unwrap();
    assert_eq!(cluster.kubelet.processes(), before, "the same processes");
}

/// helm without a cluster: did it succeed, and everything it said.
async fn helm(arguments: &[&str]) -> (bool, String) {
    let chart = parts::workspace().join("deploy/chart");
    let (command, rest) = arguments.split_first().unwrap();
    let ended = Command::new(parts::program("helm").unwrap())
        .arg(command)
        .args(rest.iter().take_while(|argument| !argument.starts_with('-')))
        .arg(".")
        .args(rest.iter().skip_while(|argument| !argument.starts_with('-')))
        .args(["--namespace", NAMESPACE])
        .current_dir(chart)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
}
