//! What the controller counts: all series of `/metrics`, made once, in a registry that is given in.
//!
//! One struct for each component; a component is given its own and knows no other. Names and labels
//! of the first driver (`rds_csi_…`) are kept, so that dashboards go on. Counting never fails and
//! never panics; a scrape reads memory and does no I/O. The global registry of `prometheus` is not
//! used: two controllers in one process (tests, the sandbox) would collide.

mod actors;
mod agent;
mod attachment;
mod config;
mod events;
mod grpc;
mod node;
mod rds;
mod reconcile;
pub mod series;
mod volume;

use prometheus::{Encoder as _, Error, Registry, TextEncoder};

pub use self::actors::ActorMetrics;
pub use self::agent::AgentMetrics;
pub use self::attachment::{AttachmentMetrics, Operation};
pub use self::config::ConfigMetrics;
pub use self::events::EventMetrics;
pub use self::grpc::GrpcMetrics;
pub use self::node::NodeMetrics;
pub use self::rds::RdsMetrics;
pub use self::reconcile::ReconcileMetrics;
use self::series::Register;
pub use self::volume::VolumeMetrics;

/// All series. Clones count into the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// Boxes and their connections.
    pub rds: RdsMetrics,
    /// Passes, fences and what holds them.
    pub reconcile: ReconcileMetrics,
    /// Attachments and migrations.
    pub attachment: AttachmentMetrics,
    /// Volumes made, grown and deleted.
    pub volume: VolumeMetrics,
    /// CSI requests.
    pub grpc: GrpcMetrics,
    /// Connections and mounts of a node.
    pub node: NodeMetrics,
    /// Kubernetes events.
    pub events: EventMetrics,
    /// Supervision.
    pub actors: ActorMetrics,
    /// The agent of a node.
    pub agent: AgentMetrics,
    /// Reloads of the configuration.
    pub config: ConfigMetrics,
}

impl Metrics {
    /// Registers all series.
    ///
    /// # Errors
    ///
    /// When `registry` already holds a series of one of these names.
    pub fn new(registry: Registry) -> Result<Self, Error> {
        let register = Register(&registry);
        register
            .gauge("rds_csi_build_info", "Always 1; the version is in the label", ["version"])?
            .set([env!("CARGO_PKG_VERSION")], 1.0);
        Ok(Self {
            rds: RdsMetrics::new(&register)?,
            reconcile: ReconcileMetrics::new(&register)?,
            attachment: AttachmentMetrics::new(&register)?,
            volume: VolumeMetrics::new(&register)?,
            grpc: GrpcMetrics::new(&register)?,
            node: NodeMetrics::new(&register)?,
            events: EventMetrics::new(&register)?,
            actors: ActorMetrics::new(&register)?,
            agent: AgentMetrics::new(&register)?,
            config: ConfigMetrics::new(&register)?,
            registry,
        })
    }

    /// All series in Prometheus' text format 0.0.4.
    pub fn encode(&self) -> Result<String, Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| Error::Msg(error.to_string()))
    }
}

/// The label `status` of the first driver.
pub(crate) fn status(ok: bool) -> &'static str {
    if ok { "success" } else { "failure" }
}

#[cfg(test)]
mod test;
