//! What the driver does with a volume: one file per operation, each an asynchronous flow over the
//! traits [`Rds`] and [`Cluster`]. The decisions are made in [`crate::attachment`].
//!
//! RPCs and the reconciler call the same flows. None of them names actix or tonic. A flow may be
//! abandoned at any await: what it did so far is on the box and in Kubernetes, and the next call
//! or pass goes on from there.

mod agents;
mod change;
mod confirm;
mod create;
mod delete;
mod expand;
mod fence;
mod first_driver;
mod ground;
mod list;
mod publish;
pub mod reconcile;
mod static_form;
mod unpublish;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::attachment::storm::Limits as Storm;
use crate::attachment::verdict::FenceCause;
use crate::cluster::agents::Agents;
use crate::cluster::{Cluster, ClusterError};
use crate::rds::{Failure, Rds};
use crate::volume::capability::Capability;
use crate::volume::turns::Turns;
use crate::volume::{BackendName, NodeName, Slot, VolumeId, VolumePath};

/// One configured box.
#[derive(Clone)]
pub struct Backend {
    /// Its name.
    pub name: BackendName,
    /// `host:port` of its SSH service.
    pub address: String,
    /// The address at which nodes reach its NVMe/TCP port.
    pub nvme_address: String,
    /// That port.
    pub nvme_port: u16,
    /// Directories for images; the first is the default.
    pub volume_paths: Vec<VolumePath>,
    /// What precedes `:<slot>` in every NQN.
    pub nqn_base: String,
    /// The box itself.
    pub rds: Arc<dyn Rds>,
}

/// All configured boxes.
#[derive(Clone)]
pub struct Backends {
    /// By name.
    pub by_name: BTreeMap<BackendName, Backend>,
    /// The backend whose volume ids have no prefix.
    pub bare_ids: BackendName,
    /// Where a volume is made whose StorageClass names no backend.
    pub default: BackendName,
}

/// The operations, and what they need.
#[derive(Clone)]
pub struct Operations {
    /// The boxes.
    pub backends: Backends,
    /// Kubernetes.
    pub cluster: Arc<dyn Cluster>,
    /// The agents of nodes.
    pub agents: Arc<dyn Agents>,
    /// One turn per volume.
    pub turns: Turns,
    /// How long things may take; may change while we run.
    pub limits: watch::Receiver<Limits>,
    /// Is told what was done, for metrics.
    pub observer: Arc<dyn Observer>,
    /// Asks for a pass, where an operation met something that only a pass may put right.
    pub ask_for_pass: Arc<dyn Fn() + Send + Sync>,
    /// Where to log.
    pub log: slog::Logger,
}

/// Intervals and thresholds of operations and passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// How long a Node object or a VolumeAttachment must be gone.
    pub grace: Duration,
    /// How long a watch may have been failing before a pass counts as blind.
    pub max_age: Duration,
    /// How long an item may be without a PV before it is reported.
    pub orphan_grace: Duration,
    /// Time between two reads of a disk's counters.
    pub counter_interval: Duration,
    /// How long to wait after a fence where the box has no I/O counters.
    pub drain: Duration,
    /// When many unhealthy nodes are a storm.
    pub storm: Storm,
}

/// Is told what was done.
pub trait Observer: Send + Sync {
    /// Something was done, or was tried.
    fn happened(&self, what: Happened);
}

/// What was done, or was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Two nodes wanted one volume.
    Conflict,
    /// A volume was fenced, or the fence was not confirmed.
    Fenced(FenceCause, Result<(), Kind>),
    /// A VolumeAttachment of a node that is gone was deleted.
    StaleCleared,
    /// A pass did this to a volume (the word of the metric label).
    Reconciled(&'static str),
    /// A grace time was waited for.
    GraceUsed,
    /// So many nodes are suspect.
    SuspectNodes(usize),
    /// So many volumes are held back.
    Held(usize),
    /// So many volumes are attached.
    Attached(usize),
}

/// A volume to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateVolume {
    /// Where.
    pub backend: BackendName,
    /// Under which slot.
    pub slot: Slot,
    /// In which directory: one of the backend's.
    pub volume_path: VolumePath,
    /// At least so many bytes.
    pub required: u64,
    /// At most so many bytes.
    pub limit: Option<u64>,
    /// How it will be used; never empty.
    pub capabilities: Vec<Capability>,
    /// What the node will need, copied into the volume context: keys of the first driver.
    pub context: BTreeMap<String, String>,
}

/// A volume as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Its id.
    pub id: VolumeId,
    /// Exact size.
    pub bytes: u64,
    /// The volume context.
    pub context: BTreeMap<String, String>,
    /// The nodes that hold it.
    pub published: Vec<NodeName>,
}

/// A volume to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Which.
    pub id: VolumeId,
    /// To which node.
    pub node: NodeName,
    /// For which use.
    pub capability: Capability,
    /// Read-only?
    pub read_only: bool,
}

/// A volume to be grown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expand {
    /// Which.
    pub id: VolumeId,
    /// To at least so many bytes.
    pub required: u64,
    /// To at most so many bytes.
    pub limit: Option<u64>,
    /// How it is used, where the caller said so.
    pub capability: Option<Capability>,
}

/// What became of an expansion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expanded {
    /// Exact size now.
    pub bytes: u64,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The volumes.
    pub volumes: Vec<VolumeInfo>,
    /// Where the next page starts; empty when there is none.
    pub next: String,
}

/// What is left on a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Free bytes.
    pub available: u64,
}

/// What kind of failure it is; `grpc/status.rs` makes a code of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing was begun; box, API server or cache are not there. Try again.
    Unavailable,
    /// It was begun, and its outcome is not known: it may still be running on the box.
    Unknown,
    /// Somebody else changes this volume now, or was quicker.
    Contended,
    /// The request is wrong.
    Invalid,
    /// The volume or the node does not exist.
    NotFound,
    /// The name is taken by something else.
    Exists,
    /// The state forbids it.
    Precondition,
    /// Size limits cannot be met.
    Range,
    /// The pool is full.
    Full,
    /// The page token is not ours or no longer valid.
    Token,
    /// The box or Kubernetes refused, for good.
    Refused,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Which kind.
    pub kind: Kind,
    /// One or two sentences for a person: what, why, and the way out.
    pub message: String,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let kind = if failure.may_have_run() { Kind::Unknown } else { Kind::Unavailable };
        Self::new(kind, failure.to_string())
    }
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        let kind = match error {
            ClusterError::Unreachable(_) => Kind::Unavailable,
            ClusterError::Conflict(_) => Kind::Contended,
            ClusterError::NotFound(_) => Kind::NotFound,
            ClusterError::Refused(_) => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}
