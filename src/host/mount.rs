//! Mounting through the kernel's newer calls (fsopen(2), fsmount(2), open_tree(2), move_mount(2)):
//! they tell why a file system was refused, let the device be checked before anybody sees the
//! mount, and do not follow a symbolic link at the target.
//!
//! Everything here may hang and is called on a thread of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, StatVfsMountFlags, fstat, major, minor, statvfs};
use rustix::io::{Errno, read};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_remount,
    move_mount, open_tree, unmount,
};

use super::options::Options;
use super::{Device, DeviceNumber, Error, Kind};

/// Longest message of the kernel that is read.
const MESSAGE_BYTES_MAX: usize = 512;
/// Most messages of one attempt.
const MESSAGES_MAX: usize = 8;

/// Mounts a device's file system at `target`.
///
/// # Errors
/// The kernel's, with what it said; [`Kind::Refused`] when the device turned out to be another one.
pub fn mount(device: &Device, target: &Path, kind: &str, options: &Options) -> Result<(), Error> {
    let what = || format!("cannot mount {} ({kind})", device.path.display());
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| {
        let mut error = Error::io(format!("{}: the kernel has no {kind}", what()), errno.into());
        error.kind = Kind::Missing;
        error
    })?;
    let refused =
        |errno: Errno| Error::io(format!("{}{}", what(), messages(context.as_fd())), errno.into());
    fsconfig_set_string(context.as_fd(), "source", &device.path).map_err(refused)?;
    for (word, value) in &options.file_system {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), word.as_str(), value.as_str()),
            None => fsconfig_set_flag(context.as_fd(), word.as_str()),
        }
        .map_err(|errno| {
            let said = messages(context.as_fd());
            Error::io(format!("{}: option {word}{said}", what()), errno.into())
        })?;
    }
    fsconfig_create(context.as_fd()).map_err(refused)?;
    let detached = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, options.mount);
    let detached = detached.map_err(refused)?;
    is_of(&detached, device, kind)?;
    attach(&detached, target)
}

/// Shows at `target` what is at `source`.
///
/// # Errors
/// The kernel's.
pub fn bind(source: &Path, target: &Path, read_only: bool) -> Result<(), Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let shown = open_tree(CWD, source, flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW);
    let shown = shown
        .map_err(|errno| Error::io(format!("cannot show {}", source.display()), errno.into()))?;
    attach(&shown, target)?;
    if !read_only {
        return Ok(());
    }
    make_read_only(target).map_err(|errno| {
        // Nobody shall write through it meanwhile.
        let undone = unmount(target, UnmountFlags::NOFOLLOW);
        let left = if undone.is_ok() { "" } else { ", and it could not be taken away again" };
        let what = format!("cannot make the mount at {} read-only{left}", target.display());
        Error::io(what, errno.into())
    })
}

/// Takes away what is mounted on top at `target`; false: nothing is.
///
/// # Errors
/// The kernel's; [`Kind::Busy`] while somebody uses it.
pub fn take_away(target: &Path) -> Result<bool, Error> {
    match unmount(target, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(true),
        // No mount point (umount2(2)).
        Err(Errno::INVAL | Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::io(format!("cannot unmount {}", target.display()), errno.into())),
    }
}

fn attach(mount: &OwnedFd, target: &Path) -> Result<(), Error> {
    move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| Error::io(format!("cannot mount at {}", target.display()), errno.into()))
}

/// Between the look at the device and the mount its node may have become another device's. A btrfs
/// shows a number of its own; for it the caller holds the device open.
fn is_of(mount: &OwnedFd, device: &Device, kind: &str) -> Result<(), Error> {
    if kind == "btrfs" {
        return Ok(());
    }
    let shown = fstat(mount).map_err(|errno| {
        Error::io(format!("cannot look at the mount of {}", device.path.display()), errno.into())
    })?;
    let number = DeviceNumber { major: major(shown.st_dev), minor: minor(shown.st_dev) };
    if number == device.number {
        return Ok(());
    }
    let wanted = device.number;
    let what = format!("{} is device {number} now, no longer {wanted}", device.path.display());
    Err(Error::new(Kind::Refused, what))
}

/// The flags of the mount are given as a whole: what the bound mount had must be given again. Those
/// about access times stay when none is given (`do_remount` in `fs/namespace.c`).
fn make_read_only(target: &Path) -> Result<(), Errno> {
    let has = statvfs(target)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (one, same) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        // ST_NOSYMFOLLOW and MS_NOSYMFOLLOW, which rustix does not name.
        (StatVfsMountFlags::from_bits_retain(0x2000), MountFlags::from_bits_retain(0x100)),
    ] {
        flags.set(same, has.contains(one));
    }
    mount_remount(target, flags, "")
}

/// What the kernel said about this attempt: `: ` and its messages, or nothing.
fn messages(context: impl AsFd) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    while said.len() < MESSAGES_MAX
        && let Ok(length @ 1..) = read(context.as_fd(), &mut buffer)
    {
        said.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
    }
    if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) }
}
