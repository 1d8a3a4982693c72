//! Two replicas, and the one that acts falls silent: paused, not dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use rds_csi_testbed::cluster::{DRIVER, NAMESPACE};
use rds_csi_testbed::{Cluster, Signal, process, wait};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{STEP, attached, connect, finish, installed, pod_on};

const LEASE: &str = "rds-csi-reconciler";
/// A lease of 15 s, the grace time below, and what the sidecars need for their Leases.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(90);
/// How often counters are read before a node that is gone is taken for silent.
const READS: usize = 3;
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
            "config": {
                "reconcile": {"grace": "5s"},
                // What the paused one was waiting for is still good when it goes on.
                "backend_defaults": {"command_deadline": "3m", "poll_interval": "1m"},
            },
        }),
    )
    .await;
    let old = attached(&cluster, "contested", "node-a").await;
    let volume = old.volume.clone();
    let leader = leader(&cluster, "").await;

    // It is paused while it reads the counters for the last time: the fence is what it would do next.
    let paused = pauses_before_it_fences(&cluster, &leader, &volume);
    cluster.node("node-a").unwrap().delete().await.unwrap();
    wait::until("the leader is about to fence", STEP, async || {
        if paused.load(Ordering::SeqCst) { Ok(()) } else { Err("not yet") }
    })
    .await
    .unwrap();
    assert!(old.host.is_live(), "too late: it has fenced already");
    let next = self::leader(&cluster, &leader).await;
    wait::until("the other replica has fenced", TAKEN_OVER_WITHIN, async || {
        if old.host.is_live() { Err("the host of the lost node is connected") } else { Ok(()) }
    })
    .await
    .unwrap();
    cluster.detached(&volume, TAKEN_OVER_WITHIN).await.unwrap();

    // The same node is back, and has its volume again.
    let now = DeleteParams::default().grace_period(0);
    cluster.pods().delete("contested", &now).await.unwrap();
    let node = cluster.node("node-a").unwrap();
    node.register(DRIVER).await.unwrap();
    node.power_on().await.unwrap();
    pod_on(&cluster, "again", "contested", "node-a").await;
    let new = cluster.attached(&volume, Some("node-a"), TAKEN_OVER_WITHIN).await.unwrap().0;
    let host = connect(&cluster, &new).unwrap();
    host.write(4096).unwrap();
    let record = cluster.storage.property(&volume, "comment");
    for (lease, holder) in holders(&cluster).await {
        assert!(holder.contains(&next), "{lease} is held by {holder}, not by {next}");
    }

    signal(&cluster, &leader, Signal::CONT);
    sleep(WATCHED).await;
    assert!(host.is_live(), "the one that came back has shut out the new holder");
    assert_eq!(cluster.storage.property(&volume, "comment"), record);
    let holder = holder(&cluster).await;
    assert!(holder.starts_with(&next), "{holder} leads, not {next}");
    finish(cluster).await;
}

/// Stops the machine of the leader when it reads the counters of a volume for the last time.
fn pauses_before_it_fences(cluster: &Cluster, leader: &str, volume: &str) -> Arc<AtomicBool> {
    let containers = cluster.kubelet.processes().remove(leader).unwrap();
    let paused = Arc::new(AtomicBool::new(false));
    let (reads, done, volume) = (AtomicUsize::new(0), paused.clone(), volume.to_owned());
    cluster.storage.rds.on_exec(move |line| {
        if !line.contains(&volume) || reads.fetch_add(1, Ordering::SeqCst) + 1 != READS {
            return;
        }
        for id in containers.values() {
            process::send(*id, Signal::STOP).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    paused
}

/// Every process of a pod: the machine stands still, not one program.
fn signal(cluster: &Cluster, pod: &str, signal: Signal) {
    let all = cluster.kubelet.processes();
    for container in all.get(pod).unwrap().keys() {
        cluster.kubelet.signal(pod, container, signal).unwrap();
    }
}

/// Who holds each Lease, ours and the sidecars'.
async fn holders(cluster: &Cluster) -> Vec<(String, String)> {
    let leases: Api<Lease> = Api::namespaced(cluster.api.clone(), NAMESPACE);
    let all = leases.list(&ListParams::default()).await.unwrap().items.into_iter();
    let all: Vec<_> = all
        .map(|lease| {
            let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            (lease.metadata.name.unwrap_or_default(), holder)
        })
        .collect();
    assert_eq!(all.len(), 4, "{all:?}");
    all
}

/// Who holds ours; empty where nobody does.
async fn holder(cluster: &Cluster) -> String {
    let leases: Api<Lease> = Api::namespaced(cluster.api.clone(), NAMESPACE);
    let lease = leases.get_opt(LEASE).await.unwrap();
    lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
}

/// The pod that holds the Lease, once that is not `before`.
async fn leader(cluster: &Cluster, before: &str) -> String {
    wait::until("one replica leads", TAKEN_OVER_WITHIN, async || {
        let pods = cluster.kubelet.processes();
        let holder = holder(cluster).await;
        let pod = pods.keys().find(|pod| holder.starts_with(*pod) && *pod != before);
        pod.cloned().ok_or(holder)
    })
    .await
    .unwrap()
}
