//! A node's power is cut while a pod writes there; the volume moves; the node comes back.

use std::time::Duration;

use rds_csi_testbed::node::set_out_of_service;
use rds_csi_testbed::vm::{Daemon, VmCluster, oracle};
use rds_csi_testbed::wait;
use tokio::time::Instant;

use crate::installed::{STEP, plugin_ready, registered};
use crate::told::Told;
use crate::{plugin, writer};

/// How long the writer runs at least: kubelet's notes of its volume are on the disk then.
const NOTED: Duration = Duration::from_secs(4);

/// Cuts the power of the writer's node and says that it is off: every block that was acknowledged is on
/// the other node. Returns who follows the writer there.
pub async fn the_volume_moves_with_every_acknowledged_block(
    cluster: &mut VmCluster,
    told: &mut Told,
) -> (String, String, Daemon) {
    let (_, old) = writer::runs(cluster, None).await;
    let says = writer::follow(cluster.node(&old).unwrap()).await;
    let noted = Instant::now() + NOTED;
    while Instant::now() < noted {
        writer::goes_on(&says, 5).await;
    }
    cluster.node_mut(&old).unwrap().power_off().await.unwrap();
    let last = oracle::acknowledged(&says.said()).unwrap();
    told.step(&format!("{old} has lost its power, {last} blocks acknowledged"));
    cluster.node_ready(&old, false).await.unwrap();
    told.step(&format!("{old} is NotReady"));
    set_out_of_service(&cluster.cluster.api, &old, true).await.unwrap();
    let volume = cluster.cluster.bound(writer::CLAIM, STEP).await.unwrap();
    let attached = wait::until("the volume is attached elsewhere", STEP, async || {
        let on =
            cluster.cluster.attachment(&volume, Some(&old)).await.map_err(|e| e.to_string())?;
        if on.is_some() { Err(format!("{on:?}")) } else { Ok(()) }
    });
    attached.await.unwrap();
    told.step("tainted out-of-service, and its VolumeAttachment is gone");
    let (_, new) = writer::runs(cluster, Some(&old)).await;
    let says = writer::follow(cluster.node(&new).unwrap()).await;
    told.step(&format!("the writer goes on, on {new}"));
    writer::all_there(cluster.node(&new).unwrap(), &old, last).await;
    told.step("every acknowledged block is there");
    (old, new, says)
}

/// Power again: nothing of the old attachment is left, and the writer never noticed.
pub async fn the_old_node_comes_back_clean(cluster: &mut VmCluster, old: &str, says: &Daemon) {
    cluster.node_mut(old).unwrap().power_on().await.unwrap();
    // Its pod still has the status of before: its log tells what is now.
    let before = plugin::registration(cluster, old).await;
    cluster.node_ready(old, true).await.unwrap();
    set_out_of_service(&cluster.cluster.api, old, false).await.unwrap();
    plugin::registered_after(cluster, old, before).await;
    plugin_ready(cluster, old).await;
    registered(cluster, old, true).await;
    nothing_left(cluster, old).await;
    writer::goes_on(says, 5).await;
}

/// No connection, no mount, no folder and no note of a volume.
pub async fn nothing_left(cluster: &VmCluster, node: &str) {
    let vm = &cluster.node(node).unwrap().vm;
    let left = "cat /sys/class/nvme/nvme*/subsysnqn 2>/dev/null || true
        grep kubernetes.io.csi /proc/self/mounts || true
        cd /var/lib/kubelet; find pods/*/volumes/kubernetes.io~csi plugins/kubernetes.io 2>/dev/null \
            | grep -e /pvc- -e globalmount -e vol_data || true
        find plugins/rds.csi.srvlab.io -type f";
    wait::until(&format!("nothing is left on {node}"), STEP, async || match vm.shell(left).await {
        Ok(left) if left.is_empty() => Ok(()),
        Ok(left) => Err(left),
        Err(error) => Err(error.to_string()),
    })
    .await
    .unwrap();
}
