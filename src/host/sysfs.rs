//! What sysfs shows of NVMe: connections and devices, found by the NQN of their subsystem.
//!
//! A controller's number says nothing: the kernel gives it out again. With native multipath the
//! device of a namespace is a head below `/sys/class/nvme-subsystem/nvme-subsysN` (`nvme0n1`), and
//! each path to it is hidden below its controller (`nvme0c1n1`). Without (`multipath=N`, or a
//! subsystem with one controller) the device hangs below the controller itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;

use super::{Controller, ControllerState, Device, DeviceNumber, Error};
use crate::volume::Nqn;

/// Sizes in sysfs are in sectors of this many bytes, whatever the device's own are
/// (`Documentation/ABI/stable/sysfs-block`).
const SECTOR_BYTES: u64 = 512;

/// `/sys`, or a tree that looks like it.
#[derive(Debug, Clone)]
pub struct Sysfs {
    root: PathBuf,
    dev: PathBuf,
}

impl Sysfs {
    /// `/sys` and `/dev`, wherever they are.
    pub fn new(root: PathBuf, dev: PathBuf) -> Self {
        Self { root, dev }
    }

    /// Every connection over fabrics. One that goes away meanwhile is left out.
    ///
    /// # Errors
    /// Of reading.
    pub fn controllers(&self) -> Result<Vec<Controller>, Error> {
        let class = self.root.join("class/nvme");
        let mut found = Vec::new();
        for name in names(&class)?.into_iter().filter(|name| number(name, "nvme").is_some()) {
            let folder = class.join(&name);
            found.extend(present(controller(&folder, &name), &folder)?.flatten());
        }
        Ok(found)
    }

    /// The devices of a subsystem, one for each namespace that the kernel shows.
    ///
    /// # Errors
    /// Of reading.
    pub fn devices(&self, nqn: &Nqn) -> Result<Vec<Device>, Error> {
        let mut folders = BTreeMap::new();
        for owner in self.owners(nqn)? {
            for name in names(&owner)?.into_iter().filter(|name| is_device(name)) {
                folders.insert(name.clone(), owner.join(name));
            }
        }
        let mut found = Vec::new();
        for (name, folder) in folders {
            let device = self.device(nqn, &name, &folder);
            found.extend(present(device, &folder)?.flatten());
        }
        Ok(found)
    }

    /// The number of a block device by its name, such as `nvme0n1`.
    pub fn number_of(&self, name: &str) -> Option<DeviceNumber> {
        let text = fs::read_to_string(self.root.join("class/block").join(name).join("dev")).ok()?;
        device_number(text.trim())
    }

    /// Has the kernel NVMe over TCP?
    pub fn has_tcp(&self) -> bool {
        self.root.join("module/nvme_tcp").exists()
    }

    /// Deletes a controller if it still is one to `nqn`. Name and file are of one and the same
    /// controller: both are opened through its directory, which is another one when the kernel
    /// gives the name out again.
    ///
    /// # Errors
    /// Of reading and writing, except that it is gone.
    pub fn delete_controller(&self, name: &str, nqn: &Nqn) -> Result<bool, Error> {
        let folder = self.root.join("class/nvme").join(name);
        let deleted = write_if(&folder, nqn, "delete_controller");
        Ok(present(deleted, &folder)?.unwrap_or(false))
    }

    /// Makes a controller look for changed namespaces.
    ///
    /// # Errors
    /// Of writing, also that it is gone.
    pub fn rescan(&self, name: &str) -> Result<(), Error> {
        let file = self.root.join("class/nvme").join(name).join("rescan_controller");
        // Not made where it is absent, as fs::write would.
        let opened = fs::OpenOptions::new().write(true).open(&file);
        opened
            .and_then(|mut opened| opened.write_all(b"1"))
            .map_err(|error| Error::io(format!("cannot write {}", file.display()), error))
    }

