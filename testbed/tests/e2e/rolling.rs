//! Two replicas: replaced one by one, also while the box is down, and only one of them acts.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi_testbed::cluster::sidecar::CONTAINER;
use rds_csi_testbed::{Cluster, wait};
use rds_sim::routeros::Reboot;
use serde_json::json;

use crate::support::{STEP, finish, installed};

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn a_rolling_update_replaces_every_pod_and_also_while_the_box_is_down() {
    let values = json!({"config": {"backend_defaults": {
        "poll_interval": "500ms", "poll_deadline": "1s", "backoff_max": "1s",
    }}});
    let cluster = installed("rolling", &values).await;
    let before = names(&cluster);
    assert_eq!(before.len(), 2);

    cluster.upgrade(&annotated(&values, "one")).await.unwrap();
    cluster.ready().await.unwrap();
    let second = names(&cluster);
    assert_eq!((second.len(), second.intersection(&before).count()), (2, 0));

    cluster.storage.rds.power_off();
    wait::until("Probe says that the box is gone", STEP, async || {
        let probe = cluster.csi_probe().await;
        if probe == Some(false) { Ok(()) } else { Err(format!("{probe:?}")) }
    })
    .await
    .unwrap();
    cluster.upgrade(&annotated(&values, "two")).await.unwrap();
    wait::until("every pod is new, though none is ready", STEP, async || {
        let now = names(&cluster);
        let old = now.intersection(&second).count();
        if (now.len(), old) == (2, 0) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await
    .unwrap();
    assert!(cluster.ready_within(Duration::from_secs(3)).await.is_err(), "the box is down");
    cluster.storage.rds.power_on(Reboot::KeepEverything);
    cluster.ready().await.unwrap();
    finish(cluster).await;
}

/// Pods in which our container runs.
fn names(cluster: &Cluster) -> BTreeSet<String> {
    let pods = cluster.kubelet.processes().into_iter();
    pods.filter(|(_, all)| all.contains_key(CONTAINER)).map(|(pod, _)| pod).collect()
}

fn annotated(values: &serde_json::Value, text: &str) -> serde_json::Value {
    let mut values = values.clone();
    values["controller"] = json!({"podAnnotations": {"rolled": text}});
    values
}
