//! Many at once, and what it costs.

use std::time::Duration;

use futures::future::try_join_all;
use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::wait;
use serde_json::json;

use crate::figures::Figures;
use crate::support::{alone, finish, installed};

const CLAIMS: usize = 200;
const PODS: usize = 100;
const WITHIN: Duration = Duration::from_secs(180);

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn two_hundred_claims_at_once_then_a_hundred_pods_are_all_bound_and_attached() {
    let cluster = installed("many", &alone()).await;
    let figures = Figures::from_now(&cluster);
    let claims = (0..CLAIMS).map(|n| objects::claim(&format!("c{n}"), "rds-now", "1Gi"));
    try_join_all(claims.map(|claim| cluster.create(claim))).await.unwrap();
    cluster.all_bound(CLAIMS, WITHIN).await.unwrap();
    figures.tell(&cluster, &format!("{CLAIMS} claims bound"));
    assert_eq!(cluster.storage.slots().len(), CLAIMS);
    assert_eq!(cluster.storage.images().len(), CLAIMS);

    let figures = Figures::from_now(&cluster);
    let pods = (0..PODS).map(|n| objects::pod(&format!("p{n}"), &format!("c{n}")));
    try_join_all(pods.map(|pod| cluster.create(pod))).await.unwrap();
    wait::until("every pod's volume is attached", WITHIN, async || {
        let all = objects::list(&cluster.api, "storage.k8s.io/v1", "VolumeAttachment").await;
        let all = all.map_err(|error| error.to_string())?;
        let attached = all.iter().filter(|one| one["status"]["attached"] == json!(true)).count();
        if attached == PODS { Ok(()) } else { Err(format!("{attached} of {}", all.len())) }
    })
    .await
    .unwrap();
    figures.tell(&cluster, &format!("{PODS} pods attached"));
    let slots = cluster.storage.slots();
    assert_eq!(slots.iter().filter(|slot| cluster.storage.exported(slot)).count(), PODS);
    finish(cluster).await;
}
