use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use rustix::fs::OFlags;

use super::*;
use crate::host::command::Programs;
use crate::host::stuck::Stuck;

/// Enough for the smallest xfs.
const SIZE: u64 = 320 * MIB;

/// A sparse image, read as a device is.
struct Image {
    _folder: tempfile::TempDir,
    path: PathBuf,
    bytes: u64,
}

impl Image {
    fn new(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        File::create(&path).unwrap().set_len(bytes).unwrap();
        Self { _folder: folder, path, bytes }
    }

    /// As the program makes it.
    async fn made_by(program: &str, arguments: &[&str]) -> Self {
        let image = Self::new(SIZE);
        image.run(program, arguments).await;
        image
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut all: Vec<_> = arguments.iter().map(Into::into).collect();
        all.push(self.path.as_os_str().to_owned());
        let programs = Programs::on(Stuck::default());
        programs.run(&self.path, program, &all, Duration::from_secs(120)).await.unwrap()
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        File::options().write(true).open(&self.path).unwrap().write_all_at(bytes, at).unwrap();
    }

    fn signature(&self) -> Signature {
        of(&direct(&self.path, self.bytes)).unwrap()
    }

    async fn uuid(&self) -> String {
        let said = self.run("blkid", &["-p", "-s", "UUID", "-o", "value"]).await;
        said.trim_start_matches(": ").to_owned()
    }
}

fn direct(path: &Path, bytes: u64) -> Direct {
    let mut options = File::options();
    let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap();
    // Some temporary file systems know no direct reads; then what is tested is the arithmetic.
    let file = options.read(true).custom_flags(flags).open(path);
    Direct::new(file.or_else(|_| File::open(path)).unwrap(), bytes)
}

fn is_other(signature: &Signature, word: &str) -> bool {
    matches!(signature, Signature::Other(what) if what.contains(word))
}

#[tokio::test]
async fn what_mkfs_makes_is_recognised_with_the_uuid_that_blkid_sees() {
    let made: [(&str, &str, &[&str]); 6] = [
        ("ext4", "mkfs.ext4", &["-q", "-F"]),
        ("ext4", "mkfs.ext4", &["-q", "-F", "-b", "1024", "-O", "^has_journal"]),
        ("ext3", "mkfs.ext3", &["-q", "-F"]),
        ("ext2", "mkfs.ext2", &["-q", "-F"]),
        ("xfs", "mkfs.xfs", &["-q", "-f"]),
        ("btrfs", "mkfs.btrfs", &["-q", "-f"]),
    ];
    for (kind, program, arguments) in made {
        let image = Image::made_by(program, arguments).await;
        let uuid = image.uuid().await;
        assert_eq!(uuid.len(), 36, "{uuid}");
        assert_eq!(image.signature(), Signature::FileSystem { kind: kind.into(), uuid });
    }
}

#[tokio::test]
async fn a_file_system_that_lost_its_superblock_is_not_zeros() {
    for (program, lost) in [("mkfs.ext4", 4096), ("mkfs.ext3", 65536), ("mkfs.xfs", 4096)] {
        let force = if program == "mkfs.xfs" { "-f" } else { "-F" };
        let image = Image::made_by(program, &["-q", force]).await;
        image.put(0, &vec![0; lost]);
        assert!(is_other(&image.signature(), "data of an unknown kind"), "{program}");
    }
    // All of the start overwritten: the copies speak.
    for program in ["mkfs.ext4", "mkfs.btrfs"] {
        let force = if program == "mkfs.btrfs" { "-f" } else { "-F" };
        let image = Image::made_by(program, &["-q", force]).await;
        image.put(0, &vec![0; 8 << 20]);
        assert!(is_other(&image.signature(), "data of an unknown kind"), "{program}");
    }
}

#[tokio::test]
async fn a_mkfs_that_did_not_end_is_unfinished() {
    let xfs = Image::made_by("mkfs.xfs", &["-q", "-f"]).await;
    xfs.put(126, &[1]);
    assert_eq!(xfs.signature(), Signature::Unfinished("xfs".into()));
    let btrfs = Image::made_by("mkfs.btrfs", &["-q", "-f"]).await;
    btrfs.put(65536 + 64, b"!");
    assert_eq!(btrfs.signature(), Signature::Unfinished("btrfs".into()));
}

#[tokio::test]
async fn what_other_programs_make_is_something_else() {
    let swap = Image::made_by("mkswap", &[]).await;
    assert!(is_other(&swap.signature(), "swap"), "{:?}", swap.signature());
    let journal = Image::made_by("mke2fs", &["-q", "-F", "-O", "journal_dev"]).await;
    assert!(is_other(&journal.signature(), "journal"), "{:?}", journal.signature());
}

