//! What the kernel and the notes say of a volume, and the pure questions that all flows ask of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::staged::{Note, is_left, left_name_of, name_of};
use super::unreadable::{Notes, Unreadable};
use super::{Node, shown};
use crate::host::{Controller, ControllerState, Device, DeviceNumber, Mount};
use crate::operations::Error;
use crate::volume::{Handle, Nqn, Slot};

/// What is mounted where a device's node was bound to a file.
pub const DEVTMPFS: &str = "devtmpfs";

/// Everything that bears on one volume, read in one go.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its note.
    pub note: Option<Note>,
    /// What was kept of its note when it was unstaged last.
    pub left: Result<Option<Note>, Unreadable>,
    /// The notes of all others.
    pub others: Vec<Note>,
    /// Those of them that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// All connections of this host.
    pub controllers: Vec<Controller>,
    /// The devices behind the NQN in question.
    pub devices: Vec<Device>,
    /// All mounts.
    pub mounts: Vec<Mount>,
    /// The start of the kernel.
    pub boot: String,
}

impl Node {
    /// Looks. `nqn` is the one in question; without it, the one in the note.
    pub(super) async fn look(&self, volume: &Handle, nqn: Option<&Nqn>) -> Result<Seen, Error> {
        let host = &self.parts.host;
        let Notes { read: mut notes, mut unreadable } = self.all_notes().await?;
        if let Some(own) = unreadable.get(&name_of(volume)) {
            return Err(own.error());
        }
        let note = notes.remove(&name_of(volume));
        let left = match unreadable.remove(&left_name_of(volume)) {
            Some(left) => Err(left),
            None => Ok(notes.remove(&left_name_of(volume))),
        };
        notes.retain(|name, _| !is_left(name));
        unreadable.retain(|name, _| !is_left(name));
        let nqn = nqn.or(note.as_ref().map(|note| &note.nqn));
        let devices = async {
            match nqn {
                Some(nqn) => host.devices(nqn).await,
                None => Ok(Vec::new()),
            }
        };
        // Each of them is a thread that may hang in the kernel: none waits for another.
        let (devices, controllers, mounts) =
            tokio::try_join!(devices, host.controllers(), host.mounts())?;
        Ok(Seen {
            others: notes.into_values().collect(),
            unreadable: unreadable.into_values().collect(),
            controllers,
            devices,
            mounts,
            boot: self.boot.get_or_try_init(|| host.boot_id()).await?.clone(),
            note,
            left,
        })
    }

    /// The subsystem of what is mounted on top at a path, where it is a connected one, and none of
    /// the devices in question.
    pub(super) async fn stranger_at(&self, seen: &Seen, path: &Path) -> Result<Option<Nqn>, Error> {
        match seen.topmost(path) {
            Some(mount) if is_nvme(mount) && !seen.devices.iter().any(|one| is_of(mount, one)) => {
                self.nqn_of(seen, mount.number).await
            }
            _ => Ok(None),
        }
    }

    /// The subsystem of the device with this number; `None` where no connection has it any more.
    pub(super) async fn nqn_of(
        &self,
        seen: &Seen,
        number: DeviceNumber,
    ) -> Result<Option<Nqn>, Error> {
        let nqns: BTreeSet<&str> = seen.controllers.iter().map(|one| one.nqn.as_str()).collect();
        for name in nqns {
            let Some(one) = seen.controllers.iter().find(|one| one.nqn.as_str() == name) else {
                continue;
            };
            let devices = self.parts.host.devices(&one.nqn).await?;
            if devices.iter().any(|device| device.number == number) {
                return Ok(Some(one.nqn.clone()));
            }
        }
        Ok(None)
    }
}

impl Seen {
    /// What is to be seen at a path: the topmost of what is mounted there.
    pub fn topmost(&self, path: &Path) -> Option<&Mount> {
        self.mounts.iter().rev().find(|mount| mount.target == path)
    }

    /// The connections to this subsystem.
    pub fn to<'a>(&'a self, nqn: &'a Nqn) -> impl Iterator<Item = &'a Controller> {
        self.controllers.iter().filter(move |controller| controller.nqn == *nqn)
    }

    /// Does a connection to it work?
    pub fn is_live(&self, nqn: &Nqn) -> bool {
        self.to(nqn).any(|controller| controller.state == ControllerState::Live)
    }

    /// Does another volume's note claim this name, or may it, for all that can be read of it?
    pub fn may_be_anothers(&self, nqn: &Nqn) -> bool {
        self.others.iter().any(|other| other.nqn == *nqn) || self.veiled(nqn).is_some()
    }

    /// The note that cannot be read and may be of what is connected under this name.
    pub fn veiled(&self, nqn: &Nqn) -> Option<&Unreadable> {
        self.unreadable.iter().find(|one| one.may_describe(nqn))
    }

