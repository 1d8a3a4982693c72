//! The durable note of a volume: what was begun here under which NQN. Written before anything is
//! done, removed when all of it is undone; the kernel is compared with it, never believed alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Node, Unreadable, shown};
use crate::agent::generation;
use crate::host::{Connect, Controller, Mount, Timing};
use crate::operations::{Error, Kind};
use crate::volume::{Handle, Nqn, Refused};

/// The form of notes that this version writes and reads.
const FORM: u32 = 1;

/// The end of the name of what is kept of a note once its volume was unstaged. No note of a volume
/// has a name of three parts.
pub(super) const LEFT: &str = ".left.note";

/// The port of NVMe over TCP (NVM Express TCP Transport Specification, 2.1).
const NVME_TCP_PORT: u16 = 4420;

/// The timing of a connection that was found: not known, and not needed to end it. The kernel's own
/// defaults (`NVMF_DEF_*` in `drivers/nvme/host/fabrics.h`), but for giving up.
const FOUND: Timing = Timing {
    ctrl_loss: None,
    reconnect_delay: Duration::from_secs(10),
    keep_alive: Duration::from_secs(5),
    fast_io_fail: None,
    io_queues: None,
};

/// How far a file system was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Formatting {
    /// None was made here, and none was seen.
    None,
    /// mkfs was started under this NQN, and nobody knows how far it came.
    Begun {
        /// The start of the kernel in which that was.
        boot: String,
    },
    /// There is one: made here, or found.
    Done,
}

/// What a volume is staged for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// As a device.
    Block,
    /// With a file system.
    Mount {
        /// Which.
        kind: String,
        /// Read-only?
        read_only: bool,
    },
}

/// One note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// [`FORM`].
    form: u32,
    /// The volume id.
    pub volume: String,
    /// The NQN that it is staged under.
    #[serde(with = "any_nqn")]
    pub nqn: Nqn,
    /// Of the attachment, where it has one.
    pub generation: Option<u64>,
    /// Where it is staged.
    pub staging: PathBuf,
    /// What for.
    pub used: Use,
    /// How the host connects.
    to: To,
    /// The start of the kernel in which it was staged.
    pub boot: String,
    /// How far a file system was made.
    pub formatting: Formatting,
    /// Its UUID, where there is one.
    pub uuid: Option<String>,
    /// What the box called the device all over the world when it was first used under this NQN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where it was asked to be seen, and whether read-only there.
    pub targets: BTreeMap<PathBuf, bool>,
}

/// [`Connect`] without its NQN, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct To {
    address: String,
    port: u16,
    host_nqn: Nqn,
    host_id: String,
    ctrl_loss: Option<Duration>,
    reconnect_delay: Duration,
    keep_alive: Duration,
    fast_io_fail: Option<Duration>,
    io_queues: Option<u16>,
}

/// NQNs of RouterOS before 7.21 are slots, which [`Nqn`] does not read by itself.
mod any_nqn {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::volume::Nqn;

    pub fn serialize<S: Serializer>(nqn: &Nqn, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(nqn.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Nqn, D::Error> {
        let text = String::deserialize(from)?;
        Nqn::exported(&text).map_err(D::Error::custom)
    }
}

impl Note {
    /// The note of a volume that is going to be staged.
    pub fn new(volume: &Handle, connect: &Connect, boot: &str, staging: &Path, used: Use) -> Self {
        let timing = &connect.timing;
        Self {
            form: FORM,
            volume: shown(volume),
            nqn: connect.nqn.clone(),
            generation: None,
            staging: staging.to_owned(),
            used,
            to: To {
                address: connect.address.clone(),
                port: connect.port,
                host_nqn: connect.host_nqn.clone(),
                host_id: connect.host_id.clone(),
                ctrl_loss: timing.ctrl_loss,
                reconnect_delay: timing.reconnect_delay,
                keep_alive: timing.keep_alive,
                fast_io_fail: timing.fast_io_fail,
                io_queues: timing.io_queues,
            },
            boot: boot.to_owned(),
            formatting: Formatting::None,
            uuid: None,
            identity: None,
            targets: BTreeMap::new(),
        }
    }

    /// The note of a volume that is mounted and has none: as far as the kernel tells, enough to
    /// unstage it. Where it is mounted, a file system was made.
    pub fn found(volume: &Handle, by: &Controller, mount: &Mount, boot: &str) -> Self {
        let used = Use::Mount { kind: mount.kind.clone(), read_only: mount.read_only };
        let value = |key: &str| {
            let pairs = by.address.split(',').filter_map(|pair| pair.split_once('='));
            pairs.clone().find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let host_nqn = by.host_nqn.as_deref().and_then(|text| Nqn::parse(text).ok());
        let connect = Connect {
            nqn: by.nqn.clone(),
            address: value("traddr").unwrap_or_default().to_owned(),
            port: value("trsvcid").and_then(|port| port.parse().ok()).unwrap_or(NVME_TCP_PORT),
            host_nqn: host_nqn.unwrap_or_else(|| by.nqn.clone()),
            host_id: String::new(),
            timing: FOUND,
        };
        let note = Self::new(volume, &connect, boot, &mount.target, used);
        let generation = generation(by.nqn.as_str()).map(|(number, _)| number);
        Self { generation, formatting: Formatting::Done, ..note }
    }

    /// How the host connects.
    pub fn connect(&self) -> Connect {
        let to = self.to.clone();
        Connect {
            nqn: self.nqn.clone(),
            address: to.address,
            port: to.port,
            host_nqn: to.host_nqn,
            host_id: to.host_id,
            timing: Timing {
                ctrl_loss: to.ctrl_loss,
                reconnect_delay: to.reconnect_delay,
                keep_alive: to.keep_alive,
                fast_io_fail: to.fast_io_fail,
                io_queues: to.io_queues,
            },
        }
    }

    /// The same volume staged anew: what is known of its file system is kept while the NQN is the
    /// same, and its targets are kept while the kernel is.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        if before.nqn == self.nqn {
            self.formatting = before.formatting.clone();
            self.uuid = before.uuid.clone();
            self.identity = before.identity.clone();
        }
        if before.boot == self.boot {
            self.targets = before.targets.clone();
        }
        self
    }

    /// The kind of its file system.
    pub fn kind(&self) -> Option<&str> {
        match &self.used {
            Use::Block => None,
            Use::Mount { kind, .. } => Some(kind),
        }
    }

    /// Does it know something of the file system that must outlive a failure?
    pub fn keeps_formatting(&self) -> bool {
        self.formatting != Formatting::None
    }

    pub(super) fn read(text: &str) -> Result<Self, Refused> {
        let note: Self = serde_json::from_str(text).map_err(|why| Refused(why.to_string()))?;
        if note.form != FORM {
            return Err(Refused(format!("it has form {}, this version reads {FORM}", note.form)));
        }
        Ok(note)
    }
}

/// What is staged, for whoever reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The volume id.
    pub volume: String,
    /// Under which NQN.
    pub nqn: Nqn,
    /// Generation of the attachment, where it has one.
    pub generation: Option<u64>,
    /// Where.
    pub staging: PathBuf,
    /// Where it is published.
    pub targets: BTreeSet<PathBuf>,
    /// The kind of its file system; `None` for a raw device.
    pub file_system: Option<String>,
    /// UUID of the file system, once it is known.
    pub uuid: Option<String>,
    /// How far a file system was made under this NQN.
    pub formatting: Formatting,
    /// How to connect to it again.
    pub connect: Connect,
    /// Was it unstaged, and is only kept because a file system was begun?
    pub is_left: bool,
}

