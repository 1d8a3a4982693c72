//! Processes die in the middle of work, without a word.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use kube::api::ListParams;
use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::cluster::sidecar::CONTAINER;
use rds_csi_testbed::{Cluster, Signal, wait};
use serde_json::json;

use crate::figures::Figures;
use crate::support::{finish, installed};

const CLAIMS: usize = 50;
const WITHIN: Duration = Duration::from_secs(180);
/// Killed one after the other, each while claims come and go.
const VICTIMS: [&str; 4] = [CONTAINER, "csi-provisioner", "csi-attacher", "csi-resizer"];

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn controllers_and_sidecars_are_killed_in_the_middle_of_fifty_claims_and_all_converges() {
    let cluster = installed("kills", &json!({"controller": {"replicas": 2}})).await;
    let figures = Figures::from_now(&cluster);
    let claims = (0..CLAIMS).map(|n| objects::claim(&format!("c{n}"), "rds-now", "1Gi"));
    try_join_all(claims.map(|claim| cluster.create(claim))).await.unwrap();
    let pods = (0..CLAIMS / 2).map(|n| objects::pod(&format!("p{n}"), &format!("c{n}")));
    try_join_all(pods.map(|pod| cluster.create(pod))).await.unwrap();
    let mut killed = 0;
    for (n, victim) in VICTIMS.into_iter().enumerate() {
        volumes_at_least(&cluster, (n + 1) * CLAIMS / 8).await;
        killed += kill_everywhere(&cluster, victim);
    }
    assert!(killed >= 2 * VICTIMS.len(), "only {killed} processes were killed");
    cluster.all_bound(CLAIMS, WITHIN).await.unwrap();
    wait::until("every pod's volume is attached", WITHIN, async || {
        let all = cluster.attachments().list(&ListParams::default()).await;
        let all = all.map_err(|error| error.to_string())?.items;
        let is = |one: &&k8s_openapi::api::storage::v1::VolumeAttachment| {
            one.status.as_ref().is_some_and(|status| status.attached)
        };
        let attached = all.iter().filter(is).count();
        if attached == CLAIMS / 2 { Ok(()) } else { Err(format!("{attached} of {}", all.len())) }
    })
    .await
    .unwrap();
    figures.tell(&cluster, &format!("{CLAIMS} claims and {} pods over kills", CLAIMS / 2));
    nothing_left_over(&cluster).await;
    cluster.ready().await.unwrap();
    finish(cluster).await;
}

/// SIGKILL for a container in every pod that runs it; how many there were.
fn kill_everywhere(cluster: &Cluster, container: &str) -> usize {
    let pods = cluster.kubelet.processes();
    let of_it = pods.into_iter().filter(|(_, containers)| containers.contains_key(container));
    of_it.filter(|(pod, _)| cluster.kubelet.signal(pod, container, Signal::KILL).is_ok()).count()
}

async fn volumes_at_least(cluster: &Cluster, wanted: usize) {
    wait::until("some volumes are on the box", WITHIN, async || {
        let there = cluster.storage.slots().len();
        if there >= wanted { Ok(()) } else { Err(there) }
    })
    .await
    .unwrap();
}

/// The box holds exactly the volumes that the cluster knows, items and images.
async fn nothing_left_over(cluster: &Cluster) {
    let volumes = cluster.volumes().list(&ListParams::default()).await.unwrap().items;
    let known: BTreeSet<String> = volumes.into_iter().filter_map(|one| one.metadata.name).collect();
    let slots: BTreeSet<String> = cluster.storage.slots().into_iter().collect();
    assert_eq!(slots, known);
    let stem = |name: String| {
        let file = name.rsplit('/').next().unwrap_or_default();
        file.trim_end_matches(".img").to_owned()
    };
    let images: BTreeSet<String> = cluster.storage.images().into_iter().map(stem).collect();
    assert_eq!(images, known);
}
