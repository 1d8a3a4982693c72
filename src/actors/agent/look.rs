//! One look at kernel and notes: what this host has of this driver's volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::staged::{Noted, StagedVolume, StagedVolumes};
use crate::agent::{Connection, Formatting, VolumeWord, volume_name};
use crate::host::{Controller, ControllerState, Device, Host, Mount};
use crate::logging::Chain;
use crate::node::Unreadable;
use crate::volume::{Handle, Nqn, Slot};

/// What the host has under one NQN.
#[derive(Debug, Clone)]
pub struct Item {
    /// The NQN.
    pub nqn: Nqn,
    /// The note, where there is one.
    pub staged: Option<StagedVolume>,
    /// Its connections.
    pub controllers: Vec<Controller>,
    /// Its devices.
    pub devices: Vec<Device>,
    /// Where it is mounted, the last mounted first.
    pub mounts: Vec<Mount>,
    /// May a note that cannot be read be of it? Then it is left as it is.
    pub is_veiled: bool,
}

/// What is seen.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Everything of ours.
    pub items: Vec<Item>,
    /// The notes that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// Everything of ours: what the notes name, and connections under NQNs of the form that this driver
/// gives, made as `host_nqn`, the host that the controller gave this node.
///
/// # Errors
/// When the kernel or the notes cannot be read, in words.
pub async fn look(
    host: &dyn Host,
    volumes: &dyn StagedVolumes,
    host_nqn: Option<&Nqn>,
) -> Result<Look, String> {
    let failed = |error: crate::host::Error| Chain(&error).to_string();
    // Connections first: what is connected after that is newer than everything that follows from it.
    let controllers = host.controllers().await.map_err(failed)?;
    let Noted { volumes: staged, unreadable } = volumes.noted().await?;
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for note in staged {
        let nqn = note.connect.nqn.clone();
        let item = items.entry(nqn.to_string()).or_insert_with(|| Item::new(nqn));
        // Staged anew under the same NQN: what is left of the first time knows more of the disk.
        let before = item.staged.take();
        item.staged = Some(match before {
            Some(left) if note.formatting == Formatting::None => {
                StagedVolume { formatting: left.formatting, uuid: left.uuid, ..note }
            }
            _ => note,
        });
    }
    for nqn in unreadable.iter().filter_map(|note| note.nqn.clone()) {
        items.entry(nqn.to_string()).or_insert_with(|| Item::new(nqn));
    }
    for controller in controllers {
        let as_us = |ours: &Nqn| controller.host_nqn.as_deref() == Some(ours.as_str());
        // Whatever its name: the name of a slot comes back, and matters the more.
        let is_ours = host_nqn.is_some_and(as_us);
        let nqn = controller.nqn.clone();
        if is_ours || items.contains_key(nqn.as_str()) {
            let item = items.entry(nqn.to_string()).or_insert_with(|| Item::new(nqn));
            item.controllers.push(controller);
        }
    }
    let mounts = host.mounts().await.map_err(failed)?;
    let mut all: Vec<Item> = items.into_values().collect();
    for item in &mut all {
        item.devices = host.devices(&item.nqn).await.map_err(failed)?;
        item.mounts = mounts.iter().rev().filter(|mount| item.has(mount)).cloned().collect();
        // Where the note of what is staged can be read, another one is not of it.
        let is_noted = item.staged.as_ref().is_some_and(|note| note.is_staged);
        let veils = |note: &&Unreadable| {
            let names_it = note.nqn.as_ref() == Some(&item.nqn);
            names_it || !is_noted && !note.is_left() && note.may_describe(&item.nqn)
        };
        item.is_veiled = unreadable.iter().find(veils).is_some();
    }
    Ok(Look { items: all, unreadable })
}

impl Look {
    /// What is said of the volumes. `None` while there is a note of which not even the NQN can be
    /// read: of an NQN of which nothing is said, it is believed that no file system was begun.
    pub fn words(&self) -> Option<Vec<VolumeWord>> {
        let is_whole = self.unreadable.iter().all(|note| note.nqn.is_some());
        is_whole.then(|| self.items.iter().map(Item::word).collect())
    }
}

impl Item {
    fn new(nqn: Nqn) -> Self {
        let (controllers, devices, mounts) = (Vec::new(), Vec::new(), Vec::new());
        Self { nqn, staged: None, controllers, devices, mounts, is_veiled: false }
    }

    /// Is this a mount of it: of its device or the device's node, or what is left of one at a place
    /// of its note?
    fn has(&self, mount: &Mount) -> bool {
        let is_node = |device: &Device| {
            let name = device.path.file_name().map(|name| PathBuf::from("/").join(name));
            mount.kind == "devtmpfs" && name.as_ref() == Some(&mount.root)
        };
        let of_device = self.devices.iter().any(|one| one.number == mount.number || is_node(one));
        let is_nvme = mount.source.starts_with("/dev/nvme")
            || mount.kind == "devtmpfs" && mount.root.to_string_lossy().starts_with("/nvme");
        let noted = self.staged.iter().flat_map(StagedVolume::places);
        of_device || is_nvme && noted.into_iter().any(|place| *place == mount.target)
    }

    /// How far its connection is.
    pub fn connection(&self) -> Connection {
        let any = |state| self.controllers.iter().any(|it| it.state == state);
        if any(ControllerState::Live) {
            Connection::Live
        } else if any(ControllerState::Connecting) {
            Connection::Connecting
        } else if self.controllers.is_empty() {
            Connection::Gone
        } else {
            Connection::Other
        }
    }

    /// Mounts whose device is none of it: what is read or written there fails.
    pub fn broken(&self) -> impl Iterator<Item = &Mount> {
        let is_broken = |mount: &&Mount| {
            mount.kind != "devtmpfs" && self.devices.iter().all(|one| one.number != mount.number)
        };
        self.mounts.iter().filter(is_broken)
    }

    /// The volume, and whether that is certain: an NQN names no backend.
    pub fn volume(&self) -> Option<(Handle, bool)> {
        if let Some(note) = &self.staged {
            return Some((note.volume.clone(), true));
        }
        let slot = volume_name(self.nqn.as_str()).rsplit(':').next()?;
        Some((Handle { backend: None, slot: Slot::parse(slot).ok()? }, false))
    }

    /// What the agent says of it.
    pub fn word(&self) -> VolumeWord {
        let targets: BTreeSet<&PathBuf> = self.mounts.iter().map(|mount| &mount.target).collect();
        let note = self.staged.as_ref();
        let noted = note.map_or(Formatting::None, |note| note.formatting);
        // What cannot be read may say that a file system was begun.
        let formatting = match noted {
            Formatting::None if self.is_veiled => Formatting::Begun,
            noted => noted,
        };
        VolumeWord {
            nqn: self.nqn.to_string(),
            connection: self.connection(),
            mounts: u32::try_from(targets.len()).unwrap_or(u32::MAX),
            file_system: note.and_then(|note| note.file_system.clone()),
            uuid: note.and_then(|note| note.uuid.clone()),
            formatting,
        }
    }
}
