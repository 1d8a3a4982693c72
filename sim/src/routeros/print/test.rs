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
