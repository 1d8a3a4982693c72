//! What we ask of Kubernetes: a view that is kept up to date by watches, and a few writes.
//!
//! The types are ours, reduced to what decisions need; k8s-openapi and kube are named in
//! `cluster/` alone.

pub mod agents;
pub mod api;
mod attachments;
pub mod cache;
pub mod client;
mod deleting;
pub mod drills;
mod entries;
pub mod events;
pub mod evidence;
mod identity;
pub mod indexed;
pub mod leader;
pub mod lease;
#[cfg(test)]
mod mock;
mod nodes;
mod request;
mod tasks;
mod view;
mod volumes;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::view::View;
use crate::attachment::ledger::{Copy, Record};
use crate::attachment::usage::Usage;
use crate::volume::{BackendName, Handle, ImagePath, NodeName, Slot};

/// What identifies one version of one object, for preconditions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Version {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// A Node, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// `metadata.uid`: a node that comes back under its name is another one.
    pub uid: String,
    /// Is the condition Ready `True`? `False` and `Unknown` both mean no.
    pub ready: bool,
    /// Does it carry the taint `node.kubernetes.io/out-of-service`?
    pub out_of_service: bool,
    /// Its InternalIP; of several the first.
    pub address: Option<IpAddr>,
}

/// What stands in the annotation that holds the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// There is none.
    Absent,
    /// It parses.
    Present(Box<Copy>),
    /// It does not; the reason in words.
    Unreadable(String),
}

/// A PersistentVolume of our driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The PV's name.
    pub name: String,
    /// For preconditions.
    pub version: Version,
    /// `spec.csi.volumeHandle`.
    pub handle: String,
    /// `spec.csi.volumeAttributes`.
    pub attributes: BTreeMap<String, String>,
    /// `spec.capacity.storage` in bytes.
    pub bytes: u64,
    /// Is `status.phase` Released and the reclaim policy Delete, or is the PV being deleted?
    pub going: bool,
    /// The claim, where one is bound.
    pub claim: Option<Claim>,
    /// The copy of the record.
    pub copy: CopyState,
    /// The record in the copy, read when it arrived: passes look at it far more often than it
    /// changes. `None` where there is no copy, or no record in it.
    pub copied: Option<Arc<Record>>,
    /// What the handle names, read when it arrived. `None` where it is no handle of ours.
    pub names: Option<Handle>,
    /// The attribute `nvmePort`, read when it arrived.
    pub nvme_port: Option<u16>,
    /// For what Kubernetes attaches it: `spec.csi.readOnly`, `spec.accessModes`, `spec.volumeMode`.
    pub usage: Usage,
}

/// The claim of a PV.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// A VolumeAttachment of our driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// For preconditions.
    pub version: Version,
    /// The PV's name.
    pub volume: String,
    /// The node's name.
    pub node: NodeName,
    /// `status.attached`.
    pub attached: bool,
    /// Has it a deletion timestamp?
    pub deleting: bool,
}

/// One observation of the Node watch, in the order in which it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeChange {
    /// The watch began anew: these are all nodes there are. Whoever is missing has vanished.
    All(Vec<Node>),
    /// A node appeared or changed.
    Applied(Node),
    /// A node was deleted.
    Deleted(NodeName),
    /// The watch failed and is being tried again.
    Failed(String),
}

/// Who we are: one cluster among those that may share a box.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// UID of the namespace `kube-system`, or `cluster.id` of the configuration.
    pub cluster_id: String,
    /// The cluster Secret. Host NQNs are derived from it.
    pub secret: Arc<[u8]>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

/// A volume that is being deleted: written before the line that deletes it, taken away after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleting {
    /// The box.
    pub backend: BackendName,
    /// The disk.
    pub slot: Slot,
    /// The image that goes with it.
    pub image: ImagePath,
}

/// Why Kubernetes did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No answer, a server error, throttled. It may have been done.
    #[error("the API server did not answer: {0}")]
    Unreachable(String),
    /// Somebody else was quicker: uid or resourceVersion differ.
    #[error("{0} has changed meanwhile")]
    Conflict(String),
    /// It is not there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// We may not, or the object is invalid.
    #[error("the API server refused: {0}")]
    Refused(String),
}

