//! What the driver does on a node: stage, publish, grow, measure and clean up NVMe/TCP volumes.
//!
//! One file per operation, each a thin flow over [`Host`]: look, ask the pure function beside it
//! (`stage/next.rs`, …) for the next step, do it, look again. A flow may be abandoned at any await
//! and the process killed at any instruction: what it did so far is in the kernel and in the note of
//! the volume ([`staged`]), and the next call goes on from there.
//!
//! They ask nothing of the box, and of Kubernetes only whether a generation is over. What may be
//! connected to and whether it may be formatted is in the publish context; what else is staged here is in the notes and in the kernel, and
//! the two are compared. It never formats but what was never formatted *and* reads zeros, never
//! removes but what is empty, and never ends a connection but one to this volume.

pub mod context;
mod expand;
mod faults;
mod health;
mod look;
mod publish;
mod stage;
pub mod staged;
mod stats;
mod unpublish;
mod unreadable;
mod unstage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use slog::Logger;
use tokio::sync::{OnceCell, watch};
use tokio::time::{sleep, timeout};

pub use self::expand::Expand;
pub use self::faults::{Faults, Point};
pub use self::health::{Ailment, BoxAilment, HealthQuery, Severity};
pub use self::publish::{Publish, Unpublish};
pub use self::stage::Stage;
use self::staged::Note;
pub use self::staged::{Formatting, Staged};
pub use self::stats::{Amount, StatsQuery};
pub use self::unreadable::Unreadable;
pub use self::unstage::Unstage;
use crate::host::{self, Host};
use crate::logging::Chain;
use crate::operations::{Error, Kind};
use crate::volume::turns::{Turn, Turns};
use crate::volume::{BackendName, Handle, NodeName, Nqn, Refused, VolumeId};

/// Most failures that are remembered for the health of volumes that could not be staged.
const FAILURES_MAX: usize = 256;

/// Longest pause between two looks at the kernel, where it does not tell of a change.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// How long the node waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From the connection to the device, and for a device to show a new size.
    pub device: Duration,
}

/// What a node is made with.
pub struct Parts {
    /// The kernel.
    pub host: Arc<dyn Host>,
    /// The name of the Kubernetes Node, which is the CSI node id.
    pub name: NodeName,
    /// Most volumes at a time; `None` where kubelet need not count.
    pub volumes_max: Option<u32>,
    /// How long to wait.
    pub deadlines: Deadlines,
    /// Knows which generations are over.
    pub generations: Arc<dyn Generations>,
    /// Is told what was done, for metrics.
    pub observer: Arc<dyn Observer>,
    /// Ends a flow at a named point, in tests; never otherwise.
    pub faults: Faults,
    /// Where to log.
    pub log: Logger,
}

/// The operations of a node. Cloning shares everything.
#[derive(Clone)]
pub struct Node {
    parts: Arc<Parts>,
    turns: Turns,
    /// The start of the kernel, which is the same for as long as this process lives.
    boot: Arc<OnceCell<String>>,
    /// Why a volume could not be staged or published, by id, until it could.
    failures: Arc<Mutex<BTreeMap<String, Error>>>,
    /// The notes of which it was told that they cannot be read.
    unreadable: Arc<unreadable::Told>,
}

/// Knows whether what is attached to this node has ended, although nobody unstaged it yet.
#[async_trait]
pub trait Generations: Send + Sync {
    /// Is the volume fenced from this node, or being deleted, so that nothing written under this NQN
    /// can arrive any more? Only a plain yes lets a connection be ended while data wait to be written.
    async fn is_over(&self, volume: &Handle, nqn: &Nqn) -> bool;

    /// Does the newest record of the volume give it to this node under this NQN? Only a plain yes
    /// lets it be staged where a generation is known that seems to be newer: of a volume that was
    /// deleted and made anew under its old name.
    async fn is_current(&self, volume: &Handle, nqn: &Nqn) -> bool;
}

/// Nobody knows: then nothing is over, and nothing is current.
pub struct NobodyKnows;

#[async_trait]
impl Generations for NobodyKnows {
    async fn is_over(&self, _: &Handle, _: &Nqn) -> bool {
        false
    }

    async fn is_current(&self, _: &Handle, _: &Nqn) -> bool {
        false
    }
}

/// Is told what was done.
pub trait Observer: Send + Sync {
    /// Something was done, or was tried.
    fn happened(&self, what: Happened);
}

/// What was done, or was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// The host was asked to connect.
    Connected {
        /// Did it?
        ok: bool,
        /// Until it was accepted or refused.
        took: Duration,
    },
    /// `mount`, `bind` or `unmount` was asked for.
    Mounted {
        /// Which of them.
        operation: &'static str,
        /// Did it work?
        ok: bool,
    },
    /// A mount was found whose device is not the volume's any more.
    StaleMount,
    /// It was taken away, so that the volume can be mounted anew.
    StaleRecovered {
        /// Did that work?
        ok: bool,
    },
    /// The box calls a device otherwise than before, under the same NQN.
    IdentityChanged,
    /// So many notes cannot be read now.
    UnreadableNotes(usize),
}

/// Nobody listens.
pub struct Unobserved;

impl Observer for Unobserved {
    fn happened(&self, _: Happened) {}
}

