//! What kubelet repeats, in every order that it is known for.

use rds_csi::grpc::csi::volume_capability::access_mode::Mode;
use rds_csi::grpc::csi::volume_capability::{AccessType, MountVolume};
use tonic::Code;

use super::{GIB, code, first};
use crate::kernel::{Content, Kernel};
use crate::kubelet::{Attachment, Kubelet, block, file_system, pod, used};

#[tokio::test(start_paused = true)]
async fn what_is_done_already_changes_nothing() {
    let (kernel, mut kubelet, volume) = first("ext4");
    for restarted in [false, true] {
        if restarted {
            kubelet = Kubelet::new(&kernel);
        }
        for _ in 0..3 {
            kubelet.stage(&volume).await.unwrap();
        }
        for _ in 0..3 {
            kubelet.publish(&volume, &pod("a")).await.unwrap();
        }
        kernel.write(&pod("a"), "file", "text").unwrap();
        assert_eq!((kernel.mounted(&volume.staging()), kernel.mounted(&pod("a"))), (1, 1));
        assert_eq!((kernel.calls("connect"), kernel.calls("mount")), (1, 1));
    }
    assert_eq!(kernel.calls("disconnect"), 0, "a repeated call took the volume from under a pod");
    for _ in 0..2 {
        kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    }
    for _ in 0..2 {
        kubelet.unstage(&volume).await.unwrap();
    }
    let Content::Files { files, .. } = kernel.content("v") else { panic!("no files") };
    assert_eq!(files["file"], "text");
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_away_was_perhaps_never_there() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    // The device is gone, as after a fence.
    kernel.change(|world| world.drops = true);
    kernel.unexport("v");
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
    assert_eq!(kernel.mounted(&volume.staging()), 0);
}

#[tokio::test(start_paused = true)]
async fn stacked_mounts_are_all_taken_away_and_what_lies_below_is_never_removed() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.write(&pod("a"), "file", "text").unwrap();
    // Another driver, or an administrator, bound it twice more.
    for _ in 0..2 {
        use rds_csi::host::Host as _;
        kernel.bind(&volume.staging(), &pod("a"), false).await.unwrap();
    }
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    assert!(!kernel.exists(&pod("a")) && kernel.mounted(&pod("a")) == 0);
    let Content::Files { files, .. } = kernel.content("v") else { panic!("no files") };
    assert_eq!(files["file"], "text");

    // With nothing mounted a pod wrote to the node's own disk: those are its data, too.
    kubelet.publish(&volume, &pod("b")).await.unwrap();
    kernel.change(|world| world.calls.clear());
    use rds_csi::host::Host as _;
    kernel.unmount(&pod("b")).await.unwrap();
    kernel.write(&pod("b"), "file", "on the node").unwrap();
    assert_eq!(code(kubelet.unpublish(&volume, &pod("b")).await), Code::Unavailable);
    assert!(kernel.exists(&pod("b").join("file")));
}

#[tokio::test(start_paused = true)]
async fn publishing_brings_a_volume_back_whose_staging_was_lost() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.write(&pod("a"), "file", "text").unwrap();
    kernel.reboot();
    // kubelet believes that it staged the volume.
    let kubelet = Kubelet::new(&kernel);
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("v"));
    assert!(kernel.world().violations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_block_volume_whose_device_was_renumbered_is_bound_anew_and_never_to_another_volume() {
    let kernel = Kernel::new();
    let [volume, other] = ["v", "w"].map(|name| {
        kernel.make_disk(name, GIB);
        let volume = Attachment::new(name, 1, false, block());
        kernel.export(name, &volume.nqn);
        volume
    });
    let kubelet = Kubelet::new(&kernel);
    for one in [&volume, &other] {
        kubelet.stage(one).await.unwrap();
    }
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.renumber(&volume.nqn);
    assert_eq!(kernel.disk_at(&pod("a")), None, "the old device is gone");
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("v"));
    assert_eq!(kernel.mounted(&pod("a")), 1);
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    // Kubelet mixes nothing up, but a file left from another volume is told from ours by number.
    kubelet.publish(&other, &pod("a")).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("v"));
}

