//! Capacity ranges.

use super::*;
use crate::operations::{CreateVolume, Expand};

const GIB: i64 = 1 << 30;

fn range(required_bytes: i64, limit_bytes: i64) -> Option<pb::CapacityRange> {
    Some(pb::CapacityRange { required_bytes, limit_bytes })
}

#[test]
fn sizes_are_exact_bytes_rounded_up_to_a_block() {
    let table = [
        (None, DEFAULT_BYTES, None),
        (range(0, 0), DEFAULT_BYTES, None),
        (range(1, 0), GRANULE, None),
        (range(4096, 4096), 4096, Some(4096)),
        (range(4097, 8192), 8192, Some(8192)),
        // The first driver made 1 TiB of this one.
        (range(1500 * GIB, 0), 1500 * 1024 * 1024 * 1024, None),
        (range(0, 10 * GIB), DEFAULT_BYTES, Some(10 << 30)),
        (range(0, 5000), 4096, Some(5000)),
        (range(1 << 50, i64::MAX), 1 << 50, Some(i64::MAX as u64)),
    ];
    for (range, required, limit) in table {
        let request = pb::CreateVolumeRequest { capacity_range: range, ..create() };
        let wanted: CreateVolume = read(request).unwrap();
        assert_eq!((wanted.required, wanted.limit), (required, limit), "{range:?}");
    }
}

#[test]
fn sizes_that_cannot_be_are_refused_with_the_bound_that_is_wrong() {
    let table = [
        (range(-1, 0), Kind::Invalid, "required_bytes"),
        (range(0, -1), Kind::Invalid, "limit_bytes"),
        (range(i64::MIN, i64::MIN), Kind::Invalid, "required_bytes"),
        (range(2 * GIB, GIB), Kind::Invalid, "limit_bytes"),
        (range(i64::MAX, 0), Kind::Invalid, "required_bytes"),
        (range((1 << 50) + 1, 0), Kind::Invalid, "required_bytes"),
        (range(4097, 5000), Kind::Range, "limit_bytes is 5000"),
        (range(0, 4095), Kind::Range, "limit_bytes is 4095"),
    ];
    for (range, kind, named) in table {
        let create = pb::CreateVolumeRequest { capacity_range: range, ..create() };
        let error = read::<CreateVolume, _>(create).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(named), "{error}");
    }
}

#[test]
fn an_expansion_must_say_to_how_many_bytes() {
    let expand = |capacity_range| pb::ControllerExpandVolumeRequest {
        volume_id: "pvc-1".into(),
        capacity_range,
        ..Default::default()
    };
    let wanted: Expand = read(expand(range(GIB + 1, 2 * GIB))).unwrap();
    assert_eq!((wanted.required, wanted.limit), ((1 << 30) + 4096, Some(2 << 30)));
    for missing in [None, range(0, 0), range(0, GIB)] {
        let error = read::<Expand, _>(expand(missing)).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.starts_with("capacity_range.required_bytes"), "{error}");
    }
    assert_eq!(read::<Expand, _>(expand(range(-5, 0))).unwrap_err().kind, Kind::Invalid);
}
