//! Two boxes: which volume goes where, what the outage of one means for the other, and whose
//! volumes have ids without a prefix.

use futures::FutureExt as _;
use rds_sim::apiserver::Fault;
use rds_sim::routeros::Reboot;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UnixStream};
use tonic::Code;

use crate::csi::code;
use crate::daemon::Daemon;
use crate::surroundings::{LOOPBACK, Surroundings};

async fn two() -> Surroundings {
    let mut around = Surroundings::start(&["main", "spare"]).await;
    around.top = "bare_ids = \"main\"\ndefault_backend = \"main\"\n".into();
    around
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_lie_where_the_class_says_and_an_unknown_address_is_never_contacted() {
    let around = two().await;
    let (daemon, csi) = around.ready().await;
    let spare = around.boxes["spare"].address();
    assert_eq!(around.provision(&csi, "pvc-a", &[]).await, "pvc-a");
    assert_eq!(around.provision(&csi, "pvc-b", &[("backend", "spare")]).await, "spare/pvc-b");
    let by_address = [("rdsAddress", spare.as_str())];
    assert_eq!(around.provision(&csi, "pvc-c", &by_address).await, "spare/pvc-c");
    let mut listed = csi.list().await.unwrap();
    listed.sort();
    assert_eq!(listed, ["pvc-a", "spare/pvc-b", "spare/pvc-c"]);
    for (name, at) in [("pvc-a", "main"), ("pvc-b", "spare"), ("pvc-c", "spare")] {
        for (known, of) in &around.boxes {
            let there = of.rds.exec(&format!("/disk print detail where slot={name}")).text();
            assert_eq!(there.contains(name), known == at, "{name} on {known}: {there}");
        }
    }

    let stranger = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let contradicting = [("backend", "main"), ("rdsAddress", spare.as_str())];
    for parameters in [&[("rdsAddress", address.as_str())][..], &contradicting] {
        let refusal = csi.create("pvc-d", parameters).await.unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument);
        let text = refusal.message();
        assert!(text.starts_with("parameters[rdsAddress]: "), "{text}");
        assert!(text.contains(&format!("spare ({spare})")) && text.contains("main ("), "{text}");
    }
    let refusal = csi.create("pvc-d", &[("backend", "other")]).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(refusal.message().contains("spare ("), "{refusal:?}");
    assert!(stranger.accept().now_or_never().is_none(), "the stranger was contacted");
    daemon.stop().await;
    assert!(stranger.accept().now_or_never().is_none(), "the stranger was contacted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_is_down_stops_only_its_own_volumes() {
    let around = two().await;
    let (daemon, csi) = around.ready().await;
    let here = around.provision(&csi, "pvc-a", &[]).await;
    let there = around.provision(&csi, "pvc-b", &[("backend", "spare")]).await;
    around.boxes["spare"].rds.power_off();
    daemon.logged("box is not connected", |r| r["backend"] == "spare").await;

    csi.publish(&here, "node-a").await.unwrap();
    csi.unpublish(&here, "node-a").await.unwrap();
    csi.create("pvc-d", &[]).await.unwrap();
    let refusal = csi.publish(&there, "node-a").await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(refusal.message().contains(&around.boxes["spare"].address()), "{refusal:?}");
    // A listing that leaves out a box would tell the attacher that its volumes are detached.
    assert_eq!(code(csi.list().await), Code::Unavailable);
    assert!(csi.probe().await);
    let body = daemon.ready(true).await;
    assert_eq!(body["fields"]["boxes"]["spare"]["link"]["state"], "down", "{body}");

    around.boxes["spare"].rds.power_on(Reboot::KeepEverything);
    let back = |r: &Value| r["backend"] == "spare" && r["epoch"] == 2;
    daemon.logged("box is connected", back).await;
    csi.publish(&there, "node-a").await.unwrap();
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_bare_ids_are_refused_before_anything_is_done_to_a_volume() {
    let mut around = two().await;
    let (daemon, csi) = around.ready().await;
    let handle = around.provision(&csi, "pvc-a", &[]).await;
    csi.publish(&handle, "node-a").await.unwrap();
    daemon.stop().await;
    let before: Vec<_> = around.boxes.values().map(|of| of.commands()).collect();

    around.top = around.top.replace("bare_ids = \"main\"", "bare_ids = \"spare\"");
    around.tables += "[shutdown]\ndeadline = \"8s\"\n";
    std::fs::write(around.path("changed.toml"), around.config()).unwrap();
    let down = around.api.faults().unreachable(Fault::Hang);
    let mut daemon = Daemon::start(&around.path("changed.toml"));
    daemon.logged("box is connected", |r| r["backend"] == "main").await;
    daemon.logged("box is connected", |r| r["backend"] == "spare").await;
    // A client in the middle of its greeting keeps the stop waiting, so that a pass finds the time
    // to do harm.
    let mut client = UnixStream::connect(around.socket()).await.unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    around.api.faults().lift(down);
    daemon.logged("stopping grpc", |_| true).await;
    around.api.delete("nodes", "node-b").unwrap();
    let of_node = |r: &Value| r["causes"].as_str().unwrap().contains("node");
    let pass = daemon.logged("pass failed", of_node).await;
    assert!(pass["error"].as_str().unwrap().contains("bare_ids"), "{pass}");
    let status = daemon.ended().await;
    assert_eq!(status.code(), Some(64), "{}", daemon.text());
    let record = daemon.logged("the process ends", |_| true).await;
    let error = record["error"].as_str().unwrap();
    for part in ["bare_ids = \"spare\"", "PersistentVolume pvc-a", "set bare_ids = \"main\" again"]
    {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    let after: Vec<_> = around.boxes.values().map(|of| of.commands()).collect();
    assert_eq!(before, after);
    // Without such volumes it may be changed.
    let unprotect = |pv: &mut Value| pv["metadata"]["finalizers"] = json!([]);
    around.api.modify("persistentvolumes", "pvc-a", unprotect).unwrap();
    around.api.delete("persistentvolumes", "pvc-a").unwrap();
    let daemon = Daemon::start(&around.path("changed.toml"));
    daemon.ready(true).await;
    daemon.stop().await;
}
