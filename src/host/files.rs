//! Files and directories of a node: looked at, made, removed; never recursively.
//!
//! Everything here may hang and is called on a thread of its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, major, minor, statvfs};

use super::{Device, DeviceNumber, Entry, Error, Kind, Usage, kind};

/// What a path is, without following a symbolic link at its end.
///
/// # Errors
/// The kernel's.
pub fn entry(path: &Path) -> Result<Entry, Error> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entry::Absent),
        Err(error) if kind::of(&error) == Kind::Broken => return Ok(Entry::Unreadable),
        Err(error) => return Err(failed("look at", path, error)),
    };
    let kind = found.file_type();
    Ok(if kind.is_dir() {
        Entry::Directory
    } else if kind.is_file() {
        Entry::File
    } else if kind.is_block_device() {
        Entry::Block(number(&found))
    } else {
        Entry::Other
    })
}

/// Makes a directory, and those above it.
///
/// # Errors
/// The kernel's, also where something else is.
pub fn make_directory(path: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    // As kubelet makes those of its own: what is in a volume is nobody's business but the pod's.
    let made = builder.recursive(true).mode(0o750).create(path);
    made.map_err(|error| failed("make the directory", path, error))
}

/// Makes an empty file; one that is there is left as it is.
///
/// # Errors
/// The kernel's; [`Kind::Refused`] where something else is.
pub fn make_file(path: &Path) -> Result<(), Error> {
    let made = File::options().write(true).create_new(true).mode(0o660).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match entry(path)? {
            Entry::File => Ok(()),
            _ => {
                let what = format!("{} is there and no ordinary file", path.display());
                Err(Error::new(Kind::Refused, what))
            }
        },
        Err(error) => Err(failed("make the file", path, error)),
    }
}

