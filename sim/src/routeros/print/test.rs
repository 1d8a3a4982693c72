use super::detail::wrap;
use super::text::{grouped, human_size, monitor, rate};
use super::*;

#[test]
fn numbers_read_as_in_the_transcripts() {
    assert_eq!(grouped(1_099_511_627_776), "1 099 511 627 776");
    assert_eq!(grouped(-1_234), "-1 234");
    assert_eq!(grouped(12), "12");
    assert_eq!(human_size(1_099_511_627_776), "1024.0GiB");
    assert_eq!(human_size(53_687_091_200), "50.0GiB");
    assert_eq!(human_size(524_288), "512.0KiB");
    assert_eq!(human_size(53_687_091_201), "50.0GiB", "the size is lossy");
    assert_eq!(rate(12_800_000), "12.8Mbps");
    assert_eq!(rate(0), "0bps");
}

#[test]
fn a_word_longer_than_a_line_breaks_in_the_middle() {
    let path = format!("file-path=/storage-pool/metal-csi/pvc-{}.img", "x".repeat(36));
    let lines = wrap("", &format!("swap=no {path} file-offset=0"), 80, 6);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], "swap=no");
    assert_eq!(lines[1].len(), 80);
    assert!(lines[2].ends_with(".img file-offset=0"));
    for width in 0..90 {
        let joined: String = wrap("", &path, width, 6).iter().map(|line| line.trim()).collect();
        assert_eq!(joined, path, "nothing is lost at width {width}");
    }
}

#[test]
fn samples_of_traffic_stand_right_aligned() {
    let sample = [
        ("slot", Value::text("storage-pool")),
        ("read-ops", Value::Number(243_401)),
        ("write-rate", Value::Number(12_800_000)),
        ("active-time", Value::Number(0)),
    ];
    assert_eq!(
        monitor(&sample),
        "                  slot: storage-pool\n              read-ops:      243 401\n            \
         write-rate:     12.8Mbps\n           active-time:          0ms"
    );
}

/// The transcript of an RDS2216 (7.24), a file-backed export in a wide terminal.
#[test]
fn detail_has_the_fields_of_the_transcript_in_their_order() {
    let os = crate::routeros::RouterOs::new(crate::routeros::Version::V7_24_4, Quirks::default());
    os.change_quirks(|quirks| {
        (quirks.wrap_width, quirks.crlf) = (236, false);
        quirks.pad_lines = false;
    });
    os.exec("/disk/add type=file slot=vm-storage-001 file-path=storage-pool/vm-storage-001.img file-size=1T mount-filesystem=no nvme-tcp-export=yes nvme-tcp-server-nqn=nqn.2026-09.com.mikrotik:rds2216.vm-storage-001");
    let printed = os.exec("/disk print detail where slot=\"vm-storage-001\"").text();
    assert_eq!(
        printed,
        "Flags: B - BLOCK-DEVICE; t - NVME-TCP-EXPORT\n\
         0 Bt type=file slot=\"vm-storage-001\" slot-default=\"\" parent=\"\" fs=- \
         model=\"/storage-pool/vm-storage-001.img\" size=1 099 511 627 776 mount-filesystem=no \
         mount-read-only=no compress=no sector-size=512 raid-master=none nvme-tcp-export=yes\n      \
         nvme-tcp-server-port=4420 \
         nvme-tcp-server-nqn=\"nqn.2026-09.com.mikrotik:rds2216.vm-storage-001\" \
         nvme-tcp-server-allow-host-name=\"\" iscsi-export=no nfs-sharing=no smb-sharing=no \
         media-sharing=no media-interface=none swap=no\n      \
         file-path=/storage-pool/vm-storage-001.img file-size=1024.0GiB file-offset=0\n"
    );
}

#[test]
fn a_box_without_a_match_still_prints_a_header() {
    let os = crate::routeros::RouterOs::new(crate::routeros::Version::V7_24_4, Quirks::default());
    let printed = os.exec("/disk print detail where slot=nosuch").text();
    let lines: Vec<&str> = printed.split_terminator("\r\n").collect();
    assert!(lines.len() == 2 && lines[0].starts_with("Flags: X - disabled"), "{printed}");
    assert!(lines.iter().all(|line| line.len() == 80), "padded: {printed:?}");
}

#[test]
fn comments_stand_above_in_detail_and_inside_in_terse() {
    let os = crate::routeros::RouterOs::new(crate::routeros::Version::V7_24_4, Quirks::default());
    os.exec("/disk/set nvme1 comment=\"two words\"");
    let detail = os.exec("/disk print detail where slot=nvme1").text();
    assert!(detail.contains("0 Br ;;; two words"), "{detail}");
    let terse = os.exec("/disk print terse where slot=nvme1").text();
    assert!(terse.starts_with("0 B r  comment=two words type=hardware slot=nvme1 "), "{terse}");
    let files = os.exec("/file add name=storage-pool/a.img; /file print detail").text();
    assert!(files.contains("type=.img file size=0 "), "the type has a bare blank: {files}");
}

#[test]
fn the_brief_table_aligns_names_left_and_numbers_right() {
    let os = crate::routeros::RouterOs::new(crate::routeros::Version::V7_24_4, Quirks::default());
    os.change_quirks(|quirks| (quirks.wrap_width, quirks.crlf) = (0, false));
    let printed = os.exec("/disk print where slot=storage-pool").text();
    assert_eq!(
        printed,
        "Flags: B - BLOCK-DEVICE; M - MOUNTED\nColumns: SLOT, MODEL, SIZE, FREE, FS\n\
         #    SLOT          MODEL                       SIZE               FREE  FS\n\
         0 BM storage-pool  RAID0 striped  7 681 574 174 720  7 627 803 155 502  xfs\n"
    );
}
