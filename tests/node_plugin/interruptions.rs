//! The plugin is killed at each named point of every call; the retry goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rds_csi::host::Host as _;
use rds_csi::node::{Faults, Point};

use super::GIB;
use crate::kernel::{Content, Kernel};
use crate::kubelet::{Attachment, Kubelet, block, file_system, pod};

/// A plugin that is killed the first time that it comes to this point.
fn mortal(kernel: &Kernel, point: Point, died: &Arc<AtomicBool>) -> Kubelet {
    let died = died.clone();
    let judge = move |at| at == point && !died.swap(true, Ordering::Relaxed);
    Kubelet::with(kernel, Faults::at(judge))
}

/// kubelet's calls from the first attachment to the end of the second, each repeated after a kill.
/// The first generation is never unstaged: the second finds it there. An xfs has lost its note when
/// it is unstaged.
async fn whole_life(kernel: &Kernel, uses: &[Attachment; 2], point: Point) -> bool {
    let died = Arc::new(AtomicBool::new(false));
    let mut kubelet = mortal(kernel, point, &died);
    macro_rules! call {
        ($call:expr) => {{
            let before = died.load(Ordering::Relaxed);
            let mut outcome = {
                let kubelet = &kubelet;
                $call(kubelet).await
            };
            if !before && died.load(Ordering::Relaxed) {
                outcome.unwrap_err();
                kubelet = Kubelet::new(kernel);
                let kubelet = &kubelet;
                outcome = $call(kubelet).await;
            }
            outcome.unwrap();
        }};
    }
    for (generation, volume) in uses.iter().enumerate() {
        kernel.export("v", &volume.nqn);
        let target = pod(&format!("p{generation}"));
        call!(async |kubelet: &Kubelet| kubelet.stage(volume).await);
        call!(async |kubelet: &Kubelet| kubelet.publish(volume, &target).await);
        if kernel.disk_at(&target).is_some() && matches!(kernel.content("v"), Content::Files { .. })
        {
            kernel.write(&target, &format!("file{generation}"), "text").unwrap();
        }
        assert_eq!(kernel.disk_at(&target).as_deref(), Some("v"), "{}", point.label());
    }
    for target in [pod("p0"), pod("p1")] {
        call!(async |kubelet: &Kubelet| kubelet.unpublish(&uses[1], &target).await);
        assert!(!kernel.exists(&target), "{}", point.label());
    }
    if matches!(kernel.content("v"), Content::Files { kind, .. } if kind == "xfs") {
        kernel.remove_note("v").await.unwrap();
    }
    call!(async |kubelet: &Kubelet| kubelet.unstage(&uses[1]).await);
    assert!(kernel.connected().is_empty(), "{}", point.label());
    assert_eq!(kernel.mounted(&uses[1].staging()), 0);
    assert!(kubelet.node.staged().await.unwrap().is_empty(), "{}", point.label());
    assert_eq!(kernel.world().violations, Vec::<String>::new(), "{}", point.label());
    died.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_a_kill_at_any_point_goes_on_and_loses_nothing() {
    let mut reached = Vec::new();
    for &point in Point::ALL {
        for kind in ["ext4", "xfs", "block"] {
            let kernel = Kernel::new();
            kernel.make_disk("v", GIB);
            let capability = if kind == "block" { block() } else { file_system(kind) };
            let uses = [
                Attachment::new("v", 1, kind != "block", capability.clone()),
                Attachment::new("v", 2, false, capability),
            ];
            if whole_life(&kernel, &uses, point).await && !reached.contains(&point) {
                reached.push(point);
            }
            if kind != "block" {
                let Content::Files { files, .. } = kernel.content("v") else { panic!("no files") };
                assert_eq!(files.len(), 2, "{} {kind}", point.label());
                assert_eq!(kernel.calls("format"), 1, "{} {kind}", point.label());
            }
        }
    }
    assert_eq!(reached, Point::ALL, "a point that no call comes to proves nothing");
}

#[tokio::test(start_paused = true)]
async fn a_volume_formatted_just_before_a_kill_is_mounted_elsewhere_and_not_formatted_again() {
    let kernel = Kernel::new();
    kernel.make_disk("v", GIB);
    let volume = Attachment::new("v", 1, true, file_system("xfs"));
    kernel.export("v", &volume.nqn);
    let died = Arc::new(AtomicBool::new(false));
    mortal(&kernel, Point::Formatted, &died).stage(&volume).await.unwrap_err();
    let staged = &Kubelet::new(&kernel).node.staged().await.unwrap()[0];
    let begun = rds_csi::node::Formatting::Begun { boot: "boot-1".into() };
    assert_eq!(staged.formatting, begun, "the controller hears that it may have been formatted");
    // Another node has no note of it; nor has this one under another NQN. The ledger says maybe.
    let next = Attachment::new("v", 2, false, file_system("xfs"));
    kernel.export("v", &next.nqn);
    kernel.reboot();
    Kubelet::new(&kernel).stage(&next).await.unwrap();
    assert_eq!(kernel.calls("format"), 1);
}
