//! A StatefulSet whose pod writes numbered blocks to its volume and says which were acknowledged.

use k8s_openapi::api::core::v1::Pod;
use rds_csi_testbed::cluster::objects;
use rds_csi_testbed::vm::{Daemon, KubeletVm, LABEL, VmCluster, image, oracle};
use rds_csi_testbed::wait;
use serde_json::json;

use crate::installed::STEP;

/// Its only pod.
pub const POD: &str = "writer-0";
/// The claim of that pod.
pub const CLAIM: &str = "data-writer-0";
/// What it runs. A block is said when fsync(2) has returned; after a move it goes on behind the last block
/// that is whole.
const SCRIPT: &str = r#"
touch /data/blocks
n=$(($(wc -c </data/blocks) / 4096))
echo "from $n"
while printf '%-4095s\n' "written by $NODE $n" |
  dd of=/data/blocks bs=4096 seek=$n iflag=fullblock conv=notrunc,fsync 2>/dev/null
do
  echo $n
  n=$((n + 1))
done
echo "refused at $n"
"#;

/// Makes the StatefulSet.
pub async fn start(cluster: &VmCluster) {
    let mut set = objects::stateful_set("writer", "rds-csi", "256Mi", 1);
    let spec = &mut set["spec"]["template"]["spec"];
    spec["hostNetwork"] = json!(true);
    spec["nodeSelector"] = json!({LABEL.0: LABEL.1});
    spec["terminationGracePeriodSeconds"] = json!(1);
    spec["containers"] = json!([{
        "name": "work", "image": image::WORK, "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", SCRIPT],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }]);
    cluster.cluster.create(set).await.unwrap();
}

/// Waits until it runs, on another node than `not`; returns the node's name.
pub async fn runs(cluster: &VmCluster, not: Option<&str>) -> (Pod, String) {
    let pods = cluster.cluster.pods();
    let seen = wait::until("the writer runs", STEP, async || {
        let pod = pods.get(POD).await.map_err(|error| error.to_string())?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let runs = status
            .container_statuses
            .iter()
            .flatten()
            .any(|one| one.state.as_ref().is_some_and(|state| state.running.is_some()));
        if runs && not != Some(&*node) {
            Ok((pod, node))
        } else {
            Err(format!("{node} {status:?}"))
        }
    })
    .await;
    match seen {
        Ok(seen) => seen,
        Err(error) => {
            let events = cluster.cluster.events_of(POD).await.unwrap();
            panic!("{error}\n{events:#?}");
        }
    }
}

/// Follows what it says, once it has said something.
pub async fn follow(node: &KubeletVm) -> Daemon {
    let says = node.follow("default", POD, "work").await.unwrap();
    goes_on(&says, 5).await;
    says
}

/// Waits until so many more blocks are acknowledged than now.
pub async fn goes_on(says: &Daemon, more: u64) -> u64 {
    let now = oracle::acknowledged(&says.said()).unwrap_or_default();
    wait::until("it goes on writing", STEP, async || {
        says.check().map_err(|error| error.to_string())?;
        let said = oracle::acknowledged(&says.said());
        said.filter(|said| *said >= now + more).ok_or(format!("{now}, then {said:?}"))
    })
    .await
    .unwrap()
}

/// Every block up to the `last` is in the volume, as it is mounted on this node.
pub async fn all_there(node: &KubeletVm, writer: &str, last: u64) {
    let path = "ls /var/lib/kubelet/pods/*/volumes/kubernetes.io~csi/*/mount/blocks";
    let path = node.vm.shell(path).await.unwrap();
    let found = oracle::found(&node.vm, path.trim()).await.unwrap();
    for number in 0..=last {
        let is_it = |block: &&oracle::Found| block.place == number && block.number == number;
        let block = found.iter().find(is_it);
        let block = block.unwrap_or_else(|| panic!("block {number} of {last} is lost"));
        assert_eq!(block.writer, writer, "block {number}");
    }
}
