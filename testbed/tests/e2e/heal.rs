//! What somebody else undid is done again: on the box, and in the cluster.

use kube::api::{Patch, PatchParams};
use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::wait;
use serde_json::json;

use crate::support::{STEP, finish, installed};

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn the_attacher_heals_what_was_removed_on_the_box_and_what_kubernetes_forgot() {
    // The driver's own pass comes every five minutes: what heals here is the attacher's.
    let cluster = installed(
        "heal",
        &json!({
            "controller": {"replicas": 1},
            "sidecars": {"attacher": {"args": ["--reconcile-sync=3s"]}},
        }),
    )
    .await;
    cluster.create(objects::claim("healed", "rds-now", "1Gi")).await.unwrap();
    let volume = cluster.bound("healed", STEP).await.unwrap();
    cluster.create(objects::pod("healed", "healed")).await.unwrap();
    let (context, node) = cluster.attached(&volume, None, STEP).await.unwrap();

    let undone = format!("/disk set [find slot=\"{volume}\"] nvme-tcp-export=no");
    assert_eq!(cluster.storage.rds.exec(&undone).text().trim(), "");
    assert!(!cluster.storage.exported(&volume));
    wait::until("the export is open again", STEP, async || {
        if cluster.storage.exported(&volume) { Ok(()) } else { Err("closed") }
    })
    .await
    .unwrap();
    let nqn = cluster.storage.property(&volume, "nvme-tcp-server-nqn");
    assert_eq!(nqn, context["nqn"], "a repair takes no new name");

    let attachment = cluster.attachment(&volume, Some(&node)).await.unwrap().unwrap();
    let name = attachment.metadata.name.unwrap();
    let forgotten =
        Patch::Merge(json!({"status": {"attached": false, "attachmentMetadata": null}}));
    cluster.attachments().patch_status(&name, &PatchParams::default(), &forgotten).await.unwrap();
    let (again, _) = cluster.attached(&volume, Some(&node), STEP).await.unwrap();
    assert_eq!(again, context, "the same publish context");
    finish(cluster).await;
}
