//! Processes die in the middle of work, without a word.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, ListParams};
use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::cluster::sidecar::CONTAINER;
use rds_csi_testbed::{Cluster, Signal, wait};
use serde_json::json;

use crate::figures::{Figures, say};
use crate::support::{finish, installed};

const COUNT: usize = 50;
const WITHIN: Duration = Duration::from_secs(180);
const BOTH: usize = 2;

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn controllers_and_sidecars_are_killed_in_the_middle_of_fifty_claims_and_all_converges() {
    let cluster = installed("kills", &json!({"controller": {"replicas": BOTH}})).await;
    let figures = Figures::from_now(&cluster);
    come(&cluster).await;
    figures.tell(&cluster, &format!("{COUNT} claims and pods over kills"));
    nothing_left_over(&cluster).await;
    grow(&cluster).await;
    go(&cluster).await;
    figures
        .tell(&cluster, &format!("{COUNT} claims came, were attached, grew and went over kills"));
    nothing_left_over(&cluster).await;
    cluster.ready().await.unwrap();
    finish(cluster).await;
}

/// Provisioned and attached.
async fn come(cluster: &Cluster) {
    let claims = (0..COUNT).map(|n| objects::claim(&format!("c{n}"), "rds-now", "1Gi"));
    try_join_all(claims.map(|claim| cluster.create(claim))).await.unwrap();
    let pods = (0..COUNT).map(|n| objects::pod(&format!("p{n}"), &format!("c{n}")));
    try_join_all(pods.map(|pod| cluster.create(pod))).await.unwrap();
    for (victim, pods, from) in
        [(CONTAINER, 1, 3), ("csi-provisioner", BOTH, 10), (CONTAINER, BOTH, 20)]
    {
        kill(cluster, victim, pods, from, async || bound(cluster).await).await;
    }
    for (victim, pods, from) in [("csi-attacher", BOTH, 5), (CONTAINER, BOTH, 20)] {
        kill(cluster, victim, pods, from, async || attached(cluster).await).await;
    }
    cluster.all_bound(COUNT, WITHIN).await.unwrap();
    all_are("attached", async || attached(cluster).await).await;
}

async fn grow(cluster: &Cluster) {
    let all: Vec<String> = (0..COUNT).map(|n| format!("c{n}")).collect();
    try_join_all(all.iter().map(|claim| cluster.grow(claim, "2Gi"))).await.unwrap();
    kill(cluster, "csi-resizer", BOTH, 3, async || grown(cluster).await).await;
    kill(cluster, CONTAINER, BOTH, 20, async || grown(cluster).await).await;
    all_are("grown", async || grown(cluster).await).await;
    for slot in cluster.storage.slots() {
        assert_eq!(cluster.storage.property(&slot, "file-size"), (2_u64 << 30).to_string());
    }
}

/// Detached and deleted.
async fn go(cluster: &Cluster) {
    let (now, all) = (DeleteParams::default(), ListParams::default());
    cluster.pods().delete_collection(&now, &all).await.unwrap();
    cluster.claims().delete_collection(&now, &all).await.unwrap();
    let gone = async || COUNT - volumes(cluster).await.unwrap_or(COUNT);
    kill(cluster, CONTAINER, BOTH, 3, async || Ok(gone().await)).await;
    kill(cluster, "csi-provisioner", BOTH, 20, async || Ok(gone().await)).await;
    all_are("gone", async || Ok(gone().await)).await;
}

/// SIGKILL for a container in so many pods, once `from` of all are done and before all are.
async fn kill(
    cluster: &Cluster,
    container: &str,
    pods: usize,
    from: usize,
    done: impl AsyncFn() -> Result<usize, String>,
) {
    let at = wait::until("work is under way", WITHIN, async || {
        let done = done().await?;
        if done >= from { Ok(done) } else { Err(format!("{done} are done")) }
    });
    let at = at.await.unwrap();
    let all = cluster.kubelet.processes().into_iter();
    let of_it = all.filter(|(_, containers)| containers.contains_key(container)).take(pods);
    let of_it: Vec<String> = of_it.map(|(pod, _)| pod).collect();
    for pod in &of_it {
        cluster.kubelet.signal(pod, container, Signal::KILL).unwrap();
    }
    say(&format!(
        "{}: killed {container} in {} pods when {at} of {COUNT} were done",
        cluster.name(),
        of_it.len()
    ));
    assert_eq!(of_it.len(), pods, "{container}");
    assert!(at < COUNT, "not in the middle of the work");
}

async fn all_are(what: &str, done: impl AsyncFn() -> Result<usize, String>) {
    wait::until(&format!("all are {what}"), WITHIN, async || {
        let done = done().await?;
        if done == COUNT { Ok(()) } else { Err(format!("{done} of {COUNT}")) }
    })
    .await
    .unwrap();
}

async fn claims(cluster: &Cluster) -> Result<Vec<PersistentVolumeClaim>, String> {
    let all = cluster.claims().list(&ListParams::default()).await;
    Ok(all.map_err(|error| error.to_string())?.items)
}

async fn bound(cluster: &Cluster) -> Result<usize, String> {
    let all = claims(cluster).await?.into_iter().filter_map(|claim| claim.status);
    Ok(all.filter(|status| status.phase.as_deref() == Some("Bound")).count())
}

async fn attached(cluster: &Cluster) -> Result<usize, String> {
    let all = cluster.attachments().list(&ListParams::default()).await;
    let all = all.map_err(|error| error.to_string())?.items.into_iter();
    Ok(all.filter_map(|one| one.status).filter(|status| status.attached).count())
}

/// Claims whose new size has been told.
async fn grown(cluster: &Cluster) -> Result<usize, String> {
    let all = cluster.volumes().list(&ListParams::default()).await;
    let all = all.map_err(|error| error.to_string())?.items.into_iter();
    let sizes = all.filter_map(|volume| volume.spec?.capacity?.remove("storage"));
    Ok(sizes.filter(|size| size.0 == "2Gi").count())
}

async fn volumes(cluster: &Cluster) -> Result<usize, String> {
    let all = cluster.volumes().list(&ListParams::default()).await;
    Ok(all.map_err(|error| error.to_string())?.items.len())
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
