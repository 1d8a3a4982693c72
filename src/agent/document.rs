//! What an agent says.

use serde::{Deserialize, Serialize};

use super::challenge::Challenge;
use super::keys::Keys;
use super::name::volume_name;
use crate::volume::{NodeName, Refused};

/// The version of the format that we write, and the only one that we read.
pub(super) const FORMAT: u32 = 1;

/// How far the connection of a host to a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    /// Connected.
    Live,
    /// Tries to connect, for the first time or again: what is queued is written when it succeeds.
    Connecting,
    /// There is a controller that is neither: being made, reset or taken away, or given up.
    Other,
    /// There is no controller.
    Gone,
}

/// Has this host made a file system on the volume, under this NQN?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Formatting {
    /// It has not begun to.
    None,
    /// It has begun, and is not known to have ended.
    Begun,
    /// There is a file system: made here, or found here.
    Done,
}

/// What a host knows of one volume, under one NQN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeWord {
    /// The NQN.
    pub nqn: String,
    /// The host's connection.
    pub connection: Connection,
    /// How often it is mounted here.
    pub mounts: u32,
    /// The kind of the file system, where one is known to be there.
    pub file_system: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Was it made here?
    pub formatting: Formatting,
}

/// What is said in one answer, before names are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The driver's name: two installations may be on one node.
    pub driver: String,
    /// The node.
    pub node: NodeName,
    /// Changes with every start of the node's kernel.
    pub boot_id: String,
    /// Every volume of this driver that the kernel has a controller of or that is staged, or was,
    /// under a generation that is not over. `None`: the kernel could not be asked.
    pub volumes: Option<Vec<VolumeWord>>,
}

/// An answer as it is sent: names are hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) format: u32,
    pub(super) driver: String,
    pub(super) node: NodeName,
    pub(super) boot_id: String,
    pub(super) challenge: String,
    pub(super) volumes: Option<Vec<Entry>>,
}

/// One volume in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Entry {
    /// The volume's name, hidden: the same for all its generations within this answer.
    volume: String,
    /// The NQN, hidden.
    nqn: String,
    state: Connection,
    mounts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_system: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    formatted: Formatting,
}

impl Document {
    /// The report as it is sent in answer to this challenge.
    pub(super) fn of(report: &Report, keys: &Keys, asked: &Challenge) -> Result<Self, Refused> {
        let entry = |word: &VolumeWord| {
            Ok(Entry {
                volume: keys.hidden(asked, volume_name(&word.nqn))?,
                nqn: keys.hidden(asked, &word.nqn)?,
                state: word.connection,
                mounts: word.mounts,
                file_system: word.file_system.clone(),
                uuid: word.uuid.clone(),
                formatted: word.formatting,
            })
        };
        let entries = |words: &Vec<VolumeWord>| words.iter().map(entry).collect();
        Ok(Self {
            format: FORMAT,
            driver: report.driver.clone(),
            node: report.node.clone(),
            boot_id: report.boot_id.clone(),
            challenge: asked.to_string(),
            volumes: report.volumes.as_ref().map(entries).transpose()?,
        })
    }
}

/// What has been proven to be an agent's word, with the keys to find volumes in it.
#[derive(Debug, Clone)]
pub struct Proven {
    pub(super) document: Document,
    pub(super) challenge: Challenge,
    pub(super) keys: Keys,
}

/// What an agent's word says of one volume or NQN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The host's connection.
    pub connection: Connection,
    /// The kind of the file system, where one is known to be there.
    pub file_system: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Was it made here?
    pub formatting: Formatting,
}

impl Proven {
    /// Which start of the node's kernel answered.
    pub fn boot_id(&self) -> &str {
        &self.document.boot_id
    }

    /// Could the agent ask its kernel for its connections?
    pub fn sees(&self) -> bool {
        self.document.volumes.is_some()
    }

    /// Has the host a controller of this volume, under whatever NQN of it?
    pub fn has_controller_of(&self, volume: &str) -> bool {
        let Ok(hidden) = self.keys.hidden(&self.challenge, volume) else { return true };
        self.entries().any(|it| it.volume == hidden && it.state != Connection::Gone)
    }

    /// Has it a connection to this volume that works?
    pub fn is_connected_to(&self, volume: &str) -> bool {
        let Ok(hidden) = self.keys.hidden(&self.challenge, volume) else { return true };
        self.entries().any(|it| it.volume == hidden && it.state == Connection::Live)
    }

    /// Has it a connection to any volume of ours that works?
    pub fn is_connected(&self) -> bool {
        self.entries().any(|it| it.state == Connection::Live)
    }

    /// What it says of exactly this NQN. `None`: it knows nothing of it.
    pub fn seen(&self, nqn: &str) -> Option<Seen> {
        let hidden = self.keys.hidden(&self.challenge, nqn).ok()?;
        let entry = self.entries().find(|it| it.nqn == hidden)?;
        Some(Seen {
            connection: entry.state,
            file_system: entry.file_system.clone(),
            uuid: entry.uuid.clone(),
            formatting: entry.formatted,
        })
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.document.volumes.iter().flatten()
    }
}
