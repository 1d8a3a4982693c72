//! What comes out for what goes in.

use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};

use super::*;
use crate::grpc::codec::Codec;
use crate::grpc::status::Outcome;

/// The name of a status' code.
fn code(status: Status) -> &'static str {
    Outcome::of(status.into_http::<()>().headers()).code
}

#[tokio::test]
async fn the_plugin_says_what_it_is_and_what_it_can_do() {
    use csi::plugin_capability::Type;

    let harness = Harness::start(Fake::default());
    let mut client = harness.identity().await;
    let info = client.get_plugin_info(csi::GetPluginInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.name, "rds.csi.srvlab.io");
    assert_eq!(info.vendor_version, env!("CARGO_PKG_VERSION"));
    assert!(!info.manifest.is_empty());
    let request = csi::GetPluginCapabilitiesRequest {};
    let answer = client.get_plugin_capabilities(request).await.unwrap().into_inner();
    let kinds: Vec<Type> = answer.capabilities.into_iter().filter_map(|c| c.r#type).collect();
    assert!(matches!(
        kinds[..],
        [
            Type::Service(csi::plugin_capability::Service { r#type: 1 }),
            Type::VolumeExpansion(csi::plugin_capability::VolumeExpansion { r#type: 1 }),
        ]
    ));
}

#[tokio::test]
async fn a_probe_says_not_ready_instead_of_failing() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.identity().await;
    let mut ready = async || client.probe(csi::ProbeRequest {}).await.unwrap().into_inner().ready;
    assert_eq!(ready().await, Some(true));
    *harness.told.0.lock().unwrap() =
        Readiness::NotReady { why: vec!["main is not connected".into()] };
    assert_eq!(ready().await, Some(false));
    assert!(harness.records.text().contains("main is not connected"));
}

#[tokio::test]
async fn the_controller_lists_what_it_serves() {
    use csi::controller_service_capability::Type;

    let harness = Harness::start(Fake::default());
    let request = csi::ControllerGetCapabilitiesRequest {};
    let answer = harness.controller().await.controller_get_capabilities(request).await.unwrap();
    let mut numbers: Vec<i32> = answer
        .into_inner()
        .capabilities
        .into_iter()
        .filter_map(|one| one.r#type.map(|Type::Rpc(rpc)| rpc.r#type))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 8, 9, 10, 12, 13]);
}

#[tokio::test]
async fn volumes_are_made_found_grown_and_removed() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.controller().await;

    let mut request = create("pvc-1");
    request.capacity_range = Some(csi::CapacityRange { required_bytes: 5000, limit_bytes: 9000 });
    let made = client.create_volume(request).await.unwrap().into_inner().volume.unwrap();
    assert_eq!((made.volume_id.as_str(), made.capacity_bytes), ("pvc-1", 3 << 30));
    assert_eq!(made.volume_context["volumePath"], "/pool/volumes");

    let volume_id = "spare/pvc-1".to_owned();
    let request = csi::ControllerGetVolumeRequest { volume_id: volume_id.clone() };
    let found = client.controller_get_volume(request).await.unwrap().into_inner();
    assert_eq!(found.volume.unwrap().volume_id, volume_id);
    assert_eq!(found.status.unwrap().published_node_ids, ["node-1"]);

    let request = csi::ControllerExpandVolumeRequest {
        volume_id: volume_id.clone(),
        capacity_range: Some(csi::CapacityRange { required_bytes: 8192, limit_bytes: 0 }),
        ..Default::default()
    };
    let block = csi::VolumeCapability {
        access_type: Some(csi::volume_capability::AccessType::Block(Default::default())),
        ..capability()
    };
    let raw =
        csi::ControllerExpandVolumeRequest { volume_capability: Some(block), ..request.clone() };
    for request in [request, raw] {
        let grown = client.controller_expand_volume(request).await.unwrap().into_inner();
        assert_eq!((grown.capacity_bytes, grown.node_expansion_required), (8192, true));
    }

    for volume_id in [volume_id, "NotOurs".into()] {
        let request = csi::DeleteVolumeRequest { volume_id, ..Default::default() };
        client.delete_volume(request).await.unwrap();
    }
    let calls = [
        "create main/pvc-1 8192 Some(9000)",
        "get spare/pvc-1",
        "expand spare/pvc-1 8192",
        "expand spare/pvc-1 8192",
        "delete spare/pvc-1",
    ];
    assert_eq!(harness.fake.calls(), calls);
}

#[tokio::test]
async fn volumes_are_published_and_unpublished() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.controller().await;
    let request = csi::ControllerPublishVolumeRequest {
        volume_id: "pvc-1".into(),
        node_id: "node-1".into(),
        volume_capability: Some(capability()),
        readonly: true,
        ..Default::default()
    };
    let context = client.controller_publish_volume(request).await.unwrap().into_inner();
    assert_eq!(context.publish_context["nqn"], "nqn.x:1");
    for node_id in ["node-1", ""] {
        let request = csi::ControllerUnpublishVolumeRequest {
            volume_id: "pvc-1".into(),
            node_id: node_id.into(),
            ..Default::default()
        };
        client.controller_unpublish_volume(request).await.unwrap();
    }
    let calls = [
        "publish main/pvc-1 node-1 true",
        "unpublish main/pvc-1 Some(\"node-1\")",
        "unpublish main/pvc-1 None",
    ];
    assert_eq!(harness.fake.calls(), calls);
}

#[tokio::test]
async fn volumes_and_capacity_are_listed() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.controller().await;
    let request = csi::ListVolumesRequest { max_entries: 7, starting_token: "token".into() };
    let page = client.list_volumes(request).await.unwrap().into_inner();
    let ids: Vec<_> =
        page.entries.iter().map(|e| e.volume.as_ref().unwrap().volume_id.as_str()).collect();
    assert_eq!((ids, page.next_token.as_str()), (vec!["pvc-1", "spare/pvc-1"], "next"));
    assert_eq!(page.entries[0].status.as_ref().unwrap().published_node_ids, ["node-1"]);

    let request = csi::GetCapacityRequest::default();
    let capacity = client.get_capacity(request).await.unwrap().into_inner();
    assert_eq!(capacity.available_capacity, 1 << 40);
    assert_eq!(harness.fake.calls(), ["list token 7", "capacity main pool/volumes"]);
}

#[tokio::test]
async fn validation_needs_the_volume_and_echoes_what_holds() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.controller().await;
    let request = csi::ValidateVolumeCapabilitiesRequest {
        volume_id: "pvc-1".into(),
        volume_capabilities: vec![capability()],
        ..Default::default()
    };
    let answer = client.validate_volume_capabilities(request.clone()).await.unwrap().into_inner();
    assert_eq!(answer.confirmed.unwrap().volume_capabilities, [capability()]);

    *harness.fake.fails.lock().unwrap() = Some(Error::new(Kind::NotFound, "no such volume"));
    let status = client.validate_volume_capabilities(request).await.unwrap_err();
    assert_eq!(status.message(), "no such volume");
    assert_eq!(code(status), "NOT_FOUND");
}

#[tokio::test]
async fn a_failure_keeps_its_code_and_its_words() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.controller().await;
    for (kind, wanted) in [(Kind::Unknown, "DEADLINE_EXCEEDED"), (Kind::Full, "RESOURCE_EXHAUSTED")]
    {
        *harness.fake.fails.lock().unwrap() = Some(Error::new(kind, "größer: \"x\""));
        let status = client.create_volume(create("pvc-1")).await.unwrap_err();
        assert_eq!(status.message(), "größer: \"x\"");
        assert_eq!(code(status), wanted);
    }
}

