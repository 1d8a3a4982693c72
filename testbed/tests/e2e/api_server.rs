//! The API server goes away and comes back; etcd forgets.

use std::collections::BTreeMap;
use std::time::Duration;

use rds_csi_testbed::audit::Request;
use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::{Cluster, wait};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{STEP, attached, finish, installed};

/// Longer than any lease, and than the grace time below.
const BLIND: Duration = Duration::from_secs(120);

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn the_api_server_restarts_forgets_and_is_away_and_no_attachment_is_touched_wrongly() {
    let values = json!({
        // Not on the node that goes.
        "controller": {"replicas": 1, "nodeSelector": {"kubernetes.io/hostname": "node-b"}},
        "config": {"reconcile": {"grace": "10s"}},
    });
    let cluster = installed("api-server", &values).await;
    let kept = attached(&cluster, "kept", "node-b").await;
    let lost = attached(&cluster, "lost", "node-a").await;
    let item = || cluster.storage.property(&kept.volume, "comment");
    let record = item();

    // Restarted at once, with a history that no watch can go on from: each is told 410, and lists anew.
    // (A watch that has seen the very last change could go on, so none has.)
    let lists = lists(&cluster);
    for name in ["unseen-1", "unseen-2", "unseen-3"] {
        let meta = json!({"name": name, "namespace": "default"});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta});
        cluster.create(object).await.unwrap();
    }
    let mut plane = cluster.plane.lock().await;
    plane.stop_api_server().await.unwrap();
    plane.compact().await.unwrap();
    plane.start_api_server().await.unwrap();
    drop(plane);
    one_more(&cluster, "restarted").await;
    wait::until("each watch is begun anew", STEP, async || {
        let now = self::lists(&cluster);
        let went_on = lists.iter().find(|(kind, before)| now[*kind] <= **before);
        went_on.map_or(Ok(()), |(kind, _)| Err(*kind))
    })
    .await
    .unwrap();

    let mut plane = cluster.plane.lock().await;
    let noticed = async || {
        let labels = [("action", "node_watcher_trigger")];
        cluster.scrape("rds_csi_attachment_reconcile_total", &labels).await.unwrap_or(0.0)
    };
    let before = noticed().await;
    cluster.node("node-a").unwrap().delete().await.unwrap();
    wait::until("the driver knows that a node is gone", STEP, async || {
        let now = noticed().await;
        if now > before { Ok(()) } else { Err(now) }
    })
    .await
    .unwrap();
    plane.stop_api_server().await.unwrap();
    let from = cluster.storage.rds.exec_count();
    sleep(BLIND).await;
    let changes = cluster.storage.changes_since(from);
    assert_eq!(changes, Vec::<String>::new(), "nothing is acted upon while blind");
    assert!(lost.host.is_live());
    plane.start_api_server().await.unwrap();
    plane.restart_controllers().await.unwrap();
    drop(plane);

    one_more(&cluster, "returned").await;
    wait::until("what was due is done once the API server confirms it", STEP, async || {
        if lost.host.is_live() { Err("the lost node is connected") } else { Ok(()) }
    })
    .await
    .unwrap();
    assert!(!cluster.storage.changes_since(from).is_empty(), "changes are seen in the journal");
    assert_eq!(item(), record, "the attachment of a node that is there was left in peace");
    kept.host.write(4096).unwrap();
    finish(cluster).await;
}

/// How often the driver has listed each kind that it watches.
fn lists(cluster: &Cluster) -> BTreeMap<&'static str, usize> {
    let requests = cluster.requests().unwrap();
    let of = |kind: &str| {
        let lists = requests.iter().filter(|one| one.program() == "rds-csi" && one.verb == "list");
        lists.filter_map(Request::right).filter(|right| right.resource == kind).count()
    };
    ["nodes", "persistentvolumes", "volumeattachments"].map(|kind| (kind, of(kind))).into()
}

/// A volume comes, is attached, and goes.
async fn one_more(cluster: &Cluster, name: &str) {
    wait::until("the API server takes a claim", STEP, async || {
        let claim = objects::claim(name, "rds-now", "1Gi");
        cluster.create(claim).await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    let volume = cluster.bound(name, STEP).await.unwrap();
    cluster.create(objects::pod(name, name)).await.unwrap();
    cluster.attached(&volume, None, STEP).await.unwrap();
    cluster.pods().delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    cluster.detached(&volume, STEP).await.unwrap();
    cluster.delete_claim(name, STEP).await.unwrap();
}