/// Removes an empty directory or an empty file, if it is there.
///
/// # Errors
/// The kernel's; [`Kind::Busy`] where something is in it or mounted there, [`Kind::Refused`] where
/// it is something else.
pub fn remove(path: &Path) -> Result<(), Error> {
    let removed = match entry(path)? {
        Entry::Absent => return Ok(()),
        Entry::Directory => fs::remove_dir(path),
        Entry::File => match fs::symlink_metadata(path) {
            Ok(found) if found.len() == 0 => fs::remove_file(path),
            Ok(_) => {
                let what = format!("{} is a file with something in it", path.display());
                return Err(Error::new(Kind::Busy, what));
            }
            Err(error) => Err(error),
        },
        // Most likely a device that is still mounted there.
        Entry::Block(_) | Entry::Other | Entry::Unreadable => {
            let what = format!("{} is neither a directory nor an empty file", path.display());
            return Err(Error::new(Kind::Refused, what));
        }
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// How full the file system at a path is.
///
/// # Errors
/// The kernel's.
pub fn usage(path: &Path) -> Result<Usage, Error> {
    let found = statvfs(path).map_err(|errno| failed("look at", path, errno.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Usage {
        bytes: bytes(found.f_blocks),
        bytes_available: bytes(found.f_bavail),
        bytes_used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        inodes: found.f_files,
        inodes_free: found.f_ffree,
    })
}

/// Opens a device for direct reads, and makes sure that its node still is the one of that number:
/// as long as it is open, number and name are given to no other.
///
/// # Errors
/// The kernel's; [`Kind::Missing`] when the node is another device's, or none.
pub fn open_device(device: &Device) -> Result<File, Error> {
    open(device, OFlags::DIRECT)
}

/// The same for direct writes that end when the device has them for good.
///
/// # Errors
/// As [`open_device`].
pub fn open_to_write(device: &Device) -> Result<File, Error> {
    open_as(device, File::options().read(true).write(true), OFlags::DIRECT | OFlags::DSYNC)
}

/// Does somebody hold the device for himself? A mounted file system does until it has written
/// everything (open(2): `O_EXCL` of a block device fails with EBUSY while it is in use).
pub fn is_claimed(device: &Device) -> Result<bool, Error> {
    match open(device, OFlags::EXCL) {
        Ok(_) => Ok(false),
        Err(error) => match error.kind {
            Kind::Busy => Ok(true),
            Kind::Missing => Ok(false),
            _ => Err(error),
        },
    }
}

fn open(device: &Device, flags: OFlags) -> Result<File, Error> {
    open_as(device, File::options().read(true), flags)
}

fn open_as(device: &Device, how: &mut OpenOptions, flags: OFlags) -> Result<File, Error> {
    let path = &device.path;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let opened = how.custom_flags(flags).open(path);
    let opened = opened.map_err(|error| failed("open", path, error))?;
    let found = opened.metadata().map_err(|error| failed("look at", path, error))?;
    if found.file_type().is_block_device() && number(&found) == device.number {
        return Ok(opened);
    }
    let what = format!("{} is not device {} (any more)", path.display(), device.number);
    Err(Error::new(Kind::Missing, what))
}

fn number(found: &fs::Metadata) -> DeviceNumber {
    DeviceNumber { major: major(found.rdev()), minor: minor(found.rdev()) }
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot {what} {}", path.display()), error)
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::volume::Nqn;

    #[test]
    fn what_is_made_is_seen_and_removed_and_twice_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("a/b/c");
        let file = folder.path().join("a/file");
        assert_eq!(entry(&directory).unwrap(), Entry::Absent);
        for _ in 0..2 {
            make_directory(&directory).unwrap();
            make_file(&file).unwrap();
        }
        assert_eq!(entry(&directory).unwrap(), Entry::Directory);
        assert_eq!(entry(&file).unwrap(), Entry::File);
        for _ in 0..2 {
            remove(&directory).unwrap();
            remove(&file).unwrap();
        }
        assert_eq!(entry(&file).unwrap(), Entry::Absent);
        assert!(folder.path().join("a/b").exists(), "only the last one is removed");
    }

    #[test]
    fn what_holds_something_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data"), "x").unwrap();
        assert_eq!(remove(folder.path()).unwrap_err().kind, Kind::Busy);
        assert_eq!(remove(&folder.path().join("data")).unwrap_err().kind, Kind::Busy);
        assert_eq!(fs::read_to_string(folder.path().join("data")).unwrap(), "x");
        make_file(&folder.path().join("data")).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("data")).unwrap(), "x");
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        let aim = folder.path().join("aim");
        make_directory(&aim).unwrap();
        symlink(&aim, &link).unwrap();
        assert_eq!(entry(&link).unwrap(), Entry::Other);
        assert_eq!(remove(&link).unwrap_err().kind, Kind::Refused);
        assert_eq!(make_file(&link).unwrap_err().kind, Kind::Refused);
        symlink(folder.path().join("absent"), folder.path().join("dangling")).unwrap();
        assert_eq!(make_file(&folder.path().join("dangling")).unwrap_err().kind, Kind::Refused);
        assert!(!folder.path().join("absent").exists());
    }

    #[test]
    fn usage_is_of_the_file_system_and_a_missing_path_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let usage = usage(folder.path()).unwrap();
        assert!(usage.bytes >= usage.bytes_used + usage.bytes_available, "{usage:?}");
        assert!(usage.bytes > 0 && usage.inodes >= usage.inodes_free, "{usage:?}");
        let missing = super::usage(&folder.path().join("absent")).unwrap_err();
        assert_eq!(missing.kind, Kind::Missing);
    }

    #[test]
    fn a_node_that_is_no_device_or_another_one_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let device = |path: &Path| Device {
            nqn: Nqn::parse("nqn.2000-02.com.mikrotik:pvc-1").unwrap(),
            path: path.to_owned(),
            number: DeviceNumber { major: 259, minor: 77 },
            namespace: 1,
            identity: None,
            bytes: 512,
            read_only: false,
        };
        let file = folder.path().join("file");
        make_file(&file).unwrap();
        assert_eq!(open_device(&device(&file)).unwrap_err().kind, Kind::Missing);
        let absent = open_device(&device(&folder.path().join("absent"))).unwrap_err();
        assert_eq!(absent.kind, Kind::Missing);
    }
}