impl Node {
    /// The operations on this kernel.
    pub fn new(parts: Parts) -> Self {
        let failures = Arc::new(Mutex::new(BTreeMap::new()));
        Self {
            parts: Arc::new(parts),
            turns: Turns::default(),
            boot: Arc::new(OnceCell::new()),
            failures,
            unreadable: Arc::default(),
        }
    }

    /// The CSI node id.
    pub fn name(&self) -> &NodeName {
        &self.parts.name
    }

    /// Most volumes at a time.
    pub fn volumes_max(&self) -> Option<u32> {
        self.parts.volumes_max
    }

    /// The kernel.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.parts.host
    }

    /// Everything that is staged here, from the notes that can be read: what was begun and not undone.
    ///
    /// # Errors
    /// When the notes cannot be read.
    pub async fn staged(&self) -> Result<Vec<Staged>, Error> {
        let notes = self.notes().await?;
        Ok(notes.values().map(Staged::from).collect())
    }

    /// Takes the turn of a volume.
    ///
    /// # Errors
    /// `Contended` while somebody else has it.
    pub fn turn(&self, volume: &Handle) -> Result<Turn, Error> {
        self.turns.take(&turn_key(volume)?).ok_or_else(|| {
            let what = format!("volume {} is being worked on by another call", shown(volume));
            Error::new(Kind::Contended, what)
        })
    }

    /// Remembers how the latest attempt at a volume ended.
    fn remember<T>(&self, volume: &Handle, outcome: &Result<T, Error>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(_) => {
                failures.remove(&shown(volume));
            }
            Err(error) if error.kind == Kind::Contended => {}
            Err(error) => {
                while failures.len() >= FAILURES_MAX {
                    failures.pop_first();
                }
                failures.insert(shown(volume), error.clone());
            }
        }
    }

    fn failure(&self, volume: &Handle) -> Option<Error> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(&shown(volume)).cloned()
    }

    fn forget_failure(&self, volume: &Handle) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&shown(volume));
    }
}

/// The volume id as Kubernetes knows it.
pub fn shown(volume: &Handle) -> String {
    match &volume.backend {
        None => volume.slot.to_string(),
        Some(backend) => format!("{backend}/{}", volume.slot),
    }
}

/// The node knows no configured boxes: volumes without a prefix share one key. That a backend may be
/// called the same costs a moment's waiting, no more.
fn turn_key(volume: &Handle) -> Result<VolumeId, Error> {
    let backend = match &volume.backend {
        Some(backend) => backend.clone(),
        None => BackendName::parse("bare").map_err(|why: Refused| refused(&why))?,
    };
    Ok(VolumeId { backend, slot: volume.slot.clone() })
}

fn refused(why: &Refused) -> Error {
    Error::new(Kind::Refused, why.to_string())
}

fn precondition(what: impl Into<String>) -> Error {
    Error::new(Kind::Precondition, what)
}

/// A path that belongs to another volume: nothing is taken away there.
fn foreign(volume: &Handle, path: &Path, other: &Note) -> Error {
    precondition(format!(
        "{} belongs to volume {}, and volume {} was asked for; nothing is unmounted",
        path.display(),
        other.volume,
        shown(volume)
    ))
}

/// A mount that was made and is not to be seen under the path that was given: making it again would
/// only stack another one upon it. What came of taking it away again.
fn hidden(path: &Path, taken_away: Result<(), host::Error>) -> Error {
    let left = match taken_away {
        Ok(()) => String::new(),
        Err(error) => format!("; it could not be taken away again: {}", Chain(&error)),
    };
    precondition(format!(
        "what was mounted at {} is not to be seen there; is a part of the path a symbolic link? \
         Set kubelet's directory to where it really is{left}",
        path.display()
    ))
}

/// What kubelet may conclude from the kernel's answer. It takes UNAVAILABLE, ABORTED and
/// DEADLINE_EXCEEDED for "perhaps half done" and will have it undone; everything else for "nothing
/// is there", and never asks us to clean up.
impl From<host::Error> for Error {
    fn from(error: host::Error) -> Self {
        let kind = match error.kind {
            host::Kind::Missing | host::Kind::Busy | host::Kind::Broken | host::Kind::Failed => {
                Kind::Unavailable
            }
            host::Kind::Deadline | host::Kind::Stuck => Kind::Unknown,
            host::Kind::Refused => Kind::Refused,
        };
        Self::new(kind, Chain(&error).to_string())
    }
}

/// Waits for a change that the kernel tells of, or for so long that it is time to look again.
async fn changed(changes: &mut watch::Receiver<u64>, at_most: Duration) {
    // Where nobody tells any more, the time has to do.
    if let Ok(Err(_)) = timeout(at_most.min(LOOK_PERIOD), changes.changed()).await {
        sleep(at_most.min(LOOK_PERIOD)).await;
    }
}

/// Is this the end for kubelet, so that it will not ask us to undo what is half done?
fn is_final(kind: Kind) -> bool {
    !matches!(kind, Kind::Unavailable | Kind::Unknown | Kind::Contended | Kind::Token)
}

/// Directories that kubelet names are absolute and have no way up: [`Refused`] otherwise.
pub fn path(text: &str) -> Result<PathBuf, Refused> {
    let path = PathBuf::from(text);
    let plain = path.components().all(|part| {
        matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_))
    });
    if !text.starts_with('/') || !plain || path.parent().is_none() {
        return Err(Refused::value(text, "is no absolute path below /, without . and .."));
    }
    // Without a slash at the end or two in a row, as the kernel shows mounts.
    Ok(path.components().collect())
}
