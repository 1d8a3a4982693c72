//! The request log, its measurements, and what must never be in it.

use super::*;

#[tokio::test]
async fn a_call_is_one_record_with_what_it_was_about() {
    let harness = Harness::start(Fake::default());
    let request = csi::ControllerPublishVolumeRequest {
        volume_id: "pvc-1".into(),
        node_id: "node-1".into(),
        volume_capability: Some(capability()),
        ..Default::default()
    };
    harness.controller().await.controller_publish_volume(request).await.unwrap();
    let [record] = &harness.records.lines()[..] else {
        panic!("one record: {}", harness.records.text());
    };
    assert_eq!(record["msg"], "rpc answered");
    assert_eq!(record["level"], "INFO");
    assert_eq!(record["method"], "ControllerPublishVolume");
    assert_eq!(record["code"], "OK");
    assert_eq!(record["volume"], "pvc-1");
    assert_eq!(record["node"], "node-1");
    assert!(record["duration_ms"].is_u64());
    let measured = [("ControllerPublishVolume".to_owned(), "OK")];
    assert_eq!(*harness.measured.calls.lock().unwrap(), measured);
}

#[tokio::test]
async fn a_failure_is_a_warning_with_its_message() {
    let harness = Harness::start(Fake::default());
    *harness.fake.fails.lock().unwrap() = Some(Error::new(Kind::Unavailable, "main is away"));
    harness.controller().await.create_volume(create("pvc-1")).await.unwrap_err();
    let record = &harness.records.lines()[0];
    assert_eq!(record["msg"], "rpc failed");
    assert_eq!(record["level"], "WARN");
    assert_eq!(record["code"], "UNAVAILABLE");
    assert_eq!(record["error"], "main is away");
    assert_eq!(record["volume"], "pvc-1");
}

#[tokio::test]
async fn probes_are_recorded_quietly() {
    let harness = Harness::start(Fake::default());
    harness.identity().await.probe(csi::ProbeRequest {}).await.unwrap();
    assert_eq!(harness.records.lines()[0]["level"], "DEBG");
}

#[tokio::test]
async fn made_up_methods_share_one_measurement() {
    use crate::grpc::codec::Codec;
    use tonic::codegen::http::uri::PathAndQuery;

    let harness = Harness::start(Fake::default());
    let mut client = tonic::client::Grpc::new(harness.channel().await);
    for path in ["/csi.v1.Controller/NoSuchMethod", "/no.such.Service/Method"] {
        client.ready().await.unwrap();
        let codec = Codec::<csi::ProbeRequest, csi::ProbeResponse>::default();
        let request = tonic::Request::new(csi::ProbeRequest {});
        client.unary(request, PathAndQuery::from_static(path), codec).await.unwrap_err();
    }
    let mut controller = harness.controller().await;
    controller.create_snapshot(csi::CreateSnapshotRequest::default()).await.unwrap_err();
    let other = ("other".to_owned(), "UNIMPLEMENTED");
    assert_eq!(*harness.measured.calls.lock().unwrap(), [other.clone(), other.clone(), other]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_is_recorded_as_cancelled() {
    let gate = Some(Gate::default());
    let harness = Harness::start(Fake { gate, ..Fake::default() });
    let mut client = harness.controller().await;
    let mut request = tonic::Request::new(create("pvc-1"));
    request.set_timeout(Duration::from_secs(3));
    client.create_volume(request).await.unwrap_err();
    harness.measured.one_more.notified().await;
    let record = &harness.records.lines()[0];
    assert_eq!((&record["code"], &record["volume"]), (&"CANCELLED".into(), &"pvc-1".into()));
    harness.fake.gate.as_ref().unwrap().go.notify_one();
    harness.fake.gate.as_ref().unwrap().ended.notified().await;
}

#[tokio::test]
async fn secrets_are_never_recorded() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.controller().await;
    let secrets = || [("password".to_owned(), "hunter2".to_owned())].into();
    let mut good = create("pvc-1");
    good.secrets = secrets();
    client.create_volume(good).await.unwrap();
    let mut bad = create("\"");
    bad.secrets = secrets();
    client.create_volume(bad).await.unwrap_err();
    let mut large = create("pvc-1");
    large.secrets.insert("password".into(), "hunter2".repeat(200_000));
    let status = client.create_volume(large).await.unwrap_err();
    assert!(status.message().starts_with("secrets"), "{status}");

    let text = harness.records.text();
    assert_eq!(harness.records.lines().len(), 3, "{text}");
    assert!(!text.contains("hunter2") && !text.contains("password"), "{text}");
}

#[test]
fn every_field_that_the_contract_marks_as_secret_is_left_out_of_debug() {
    let contract = include_str!("../../../proto/csi.proto");
    let generated = include_str!(concat!(env!("OUT_DIR"), "/redacted.rs"));
    let marked = contract.matches("(csi_secret) = true").count();
    assert_eq!(marked, 22);
    assert_eq!(generated.matches("<redacted>").count(), marked);

    let request = csi::CreateVolumeRequest {
        secrets: [("password".to_owned(), "hunter2".to_owned())].into(),
        ..create("pvc-1")
    };
    let shown = format!("{request:?}");
    assert!(shown.contains("pvc-1") && shown.contains("<redacted>"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("password"), "{shown}");
}
