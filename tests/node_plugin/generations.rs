//! A node that comes back after a fence, and names that must not be mixed up.

use tonic::Code;

use super::{GIB, code, first};
use crate::kernel::{Content, Kernel};
use crate::kubelet::{Attachment, Kubelet, block, file_system, pod};

#[tokio::test(start_paused = true)]
async fn publishing_another_generation_stages_it_anew() {
    let (kernel, kubelet, old) = first("ext4");
    kubelet.stage(&old).await.unwrap();
    kubelet.publish(&old, &pod("a")).await.unwrap();
    kernel.write(&pod("a"), "file", "old").unwrap();
    let new = Attachment::new("v", 3, false, old.capability.clone());
    kernel.export("v", &new.nqn);
    kubelet.publish(&new, &pod("b")).await.unwrap();
    assert_eq!(kernel.connected(), std::slice::from_ref(&new.nqn));
    assert_eq!(kernel.disk_at(&pod("b")).as_deref(), Some("v"));
    assert_eq!((kernel.mounted(&pod("a")), kernel.mounted(&new.staging())), (0, 1));
    let Content::Files { files, .. } = kernel.content("v") else { panic!("no files") };
    assert_eq!(files["file"], "old");
    assert!(kernel.world().violations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn staging_ends_other_generations_of_this_volume_and_nothing_else() {
    let (kernel, kubelet, old) = first("ext4");
    let beside: Vec<_> = ["v2", "v-2", "w"]
        .map(|name| {
            kernel.make_disk(name, GIB);
            let volume = Attachment::new(name, 1, true, file_system("ext4"));
            kernel.export(name, &volume.nqn);
            volume
        })
        .into();
    for volume in beside.iter().chain([&old]) {
        kubelet.stage(volume).await.unwrap();
    }
    let new = Attachment::new("v", 2, false, old.capability.clone());
    kernel.export("v", &new.nqn);
    kubelet.stage(&new).await.unwrap();
    let mut connected: Vec<_> = beside.iter().map(|volume| volume.nqn.clone()).collect();
    connected.push(new.nqn.clone());
    let mut found = kernel.connected();
    found.sort();
    connected.sort();
    assert_eq!(found, connected);
    assert_eq!(kernel.calls("disconnect"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_busy_mount_of_an_old_generation_does_not_keep_the_new_one_out() {
    let (kernel, kubelet, old) = first("ext4");
    kubelet.stage(&old).await.unwrap();
    kubelet.publish(&old, &pod("a")).await.unwrap();
    kernel.change(|world| {
        world.busy.insert(pod("a"));
    });
    let new = Attachment::new("v", 2, false, old.capability.clone());
    kernel.export("v", &new.nqn);
    kubelet.stage(&new).await.unwrap();
    kubelet.publish(&new, &pod("b")).await.unwrap();
    assert_eq!(kernel.disk_at(&pod("b")).as_deref(), Some("v"));
    assert_eq!((kernel.mounted(&pod("a")), kernel.disk_at(&pod("a"))), (1, None));
}

#[tokio::test(start_paused = true)]
async fn volumes_of_two_boxes_that_share_a_slot_are_two_volumes() {
    let kernel = Kernel::new();
    let attachments = [("db", 1), ("far/db", 2)].map(|(volume, generation)| {
        let mut one = Attachment::new("db", generation, true, file_system("ext4"));
        one.volume = volume.into();
        kernel.make_disk(volume, GIB);
        kernel.export(volume, &one.nqn);
        one
    });
    let kubelet = Kubelet::new(&kernel);
    for one in &attachments {
        kubelet.stage(one).await.unwrap();
    }
    assert_eq!(kernel.connected().len(), 2, "one of them was taken for an old generation");
    kubelet.unstage(&attachments[0]).await.unwrap();
    assert_eq!(kernel.connected(), [attachments[1].nqn.clone()]);
}

#[tokio::test(start_paused = true)]
async fn one_name_that_two_volumes_claim_is_refused() {
    let kernel = Kernel::new();
    kernel.make_disk("db", GIB);
    kernel.export("db", "db");
    let named = |volume: &str| {
        let mut one = Attachment::new("db", 1, true, file_system("ext4"));
        one.volume = volume.into();
        one.context.insert("nqn".into(), "db".into());
        one
    };
    let kubelet = Kubelet::new(&kernel);
    kubelet.stage(&named("db")).await.unwrap();
    let refused = kubelet.stage(&named("far/db")).await;
    assert_eq!(code(refused), Code::FailedPrecondition);
    assert_eq!(kernel.connected(), ["db"]);
    kubelet.unstage(&named("far/db")).await.unwrap();
    assert_eq!(kernel.connected(), ["db"]);
    kubelet.unstage(&named("db")).await.unwrap();
    assert!(kernel.connected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_renumbered_device_is_mounted_anew_and_the_pods_path_follows() {
    // A dead ext4 answers from memory, a dead xfs answers EIO to everything.
    for kind in ["ext4", "xfs"] {
        let (kernel, kubelet, volume) = first(kind);
        kubelet.stage(&volume).await.unwrap();
        kubelet.publish(&volume, &pod("a")).await.unwrap();
        kernel.write(&pod("a"), "file", "text").unwrap();
        kernel.renumber(&volume.nqn);
        let told = kubelet.health(&volume, &pod("a")).await.unwrap();
        assert_eq!(told, ["StaleMount", "StaleTarget"], "{kind}");
        kubelet.publish(&volume, &pod("a")).await.unwrap();
        assert!(kubelet.health(&volume, &pod("a")).await.unwrap().is_empty(), "{kind}");
        kernel.write(&pod("a"), "more", "text").unwrap();
        let Content::Files { files, .. } = kernel.content("v") else { panic!("no files") };
        assert_eq!(files.len(), 2, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_note_a_connection_is_known_by_its_name_and_ended() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    use rds_csi::host::Host as _;
    kernel.remove_note("v").await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
    assert_eq!((kernel.connected().len(), kernel.mounted(&volume.staging())), (0, 0));
    kubelet.stage(&volume).await.unwrap();
    kernel.remove_note("v").await.unwrap();
    Kubelet::new(&kernel).stage(&volume).await.unwrap();
    assert_eq!(kernel.calls("mount"), 2, "what is mounted already is found");
}

/// What the first driver did: the volume `v` under a name of its own, mounted without any note.
async fn of_the_first_driver(nqn: &str) -> (Kernel, Kubelet, Attachment) {
    use rds_csi::host::Host as _;
    let kernel = Kernel::new();
    kernel.make_disk("v", GIB);
    kernel.export("v", nqn);
    let mut volume = Attachment::new("v", 1, true, file_system("ext4"));
    volume.nqn = nqn.into();
    volume.context.insert("nqn".into(), nqn.into());
    volume.context.remove("generation");
    Kubelet::new(&kernel).stage(&volume).await.unwrap();
    kernel.remove_note("v").await.unwrap();
    let kubelet = Kubelet::new(&kernel);
    (kernel, kubelet, volume)
}

#[tokio::test(start_paused = true)]
async fn without_its_note_a_connection_of_any_name_is_found_by_what_is_mounted() {
    for nqn in ["v", "nqn.2000-02.com.mikrotik:v", "nqn.2000-02.com.mikrotik:other"] {
        let (kernel, kubelet, volume) = of_the_first_driver(nqn).await;
        kubelet.unstage(&volume).await.unwrap();
        assert!(kernel.connected().is_empty(), "{nqn} leaked");
        assert_eq!(kernel.mounted(&volume.staging()), 0);
        kubelet.unstage(&volume).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_unstage_without_a_note_goes_on_wherever_it_was_cut_off() {
    use rds_csi::node::{Faults, Point};
    for point in [Point::FoundNoted, Point::Unmounted, Point::Disconnected] {
        let (kernel, _, volume) = of_the_first_driver("nqn.2000-02.com.mikrotik:v").await;
        let cut = Kubelet::with(&kernel, Faults::at(move |at| at == point));
        assert_eq!(code(cut.unstage(&volume).await), Code::DeadlineExceeded, "{point:?}");
        Kubelet::new(&kernel).unstage(&volume).await.unwrap();
        assert!(kernel.connected().is_empty(), "leaked when cut off at {point:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_note_what_is_used_elsewhere_stays_connected() {
    use rds_csi::host::Host as _;
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.remove_note("v").await.unwrap();
    let refused = kubelet.unstage(&volume).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("/k/pods/a/mount"), "{refused}");
    assert_eq!(kernel.connected(), std::slice::from_ref(&volume.nqn));
    // Not mounted at the staging path any more, and nothing in memory: still not.
    let refused = Kubelet::new(&kernel).unstage(&volume).await;
    assert_eq!(code(refused), Code::FailedPrecondition);
    assert_eq!(kernel.connected(), std::slice::from_ref(&volume.nqn));
    kernel.write(&pod("a"), "file", "text").unwrap();
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
    assert!(kernel.connected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_its_note_a_device_that_is_bound_to_a_pod_stays_connected() {
    use rds_csi::host::Host as _;
    let (kernel, kubelet, mut volume) = first("ext4");
    volume.capability = block();
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.remove_note("v").await.unwrap();
    assert_eq!(code(kubelet.unstage(&volume).await), Code::FailedPrecondition);
    assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("v"));
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
    assert!(kernel.connected().is_empty());
}

/// Two volumes that are staged and published at paths of their own, as file systems or as devices.
async fn two(as_block: bool) -> (Kernel, Kubelet, [Attachment; 2]) {
    let kernel = Kernel::new();
    let kubelet = Kubelet::new(&kernel);
    let both = ["v", "w"].map(|name| {
        kernel.make_disk(name, GIB);
        let used = if as_block { block() } else { file_system("ext4") };
        let volume = Attachment::new(name, 1, true, used);
        kernel.export(name, &volume.nqn);
        volume
    });
    for volume in &both {
        kubelet.stage(volume).await.unwrap();
        kubelet.publish(volume, &pod(&volume.volume)).await.unwrap();
    }
    (kernel, kubelet, both)
}

#[tokio::test(start_paused = true)]
async fn a_path_of_another_volume_is_left_alone_and_both_are_named() {
    for as_block in [false, true] {
        let (kernel, kubelet, [volume, other]) = two(as_block).await;
        let refused = kubelet.unpublish(&volume, &pod("w")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        for name in ["volume v ", "volume w,", "/k/pods/w/mount"] {
            assert!(refused.message().contains(name), "{refused}");
        }
        assert_eq!(kernel.disk_at(&pod("w")).as_deref(), Some("w"));
        kubelet.unpublish(&volume, &pod("v")).await.unwrap();
        // What another volume's note does not name, its device says.
        if as_block {
            kernel.rebind(&pod("w"), &pod("x"));
        } else {
            use rds_csi::host::Host as _;
            kernel.make_directory(&pod("x")).await.unwrap();
            kernel.bind(&other.staging(), &pod("x"), false).await.unwrap();
        }
        let refused = kubelet.unpublish(&volume, &pod("x")).await;
        assert_eq!(code(refused), Code::FailedPrecondition);
        assert_eq!(kernel.disk_at(&pod("x")).as_deref(), Some("w"));

        let swapped = kubelet.unstage_at(&volume, &other.staging()).await.unwrap_err();
        assert_eq!(swapped.code(), Code::FailedPrecondition);
        assert!(swapped.message().contains("belongs to volume w"), "{swapped}");
        let mut astray = volume.clone();
        astray.staging = Some(other.staging());
        assert_eq!(code(kubelet.stage(&astray).await), Code::FailedPrecondition);
        assert_eq!(kernel.mounted(&other.staging()), usize::from(!as_block));
        assert_eq!(kernel.connected().len(), 2);
        assert_eq!(kernel.disk_at(&pod("w")).as_deref(), Some("w"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_volume_has_mounted_at_a_staging_path_is_not_unmounted() {
    use rds_csi::host::Host as _;
    let (kernel, kubelet, [volume, other]) = two(false).await;
    kubelet.unpublish(&volume, &pod("v")).await.unwrap();
    kernel.bind(&other.staging(), &volume.staging(), false).await.unwrap();
    let refused = kubelet.unstage(&volume).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("belongs to volume w"), "{refused}");
    assert_eq!(kernel.mounted(&volume.staging()), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_call_of_an_older_generation_takes_nothing_from_the_newer_one() {
    let (kernel, kubelet, old) = first("ext4");
    kubelet.stage(&old).await.unwrap();
    let new = Attachment::new("v", 2, false, old.capability.clone());
    kernel.export("v", &new.nqn);
    kubelet.stage(&new).await.unwrap();
    kubelet.publish(&new, &pod("a")).await.unwrap();
    // Both a plugin that remembers nothing and one that has lost its note.
    for loses_note in [false, true] {
        if loses_note {
            use rds_csi::host::Host as _;
            kernel.remove_note("v").await.unwrap();
        }
        let kubelet = Kubelet::new(&kernel);
        for refused in [kubelet.stage(&old).await, kubelet.publish(&old, &pod("b")).await] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            for named in ["generation 1", &old.nqn, "generation 2", &new.nqn] {
                assert!(refused.message().contains(named), "{refused}");
            }
        }
        assert_eq!(kernel.connected(), std::slice::from_ref(&new.nqn));
        assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("v"));
        assert_eq!(kubelet.node.staged().await.unwrap().len(), usize::from(!loses_note));
    }
    // The newer one goes on as if nothing had been.
    let kubelet = Kubelet::new(&kernel);
    kubelet.publish(&new, &pod("a")).await.unwrap();
    kubelet.unpublish(&new, &pod("a")).await.unwrap();
    kubelet.unstage(&new).await.unwrap();
    assert!(kernel.connected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_was_made_anew_begins_at_its_first_generation_again() {
    let (kernel, kubelet, _) = first("ext4");
    let before = Attachment::new("v", 7, true, file_system("ext4"));
    kernel.export("v", &before.nqn);
    kubelet.stage(&before).await.unwrap();
    // Deleted and made anew under the same name, and never unstaged here.
    kernel.make_disk("v", GIB);
    let anew = Attachment::new("v", 1, true, file_system("ext4"));
    kernel.export("v", &anew.nqn);
    assert_eq!(code(kubelet.stage(&anew).await), Code::FailedPrecondition);
    let kubelet = Kubelet::vouched(&kernel);
    kubelet.stage(&anew).await.unwrap();
    assert_eq!(kernel.connected(), std::slice::from_ref(&anew.nqn));
    // Nor does what was known before a restart of the node hold anything up.
    let (kernel, kubelet, first) = first("ext4");
    let later = Attachment::new("v", 7, true, file_system("ext4"));
    kernel.export("v", &later.nqn);
    kubelet.stage(&later).await.unwrap();
    kernel.reboot();
    kernel.export("v", &first.nqn);
    Kubelet::new(&kernel).stage(&first).await.unwrap();
}
