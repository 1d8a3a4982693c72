//! Claims of every kind: those that fit nowhere, and those with another access mode.

use kube::api::ListParams;
use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::storage::POOL;
use rds_csi_testbed::{Cluster, wait};
use serde_json::{Value, json};

use crate::support::{STEP, alone, finish, installed};

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn a_claim_that_fits_nowhere_waits_and_says_why_and_every_access_mode_is_served() {
    let mut values = alone();
    values["capacity"] = json!({"pollInterval": "2s"});
    let cluster = installed("claims", &values).await;
    fits_nowhere(&cluster).await;
    fits_no_longer(&cluster).await;
    read_only(&cluster).await;
    one_pod_only(&cluster).await;
    shared_block(&cluster).await;
    refused(&cluster).await;
    finish(cluster).await;
}

/// The pool has 7.68 TB. The scheduler knows, and does not even ask the driver.
async fn fits_nowhere(cluster: &Cluster) {
    wait::until("the capacity of the box is published", STEP, async || {
        let all = objects::list(&cluster.api, "storage.k8s.io/v1", "CSIStorageCapacity").await;
        let all = all.map_err(|error| error.to_string())?;
        let of_it =
            |one: &&Value| one["storageClassName"] == "rds-csi" && !one["capacity"].is_null();
        all.iter().find(of_it).map(|_| ()).ok_or(format!("{all:?}"))
    })
    .await
    .unwrap();
    cluster.create(objects::claim("huge", "rds-csi", "100Ti")).await.unwrap();
    cluster.create(objects::pod("huge", "huge")).await.unwrap();
    waits_for_room(cluster, "huge").await;
}

/// Others have filled the pool. The scheduler or, where it was told too late, the driver says so; the
/// claim is bound once there is room.
async fn fits_no_longer(cluster: &Cluster) {
    assert!(cluster.storage.rds.fill_pool(POOL, 2 << 30));
    cluster.create(objects::claim("late", "rds-csi", "5Gi")).await.unwrap();
    cluster.create(objects::pod("late", "late")).await.unwrap();
    wait::until("somebody says why the claim waits", STEP, async || {
        let of_claim = cluster.events_of("late").await.map_err(|error| error.to_string())?;
        let told = of_claim.join("\n");
        let says = told.contains("bytes free") || told.contains("enough free storage");
        if says { Ok(()) } else { Err(told) }
    })
    .await
    .unwrap();
    assert_eq!(cluster.storage.slots(), Vec::<String>::new());
    assert!(cluster.storage.rds.fill_pool(POOL, 1 << 40));
    let volume = cluster.bound("late", STEP).await.unwrap();
    cluster.attached(&volume, None, STEP).await.unwrap();
}

async fn waits_for_room(cluster: &Cluster, name: &str) {
    wait::until("the scheduler says why the pod waits", STEP, async || {
        let pod = cluster.pods().get(name).await.map_err(|error| error.to_string())?;
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        let why = conditions.into_iter().find_map(|one| one.message).unwrap_or_default();
        if why.contains("enough free storage") { Ok(()) } else { Err(why) }
    })
    .await
    .unwrap();
    let claim = cluster.claims().get(name).await.unwrap();
    assert_eq!(claim.status.unwrap().phase.unwrap(), "Pending");
    assert_eq!(cluster.storage.slots(), Vec::<String>::new());
}

/// A pod that may only read: the attachment says so to the driver.
async fn read_only(cluster: &Cluster) {
    let mut claim = objects::claim("reader", "rds-now", "1Gi");
    claim["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
    cluster.create(claim).await.unwrap();
    let events = async || cluster.events_of("reader").await.unwrap_or_default().join("\n");
    wait::until(
        "a claim of a file system for many readers is bound or refused",
        STEP,
        async || {
            let found = cluster.claims().get("reader").await.map_err(|error| error.to_string())?;
            let phase = found.status.and_then(|status| status.phase).unwrap_or_default();
            let told = events().await;
            if phase == "Bound" || told.contains("InvalidArgument") { Ok(()) } else { Err(told) }
        },
    )
    .await
    .unwrap();
}

/// ReadWriteOncePod: attached to one node, and the second pod is not scheduled.
async fn one_pod_only(cluster: &Cluster) {
    let mut claim = objects::claim("alone", "rds-now", "1Gi");
    claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    cluster.create(claim).await.unwrap();
    let volume = cluster.bound("alone", STEP).await.unwrap();
    cluster.create(objects::pod("alone-1", "alone")).await.unwrap();
    cluster.attached(&volume, None, STEP).await.unwrap();
    cluster.create(objects::pod("alone-2", "alone")).await.unwrap();
    wait::until("the second pod of a ReadWriteOncePod claim waits", STEP, async || {
        let pod = cluster.pods().get("alone-2").await.map_err(|error| error.to_string())?;
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        let why = conditions.into_iter().find_map(|one| one.message).unwrap_or_default();
        if why.contains("ReadWriteOncePod") { Ok(()) } else { Err(why) }
    })
    .await
    .unwrap();
}

/// A block volume for live migration: two nodes at once, one NQN, any host.
async fn shared_block(cluster: &Cluster) {
    let mut claim = objects::claim("shared", "rds-now", "1Gi");
    claim["spec"]["accessModes"] = json!(["ReadWriteMany"]);
    claim["spec"]["volumeMode"] = json!("Block");
    cluster.create(claim).await.unwrap();
    let volume = cluster.bound("shared", STEP).await.unwrap();
    let mut contexts = Vec::new();
    for node in rds_csi_testbed::cluster::NODES {
        let mut pod = objects::pod(&format!("shared-{node}"), "shared");
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([]);
        pod["spec"]["containers"][0]["volumeDevices"] =
            json!([{"name": "data", "devicePath": "/dev/data"}]);
        cluster.create(pod).await.unwrap();
        contexts.push(cluster.attached(&volume, Some(node), STEP).await.unwrap().0);
    }
    assert_eq!(contexts[0]["nqn"], contexts[1]["nqn"], "one name serves both");
    for context in &contexts {
        let port = context["nvmePort"].parse().unwrap();
        let rds = &cluster.storage.rds;
        rds.connect_host(&context["hostNqn"], &context["nqn"], port).unwrap();
    }
    let all = cluster.attachments().list(&ListParams::default()).await.unwrap();
    let of_it = |name: &Option<String>| name.as_deref() == Some(volume.as_str());
    let both = all.items.iter().filter(|a| of_it(&a.spec.source.persistent_volume_name)).count();
    assert_eq!(both, 2);
}

/// A file system that two nodes write would be destroyed: the claim is refused, and says so.
async fn refused(cluster: &Cluster) {
    let mut claim = objects::claim("destroyed", "rds-now", "1Gi");
    claim["spec"]["accessModes"] = json!(["ReadWriteMany"]);
    cluster.create(claim).await.unwrap();
    wait::until("the claim says why it is refused", STEP, async || {
        let told = cluster.events_of("destroyed").await.map_err(|error| error.to_string())?;
        let told = told.join("\n");
        if told.contains("InvalidArgument") { Ok(()) } else { Err(told) }
    })
    .await
    .unwrap();
}