    /// The subsystems and controllers of an NQN: whatever may have a device below it.
    fn owners(&self, nqn: &Nqn) -> Result<Vec<PathBuf>, Error> {
        let mut owners = Vec::new();
        for (class, prefix) in [("class/nvme-subsystem", "nvme-subsys"), ("class/nvme", "nvme")] {
            let class = self.root.join(class);
            for name in names(&class)?.into_iter().filter(|name| number(name, prefix).is_some()) {
                let folder = class.join(name);
                let own = present(text(&folder, "subsysnqn"), &folder)?;
                if own.as_deref() == Some(nqn.as_str()) {
                    owners.push(folder);
                }
            }
        }
        Ok(owners)
    }

    fn device(&self, nqn: &Nqn, name: &str, folder: &Path) -> io::Result<Option<Device>> {
        let odd = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let number = device_number(&text(folder, "dev")?).ok_or_else(|| odd("dev is no number"))?;
        let sectors: u64 =
            text(folder, "size")?.parse().map_err(|_| odd("size is no number of sectors"))?;
        let namespace = text(folder, "nsid")?.parse().map_err(|_| odd("nsid is no number"))?;
        Ok(Some(Device {
            nqn: nqn.clone(),
            path: self.dev.join(name),
            number,
            namespace,
            identity: optional(text(folder, "wwid"))?.filter(|it| !it.is_empty()),
            bytes: sectors.saturating_mul(SECTOR_BYTES),
            read_only: text(folder, "ro")? != "0",
        }))
    }
}

fn controller(folder: &Path, name: &str) -> io::Result<Option<Controller>> {
    if text(folder, "transport")? == "pcie" {
        return Ok(None);
    }
    // A name that no box of ours exports is none of ours.
    let Ok(nqn) = Nqn::exported(&text(folder, "subsysnqn")?) else { return Ok(None) };
    Ok(Some(Controller {
        name: name.to_owned(),
        nqn,
        host_nqn: optional(text(folder, "hostnqn"))?,
        address: optional(text(folder, "address"))?.unwrap_or_default(),
        state: state(&text(folder, "state")?),
    }))
}

/// `nvme_ctrl_state_name` in `drivers/nvme/host/core.c`.
fn state(text: &str) -> ControllerState {
    match text {
        "live" => ControllerState::Live,
        "connecting" => ControllerState::Connecting,
        "dead" => ControllerState::Dead,
        // "deleting" and "deleting (no IO)".
        deleting if deleting.starts_with("deleting") => ControllerState::Deleting,
        _ => ControllerState::Changing,
    }
}

fn write_if(folder: &Path, nqn: &Nqn, file: &str) -> io::Result<bool> {
    let folder = open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let at = |file: &str, flags: OFlags| -> io::Result<fs::File> {
        Ok(openat(&folder, file, flags | OFlags::CLOEXEC, Mode::empty())?.into())
    };
    if io::read_to_string(at("subsysnqn", OFlags::RDONLY)?)?.trim() != nqn.as_str() {
        return Ok(false);
    }
    at(file, OFlags::WRONLY)?.write_all(b"1")?;
    Ok(true)
}

fn text(folder: &Path, file: &str) -> io::Result<String> {
    Ok(fs::read_to_string(folder.join(file))?.trim().to_owned())
}

/// Is it that the thing is gone? A file of something that is being removed answers ENODEV.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR)
    )
}

fn optional<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn present<T>(read: io::Result<T>, folder: &Path) -> Result<Option<T>, Error> {
    optional(read).map_err(|error| Error::io(format!("cannot read {}", folder.display()), error))
}

/// What is in a directory, sorted; nothing where it is absent.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    };
    Ok(present(read(), folder)?.unwrap_or_default())
}

/// The number behind a prefix, where nothing else is there.
fn number(name: &str, prefix: &str) -> Option<u32> {
    digits(name.strip_prefix(prefix)?)
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `nvme0n1`; not the path `nvme0c1n1`, the partition `nvme0n1p1` or the character device `ng0n1`.
fn is_device(name: &str) -> bool {
    let parts = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n'));
    parts.is_some_and(|(owner, own)| digits(owner).is_some() && digits(own).is_some())
}

fn device_number(text: &str) -> Option<DeviceNumber> {
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: digits(major)?, minor: digits(minor)? })
}

#[cfg(test)]
mod test;
