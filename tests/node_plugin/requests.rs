//! Requests that are wrong, and what the node says of itself.

use std::path::Path;

use rds_csi::grpc::csi as pb;
use rds_csi::grpc::csi::node_server::Node as _;
use tonic::{Code, Request};

use super::{code, first};
use crate::kubelet::{
    Attachment, Kubelet, block, file_system, pod, publish_request, stage_request,
};

#[tokio::test(start_paused = true)]
async fn every_field_that_is_missing_or_wrong_is_named() {
    let (kernel, kubelet, volume) = first("ext4");
    type Change = fn(&mut pb::NodeStageVolumeRequest);
    let table: [(&str, Change); 9] = [
        ("volume_id", |r| r.volume_id.clear()),
        ("staging_target_path", |r| r.staging_target_path.clear()),
        ("staging_target_path", |r| r.staging_target_path = "a/b".into()),
        ("staging_target_path", |r| r.staging_target_path = "/a/../b".into()),
        ("volume_capability", |r| r.volume_capability = None),
        ("publish_context[nqn]", |r| r.publish_context.clear()),
        ("publish_context[nqn]", |r| {
            r.publish_context.insert("nqn".into(), "nqn.a,hostnqn=b".into());
        }),
        ("publish_context[format]", |r| {
            r.publish_context.insert("format".into(), "yes".into());
        }),
        ("volume_context[ctrlLossTmo]", |r| {
            r.volume_context.insert("ctrlLossTmo".into(), "-7".into());
        }),
    ];
    for (field, change) in table {
        let mut request = stage_request(&volume);
        change(&mut request);
        let refused = kubelet.service.node_stage_volume(Request::new(request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused}");
        assert!(refused.message().starts_with(field), "{field}: {refused}");
    }
    let mut request = publish_request(&volume, &pod("a"), false);
    request.target_path.clear();
    let refused = kubelet.service.node_publish_volume(Request::new(request)).await.unwrap_err();
    assert!(refused.message().starts_with("target_path"), "{refused}");
    // CSI: the volume must be staged first. A request that lacks more is wrong in itself.
    for (capability, wanted) in [(true, Code::FailedPrecondition), (false, Code::InvalidArgument)] {
        let mut request = publish_request(&volume, &pod("a"), false);
        request.staging_target_path.clear();
        request.volume_capability = request.volume_capability.filter(|_| capability);
        let refused = kubelet.service.node_publish_volume(Request::new(request)).await.unwrap_err();
        assert_eq!(refused.code(), wanted, "{refused}");
        assert!(refused.message().starts_with("staging_target_path") || !capability, "{refused}");
    }
    assert_eq!(kernel.calls("connect"), 0);
}

#[tokio::test(start_paused = true)]
async fn mount_options_that_reach_beyond_the_volume_are_refused_and_others_are_passed_on() {
    for (flag, wanted) in [
        ("noatime", Code::Ok),
        ("discard", Code::Ok),
        ("bind", Code::InvalidArgument),
        ("noatime,rshared", Code::InvalidArgument),
        ("offset=4096", Code::InvalidArgument),
        ("remount", Code::InvalidArgument),
        ("dev", Code::InvalidArgument),
    ] {
        let (kernel, kubelet, mut volume) = first("ext4");
        let Some(pb::volume_capability::AccessType::Mount(mount)) =
            &mut volume.capability.access_type
        else {
            panic!("no mount")
        };
        mount.mount_flags = vec![flag.into()];
        assert_eq!(code(kubelet.stage(&volume).await), wanted, "{flag}");
        assert_eq!(kernel.calls("connect"), usize::from(wanted == Code::Ok), "{flag}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_option_ro_makes_a_volume_read_only_from_end_to_end() {
    let (kernel, kubelet, mut volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
    if let Some(pb::volume_capability::AccessType::Mount(mount)) =
        &mut volume.capability.access_type
    {
        mount.mount_flags = vec!["noatime,ro".into()];
    }
    for _ in 0..2 {
        kubelet.stage(&volume).await.unwrap();
        kubelet.publish(&volume, &pod("a")).await.unwrap();
    }
    assert_eq!((kernel.mounted(&volume.staging()), kernel.mounted(&pod("a"))), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_node_says_who_it_is_and_what_it_can_do() {
    let kubelet = Kubelet::new(&crate::kernel::Kernel::new());
    let info = kubelet.service.node_get_info(Request::new(pb::NodeGetInfoRequest {})).await;
    let info = info.unwrap().into_inner();
    assert_eq!((info.node_id.as_str(), info.max_volumes_per_node), ("n1", 0));
    let segments = info.accessible_topology.unwrap().segments;
    let everywhere = ("rds.csi.srvlab.io/zone".to_owned(), "all".to_owned());
    assert_eq!(Vec::from_iter(segments), [everywhere], "every node reaches every box");
    let request = Request::new(pb::NodeGetCapabilitiesRequest {});
    let answer = kubelet.service.node_get_capabilities(request).await.unwrap().into_inner();
    let mut numbers: Vec<i32> = answer
        .capabilities
        .into_iter()
        .map(|one| match one.r#type.unwrap() {
            pb::node_service_capability::Type::Rpc(rpc) => rpc.r#type,
        })
        .collect();
    numbers.sort_unstable();
    // STAGE_UNSTAGE_VOLUME, GET_VOLUME_STATS, EXPAND_VOLUME, SINGLE_NODE_MULTI_WRITER,
    // GET_VOLUME_HEALTH, GET_STORAGE_HEALTH (csi.proto).
    assert_eq!(numbers, [1, 2, 3, 5, 7, 8]);
}

#[tokio::test(start_paused = true)]
async fn what_was_never_here_is_not_found_or_gone_already() {
    let (_, kubelet, _) = first("ext4");
    for name in ["unknown", "Not-A-Slot", "box/unknown"] {
        let volume = Attachment::new(name, 1, true, block());
        assert_eq!(code(kubelet.unpublish(&volume, &pod("a")).await), Code::Ok, "{name}");
        assert_eq!(code(kubelet.unstage(&volume).await), Code::Ok, "{name}");
        assert_eq!(code(kubelet.stats(&volume, &pod("a")).await), Code::NotFound, "{name}");
        assert_eq!(code(kubelet.health(&volume, &pod("a")).await), Code::NotFound, "{name}");
        assert_eq!(code(kubelet.expand(&volume, &pod("a"), 0).await), Code::NotFound, "{name}");
    }
    let volume = Attachment::new("Not-A-Slot", 1, true, file_system("ext4"));
    assert_eq!(code(kubelet.stage(&volume).await), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn the_timing_of_a_storage_class_reaches_the_note() {
    let (_, kubelet, mut volume) = first("ext4");
    volume.volume_context.insert("ctrlLossTmo".into(), "600".into());
    volume.volume_context.insert("fsType".into(), "ext4".into());
    kubelet.stage(&volume).await.unwrap();
    let staged = &kubelet.node.staged().await.unwrap()[0];
    let timing = &staged.connect.timing;
    assert_eq!(timing.ctrl_loss, Some(std::time::Duration::from_secs(600)));
    assert_eq!(timing.reconnect_delay, std::time::Duration::from_secs(10));
    assert_eq!(staged.staging, Path::new("/k/staging/v/globalmount"));
}

#[tokio::test(start_paused = true)]
async fn a_box_that_some_volumes_cannot_reach_is_degraded_and_one_that_none_reaches_is_unreachable()
{
    let (kernel, kubelet, volume) = first("ext4");
    let health = || async {
        let request = Request::new(pb::NodeGetStorageHealthRequest::default());
        let answer = kubelet.service.node_get_storage_health(request).await.unwrap().into_inner();
        answer.backend_health.into_iter().map(|one| one.reason).collect::<Vec<_>>()
    };
    assert!(health().await.is_empty());
    kubelet.stage(&volume).await.unwrap();
    assert!(health().await.is_empty());
    kernel.change(|world| world.away = true);
    assert_eq!(health().await, ["Unreachable"]);
}
