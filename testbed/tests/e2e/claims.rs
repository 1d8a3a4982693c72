//! Claims of every kind: those that fit nowhere, and those with another access mode.

use kube::api::ListParams;
use rds_csi_testbed::cluster::{NODES, objects};
use rds_csi_testbed::storage::POOL;
use rds_csi_testbed::{Cluster, wait};
use serde_json::{Value, json};

use crate::support::{STEP, alone, attached, connect, finish, installed, pod_on};

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn a_claim_that_fits_nowhere_waits_and_says_why_and_every_access_mode_is_served() {
    let mut values = alone();
    values["capacity"] = json!({"enabled": true, "pollInterval": "1s"});
    let cluster = installed("claims", &values).await;
    fits_nowhere(&cluster).await;
    fits_no_longer(&cluster).await;
    class_goes(&cluster).await;
    fits_nowhere_at_once(&cluster).await;
    read_only(&cluster).await;
    one_pod_only(&cluster).await;
    shared_block(&cluster).await;
    refused(&cluster).await;
    finish(cluster).await;
}

/// The pool has 7.68 TB. The scheduler knows, and does not even ask the driver.
async fn fits_nowhere(cluster: &Cluster) {
    published(cluster, |_| true).await;
    cluster.create(objects::claim("huge", "rds-csi", "100Ti")).await.unwrap();
    cluster.create(objects::pod("huge", "huge")).await.unwrap();
    waits_for_room(cluster, "huge").await;
}

/// The one object of the class, once it is as wanted.
async fn published(cluster: &Cluster, so: impl Fn(&Value) -> bool) -> Value {
    wait::until("the capacity of the box is published", STEP, async || {
        let all = objects::list(&cluster.api, "storage.k8s.io/v1", "CSIStorageCapacity").await;
        let all = all.map_err(|error| error.to_string())?;
        let mut of_class = all.iter().filter(|one| one["storageClassName"] == "rds-csi");
        let found = of_class.next().filter(|one| !one["capacity"].is_null() && so(one));
        found.filter(|_| of_class.next().is_none()).cloned().ok_or(format!("{all:?}"))
    })
    .await
    .unwrap()
}

/// Others have filled the pool. The one object follows, and the scheduler knows before anybody asks the
/// driver; the claim is bound once there is room.
async fn fits_no_longer(cluster: &Cluster) {
    let before = published(cluster, |_| true).await;
    assert!(cluster.storage.rds.fill_pool(POOL, 2 << 30));
    let after = published(cluster, |one| one["capacity"] != before["capacity"]).await;
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "changed, not made anew");
    cluster.create(objects::claim("late", "rds-csi", "5Gi")).await.unwrap();
    cluster.create(objects::pod("late", "late")).await.unwrap();
    waits_for_room(cluster, "late").await;
    assert!(cluster.storage.rds.fill_pool(POOL, 1 << 40));
    let volume = cluster.bound("late", STEP).await.unwrap();
    cluster.attached(&volume, None, STEP).await.unwrap();
}

/// What is published of a class goes with it.
async fn class_goes(cluster: &Cluster) {
    let classes = objects::resource(&cluster.api, "storage.k8s.io/v1", "StorageClass", None);
    classes.delete("rds-csi", &kube::api::DeleteParams::default()).await.unwrap();
    wait::until("nothing is published of a class that is gone", STEP, async || {
        let all = objects::list(&cluster.api, "storage.k8s.io/v1", "CSIStorageCapacity").await;
        let all = all.map_err(|error| error.to_string())?;
        let left = all.iter().find(|one| one["storageClassName"] == "rds-csi");
        left.map_or(Ok(()), |one| Err(one.to_string()))
    })
    .await
    .unwrap();
}

/// Bound at once, so no scheduler is asked: the driver refuses, and the claim says why.
async fn fits_nowhere_at_once(cluster: &Cluster) {
    cluster.create(objects::claim("huge-now", "rds-now", "100Ti")).await.unwrap();
    says(cluster, "huge-now", "bytes free").await;
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

/// Many readers: the driver is told that nobody writes, and no node may make a file system.
async fn read_only(cluster: &Cluster) {
    let mut claim = objects::claim("readers", "rds-now", "1Gi");
    claim["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
    cluster.create(claim).await.unwrap();
    let volume = cluster.bound("readers", STEP).await.unwrap();
    let csi = cluster.volumes().get(&volume).await.unwrap().spec.unwrap().csi.unwrap();
    assert_eq!(csi.read_only, Some(true), "so the attacher asks for a read-only publish");
    for node in NODES {
        pod_on(cluster, &format!("readers-{node}"), "readers", node).await;
        let (context, _) = cluster.attached(&volume, Some(node), STEP).await.unwrap();
        assert_eq!(context.get("format"), None, "{node} may make a file system: {context:?}");
        connect(cluster, &context).unwrap();
    }
    let writer = attached(cluster, "writer", NODES[0]).await;
    assert_eq!(writer.context.get("format").map(String::as_str), Some("allowed"));
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
    for node in NODES {
        let mut pod = objects::pod(&format!("shared-{node}"), "shared");
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([]);
        pod["spec"]["containers"][0]["volumeDevices"] =
            json!([{"name": "data", "devicePath": "/dev/data"}]);
        cluster.create(pod).await.unwrap();
        contexts.push(cluster.attached(&volume, Some(node), STEP).await.unwrap().0);
    }
    assert_eq!(contexts[0]["nqn"], contexts[1]["nqn"], "one name serves both");
    assert_ne!(contexts[0]["hostNqn"], contexts[1]["hostNqn"]);
    for context in &contexts {
        connect(cluster, context).unwrap();
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
    says(cluster, "destroyed", "InvalidArgument").await;
}

/// Waits until an event of a claim says so; it is pending, and nothing of it is on the box.
async fn says(cluster: &Cluster, claim: &str, wanted: &str) {
    wait::until("the claim says why it waits", STEP, async || {
        let told = cluster.events_of(claim).await.map_err(|error| error.to_string())?.join("\n");
        if told.contains(wanted) { Ok(()) } else { Err(told) }
    })
    .await
    .unwrap();
    let found = cluster.claims().get(claim).await.unwrap();
    assert_eq!(found.status.unwrap().phase.unwrap(), "Pending");
    let slot = format!("pvc-{}", found.metadata.uid.unwrap());
    assert!(!cluster.storage.slots().contains(&slot), "{slot}");
}