#[test]
fn only_zeros_are_zeros_whatever_the_size() {
    for bytes in [0, 512, 4096, 100 * 512, MIB, 5 * MIB - 512, 300 * MIB + 1536, 300 << 30] {
        assert_eq!(Image::new(bytes).signature(), Signature::Zeros, "{bytes}");
    }
}

#[test]
fn one_byte_anywhere_that_counts_is_something() {
    let bytes = 300 << 30;
    let places = [
        0,
        510,
        1080,
        4096,
        32768,
        65600,
        FIRST,
        MIB,
        2 * MIB,
        4 * MIB,
        8 * MIB + 1080,
        32 * MIB + 1080,
        64 * MIB + 64,
        128 * MIB + 1080,
        (256 << 30) + 64,
        bytes - MIB,
        bytes - 65536,
        bytes - 8192,
        bytes - 512,
        bytes - 1,
    ];
    for at in places {
        let image = Image::new(bytes);
        image.put(at, &[1]);
        assert!(is_other(&image.signature(), &format!("from byte {at} on")), "{at}");
    }
}

#[test]
fn what_is_known_by_name_is_named() {
    let bytes = 16 * MIB;
    let cases: [(u64, &[u8], &str); 9] = [
        (0, b"LUKS\xba\xbe\0\x02", "LUKS"),
        (0x4000, b"SKUL\xba\xbe\0\x02", "LUKS"),
        (512, b"LABELONE", "LVM"),
        (4096, b"\xfc\x4e\x2b\xa9", "RAID"),
        (512, b"EFI PART", "GPT"),
        (bytes - 512, b"EFI PART", "GPT"),
        (bytes - 4096, b"EFI PART", "GPT"),
        (32769, b"CD001", "ISO 9660"),
        (3, b"NTFS    ", "NTFS"),
    ];
    for (at, word, name) in cases {
        let image = Image::new(bytes);
        image.put(at, word);
        assert!(is_other(&image.signature(), name), "{name}: {:?}", image.signature());
    }
}

#[tokio::test]
async fn a_file_system_beside_something_else_is_not_taken_for_either() {
    let image = Image::made_by("mkfs.ext4", &["-q", "-F"]).await;
    image.put(0, b"LUKS\xba\xbe");
    assert!(is_other(&image.signature(), "ext4 and LUKS"), "{:?}", image.signature());
    let image = Image::made_by("mkfs.ext4", &["-q", "-F"]).await;
    image.put(65536 + 64, b"_BHRfS_M");
    assert!(is_other(&image.signature(), "ext4 and btrfs"), "{:?}", image.signature());
    // A boot sector in front is allowed, and where users write nothing is read into it.
    let image = Image::made_by("mkfs.ext4", &["-q", "-F"]).await;
    image.put(510, &[0x55, 0xaa]);
    image.put(32769, b"CD001");
    assert!(matches!(image.signature(), Signature::FileSystem { .. }), "{:?}", image.signature());
}

/// Answers reads until one place, and fails there.
struct Broken {
    bytes: u64,
    from: u64,
}

impl Source for Broken {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        if at + length > self.from {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(vec![0; usize::try_from(length).unwrap()])
    }
}

#[test]
fn a_place_that_cannot_be_read_is_an_error_and_never_zeros() {
    let bytes = 300 << 30;
    for from in [0, 4096, FIRST + 1, START - 1, 8 * MIB, 256 << 30, bytes - END, bytes - 1] {
        assert!(of(&Broken { bytes, from }).is_err(), "{from}");
    }
    assert_eq!(of(&Broken { bytes, from: bytes }).unwrap(), Signature::Zeros);
}

#[test]
fn a_device_that_ends_early_is_an_error() {
    let image = Image::new(MIB);
    assert!(of(&direct(&image.path, 2 * MIB)).is_err());
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_and_only_zeros_are_zeros(
        bytes in prop::collection::vec(prop::sample::select(vec![0_u8, 0x53, 0xef, b'X', 1]), 0..9000),
    ) {
        struct Memory(Vec<u8>);
        impl Source for Memory {
            fn bytes(&self) -> u64 {
                self.0.len() as u64
            }
            fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
                let at = usize::try_from(at).unwrap();
                let part = self.0.get(at..at + usize::try_from(length).unwrap());
                Ok(part.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
            }
        }
        let zeros = bytes.iter().all(|&byte| byte == 0);
        prop_assert_eq!(of(&Memory(bytes)).unwrap() == Signature::Zeros, zeros);
    }
}
