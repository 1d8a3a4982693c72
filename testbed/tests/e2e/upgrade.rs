//! A cluster that the first driver served: its objects are there before ours is installed.

use std::collections::BTreeMap;

use k8s_openapi::api::storage::v1::CSINode;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rds_csi_testbed::cluster::{DRIVER, NODES, objects};
use rds_csi_testbed::storage::VOLUMES;
use rds_csi_testbed::{Cluster, wait};
use serde_json::{Value, json};

use crate::support::{STEP, alone, connect, finish, now_class};

const VOLUME: &str = "pvc-11111111-2222-4333-8444-555555555555";

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn volumes_of_the_first_driver_stay_as_they_are_and_new_ones_are_made_beside_them() {
    let cluster = Cluster::start("upgrade").await.unwrap();
    let (attachment, csi) = first_driver(&cluster).await;
    let item = || {
        let one = |name: &str| cluster.storage.property(VOLUME, name);
        [one("comment"), one("nvme-tcp-export"), one("nvme-tcp-server-nqn")]
    };
    let before = item();

    let refused = cluster.install(&alone()).await.unwrap_err().to_string();
    assert!(refused.contains("CSIDriver") && refused.contains(DRIVER), "{refused}");
    let _ = cluster.uninstall().await;
    let over = ["--take-ownership", "--force-conflicts"];
    cluster.install_with(&alone(), &over).await.unwrap();
    cluster.create(now_class()).await.unwrap();

    cluster.create(objects::claim("beside", "rds-now", "1Gi")).await.unwrap();
    let beside = cluster.bound("beside", STEP).await.unwrap();
    cluster.create(objects::pod("beside", "beside")).await.unwrap();
    cluster.attached(&beside, None, STEP).await.unwrap();
    a_pass_has_seen_everything(&cluster).await;

    assert_eq!(item(), before, "the box was not told anything about it");
    // The attacher compares it with ListVolumes, and would report what is not listed as it is.
    let after = cluster.attachments().get(&attachment).await.unwrap().status.unwrap();
    assert!(after.attached && after.attach_error.is_none(), "{after:?}");
    let after = cluster.volumes().get(VOLUME).await.unwrap();
    let spec = serde_json::to_value(after.spec).unwrap();
    assert_eq!(spec["csi"], csi, "the volume is as it was");
    assert_eq!(cluster.storage.slots().len(), 2);
    old_class_makes_volumes(&cluster).await;
    is_detached_and_attached_again(&cluster, &before).await;
    finish(cluster).await;
}

/// The class of the first driver, with its parameters, is served by ours.
async fn old_class_makes_volumes(cluster: &Cluster) {
    cluster.create(objects::claim("classic", "rds-nvme", "1Gi")).await.unwrap();
    let volume = cluster.bound("classic", STEP).await.unwrap();
    let image = format!("{VOLUMES}/{volume}.img");
    assert!(cluster.storage.images().contains(&image), "{:?}", cluster.storage.images());
    let slot = cluster.storage.property(&volume, "comment");
    assert!(!slot.is_empty(), "a volume of ours has a record");
}

/// From its detach on only the node that has it may connect, under the name that its PV says.
async fn is_detached_and_attached_again(cluster: &Cluster, before: &[String; 3]) {
    let now = DeleteParams::default();
    cluster.pods().delete("old", &now).await.unwrap();
    cluster.detached(VOLUME, STEP).await.unwrap();
    cluster.create(objects::pod("again", "old")).await.unwrap();
    let (context, node) = cluster.attached(VOLUME, None, STEP).await.unwrap();
    assert_eq!(context["nqn"], before[2]);
    connect(cluster, &context).unwrap().write(4096).unwrap();
    let other = BTreeMap::from_iter(context.into_iter().map(|(key, value)| match key.as_str() {
        "hostNqn" => (key, "nqn.2014-08.org.nvmexpress:uuid:somebody-else".to_owned()),
        _ => (key, value),
    }));
    assert!(connect(cluster, &other).is_err(), "only {node} may");
    assert_eq!(cluster.storage.property(VOLUME, "comment"), before[0], "it gets no record");
}