/// The cluster.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Which caches have not synced since the start, and what else is missing. Empty: [`Cluster::view`] can be trusted.
    fn unsynced(&self) -> Vec<&'static str>;

    /// Which watches are failing now, and for how long: the view is that old.
    fn failing(&self) -> Vec<(&'static str, Duration)>;

    /// What the watches have shown. Cheap: shared pointers.
    fn view(&self) -> View;

    /// Cluster id and Secret; made by the first controller, remembered afterwards.
    async fn identity(&self) -> Result<Identity, ClusterError>;

    /// The PV with this handle, from the cache or, where that has none, from the API server.
    async fn volume(&self, handle: &str) -> Result<Option<Arc<Volume>>, ClusterError>;

    /// Reads the PV of this name past the cache.
    async fn read_volume(&self, name: &str) -> Result<Option<Arc<Volume>>, ClusterError>;

    /// The node of this name, from the cache or, where that has none, from the API server.
    async fn node(&self, name: &NodeName) -> Result<Option<Node>, ClusterError>;

    /// Writes the copy, and the first driver's annotations `attached-node` and `attached-at`, if
    /// the PV is still of this version. Returns the PV as written.
    async fn write_copy(&self, volume: &Volume, copy: &Copy) -> Result<Arc<Volume>, ClusterError>;

    /// Is there a VolumeAttachment of the PV of this name for this node? Looks past the cache.
    async fn has_attachment(&self, volume: &str, node: &NodeName) -> Result<bool, ClusterError>;

    /// Deletes a VolumeAttachment, if it is still of this version. Finalizers are not touched.
    async fn delete_attachment(&self, attachment: &Attachment) -> Result<(), ClusterError>;

    /// The list of volumes that are being deleted.
    async fn deleting(&self) -> Result<Vec<Deleting>, ClusterError>;

    /// Adds to that list. Returns when it is written.
    async fn begin_deleting(&self, entry: &Deleting) -> Result<(), ClusterError>;

    /// Takes from that list.
    async fn end_deleting(&self, entry: &Deleting) -> Result<(), ClusterError>;

    /// Posts an event, some time soon or, where there were too many, never. Does not wait.
    fn post(&self, notice: Notice);
}

/// Something that a person should be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Why, as the first driver spelled it.
    pub reason: Reason,
    /// On which object.
    pub about: About,
    /// What happened, one sentence.
    pub note: String,
}

/// The object on which an event is posted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// A volume: on its PVC where there is one, else on its PV (name of the PV).
    Volume(String),
    /// The claim of a volume.
    Claim(Claim),
    /// A node.
    Node(NodeName),
    /// The driver itself: on its namespace's pod or, where that is not known, the namespace.
    Driver,
}

/// Reasons of events. The names are an interface: people filter and alert on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A box could not be reached at start, or a volume's box is not connected.
    ConnectionFailure,
    /// A box answers again.
    ConnectionRecovery,
    /// The connection to a box was lost.
    RDSDisconnected,
    /// The connection to a box is back.
    RDSReconnected,
    /// The first pass after a start has ended.
    StartupReconciliation,
    /// An attachment of a node that is gone was cleared.
    StaleAttachmentCleared,
    /// Two nodes want one volume, or record and copy contradict each other.
    AttachmentConflict,
    /// A volume was attached.
    VolumeAttached,
    /// A volume was detached.
    VolumeDetached,
    /// An item on the box has no owner.
    OrphanDetected,
    /// An item without an owner was removed.
    OrphanCleaned,
    /// A repair or a fence did not succeed.
    RecoveryFailed,
    /// A volume was fenced from a node.
    VolumeFenced,
    /// An export or an item was put back as the record says.
    VolumeRepaired,
    /// A node is NotReady; its volumes are looked at.
    NodeSuspect,
    /// The device under a mount is gone: its pods must be started anew.
    MountBroken,
    /// Recovery waits, and says for what.
    RecoveryHeld,
    /// The box was found in an older state.
    RDSRolledBack,
    /// A new configuration was refused; the old one stays.
    ConfigurationRejected,
    /// A drill has shown that a fence does not hold, or the box was changed since.
    FenceUnproven,
    /// A second node joins for a migration.
    MigrationStarted,
    /// The first node has left.
    MigrationCompleted,
    /// A migration ended without success.
    MigrationFailed,
}
