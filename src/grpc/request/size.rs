//! Capacity ranges: exact bytes, never rounded down.

use super::invalid;
use crate::grpc::csi as pb;
use crate::operations::{Error, Kind};

/// Size of a volume for which nobody names one: 1 GiB.
pub const DEFAULT_BYTES: u64 = 1 << 30;
/// Every size is a multiple of this: the block of the file systems and the page of the kernel.
pub const GRANULE: u64 = 4096;
/// Largest size that is asked for in earnest, 1 PiB: more than the disks of any such box hold.
/// Beyond it somebody mistook a unit.
pub const LARGEST_BYTES: u64 = 1 << 50;

/// A range that can be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// At least so many bytes; a multiple of [`GRANULE`].
    pub required: u64,
    /// At most so many bytes.
    pub limit: Option<u64>,
}

/// Both bounds as they came; 0 says nothing.
fn bounds(range: Option<pb::CapacityRange>) -> Result<(u64, Option<u64>), Error> {
    let range = range.unwrap_or_default();
    let read = |field: &str, bytes: i64| {
        u64::try_from(bytes)
            .map_err(|_| invalid(field, format!("{bytes} is negative; sizes are bytes")))
    };
    let required = read("capacity_range.required_bytes", range.required_bytes)?;
    let limit = read("capacity_range.limit_bytes", range.limit_bytes)?;
    if required > LARGEST_BYTES {
        let what = format!("{required} bytes are more than {LARGEST_BYTES} (1 PiB)");
        return Err(invalid("capacity_range.required_bytes", what));
    }
    if limit > 0 && limit < required {
        let what = format!("{limit} is less than required_bytes, {required}");
        return Err(invalid("capacity_range.limit_bytes", what));
    }
    Ok((required, (limit > 0).then_some(limit)))
}

fn rounded(required: u64, limit: Option<u64>) -> Result<Size, Error> {
    let required = required.next_multiple_of(GRANULE);
    match limit {
        Some(most) if most < required => Err(Error::new(
            Kind::Range,
            format!(
                "capacity_range: no multiple of {GRANULE} bytes lies within it (the next is \
                 {required}, limit_bytes is {most})"
            ),
        )),
        _ => Ok(Size { required, limit }),
    }
}

/// The size of a new volume: [`DEFAULT_BYTES`] where none is required, or less where the limit is
/// lower.
pub fn for_new(range: Option<pb::CapacityRange>) -> Result<Size, Error> {
    match bounds(range)? {
        (0, Some(limit)) if limit >= GRANULE => {
            rounded(DEFAULT_BYTES.min(limit - limit % GRANULE), Some(limit))
        }
        (0, limit) => rounded(DEFAULT_BYTES, limit),
        (required, limit) => rounded(required, limit),
    }
}

/// The least size that a device must show; 0 where the caller does not say.
pub fn at_least(range: Option<pb::CapacityRange>) -> Result<u64, Error> {
    bounds(range).map(|(required, _)| required)
}

/// The size to which a volume shall grow.
pub fn for_growth(range: Option<pb::CapacityRange>) -> Result<Size, Error> {
    match bounds(range)? {
        (0, _) => Err(invalid(
            "capacity_range.required_bytes",
            "must not be empty: it is the size to grow to, in bytes",
        )),
        (required, limit) => rounded(required, limit),
    }
}