impl From<&Note> for Staged {
    fn from(note: &Note) -> Self {
        Self {
            volume: note.volume.clone(),
            nqn: note.nqn.clone(),
            generation: note.generation,
            staging: note.staging.clone(),
            targets: note.targets.keys().cloned().collect(),
            file_system: note.kind().map(str::to_owned),
            uuid: note.uuid.clone(),
            formatting: note.formatting.clone(),
            connect: note.connect(),
            is_left: false,
        }
    }
}

/// The name of a volume's note. Slots have no dot, so that no two volumes share one.
pub fn name_of(volume: &Handle) -> String {
    match &volume.backend {
        None => volume.slot.to_string(),
        Some(backend) => format!("{backend}.{}", volume.slot),
    }
}

/// The name of what is kept of a volume's note.
pub fn left_name_of(volume: &Handle) -> String {
    format!("{}{LEFT}", name_of(volume))
}

/// Is this the name of such a note?
pub fn is_left(name: &str) -> bool {
    name.ends_with(LEFT)
}

impl Node {
    /// All notes of what is staged, by name, that can be read.
    pub(super) async fn notes(&self) -> Result<BTreeMap<String, Note>, Error> {
        let mut notes = self.all_notes().await?.read;
        notes.retain(|name, _| !is_left(name));
        Ok(notes)
    }

    /// What is staged, what is kept of volumes that were unstaged, and the notes that cannot be read.
    ///
    /// # Errors
    /// When the notes cannot be read.
    pub async fn noted(&self) -> Result<(Vec<Staged>, Vec<Unreadable>), Error> {
        // What is put away meanwhile is found in one of the two: it is written there first. So is what
        // can be read in one of them alone.
        let (first, then) = (self.all_notes().await?, self.all_notes().await?);
        let left = then.read.iter().filter(|(name, _)| is_left(name));
        let left = left.map(|(_, note)| Staged { is_left: true, ..Staged::from(note) });
        let staged = first.read.iter().filter(|(name, _)| !is_left(name));
        let all = left.chain(staged.map(|(_, note)| Staged::from(note))).collect();
        let unreadable = first.unreadable.into_iter().chain(then.unreadable);
        Ok((all, BTreeMap::from_iter(unreadable).into_values().collect()))
    }

    pub(super) async fn write(&self, volume: &Handle, note: &Note) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(note)
            .map_err(|why| Error::new(Kind::Refused, why.to_string()))?;
        Ok(self.parts.host.write_note(&name_of(volume), &text).await?)
    }

    pub(super) async fn forget(&self, volume: &Handle) -> Result<(), Error> {
        Ok(self.parts.host.remove_note(&name_of(volume)).await?)
    }

    /// Takes the note of a volume away that is staged no more. What it knows of a file system is
    /// kept until the NQN is over: the controller may not have heard of it yet.
    pub(super) async fn put_away(&self, volume: &Handle, note: &Note) -> Result<(), Error> {
        if note.keeps_formatting() {
            let text = serde_json::to_string_pretty(note)
                .map_err(|why| Error::new(Kind::Refused, why.to_string()))?;
            let name = left_name_of(volume);
            self.parts.host.write_note(&name, &text).await?;
        }
        self.forget(volume).await
    }

    /// Nobody has to hear any more of a volume that was unstaged.
    ///
    /// # Errors
    /// When the note cannot be removed.
    pub async fn forget_left(&self, volume: &Handle) -> Result<(), Error> {
        let name = left_name_of(volume);
        Ok(self.parts.host.remove_note(&name).await?)
    }
}
