//! What RBAC cannot say: with the token of our controller volumes and attachments of our own driver can
//! be changed, and those of nobody else.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rds_csi_testbed::cluster::{DRIVER, objects};
use rds_csi_testbed::{Cluster, wait};
use serde_json::{Value, json};

use crate::support::{STEP, alone, finish, installed};

const ACCOUNT: &str = "system:serviceaccount:rds-csi:rds-csi-controller";
const THEIRS: &str = "other.example.com";

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn our_token_changes_no_volume_and_no_attachment_of_another_driver() {
    let cluster = installed("admission", &alone()).await;
    cluster.create(objects::claim("ours", "rds-now", "1Gi")).await.unwrap();
    let volume = cluster.bound("ours", STEP).await.unwrap();
    cluster.create(objects::pod("ours", "ours")).await.unwrap();
    cluster.attached(&volume, None, STEP).await.unwrap();
    let attachment = cluster.attachment(&volume, None).await.unwrap().unwrap();
    cluster.create(persistent_volume("theirs", THEIRS)).await.unwrap();
    cluster.create(theirs()).await.unwrap();

    let us = as_our_account(&cluster).await;
    let volumes = objects::resource(&us, "v1", "PersistentVolume", None);
    let attachments = objects::resource(&us, "storage.k8s.io/v1", "VolumeAttachment", None);
    wait::until("the policy is in force", STEP, async || {
        let refused = tried(&volumes, "theirs").await;
        if refused.iter().all(|one| one.is_some()) { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .await
    .unwrap();
    for (api, name, what) in
        [(&volumes, "theirs", "persistentvolumes"), (&attachments, "theirs", "volumeattachments")]
    {
        for refused in tried(api, name).await {
            let told = format!("may not change {what} of driver \"{THEIRS}\"");
            assert!(refused.as_ref().is_some_and(|said| said.contains(&told)), "{refused:?}");
        }
    }
    assert_eq!(tried(&volumes, &volume).await, [None, None]);
    assert_eq!(tried(&attachments, &attachment.metadata.name.unwrap()).await, [None, None]);
    let post = PostParams { dry_run: true, ..PostParams::default() };
    for (driver, is_taken) in [(THEIRS, false), (DRIVER, true)] {
        let new = serde_json::from_value(persistent_volume("new", driver)).unwrap();
        assert_eq!(volumes.create(&post, &new).await.is_ok(), is_taken, "{driver}");
    }
    finish(cluster).await;
}

/// A change and a deletion, dry: why each is refused.
async fn tried(api: &Api<DynamicObject>, name: &str) -> [Option<String>; 2] {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"tried": "yes"}}}));
    let dry_patch = PatchParams { dry_run: true, ..PatchParams::default() };
    let dry_delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
    let patched = api.patch(name, &dry_patch, &patch).await.err();
    let deleted = api.delete(name, &dry_delete).await.err();
    [patched, deleted].map(|refused| refused.map(|error| error.to_string()))
}

async fn as_our_account(cluster: &Cluster) -> kube::Client {
    let file = Kubeconfig::read_from(cluster.plane.lock().await.kubeconfig()).unwrap();
    let mut config =
        kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some(ACCOUNT.into());
    kube::Client::try_from(config).unwrap()
}

fn persistent_volume(name: &str, driver: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                 "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "other",
                 "csi": {"driver": driver, "volumeHandle": name}},
    })
}

fn theirs() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {"name": "theirs"},
        "spec": {"attacher": THEIRS, "nodeName": "node-a",
                 "source": {"persistentVolumeName": "theirs"}},
    })
}
