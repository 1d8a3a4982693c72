//! Notes that cannot be read: damaged, or written by a newer driver.

use rds_csi::host::Host as _;
use tonic::Code;

use super::{GIB, code};
use crate::kernel::Kernel;
use crate::kubelet::{Attachment, Kubelet, file_system, nqn, pod};

/// Volumes that were just attached, by id and slot; a box for each of them.
fn volumes<const N: usize>(names: [(&str, &str); N]) -> (Kernel, Kubelet, [Attachment; N]) {
    let kernel = Kernel::new();
    let mut generation = 0;
    let all = names.map(|(volume, slot)| {
        generation += 1;
        let mut one = Attachment::new(slot, generation, true, file_system("ext4"));
        one.volume = volume.into();
        kernel.make_disk(volume, GIB);
        kernel.export(volume, &one.nqn);
        one
    });
    let kubelet = Kubelet::new(&kernel);
    (kernel, kubelet, all)
}

#[tokio::test(start_paused = true)]
async fn one_note_that_cannot_be_read_stops_its_own_volume_and_no_other() {
    let (kernel, kubelet, [bad, good, late]) = volumes([("v", "v"), ("w", "w"), ("x", "x")]);
    for one in [&bad, &good] {
        kubelet.stage(one).await.unwrap();
        kubelet.publish(one, &pod(&one.volume)).await.unwrap();
    }
    let kept = kernel.notes().await.unwrap().remove("v").unwrap().unwrap();
    let newer = kept.replace("\"form\": 1", "\"form\": 2");
    assert_ne!(newer, kept);
    for text in [newer.as_str(), "{", ""] {
        kernel.write_note("v", text).await.unwrap();
        let kubelet = Kubelet::new(&kernel);
        for refused in [
            kubelet.stage(&bad).await,
            kubelet.publish(&bad, &pod("v")).await,
            kubelet.unpublish(&bad, &pod("v")).await,
            kubelet.unstage(&bad).await,
        ] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{text}: {refused}");
            assert!(refused.message().contains("the note v of what is staged"), "{refused}");
        }
        assert_eq!(kernel.disk_at(&pod("v")).as_deref(), Some("v"), "{text}");
        // Another volume's whole life goes on.
        kubelet.stage(&late).await.unwrap();
        kubelet.publish(&late, &pod("x")).await.unwrap();
        kubelet.unpublish(&late, &pod("x")).await.unwrap();
        kubelet.unstage(&late).await.unwrap();
        kubelet.publish(&good, &pod("w")).await.unwrap();
        let staged = kubelet.node.staged().await.unwrap();
        assert_eq!(staged.iter().map(|one| one.volume.as_str()).collect::<Vec<_>>(), ["w"]);
        let unreadable = kubelet.node.unreadable().await.unwrap();
        assert_eq!((unreadable.len(), unreadable[0].name.as_str()), (1, "v"));
    }
    assert_eq!(kernel.connected().len(), 2);
    // Put right, everything goes on.
    kernel.write_note("v", &kept).await.unwrap();
    kubelet.unpublish(&bad, &pod("v")).await.unwrap();
    kubelet.unstage(&bad).await.unwrap();
    assert_eq!(kernel.connected(), [good.nqn]);
}

#[tokio::test(start_paused = true)]
async fn what_an_unreadable_note_may_describe_is_never_disconnected() {
    for text in ["{", "{\"form\": 2, \"nqn\": \"NQN\"}"] {
        // Two boxes have a slot of one name: the older one looks like a generation of the newer.
        let (kernel, kubelet, [far, near]) = volumes([("far/db", "db"), ("db", "db")]);
        kubelet.stage(&far).await.unwrap();
        kernel.write_note("far.db", &text.replace("NQN", &far.nqn)).await.unwrap();
        kubelet.stage(&near).await.unwrap();
        assert_eq!(kernel.connected().len(), 2, "{text}: taken for an old generation");
        kernel.remove_note("db").await.unwrap();
        kernel.unmount(&near.staging()).await.unwrap();
        kubelet.unstage(&near).await.unwrap();
        assert!(kernel.connected().contains(&far.nqn), "{text}: ended by its name alone");
        // Nor is it adopted where it is found mounted, and nothing is taken away at its path.
        kernel.bind(&far.staging(), &near.staging(), false).await.unwrap();
        assert_eq!(code(kubelet.unstage(&near).await), Code::FailedPrecondition);
        assert_eq!(code(kubelet.unpublish(&near, &far.staging()).await), Code::FailedPrecondition);
        assert_eq!((kernel.mounted(&near.staging()), kernel.mounted(&far.staging())), (1, 1));
        assert!(kernel.connected().contains(&far.nqn), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_not_staged_while_it_cannot_be_read_what_was_formatted_here() {
    let (kernel, kubelet, [volume]) = volumes([("v", "v")]);
    kernel.write_note("v.left.note", "{").await.unwrap();
    assert_eq!(code(kubelet.stage(&volume).await), Code::FailedPrecondition);
    assert_eq!((kernel.calls("connect"), kernel.calls("format")), (0, 0));
    kernel.remove_note("v.left.note").await.unwrap();
    kubelet.stage(&volume).await.unwrap();
    assert_eq!(kernel.connected(), [nqn("v", 1)]);
}