#[tokio::test]
async fn a_request_that_is_wrong_reaches_no_operation() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.controller().await;
    let status = client.create_volume(create("a\";/system/reset")).await.unwrap_err();
    assert!(status.message().starts_with("name: "), "{status}");
    assert_eq!(code(status), "INVALID_ARGUMENT");
    assert_eq!(harness.fake.calls(), [] as [&str; 0]);
}

/// A CreateVolumeRequest whose name is bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
}

#[tokio::test]
async fn bytes_that_are_no_text_are_an_invalid_argument_that_names_the_field() {
    let harness = Harness::start(Fake::default());
    let mut client = tonic::client::Grpc::new(harness.channel().await);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/csi.v1.Controller/CreateVolume");
    let codec = Codec::<Raw, csi::CreateVolumeResponse>::default();
    let request = Request::new(Raw { name: vec![0xff, 0xfe] });
    let status = client.unary(request, path, codec).await.unwrap_err();
    assert!(status.message().contains("name"), "{status}");
    assert_eq!(code(status), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_message_beyond_the_bound_is_refused() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.controller().await;
    let mut request = create("pvc-1");
    request.secrets.insert("key".into(), "x".repeat(5 << 20));
    assert_eq!(code(client.create_volume(request).await.unwrap_err()), "OUT_OF_RANGE");
    assert_eq!(harness.fake.calls(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_caller_that_gives_up_abandons_nothing() {
    let gate = Some(Gate::default());
    let harness = Harness::start(Fake { gate, ..Fake::default() });
    let gate = harness.fake.gate.as_ref().unwrap();
    let mut client = harness.controller().await;
    let call = tokio::spawn(async move { client.create_volume(create("pvc-1")).await });
    gate.begun.notified().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());

    gate.go.notify_one();
    let ended = timeout(Duration::from_secs(60), gate.ended.notified()).await;
    ended.expect("the operation must go on");
    let fake = harness.fake.clone();
    assert_eq!(harness.stopped().await, Drained::All);
    assert_eq!(fake.calls(), ["create main/pvc-1 1073741824 None"]);
}