    /// The first connection under another NQN of this volume: its generation is over. Only names of
    /// the form that we give count, and never one that another volume's note claims.
    pub fn other_generation(&self, volume: &Handle, nqn: &Nqn) -> Option<&Controller> {
        let noted = self.note.as_ref().map(|note| &note.nqn);
        self.controllers.iter().find(|controller| {
            let is_of_volume =
                is_generation_of(&controller.nqn, &volume.slot) || Some(&controller.nqn) == noted;
            controller.nqn != *nqn
                && is_of_volume
                && controller.state != ControllerState::Deleting
                && !self.may_be_anothers(&controller.nqn)
        })
    }

    /// The other volume whose note claims the same NQN in this start of the kernel.
    pub fn claimed_by_another(&self, volume: &Handle, nqn: &Nqn) -> Option<&Note> {
        let own = shown(volume);
        self.others
            .iter()
            .find(|other| other.nqn == *nqn && other.boot == self.boot && other.volume != own)
    }

    /// The other volume to which this path belongs: by its note of this start of the kernel, or by
    /// the subsystem of what is mounted there.
    pub fn owner_of(&self, path: &Path, mounted: Option<&Nqn>) -> Option<&Note> {
        self.others.iter().find(|other| {
            let names_path = other.staging == path || other.targets.contains_key(path);
            other.boot == self.boot && names_path || Some(&other.nqn) == mounted
        })
    }

    /// The connection that unstaging ends: of the NQN in the note. Without one, by the form of the
    /// name, and only what no other volume's note claims.
    pub fn to_be_ended(&self, volume: &Handle) -> Option<&Controller> {
        let is_ours = |nqn: &Nqn| match &self.note {
            Some(note) => note.nqn == *nqn,
            None => is_generation_of(nqn, &volume.slot) && !self.may_be_anothers(nqn),
        };
        let still = |one: &&Controller| one.state != ControllerState::Deleting && is_ours(&one.nqn);
        self.controllers.iter().find(still)
    }
}

/// Is this a mount of the device: of the file system on it, or of its node, which was bound to a file?
pub fn uses(mount: &Mount, device: &Device) -> bool {
    let node = device.path.file_name().map(|name| PathBuf::from("/").join(name));
    is_of(mount, device) || mount.kind == DEVTMPFS && node.as_ref() == Some(&mount.root)
}

/// Is the file system of this mount the one on this device?
pub fn is_of(mount: &Mount, device: &Device) -> bool {
    mount.number == device.number
}

/// Was an NVMe device mounted here? What else lies on our paths is somebody else's.
pub fn is_nvme(mount: &Mount) -> bool {
    mount.source.starts_with("/dev/nvme")
}

/// Is this an NQN that a generation of the volume in `slot` has or had: `<base>:<slot>.g<generation>-
/// <nonce>` (`attachment/ledger/nqn.rs`)? Names that never change have no generations.
pub fn is_generation_of(nqn: &Nqn, slot: &Slot) -> bool {
    let Some((_, end)) = nqn.as_str().rsplit_once(':') else { return false };
    let Some((name, generation)) = end.rsplit_once(".g") else { return false };
    let Some((number, nonce)) = generation.split_once('-') else { return false };
    name == slot.as_str()
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && nonce.len() == 12
        && nonce.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
pub mod fixture;

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_names_of_our_own_form_are_generations_of_a_volume() {
        let slot = Slot::parse("pvc-1").unwrap();
        for (text, wanted) in [
            ("nqn.x:pvc-1.g3-0123456789ab", true),
            ("nqn.2000-02.com.mikrotik:pvc-1.g12-abcdef012345", true),
            ("nqn.x:pvc-1", false),
            ("nqn.x:pvc-1.g3", false),
            ("nqn.x:pvc-1.g-0123456789ab", false),
            ("nqn.x:pvc-1.g3-0123456789a", false),
            ("nqn.x:pvc-1.g3-0123456789ag", false),
            ("nqn.x:pvc-11.g3-0123456789ab", false),
            ("nqn.x:a-pvc-1.g3-0123456789ab", false),
            ("nqn.x.pvc-1.g3-0123456789ab", false),
        ] {
            assert_eq!(is_generation_of(&Nqn::parse(text).unwrap(), &slot), wanted, "{text}");
        }
        // As the ledger writes them.
        use crate::attachment::ledger::{ClusterTag, Nonce, Record};
        let record = Record {
            generation: 7,
            nonce: Nonce::random(),
            ..Record::created(ClusterTag::of("c"))
        };
        assert!(is_generation_of(&record.nqn("nqn.x", &slot).unwrap(), &slot));
    }
}
