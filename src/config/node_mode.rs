//! The configuration as `rds-csi node` takes it: the same file, without the boxes. A node reaches no
//! box by SSH and has none of their keys, so that what the file says of them is not even looked at.

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::layers::Layers;
use super::{
    ClusterConfig, ConfigError, DriverConfig, EventsConfig, GrpcConfig, HttpConfig, LogConfig,
    NodeConfig, NvmeConfig, ShutdownConfig, Sources,
};

/// Keys and tables that are the controller's alone.
const OF_CONTROLLERS: [&str; 5] =
    ["bare_ids", "default_backend", "backends", "leader", "reconcile"];

/// The effective configuration of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeMode {
    /// `[driver]`
    pub driver: DriverConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[cluster]`
    pub cluster: ClusterConfig,
    /// `[grpc]`
    pub grpc: GrpcConfig,
    /// `[events]`
    pub events: EventsConfig,
    /// `[shutdown]`
    pub shutdown: ShutdownConfig,
    /// `[node]`
    pub node: NodeConfig,
    /// `[nvme]`
    pub nvme: NvmeConfig,
}

impl NodeMode {
    /// Reads and checks all layers.
    ///
    /// # Errors
    /// Naming key, value, origin and way out.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::parse(sources, sources.read()?.as_deref())
    }

    /// Checks all layers, with `file` as the text of the file. Does no I/O.
    ///
    /// # Errors
    /// As [`NodeMode::load`].
    pub fn parse(sources: &Sources, file: Option<&str>) -> Result<Self, ConfigError> {
        let layers = Layers::without(sources, file, &OF_CONTROLLERS)?;
        let mut config: Self = layers.deserialize()?;
        config.cluster.fill_in(&config.driver.release);
        config.node.fill_in(&config.driver.name);
        let mut check = Check::default();
        config.driver.validate(&mut check);
        config.cluster.validate(&mut check);
        config.grpc.validate(&mut check);
        config.events.validate(&mut check);
        config.shutdown.validate(&mut check);
        config.node.validate(&mut check);
        config.nvme.validate(&mut check);
        layers.refuse(check.findings())?;
        Ok(config)
    }
}
