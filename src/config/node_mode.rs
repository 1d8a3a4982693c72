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
const OF_CONTROLLERS: [&str; 6] =
    ["agents", "bare_ids", "default_backend", "backends", "leader", "reconcile"];

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

#[cfg(test)]
mod test {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::config::nvme::Never;

    fn parse(file: &str) -> Result<NodeMode, ConfigError> {
        let sources = Sources { file: None, environment: BTreeMap::new() };
        NodeMode::parse(&sources, Some(file))
    }

    #[test]
    fn a_node_needs_no_box_and_does_not_look_at_those_of_the_controller() {
        for file in ["", "[backends.main]\nkey_path = 7\n[backend_defaults]\nlanes = \"many\"\n"] {
            let config = parse(file).unwrap();
            assert_eq!(config.nvme.ctrl_loss, Never(None), "I/O waits for the box");
            assert_eq!(config.nvme.fast_io_fail, Never(None));
            assert_eq!(config.nvme.reconnect_delay, Duration::from_secs(10));
            let notes = "/var/lib/kubelet/plugins/rds.csi.srvlab.io/staged";
            assert_eq!(config.node.notes_dir.to_str(), Some(notes));
            assert_eq!(config.cluster.secret_name, "rds-csi-cluster");
        }
    }

    #[test]
    fn a_time_may_be_never_and_a_wrong_one_is_refused_by_its_key() {
        for (text, wanted) in [("off", None), ("-1", None), ("90s", Some(90))] {
            let config = parse(&format!("[nvme]\nctrl_loss = \"{text}\"")).unwrap();
            assert_eq!(config.nvme.ctrl_loss, Never(wanted.map(Duration::from_secs)), "{text}");
        }
        for (file, key) in [
            ("[nvme]\nctrl_loss = \"90\"", "nvme.ctrl_loss"),
            ("[nvme]\nreconnect_delay = \"0s\"", "nvme.reconnect_delay"),
            ("[node]\nkubelet_dir = \"k\"", "node.kubelet_dir"),
            ("[node]\nname = \"A_B\"", "node.name"),
            ("[node]\nvolumes = 3", "node.volumes"),
        ] {
            let why = crate::logging::Chain(&parse(file).unwrap_err()).to_string();
            assert!(why.contains(key), "{why}");
        }
    }
}
