//! What a story does to the world, and what it can see of it.
//!
//! Stories know only these traits, so that they run on the doubles of the sandbox and on real parts
//! alike.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

/// What went wrong with the world, not with the driver: the story cannot go on.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// A volume that a story provisioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The PV's name.
    pub name: String,
    /// The CSI volume id.
    pub handle: String,
}

/// What an RPC answered: the code's name and the text.
pub type Answer<T> = Result<T, (String, String)>;

/// A cluster with its sidecars, a box, the hosts, and the driver between them.
#[async_trait]
pub trait World: Send + Sync {
    /// Who the driver talks to, for the person who watches.
    fn describe(&self) -> Vec<String>;

    /// A claim is made, and bound to a volume that the driver provisions.
    async fn provision(&self, claim: &str, bytes: u64) -> Result<Provisioned, Trouble>;

    /// A pod wants a volume on a node: the VolumeAttachment is made. Returns once it is attached,
    /// with the publish context.
    async fn attach(
        &self,
        volume: &Provisioned,
        node: &str,
        within: Duration,
    ) -> Result<Option<BTreeMap<String, String>>, Trouble>;

    /// ControllerPublishVolume, called as the external-attacher would.
    async fn publish(&self, volume: &Provisioned, node: &str) -> Answer<BTreeMap<String, String>>;

    /// Is there a VolumeAttachment of this volume for this node?
    async fn has_attachment(&self, volume: &Provisioned, node: &str) -> bool;

    /// The machine of a node connects with what it was given, and writes.
    async fn connect_and_write(
        &self,
        node: &str,
        context: &BTreeMap<String, String>,
    ) -> Result<(), String>;

    /// The machine of a node writes again through the connection that it has.
    async fn write_on(&self, node: &str, context: &BTreeMap<String, String>) -> Result<(), String>;

    /// The box loses power without saying goodbye: sockets stay open and nothing answers.
    async fn crash_box(&self);

    /// The box is back.
    async fn revive_box(&self);

    /// The Node object is deleted. Its machine is not asked.
    async fn delete_node(&self, node: &str) -> Result<(), Trouble>;

    /// A new machine joins under the name of a node that was deleted.
    async fn set_up_node(&self, node: &str) -> Result<(), Trouble>;

    /// The machine of a node is dead for Kubernetes, and an operator says so with the taint
    /// `node.kubernetes.io/out-of-service`. What the machine still has open is not asked.
    async fn taint_out_of_service(&self, node: &str) -> Result<(), Trouble>;

    /// Kubernetes takes the pod from a node that is out of service, and lets go of its volume.
    async fn let_go(&self, volume: &Provisioned, node: &str) -> Result<(), Trouble>;

    /// Probe: ready or not; `None` when it gave no answer in time.
    async fn probe(&self) -> Option<bool>;

    /// One sample of the metrics endpoint, such as `rds_csi_rds_connection_state{address="…"}`;
    /// labels that are not named may have any value, and samples are added up.
    async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64>;

    /// How many events with this reason the cluster holds.
    async fn events(&self, reason: &str) -> usize;

    /// How often the box wrote for two hosts by turns on one volume: must be zero.
    async fn second_writers(&self) -> usize;

    /// How long the driver may need: to notice a silent box, to fence a node that is gone.
    fn patience(&self) -> Patience;

    /// What a story may expect of the box, where boxes differ.
    fn nature(&self) -> Nature;
}

/// What a story may expect of a box, where boxes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// Every attachment has an NQN of its own. Where not (RouterOS below 7.21), the box's list of
    /// hosts alone keeps the old node out.
    pub names_exports: bool,
    /// Taking the export away cuts a connected host off at once. Where not, the next export does,
    /// under its other NQN.
    pub unexport_cuts: bool,
    /// The box tells of I/O, so that a fence can be seen to hold. Where not, the drain time is
    /// waited out.
    pub has_counters: bool,
}

/// How long things may take with the intervals that the driver was given.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To notice that the box is silent.
    pub detect: Duration,
    /// To reconnect once it is back.
    pub reconnect: Duration,
    /// From the deletion of a Node to the VolumeAttachment being gone.
    pub recover: Duration,
    /// The same, at the earliest: the grace time, and what it takes to confirm a fence.
    pub recover_earliest: Duration,
}
