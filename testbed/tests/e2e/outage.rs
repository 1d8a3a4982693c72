//! The API server goes away and comes back; etcd forgets.

use std::time::Duration;

use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::{Cluster, wait};
use tokio::time::sleep;

use crate::support::{STEP, alone, finish, installed};

/// Longer than any lease and any grace time of the driver.
const BLIND: Duration = Duration::from_secs(45);

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn the_api_server_restarts_forgets_and_is_away_and_no_attachment_is_touched_wrongly() {
    let cluster = installed("outage", &alone()).await;
    cluster.create(objects::claim("before", "rds-now", "1Gi")).await.unwrap();
    let volume = cluster.bound("before", STEP).await.unwrap();
    cluster.create(objects::pod("before", "before")).await.unwrap();
    let (context, _) = cluster.attached(&volume, None, STEP).await.unwrap();
    let port = context["nvmePort"].parse().unwrap();
    let rds = &cluster.storage.rds;
    let host = rds.connect_host(&context["hostNqn"], &context["nqn"], port).unwrap();
    let item = || cluster.storage.property(&volume, "comment");
    let record = item();

    // Restarted at once, with a history that no watch can go on from: it answers 410.
    let mut plane = cluster.plane.lock().await;
    plane.stop_api_server().await.unwrap();
    plane.compact().await.unwrap();
    plane.start_api_server().await.unwrap();
    drop(plane);
    one_more(&cluster, "restarted").await;

    let mut plane = cluster.plane.lock().await;
    plane.stop_api_server().await.unwrap();
    let from = cluster.storage.rds.exec_count();
    sleep(BLIND).await;
    let changed = cluster.storage.work_since(from).into_iter().find(|entry| {
        ["/disk/set", "/disk set", "/disk add", "/disk remove", "s=fenced"]
            .iter()
            .any(|change| entry.line.contains(change))
    });
    assert_eq!(changed, None, "nothing is acted upon while blind");
    plane.start_api_server().await.unwrap();
    drop(plane);
    one_more(&cluster, "returned").await;

    assert_eq!(item(), record, "the attachment of before was left in peace");
    host.write(4096).unwrap();
    finish(cluster).await;
}

/// A volume comes, is attached, and goes.
async fn one_more(cluster: &Cluster, name: &str) {
    let step = STEP * 2;
    wait::until("the API server takes a claim", step, async || {
        let claim = objects::claim(name, "rds-now", "1Gi");
        cluster.create(claim).await.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    let volume = cluster.bound(name, step).await.unwrap();
    cluster.create(objects::pod(name, name)).await.unwrap();
    cluster.attached(&volume, None, step).await.unwrap();
    cluster.pods().delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    cluster.detached(&volume, step).await.unwrap();
    cluster.delete_claim(name, step).await.unwrap();
}
