//! The life of a volume, from its claim to its end.

use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::{Cluster, wait};

use crate::figures::Figures;
use crate::support::{STEP, alone, finish, installed};

const GIB: u64 = 1 << 30;

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn a_claim_becomes_a_volume_is_attached_grows_is_detached_and_leaves_nothing() {
    let cluster = installed("life", &alone()).await;
    let figures = Figures::from_now(&cluster);
    cluster.create(objects::stateful_set("database", "rds-csi", "1Gi", 1)).await.unwrap();

    let volume = cluster.bound("data-database-0", STEP).await.unwrap();
    let (context, node) = cluster.attached(&volume, None, STEP).await.unwrap();
    figures.tell(&cluster, "a StatefulSet's pod has its volume");
    let slot = &volume;
    assert_eq!(cluster.storage.slots(), std::slice::from_ref(slot));
    assert!(cluster.storage.exported(slot));
    assert_eq!(cluster.storage.property(slot, "nvme-tcp-server-nqn"), context["nqn"]);
    let allowed = cluster.storage.property(slot, "nvme-tcp-server-allow-host-name");
    assert_eq!(allowed, context["hostNqn"]);
    let port = context["nvmePort"].parse().unwrap();
    let host =
        cluster.storage.rds.connect_host(&context["hostNqn"], &context["nqn"], port).unwrap();
    host.write(4096).unwrap();

    grows(&cluster, &volume).await;
    assert!(host.is_live(), "growing left {node} connected");

    host.disconnect();
    cluster.scale("database", 0).await.unwrap();
    cluster.detached(&volume, STEP).await.unwrap();
    assert!(!cluster.storage.exported(slot));
    cluster.delete_claim("data-database-0", STEP).await.unwrap();
    assert_eq!(cluster.storage.slots(), Vec::<String>::new());
    assert_eq!(cluster.storage.images(), Vec::<String>::new());
    figures.tell(&cluster, "the whole life of one volume");
    finish(cluster).await;
}

async fn grows(cluster: &Cluster, volume: &str) {
    cluster.grow("data-database-0", "3Gi").await.unwrap();
    let wanted = (3 * GIB).to_string();
    wait::until("the box has the new size", STEP, async || {
        let size = cluster.storage.property(volume, "file-size");
        if size == wanted { Ok(()) } else { Err(size) }
    })
    .await
    .unwrap();
    let volumes = cluster.volumes();
    wait::until("the PV says the new size", STEP, async || {
        let found = volumes.get(volume).await.map_err(|error| error.to_string())?;
        let size = found.spec.and_then(|spec| spec.capacity).unwrap_or_default();
        let size = size.get("storage").map(|size| size.0.clone()).unwrap_or_default();
        if size == "3Gi" || size == wanted { Ok(()) } else { Err(size) }
    })
    .await
    .unwrap();
}