/// What the first driver left: CSIDriver, StorageClass, a bound volume that is attached. Returns the
/// name of the attachment, and what the PV says about CSI.
async fn first_driver(cluster: &Cluster) -> (String, Value) {
    let nqn = format!("nqn.2000-02.com.mikrotik:{VOLUME}");
    let add = format!(
        "/disk add type=file file-path={VOLUMES}/{VOLUME}.img file-size=1073741824 slot={VOLUME} \
         nvme-tcp-export=yes nvme-tcp-server-port=4420 nvme-tcp-server-nqn={nqn}"
    );
    assert_eq!(cluster.storage.rds.exec(&add).text().trim(), "");
    let (host, port) = (cluster.storage.address().ip().to_string(), "4420");
    let context = json!({
        "rdsAddress": host, "nvmeAddress": host, "nvmePort": port, "nqn": nqn,
        "volumePath": format!("/{VOLUMES}"),
    });
    cluster
        .create(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
            "spec": {"attachRequired": true, "podInfoOnMount": true, "storageCapacity": true,
                     "fsGroupPolicy": "File", "volumeLifecycleModes": ["Persistent"]},
        }))
        .await
        .unwrap();
    registered_as_it_was(cluster).await;
    cluster
        .create(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "rds-nvme"}, "provisioner": DRIVER,
            "parameters": {"fsType": "ext4", "volumePath": format!("/{VOLUMES}"),
                           "nvmePort": port, "rdsAddress": host, "nvmeAddress": host},
        }))
        .await
        .unwrap();
    let csi = json!({
        "driver": DRIVER, "volumeHandle": VOLUME, "fsType": "ext4", "volumeAttributes": context,
    });
    let volume = cluster
        .create(json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": VOLUME, "annotations":
                {"pv.kubernetes.io/provisioned-by": DRIVER}},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                     "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "rds-nvme",
                     "csi": csi, "claimRef": {"namespace": "default", "name": "old"}},
        }))
        .await
        .unwrap();
    let mut claim = objects::claim("old", "rds-nvme", "1Gi");
    claim["spec"]["volumeName"] = json!(VOLUME);
    cluster.create(claim).await.unwrap();
    cluster.bound("old", STEP).await.unwrap();
    cluster.create(objects::pod("old", "old")).await.unwrap();
    let attachment = wait::until("the old volume has a VolumeAttachment", STEP, async || {
        let found = cluster.attachment(VOLUME, None).await.map_err(|error| error.to_string())?;
        found.ok_or("none".to_owned())
    })
    .await
    .unwrap();
    let name = attachment.metadata.name.unwrap();
    let finalizer = Patch::Merge(json!({"metadata": {"finalizers":
        ["external-attacher/rds-csi-srvlab-io"]}}));
    let api = cluster.attachments();
    api.patch(&name, &PatchParams::default(), &finalizer).await.unwrap();
    let status = Patch::Merge(json!({"status": {"attached": true, "attachmentMetadata": {}}}));
    api.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
    (name, volume["spec"]["csi"].clone())
}

/// Its part on the nodes names no topology.
async fn registered_as_it_was(cluster: &Cluster) {
    let nodes: Api<CSINode> = Api::all(cluster.api.clone());
    for name in NODES {
        let mut node = nodes.get(name).await.unwrap();
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
        node.metadata.resource_version = None;
        node.metadata.uid = None;
        node.spec.drivers[0].topology_keys = None;
        nodes.create(&PostParams::default(), &node).await.unwrap();
    }
}

async fn a_pass_has_seen_everything(cluster: &Cluster) {
    wait::until("a pass is over", STEP, async || {
        let passes = cluster.scrape("rds_csi_reconcile_passes_total", &[("result", "success")]);
        let passes = passes.await;
        if passes >= Some(1.0) { Ok(()) } else { Err(format!("{passes:?}")) }
    })
    .await
    .unwrap();
}
