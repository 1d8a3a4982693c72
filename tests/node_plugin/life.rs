//! A volume's whole life on a node.

use rds_csi::grpc::csi as pb;
use tonic::Code;

use super::{GIB, code, first};
use crate::kernel::{Content, Kernel};
use crate::kubelet::{Attachment, Kubelet, block, pod};

#[tokio::test(start_paused = true)]
async fn a_file_system_is_made_used_handed_on_and_nothing_is_left() {
    for kind in ["ext4", "xfs", "btrfs", "ext3"] {
        let (kernel, kubelet, volume) = first(kind);
        kubelet.stage(&volume).await.unwrap();
        kubelet.publish(&volume, &pod("a")).await.unwrap();
        kernel.write(&pod("a"), "file", kind).unwrap();
        assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("v"));
        let staged = &kubelet.node.staged().await.unwrap()[0];
        assert_eq!(staged.formatting, rds_csi::node::Formatting::Done);
        assert!(staged.uuid.as_deref().unwrap().starts_with("uuid-"));
        kubelet.unpublish(&volume, &pod("a")).await.unwrap();
        kubelet.unstage(&volume).await.unwrap();
        assert!(kernel.connected().is_empty() && !kernel.exists(&pod("a")), "{kind}");
        assert!(kubelet.node.staged().await.unwrap().is_empty());
        // What became of the disk is told until it is known elsewhere.
        let (left, _) = kubelet.node.noted().await.unwrap();
        assert_eq!(left[0].formatting, rds_csi::node::Formatting::Done);
        assert_eq!((left.len(), left[0].nqn.as_str()), (1, volume.nqn.as_str()));

        // The next attachment, on whatever node: the file is there, and mkfs does not run.
        let next = Attachment::new("v", 2, false, volume.capability.clone());
        kernel.export("v", &next.nqn);
        kubelet.stage(&next).await.unwrap();
        kubelet.publish(&next, &pod("b")).await.unwrap();
        let Content::Files { files, .. } = kernel.content("v") else { panic!("no files") };
        assert_eq!(files["file"], kind);
        assert_eq!(kernel.calls("format"), 1);
        assert!(kernel.world().violations.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_is_published_as_it_is_and_never_formatted() {
    let kernel = Kernel::new();
    kernel.make_disk("v", GIB);
    let volume = Attachment::new("v", 1, false, block());
    kernel.export("v", &volume.nqn);
    let kubelet = Kubelet::new(&kernel);
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    assert_eq!(kernel.disk_at(&pod("a")).as_deref(), Some("v"));
    assert_eq!(kernel.mounted(&pod("a")), 1);
    assert_eq!(kubelet.stats(&volume, &pod("a")).await.unwrap()[0].total, GIB as i64);
    assert_eq!(code(kubelet.unstage(&volume).await), Code::FailedPrecondition, "it is in use");
    kubelet.unpublish(&volume, &pod("a")).await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
    assert!(kernel.connected().is_empty() && !kernel.exists(&pod("a")));
    assert_eq!((kernel.calls("format"), kernel.calls("mount")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_grown_volume_is_grown_on_the_node_also_when_the_reply_was_lost() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.write(&pod("a"), "file", "text").unwrap();
    kernel.change(|world| world.disks.get_mut("v").unwrap().bytes = 2 * GIB);
    let size = (2 * GIB) as i64;
    for _ in 0..2 {
        assert_eq!(kubelet.expand(&volume, &pod("a"), size).await.unwrap(), size);
        let Content::Files { bytes, files, .. } = kernel.content("v") else { panic!("no files") };
        assert_eq!((bytes, files["file"].as_str()), (2 * GIB, "text"));
    }
    // The device shows the size already, and the file system does not fill it.
    kernel.change(|world| {
        let Content::Files { bytes, .. } = &mut world.disks.get_mut("v").unwrap().content else {
            panic!("no files")
        };
        *bytes = GIB;
    });
    kubelet.expand(&volume, &volume.staging(), size).await.unwrap();
    let Content::Files { bytes, .. } = kernel.content("v") else { panic!("no files") };
    assert_eq!(bytes, 2 * GIB);
}

#[tokio::test(start_paused = true)]
async fn growing_ends_when_the_size_does_not_come_and_knows_what_is_not_here() {
    let (_, kubelet, volume) = first("ext4");
    assert_eq!(code(kubelet.expand(&volume, &pod("a"), 1).await), Code::NotFound);
    kubelet.stage(&volume).await.unwrap();
    let late = kubelet.expand(&volume, &volume.staging(), 2 * GIB as i64).await.unwrap_err();
    assert_eq!(late.code(), Code::Unavailable);
    assert!(late.message().contains("1073741824 bytes, and not 2147483648"), "{late}");
    assert_eq!(code(kubelet.expand(&volume, &pod("b"), 1).await), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_measured_where_it_is_mounted_and_nowhere_else() {
    let (kernel, kubelet, volume) = first("xfs");
    assert_eq!(code(kubelet.stats(&volume, &pod("a")).await), Code::NotFound);
    kubelet.stage(&volume).await.unwrap();
    kubelet.publish(&volume, &pod("a")).await.unwrap();
    kernel.write(&pod("a"), "file", "12345").unwrap();
    let usage = kubelet.stats(&volume, &pod("a")).await.unwrap();
    let bytes = &usage[0];
    assert_eq!(
        (bytes.total, bytes.used, bytes.unit),
        (GIB as i64, 5, pb::volume_usage::Unit::Bytes.into())
    );
    assert_eq!((usage[1].used, usage[1].available), (1, 999));
    // What is mounted there is another volume, or nothing: never the node's own disk.
    assert_eq!(code(kubelet.stats(&volume, &pod("b")).await), Code::NotFound);
    kernel.renumber(&volume.nqn);
    assert_eq!(code(kubelet.stats(&volume, &pod("a")).await), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_file_system_smaller_than_its_device_grows_when_it_is_staged() {
    let (kernel, kubelet, volume) = first("ext4");
    kubelet.stage(&volume).await.unwrap();
    kubelet.unstage(&volume).await.unwrap();
    assert_eq!(kernel.calls("grow"), 0, "it fills its device");
    kernel.change(|world| world.disks.get_mut("v").unwrap().bytes = 4 * GIB);
    kubelet.stage(&volume).await.unwrap();
    let Content::Files { bytes, .. } = kernel.content("v") else { panic!("no files") };
    assert_eq!(bytes, 4 * GIB);
}
