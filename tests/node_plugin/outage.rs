//! The box is away, for a moment or for good.

use tonic::Code;

use super::{GIB, code, first};
use crate::kernel::{Content, Kernel};
use crate::kubelet::{Attachment, Kubelet, block, file_system, pod};

#[tokio::test(start_paused = true)]
async fn what_is_mounted_stays_so_while_the_box_is_away() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.change(|world| world.away = true);
    let kubelet = Kubelet::new(&kernel);
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kubelet.publish(&volume, &pod("b")).await.unwrap();
    assert_eq!(kubelet.health(&volume, &pod("a")).await.unwrap(), ["Connecting"]);
    kernel.change(|world| world.away = false);
    kernel.write(&pod("a"), "file", "text").unwrap();
    assert_eq!(kernel.calls("disconnect"), 0);
    assert!(kubelet.health(&volume, &pod("a")).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_box_that_does_not_answer_is_an_error_within_the_deadline_and_changes_nothing() {
    let (kernel, kubelet, volume) = first("ext4");
    kernel.change(|world| world.away = true);
    assert_eq!(code(kubelet.stage(&volume).await), Code::DeadlineExceeded);
    assert_eq!(kubelet.health(&volume, &pod("a")).await.unwrap(), ["NotMounted", "Disconnected"]);
    kernel.change(|world| world.away = false);
    kubelet.stage(&volume).await.unwrap();
    assert!(kubelet.health(&volume, &volume.staging()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_device_is_waited_for_and_given_up() {
    let (kernel, kubelet, volume) = first("ext4");
    kernel.change(|world| world.no_device = true);
    let late = kubelet.stage(&volume).await.unwrap_err();
    assert_eq!(late.code(), Code::Unavailable);
    assert!(late.message().contains("no device of volume v appeared within 30s"), "{late}");
    let (staged, ()) = tokio::join!(kubelet.stage(&volume), async {
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        kernel.change(|world| world.no_device = false);
    });
    staged.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unstaging_waits_for_a_box_that_is_away_unless_the_generation_is_over() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kernel.change(|world| world.away = true);
    // The mount is gone with the first attempt; what it has to write is not.
    for _ in 0..3 {
        assert_eq!(code(kubelet.unstage(&volume).await), Code::DeadlineExceeded);
        assert_eq!((kernel.connected().len(), kernel.mounted(&volume.staging())), (1, 0));
    }
    Kubelet::told(&kernel, true).unstage(&volume).await.unwrap();
    assert!(kernel.connected().is_empty());
    kernel.change(|world| assert_eq!(world.lost, std::slice::from_ref(&volume.nqn)));
}

#[tokio::test(start_paused = true)]
async fn what_an_unmount_has_still_to_write_is_written_when_the_box_returns() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kernel.change(|world| world.away = true);
    assert_eq!(code(kubelet.unstage(&volume).await), Code::DeadlineExceeded);
    assert_eq!(code(Kubelet::new(&kernel).unstage(&volume).await), Code::DeadlineExceeded);
    kernel.change(|world| world.away = false);
    kubelet.unstage(&volume).await.unwrap();
    assert!(kernel.connected().is_empty());
    kernel.change(|world| assert!(world.lost.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_volume_under_the_name_of_another_one_does_not_end_that_ones_connection() {
    let (kernel, kubelet, volume) = first("ext4");
    let raw = Attachment { capability: block(), ..volume.clone() };
    kubelet.stage(&raw).await.unwrap();
    let mut other = Attachment::new("w", 1, true, file_system("ext4"));
    other.context.insert("nqn".into(), volume.nqn.clone());
    assert_eq!(code(kubelet.stage(&other).await), Code::FailedPrecondition);
    assert_eq!(kernel.connected(), std::slice::from_ref(&volume.nqn));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_works_is_never_ended_because_an_unmount_fails() {
    let (kernel, _, volume) = first("ext4");
    let kubelet = Kubelet::told(&kernel, true);
    kubelet.stage(&volume).await.unwrap();
    kernel.change(|world| {
        world.busy.insert(volume.staging());
    });
    assert_eq!(code(kubelet.unstage(&volume).await), Code::Unavailable);
    assert_eq!(kernel.calls("disconnect"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_kernel_dropped_is_made_again_and_the_dead_mount_replaced() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.change(|world| world.drops = true);
    kernel.unexport("v");
    assert!(kernel.connected().is_empty());
    assert_eq!(kubelet.health(&volume, &pod("a")).await.unwrap()[0], "Disconnected");
    kernel.export("v", &volume.nqn);
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.write(&pod("a"), "file", "text").unwrap();
    assert_eq!((kernel.mounted(&pod("a")), kernel.mounted(&volume.staging())), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_over_is_refused_and_no_other_connection_is_touched() {
    let (kernel, kubelet, volume) = first("ext4");
    kernel.make_disk("w", GIB);
    let other = Attachment::new("w", 1, true, file_system("ext4"));
    kernel.export("w", &other.nqn);
    kubelet.stage(&other).await.unwrap();
    kernel.unexport("v");
    assert_eq!(code(kubelet.stage(&volume).await), Code::Internal);
    assert_eq!(kernel.connected(), std::slice::from_ref(&other.nqn));
}

/// What a box does that makes a disk again, or is started anew: the same name exports it, and it is
/// called otherwise. The node was started anew, too, so that it is staged again.
async fn repaired(volume: &Attachment, kernel: &Kernel, is: &str) -> Kubelet {
    kernel.reboot();
    kernel.change(|world| {
        world.identities.insert("v".into(), is.into());
    });
    kernel.export("v", &volume.nqn);
    Kubelet::new(kernel)
}

#[tokio::test(start_paused = true)]
async fn a_device_of_another_identity_is_mounted_only_with_the_same_file_system() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.write(&pod("a"), "file", "text").unwrap();
    for identity in ["uuid.second", "eui.third", "nvme.made-up-by-the-kernel", "uuid.fourth"] {
        let kubelet = repaired(&volume, &kernel, identity).await;
        kubelet.publish(&volume, &pod("a")).await.unwrap();
        assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("v"), "{identity}");
    }
    // Another disk, which holds another file system.
    let kubelet = repaired(&volume, &kernel, "uuid.other").await;
    let Content::Files { kind, bytes, files, .. } = kernel.content("v") else { panic!("no files") };
    kernel.put("v", Content::Files { kind, bytes, files, uuid: "another".into() });
    let refused = kubelet.publish(&volume, &pod("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for named in ["uuid.fourth", "uuid.other", "another"] {
        assert!(refused.message().contains(named), "{refused}");
    }
    assert_eq!(kernel.mounted(&volume.staging()), 0);
    // Or which holds none: it is never formatted, whatever the context says.
    kernel.put("v", Content::Zeros);
    assert_eq!(code(kubelet.stage(&volume).await), Code::FailedPrecondition);
    assert_eq!(kernel.calls("format"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_raw_device_of_another_identity_is_taken_only_under_a_name_that_nobody_else_gets() {
    for (nqn, is_taken) in [(None, true), (Some("nqn.2000-02.com.mikrotik:v"), false)] {
        let kernel = Kernel::new();
        kernel.make_disk("v", GIB);
        let mut volume = Attachment::new("v", 1, false, block());
        if let Some(nqn) = nqn {
            volume.nqn = nqn.into();
            volume.context.insert("nqn".into(), nqn.into());
            volume.context.remove("generation");
        }
        kernel.export("v", &volume.nqn);
        let kubelet = Kubelet::new(&kernel);
        for _ in 0..2 {
            kubelet.stage(&volume).await.unwrap();
        }
        let kubelet = repaired(&volume, &kernel, "uuid.second").await;
        let outcome = kubelet.stage(&volume).await;
        assert_eq!(outcome.is_ok(), is_taken, "{outcome:?}");
        if let Err(refused) = outcome {
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert!(refused.message().contains("uuid.second, it was uuid.v"), "{refused}");
            let again = kubelet.stage(&volume).await.unwrap_err();
            assert!(again.message().contains("uuid.second, it was uuid.v"), "asked again: {again}");
            // The way out that the message names.
            kubelet.unstage(&volume).await.unwrap();
            kubelet.stage(&volume).await.unwrap();
        }
    }
}
