//! Names for what we do not make, so that an error can say what a device holds. What has no name
//! here is no less there: everything that is not zero counts.

/// Words at fixed places of the first 128 KiB. Not among them: the mark of a boot sector, which may
/// stand in front of any file system, and words of two bytes.
const WORDS: [(usize, &[u8], &str); 26] = [
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0x4000, b"SKUL\xba\xbe", "LUKS"),
    (0, b"LABELONE", "LVM"),
    (512, b"LABELONE", "LVM"),
    (1024, b"LABELONE", "LVM"),
    (1536, b"LABELONE", "LVM"),
    (0, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (512, b"EFI PART", "a GPT partition table"),
    (4096, b"EFI PART", "a GPT partition table"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4086, b"SWAP-SPACE", "swap space"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (3, b"-FVE-FS-", "BitLocker"),
    (54, b"FAT1", "FAT"),
    (82, b"FAT32   ", "FAT"),
    (32769, b"CD001", "ISO 9660"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (0x10034, b"ReIsEr", "ReiserFS"),
    (32768, b"JFS1", "JFS"),
    (4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache"),
    (4096 + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", "bcachefs"),
    (0, b"hsqs", "SquashFS"),
    (0, b"bluestore block device", "Ceph BlueStore"),
    (516, b"!Stra0tis\x86\xff\x02^\x41rh", "Stratis"),
];

/// Before this no file system of ours puts what a user wrote.
const BEFORE_USER_DATA: usize = 8192;

/// What stands at the start of a device where no file system of ours is.
pub fn name(start: &[u8]) -> Option<String> {
    let stands = |at: usize, word: &[u8]| start.get(at..at + word.len()) == Some(word);
    WORDS.iter().find(|(at, word, _)| stands(*at, word)).map(|(_, _, name)| (*name).to_owned())
}

/// What stands beside one of our file systems, where none of its users can have put it.
pub fn beside(start: &[u8]) -> Option<String> {
    name(&start[..BEFORE_USER_DATA.min(start.len())])
}

/// What stands in a part that ends `left` bytes further on than it begins at the device's end.
pub fn name_at_end(part: &[u8], left: u64) -> Option<String> {
    let length = part.len();
    // The second table's header is the last sector, of 512 or 4096 bytes.
    let header = |sector: usize| {
        left == length as u64
            && length >= sector
            && part[length - sector..].starts_with(b"EFI PART")
    };
    (header(512) || header(4096)).then(|| "the second table of GPT partitions".to_owned())
}
