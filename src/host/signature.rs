//! What lies on a device at the places where file systems and partition tables are recognised.
//!
//! The answer decides whether mkfs may run, so that everything is read that can speak against it:
//! the start of the device (every superblock that libblkid looks for), its end (the second
//! partition table, RAID and ZFS labels), and the places of the first copies of superblocks, which
//! outlive a start that was overwritten. Only where all of that is zero the device is.

mod file_system;
mod foreign;
mod read;

use std::io;

pub use read::{Direct, Source};

use super::Signature;
use file_system::Found;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What is read first, and is enough to recognise a file system: btrfs has its superblock at 64 KiB.
const FIRST: u64 = 128 * KIB;
/// What must be zero at the start: labels of ZFS take 512 KiB, LUKS2 has its second header at up to
/// 4 MiB, VMFS its own at 1 and 2 MiB.
const START: u64 = 4 * MIB + 64 * KIB;
/// What must be zero at the end: labels of ZFS take the last 512 KiB, and the RAIDs of firmwares up
/// to 1.6 MiB.
const END: u64 = 2 * MIB;
/// First copies of the superblock: ext with blocks of 1, 2 and 4 KiB (its group 1), btrfs its second
/// and third. Where two meet, both are in what is read.
const COPIES: [u64; 5] = [8 * MIB, 32 * MIB, 64 * MIB, 128 * MIB, 256 << 30];
/// How much is read at each.
const COPY: u64 = 16 * KIB;
/// How much is read at once.
const CHUNK: u64 = MIB;

/// What lies there.
///
/// # Errors
/// Of reading, also of one place of many: what could not be read is not zero.
pub fn of(source: &impl Source) -> io::Result<Signature> {
    let bytes = source.bytes();
    let first = source.read(0, FIRST.min(bytes))?;
    match file_system::find(&first) {
        Found::One(known) => {
            return Ok(match foreign::beside(&first) {
                None => known,
                Some(other) => Signature::Other(format!("{} and {other} at once", name(&known))),
            });
        }
        Found::Several(kinds) => return Ok(Signature::Other(kinds)),
        Found::None => {}
    }
    if let Some(foreign) = foreign::name(&first) {
        return Ok(Signature::Other(foreign));
    }
    if let Some(at) = not_zero(&first) {
        return Ok(something(at as u64));
    }
    for (from, to) in places(bytes) {
        let mut at = from;
        while at < to {
            let length = CHUNK.min(to - at);
            let read = source.read(at, length)?;
            if let Some(found) = not_zero(&read) {
                return Ok(foreign::name_at_end(&read, bytes - at)
                    .map_or_else(|| something(at + found as u64), Signature::Other));
            }
            at += length;
        }
    }
    Ok(Signature::Zeros)
}

/// The places behind the first one, as from and to.
fn places(bytes: u64) -> Vec<(u64, u64)> {
    let mut places = vec![(FIRST.min(bytes), START.min(bytes))];
    for copy in COPIES {
        places.push((copy.min(bytes), (copy + COPY).min(bytes)));
    }
    places.push((bytes.saturating_sub(END).max(FIRST.min(bytes)), bytes));
    places
}

fn not_zero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte != 0)
}

fn something(at: u64) -> Signature {
    Signature::Other(format!("data of an unknown kind, from byte {at} on"))
}

fn name(known: &Signature) -> String {
    match known {
        Signature::FileSystem { kind, .. } | Signature::Unfinished(kind) => kind.clone(),
        Signature::Other(what) => what.clone(),
        Signature::Zeros => "zeros".to_owned(),
    }
}

#[cfg(test)]
mod test;
