//! Two processes of one controller: one reconciles, and one that was stopped for a while does not know
//! better than the Lease.

use std::time::{Duration, SystemTime};

use rds_sim::apiserver::world as objects;
use serde_json::Value;
use tokio::time::sleep;

use crate::csi::Csi;
use crate::daemon::{Daemon, PATIENCE};
use crate::surroundings::{DRIVER, Surroundings};

/// Short, so that the test is.
const LEADER: &str =
    "[leader]\nduration = \"2s\"\nrenew_deadline = \"1s\"\nretry_period = \"200ms\"\n";

/// Starts a replica with a socket of its own.
async fn replica(around: &Surroundings, pod: &str) -> (Daemon, Csi) {
    let socket = around.path(&format!("{pod}.sock"));
    let text = around.config().replace(around.socket().to_str().unwrap(), socket.to_str().unwrap());
    let file = around.path(&format!("{pod}.toml"));
    std::fs::write(&file, text).unwrap();
    let daemon = Daemon::start_with(&file, &[("POD_NAME", pod)]);
    daemon.ready(true).await;
    (daemon, Csi::connect(&socket).await)
}

async fn reconciles(daemon: &Daemon) -> bool {
    let ready = daemon.json("/readyz").await;
    let status = daemon.json("/statusz").await;
    assert!(ready["fields"]["leader"]["reconciles"].is_boolean(), "{ready}");
    status["leader"]["reconciles"].as_bool().unwrap()
}

async fn until_it_reconciles(daemon: &Daemon) {
    let end = SystemTime::now() + PATIENCE;
    while !reconciles(daemon).await {
        assert!(SystemTime::now() < end, "it does not reconcile:\n{}", daemon.text());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_for_a_while_neither_fences_nor_reconciles_afterwards() {
    let mut around = Surroundings::start(&["main"]).await;
    around.tables += LEADER;
    let (first, first_csi) = replica(&around, "pod-a").await;
    until_it_reconciles(&first).await;
    let (second, second_csi) = replica(&around, "pod-b").await;
    assert!(!reconciles(&second).await);
    // Both serve, whoever leads.
    let one = around.provision(&first_csi, "pvc-1", &[]).await;
    around.provision(&second_csi, "pvc-2", &[]).await;
    around.api.create(objects::attached("va-1", DRIVER, "node-a", "pvc-1", &[])).unwrap();
    first_csi.publish(&one, "node-a").await.unwrap();

    // Within the grace of a second: it has seen the node go, and is about to act.
    around.api.delete("nodes", "node-a").unwrap();
    sleep(Duration::from_millis(300)).await;
    first.signal("-STOP").await;
    until_it_reconciles(&second).await;
    second.logged("volume fenced", |_| true).await;
    first.signal("-CONT").await;
    // Long enough for several passes, were there any.
    sleep(Duration::from_secs(4)).await;
    assert!(!reconciles(&first).await && reconciles(&second).await);
    assert_eq!(first.said("volume fenced"), Vec::<Value>::new(), "{}", first.text());
    assert_eq!(second.said("volume fenced").len(), 1);
    let lease = around.api.get("leases", "rds-csi/rds-csi-reconciler").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "pod-b");

    // Gone for good, the other one need not wait for the Lease to run out.
    second.stop().await;
    until_it_reconciles(&first).await;
    let lease = around.api.get("leases", "rds-csi/rds-csi-reconciler").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "pod-a");
    first.stop().await;
    let lease = around.api.get("leases", "rds-csi/rds-csi-reconciler").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_without_a_name_is_refused_with_the_way_out() {
    let mut around = Surroundings::start(&["main"]).await;
    around.tables += "[leader]\nelection = \"on\"\n";
    let mut daemon = around.daemon();
    assert_eq!(daemon.ended().await.code(), Some(64));
    let text = daemon.text();
    assert!(text.contains("leader.election") && text.contains("POD_NAME"), "{text}");
}
