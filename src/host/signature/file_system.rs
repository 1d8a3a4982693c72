//! The superblocks of the file systems that we make.
//!
//! Sources: `fs/ext4/ext4.h`, `fs/xfs/libxfs/xfs_format.h` and `include/uapi/linux/btrfs_tree.h` of
//! Linux, for btrfs's temporary word `kernel-shared/ctree.h` of btrfs-progs.

use crate::host::Signature;

/// What was found at the start of a device.
pub enum Found {
    /// None of them.
    None,
    /// Exactly one.
    One(Signature),
    /// More than one, with their names: nobody can tell which of them counts.
    Several(String),
}

/// Looks for all of them.
pub fn find(start: &[u8]) -> Found {
    let found: Vec<Signature> =
        [ext(start), xfs(start), btrfs(start)].into_iter().flatten().collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Found::None,
        (Some(one), None) => Found::One(one),
        (Some(one), Some(other)) => {
            let names = format!("{} and {} at once", super::name(&one), super::name(&other));
            Found::Several(names)
        }
    }
}

const EXT_AT: usize = 1024;
const EXT_MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();
/// `EXT4_FEATURE_COMPAT_HAS_JOURNAL`.
const HAS_JOURNAL: u32 = 0x4;
/// `EXT3_FEATURE_INCOMPAT_JOURNAL_DEV`: a journal for another device.
const JOURNAL_DEVICE: u32 = 0x8;
/// What ext2 and ext3 know of `s_feature_incompat`: filetype, recover (ext3), meta_bg.
const INCOMPATIBLE_OF_EXT3: u32 = 0x2 | 0x4 | 0x10;
/// What they know of `s_feature_ro_compat`: sparse_super, large_file, btree_dir.
const READ_ONLY_OF_EXT3: u32 = 0x1 | 0x2 | 0x4;

fn ext(start: &[u8]) -> Option<Signature> {
    let superblock = start.get(EXT_AT..EXT_AT + 1024)?;
    // The magic number has only two bytes, and XFS has its lists of unlinked files there: there is
    // no revision but 0 and 1.
    if superblock[0x38..0x3a] != EXT_MAGIC || number(superblock, 0x4c) > 1 {
        return None;
    }
    let (compatible, incompatible, read_only) =
        (number(superblock, 0x5c), number(superblock, 0x60), number(superblock, 0x64));
    if incompatible & JOURNAL_DEVICE != 0 {
        return Some(Signature::Other("the journal of an ext4 elsewhere".to_owned()));
    }
    let is_old = incompatible & !INCOMPATIBLE_OF_EXT3 == 0 && read_only & !READ_ONLY_OF_EXT3 == 0;
    let kind = match (is_old, compatible & HAS_JOURNAL != 0) {
        (true, true) => "ext3",
        (true, false) => "ext2",
        (false, _) => "ext4",
    };
    Some(known(kind, &superblock[0x68..0x78]))
}

fn xfs(start: &[u8]) -> Option<Signature> {
    let superblock = start.get(..512)?;
    if !superblock.starts_with(b"XFSB") {
        return None;
    }
    // `sb_inprogress`: mkfs writes it first and takes it away last; the kernel refuses to mount.
    if superblock[126] != 0 {
        return Some(Signature::Unfinished("xfs".to_owned()));
    }
    Some(known("xfs", &superblock[32..48]))
}

const BTRFS_AT: usize = 64 * 1024;

fn btrfs(start: &[u8]) -> Option<Signature> {
    let superblock = start.get(BTRFS_AT..BTRFS_AT + 4096)?;
    match &superblock[0x40..0x48] {
        b"_BHRfS_M" => Some(known("btrfs", &superblock[0x20..0x30])),
        // What mkfs writes until it is done.
        b"!BHRfS_M" => Some(Signature::Unfinished("btrfs".to_owned())),
        _ => None,
    }
}

/// A number of 32 bits, lowest byte first.
fn number(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_le_bytes(four.unwrap_or_default())
}

fn known(kind: &str, uuid: &[u8]) -> Signature {
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Signature::FileSystem { kind: kind.to_owned(), uuid: text }
}