#[tokio::test(start_paused = true)]
async fn a_volume_for_one_workload_is_refused_to_a_second() {
    let (kernel, kubelet, mut volume) = first("ext4");
    let mount = MountVolume { fs_type: "ext4".into(), ..MountVolume::default() };
    volume.capability = used(Mode::SingleNodeSingleWriter, AccessType::Mount(mount));
    kubelet.stage(&volume).await.unwrap();
    for _ in 0..2 {
        kubelet.publish(&volume, &pod("a")).await.unwrap();
    }
    let refused = kubelet.publish(&volume, &pod("b")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("/k/pods/a/mount"), "{refused}");
    assert!(!kernel.exists(&pod("b")));
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    kubelet.publish(&volume, &pod("b")).await.unwrap();

    // What was once published and is not mounted any more holds nobody up.
    kernel.reboot();
    Kubelet::new(&kernel).publish(&volume, &pod("c")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn several_workloads_may_share_a_volume_and_one_of_them_may_only_read() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kubelet.publish_as(&volume, &pod("b"), true).await.unwrap();
    kernel.write(&pod("a"), "file", "text").unwrap();
    assert!(kernel.write(&pod("b"), "file", "other").is_err());
    for (target, readonly) in [("a", true), ("b", false)] {
        let refused = kubelet.publish_as(&volume, &pod(target), readonly).await;
        assert_eq!(code(refused), Code::AlreadyExists, "{target}");
    }
    assert_eq!(code(kubelet.unstage(&volume).await), Code::FailedPrecondition);
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    assert_eq!(code(kubelet.unstage(&volume).await), Code::FailedPrecondition);
    kubelet.unpublish(&volume, &pod("b")).await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_volume_staged_in_another_way_is_said_to_be_so() {
    let (_, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    let mut other = volume.clone();
    other.capability = file_system("xfs");
    assert_eq!(code(kubelet.stage(&other).await), Code::AlreadyExists);
    let mount = MountVolume { fs_type: "ext4".into(), ..MountVolume::default() };
    other.capability = used(Mode::SingleNodeReaderOnly, AccessType::Mount(mount));
    assert_eq!(code(kubelet.stage(&other).await), Code::AlreadyExists);
    kubelet.stage(&volume).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_mounted_is_left_alone() {
    let (kernel, kubelet, volume) = first("ext4");
    kernel.mount_foreign(&volume.staging());
    assert_eq!(code(kubelet.stage(&volume).await), Code::FailedPrecondition);
    assert_eq!(code(kubelet.unstage(&volume).await), Code::FailedPrecondition);
    assert_eq!(kernel.mounted(&volume.staging()), 1);
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kernel.mount_foreign(&pod("a"));
    assert_eq!(code(kubelet.publish(&volume, &pod("a")).await), Code::FailedPrecondition);
    assert_eq!(kernel.mounted(&pod("a")), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_does_not_show_where_it_was_made_is_not_made_again_and_again() {
    let (kernel, kubelet, volume) = first("ext4");
    kernel.change(|world| world.linked = true);
    let refused = kubelet.stage(&volume).await.unwrap_err();
    assert!(refused.message().contains("symbolic link"), "{refused}");
    assert_eq!(kernel.calls("mount"), 1);
    assert_eq!(kernel.mounted(&volume.staging()), 0, "it is left behind");
    assert!(kernel.connected().is_empty(), "nobody will ask to unstage it");
    // The same of a pod's path.
    kernel.change(|world| world.linked = false);
    kubelet.stage(&volume).await.unwrap();
    kernel.change(|world| world.linked_below = Some(pod("a")));
    let refused = kubelet.publish(&volume, &pod("a")).await.unwrap_err();
    assert!(refused.message().contains("symbolic link"), "{refused}");
    assert_eq!((kernel.calls("bind"), kernel.mounted(&pod("a"))), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn two_calls_for_one_volume_do_not_run_at_once_and_another_volume_does_not_wait() {
    let (kernel, kubelet, volume) = first("ext4");
    kernel.change(|world| world.no_device = true);
    kernel.make_disk("w", GIB);
    let other = Attachment::new("w", 1, true, file_system("ext4"));
    kernel.export("w", &other.nqn);
    let (slow, contended) = tokio::join!(kubelet.stage(&volume), async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let contended = kubelet.unstage(&volume).await;
        kernel.change(|world| world.no_device = false);
        kubelet.stage(&other).await.unwrap();
        contended
    });
    slow.unwrap();
    assert_eq!(code(contended), Code::Aborted);
}
