//! What is formatted, and above all what is not.

use std::collections::BTreeMap;

use tonic::Code;

use super::{GIB, first};
use crate::kernel::{Content, Kernel};
use crate::kubelet::{Attachment, Kubelet, file_system, pod};

fn files(kind: &str, uuid: &str) -> Content {
    let files = BTreeMap::from([("file".to_owned(), "text".to_owned())]);
    Content::Files { kind: kind.into(), uuid: uuid.into(), bytes: GIB, files }
}

/// Stages `content` as ext4, as far as the ledger allows it; what was said, and how often mkfs ran.
async fn staged(content: Content, may_format: bool) -> (Result<(), (Code, String)>, usize) {
    let kernel = Kernel::new();
    kernel.make_disk("v", GIB);
    kernel.put("v", content.clone());
    let volume = Attachment::new("v", 1, may_format, file_system("ext4"));
    kernel.export("v", &volume.nqn);
    let outcome = Kubelet::new(&kernel).stage(&volume).await;
    let outcome = outcome.map_err(|status| (status.code(), status.message().to_owned()));
    if outcome.is_err() {
        assert_eq!(kernel.content("v"), content);
        assert_eq!(kernel.connected(), [""; 0], "kubelet will not ask to undo it");
        assert!(Kubelet::new(&kernel).node.staged().await.unwrap().is_empty());
    }
    assert!(kernel.world().violations.is_empty());
    (outcome, kernel.calls("format"))
}

#[tokio::test(start_paused = true)]
async fn only_zeros_and_what_mkfs_left_are_formatted_and_only_where_nothing_ever_was() {
    for (content, may_format, made) in [
        (Content::Zeros, true, true),
        (Content::HalfMade("xfs".into(), true), true, true),
        (Content::Zeros, false, false),
        (Content::HalfMade("xfs".into(), true), false, false),
        (Content::HalfMade("ext4".into(), false), true, false),
        (Content::Foreign("LUKS".into()), true, false),
        (files("xfs", "u"), true, false),
        (files("ext3", "u"), false, false),
    ] {
        let (outcome, formatted) = staged(content.clone(), may_format).await;
        assert_eq!((outcome.is_ok(), formatted), (made, usize::from(made)), "{content:?}");
        if let Err((code, _)) = outcome {
            assert_eq!(code, Code::FailedPrecondition, "{content:?}");
        }
    }
    for may_format in [true, false] {
        assert_eq!(staged(files("ext4", "u"), may_format).await, (Ok(()), 0), "it is mounted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_both_facts() {
    for (content, may_format, facts) in [
        (Content::Zeros, false, ["may have been formatted", "reads zeros"]),
        (files("xfs", "u"), true, ["holds xfs", "asked for as ext4"]),
        (Content::Foreign("LUKS".into()), true, ["holds LUKS", "where ext4 is asked for"]),
    ] {
        let (_, message) = staged(content, may_format).await.0.unwrap_err();
        assert!(facts.iter().all(|fact| message.contains(fact)), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_cannot_be_read_is_not_taken_for_zeros() {
    let (kernel, kubelet, volume) = first("ext4");
    kernel.change(|world| world.unreadable = true);
    let refused = kubelet.stage(&volume).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("cannot be read"), "{refused}");
    assert_eq!((kernel.calls("format"), kernel.calls("mount")), (0, 0));
    kernel.change(|world| world.unreadable = false);
    kubelet.stage(&volume).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_volume_formatted_here_that_reads_zeros_is_not_formatted_again() {
    for unstaged in [false, true] {
        let (kernel, kubelet, volume) = first("ext4");
        kubelet.stage(&volume).await.unwrap();
        if unstaged {
            kubelet.unstage(&volume).await.unwrap();
        }
        kernel.reboot();
        kernel.put("v", Content::Zeros);
        let refused = Kubelet::new(&kernel).stage(&volume).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("was formatted on this node"), "{refused}");
        assert_eq!(kernel.calls("format"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_mkfs_is_run_again_whatever_it_left() {
    for left in [
        Content::Zeros,
        Content::HalfMade("xfs".into(), true),
        Content::HalfMade("xfs".into(), false),
    ] {
        let (kernel, kubelet, volume) = first("xfs");
        kernel.change(|world| world.cut_mkfs = Some(left.clone()));
        kubelet.stage(&volume).await.unwrap_err();
        Kubelet::new(&kernel).stage(&volume).await.unwrap();
        assert_eq!(kernel.calls("format"), 2, "{left:?}");
        assert!(matches!(kernel.content("v"), Content::Files { .. }));

        // Not so when the node was started anew since, or under another attachment: then only what
        // says of itself that it is unfinished.
        let (kernel, kubelet, volume) = first("xfs");
        kernel.change(|world| world.cut_mkfs = Some(left.clone()));
        kubelet.stage(&volume).await.unwrap_err();
        kernel.reboot();
        let known = !matches!(left, Content::HalfMade(_, false));
        assert_eq!(Kubelet::new(&kernel).stage(&volume).await.is_ok(), known, "{left:?}");
        assert!(kernel.world().violations.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_was_never_formatted_cannot_be_read_only() {
    let (kernel, kubelet, volume) = first("ext4");
    let reader = Attachment {
        capability: crate::kubelet::used(
            rds_csi::grpc::csi::volume_capability::access_mode::Mode::SingleNodeReaderOnly,
            volume.capability.access_type.clone().unwrap(),
        ),
        ..volume.clone()
    };
    let refused = kubelet.stage(&reader).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(kernel.calls("format"), 0);
    kernel.put("v", files("ext4", "u"));
    kubelet.stage(&reader).await.unwrap();
    kubelet.publish(&reader, &pod("a")).await.unwrap();
    assert!(kernel.write(&pod("a"), "file", "other").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_clone_with_the_uuid_of_its_origin_is_mounted_beside_it() {
    let (kernel, kubelet, volume) = first("xfs");
    kernel.put("v", files("xfs", "same"));
    kubelet.stage(&volume).await.unwrap();
    kernel.make_disk("w", GIB);
    kernel.put("w", files("xfs", "same"));
    let clone = Attachment::new("w", 1, false, file_system("xfs"));
    kernel.export("w", &clone.nqn);
    kubelet.stage(&clone).await.unwrap();
    kubelet.publish(&clone, &pod("a")).await.unwrap();
    assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("w"));
}

#[tokio::test(start_paused = true)]
async fn a_device_of_another_size_is_refused() {
    let (kernel, kubelet, mut volume) = first("ext4");
    volume.context.insert("bytes".into(), (2 * GIB).to_string());
    let refused = kubelet.stage(&volume).await.unwrap_err();
    assert!(refused.message().contains("1073741824 bytes"), "{refused}");
    assert_eq!(kernel.calls("format"), 0);
    kernel.change(|world| world.disks.get_mut("v").unwrap().bytes = 2 * GIB);
    kubelet.stage(&volume).await.unwrap();
}
