//! Two replicas, and the one that acts falls silent: paused, not dead.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rds_csi_testbed::cluster::{NAMESPACE, objects};
use rds_csi_testbed::{Cluster, Signal, wait};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{STEP, finish, installed};

const LEASE: &str = "rds-csi-reconciler";
/// A lease of 15 s, a grace of 1 s, and what the sidecars need for theirs.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(90);
/// How long the one that comes back is watched.
const WATCHED: Duration = Duration::from_secs(10);

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn a_paused_leader_is_replaced_and_does_nothing_wrong_when_it_goes_on() {
    let on_b = json!({"kubernetes.io/hostname": "node-b"});
    let cluster = installed(
        "lease",
        &json!({
            "controller": {"replicas": 2, "nodeSelector": on_b},
            "config": {"reconcile": {"grace": "1s"}},
        }),
    )
    .await;
    cluster.create(objects::claim("contested", "rds-now", "1Gi")).await.unwrap();
    let volume = cluster.bound("contested", STEP).await.unwrap();
    let mut pod = objects::pod("first", "contested");
    pod["spec"]["nodeName"] = json!("node-a");
    cluster.create(pod).await.unwrap();
    let (old, _) = cluster.attached(&volume, Some("node-a"), STEP).await.unwrap();
    let port = old["nvmePort"].parse().unwrap();
    let rds = &cluster.storage.rds;
    let host = rds.connect_host(&old["hostNqn"], &old["nqn"], port).unwrap();

    let leader = leader(&cluster, "").await;
    signal(&cluster, &leader, Signal::STOP);
    cluster.node("node-a").unwrap().delete().await.unwrap();
    let next = self::leader(&cluster, &leader).await;
    assert_ne!(next, leader);
    wait::until("the other replica has fenced", TAKEN_OVER_WITHIN, async || {
        if host.is_live() { Err("the host of the lost node is still connected") } else { Ok(()) }
    })
    .await
    .unwrap();
    cluster.detached(&volume, TAKEN_OVER_WITHIN).await.unwrap();

    let now = kube::api::DeleteParams::default().grace_period(0);
    cluster.pods().delete("first", &now).await.unwrap();
    let mut pod = objects::pod("second", "contested");
    pod["spec"]["nodeName"] = json!("node-b");
    cluster.create(pod).await.unwrap();
    let (new, _) = cluster.attached(&volume, Some("node-b"), TAKEN_OVER_WITHIN).await.unwrap();
    let host = rds.connect_host(&new["hostNqn"], &new["nqn"], port).unwrap();
    host.write(4096).unwrap();
    let record = cluster.storage.property(&volume, "comment");

    signal(&cluster, &leader, Signal::CONT);
    sleep(WATCHED).await;
    assert!(host.is_live(), "the one that came back has shut out the new holder");
    assert_eq!(cluster.storage.property(&volume, "comment"), record);
    let holder = holder(&cluster).await.unwrap();
    assert!(holder.starts_with(&next), "{holder} leads, not {next}");
    finish(cluster).await;
}

/// Every process of a pod: the machine stands still, not one program.
fn signal(cluster: &Cluster, pod: &str, signal: Signal) {
    let all = cluster.kubelet.processes();
    for container in all.get(pod).unwrap().keys() {
        cluster.kubelet.signal(pod, container, signal).unwrap();
    }
}

async fn holder(cluster: &Cluster) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.api.clone(), NAMESPACE);
    let lease = leases.get_opt(LEASE).await.unwrap()?;
    lease.spec.and_then(|spec| spec.holder_identity)
}

/// The pod that holds the Lease, once that is not `before`.
async fn leader(cluster: &Cluster, before: &str) -> String {
    wait::until("one replica leads", TAKEN_OVER_WITHIN, async || {
        let pods = cluster.kubelet.processes();
        let holder = holder(cluster).await.unwrap_or_default();
        let pod = pods.keys().find(|pod| holder.starts_with(*pod) && *pod != before);
        pod.cloned().ok_or(holder)
    })
    .await
    .unwrap()
}
