//! A node's machine dies, and an operator says so: the taint out-of-service.

use std::time::Duration;

use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::wait;
use serde_json::json;
use tokio::time::Instant;

use crate::figures::Figures;
use crate::support::{STEP, connect, finish, installed};

/// Until the controller-manager says NotReady, and its garbage collector takes the pod.
const MOVED_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn a_dead_node_that_is_tainted_out_of_service_is_fenced_and_its_pod_moves_with_its_volume() {
    // The controller is not on the machine that dies; the workload would rather be there.
    let on_b = json!({"kubernetes.io/hostname": "node-b"});
    let values = json!({"controller": {"replicas": 1, "nodeSelector": on_b}});
    let cluster = installed("fencing", &values).await;
    let mut set = objects::stateful_set("queue", "rds-now", "1Gi", 1);
    set["spec"]["template"]["spec"]["affinity"] = json!({"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": {
            "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-a"]}],
        }}],
    }});
    cluster.create(set).await.unwrap();
    let volume = cluster.bound("data-queue-0", STEP).await.unwrap();
    let (old, node) = cluster.attached(&volume, Some("node-a"), STEP).await.unwrap();
    let host = connect(&cluster, &old).unwrap();
    host.write(4096).unwrap();

    let figures = Figures::from_now(&cluster);
    let begun = Instant::now();
    let machine = cluster.node(&node).unwrap();
    machine.power_off().await.unwrap();
    machine.taint_out_of_service().await.unwrap();
    wait::until("the old machine is cut off", STEP, async || {
        if host.is_live() { Err("it is still connected") } else { Ok(()) }
    })
    .await
    .unwrap();
    figures.tell(&cluster, "from the taint to the fence");
    // Kubernetes has not even begun to detach: what cut the machine off was the taint.
    let attachment = cluster.attachment(&volume, Some(&node)).await.unwrap().unwrap();
    assert_eq!(attachment.metadata.deletion_timestamp, None);

    let other = wait::until("the volume is attached elsewhere", MOVED_WITHIN, async || {
        let found = cluster.attachment(&volume, None).await.map_err(|error| error.to_string())?;
        let found = found.ok_or("no VolumeAttachment")?;
        if found.spec.node_name == node {
            return Err("that of the dead node".to_owned());
        }
        Ok(found.spec.node_name)
    })
    .await
    .unwrap();
    let (new, _) = cluster.attached(&volume, Some(&other), STEP).await.unwrap();
    figures.tell(&cluster, &format!("moved to {other} after {:.0?}", begun.elapsed()));
    assert_ne!(new["nqn"], old["nqn"], "nobody who waits for the old name gets in");
    assert!(connect(&cluster, &old).is_err(), "the dead machine comes back and is refused");
    connect(&cluster, &new).unwrap().write(4096).unwrap();
    finish(cluster).await;
}
