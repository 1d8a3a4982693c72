//! Typed configuration: three layers in, one checked value out.
//!
//! `config/default.toml` (built in; the reference of all keys), then a file, then the environment
//! (`RDSCSI__…`). Loading refuses unknown keys, missing units and bad values with the key's full
//! path, the value, where it came from and the way out; the binary then exits with 64. Every part
//! declares its own struct in `config/`; this root nests them and fills in what depends on several.
//!
//! [`watch`] follows the file; [`live`] knows which keys may change without a restart. There is no
//! global configuration: whoever needs a part is given it, or a `watch::Receiver` where it is live.
//! No secret is ever in here: keys and tokens are named by path.

pub mod agents;
pub mod backend;
mod check;
pub mod cluster;
pub mod driver;
mod error;
pub mod events;
pub mod grpc;
pub mod http;
mod layers;
pub mod leader;
pub mod live;
pub mod log;
pub mod node;
pub mod node_mode;
pub mod nvme;
pub mod reconcile;
pub mod reference;
pub mod render;
pub mod shutdown;
pub mod source;
pub mod value;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::agents::AgentsConfig;
pub use self::backend::{BackendConfig, SecondSession};
use self::check::Check;
pub use self::cluster::ClusterConfig;
pub use self::driver::DriverConfig;
pub use self::error::{ConfigError, Problem};
pub use self::events::EventsConfig;
pub use self::grpc::GrpcConfig;
pub use self::http::HttpConfig;
use self::layers::Layers;
pub use self::leader::LeaderConfig;
pub use self::log::LogConfig;
pub use self::node::NodeConfig;
pub use self::node_mode::NodeMode;
pub use self::nvme::NvmeConfig;
pub use self::reconcile::ReconcileConfig;
pub use self::shutdown::ShutdownConfig;
pub use self::source::Sources;
use self::value::HostPort;
use crate::volume::BackendName;

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Backend whose volume ids carry no prefix.
    pub bare_ids: BackendName,
    /// Backend of volumes whose StorageClass names none.
    pub default_backend: BackendName,
    /// `[driver]`
    pub driver: DriverConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[cluster]`
    pub cluster: ClusterConfig,
    /// `[agents]`
    pub agents: AgentsConfig,
    /// `[grpc]`
    pub grpc: GrpcConfig,
    /// `[leader]`
    pub leader: LeaderConfig,
    /// `[reconcile]`
    pub reconcile: ReconcileConfig,
    /// `[events]`
    pub events: EventsConfig,
    /// `[shutdown]`
    pub shutdown: ShutdownConfig,
    /// `[node]`
    pub node: NodeConfig,
    /// `[nvme]`
    pub nvme: NvmeConfig,
    /// `[backends.<name>]`, never empty.
    pub backends: BTreeMap<BackendName, BackendConfig>,
}

impl Config {
    /// Reads and checks all layers.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::parse(sources, sources.read()?.as_deref())
    }

    /// Checks all layers, with `file` as the text of the file. Does no I/O.
    pub fn parse(sources: &Sources, file: Option<&str>) -> Result<Self, ConfigError> {
        let layers = Layers::new(sources, file)?;
        let mut config: Self = layers.deserialize()?;
        config.fill_in();
        layers.refuse(config.check().findings())?;
        Ok(config)
    }

    /// The backend at an address as the StorageClass parameter `rdsAddress` gives it: `host:port`,
    /// or a host alone where only one backend has it. `None` for every other address.
    pub fn backend_at(&self, address: &str) -> Option<&BackendName> {
        let wanted = HostPort::parse(address).ok()?;
        let exact = self.backends.iter().find(|(_, b)| b.address == wanted);
        if exact.is_some() || address.ends_with(&format!(":{}", wanted.port())) {
            return exact.map(|(name, _)| name);
        }
        let mut same = self.backends.iter().filter(|(_, b)| b.address.host() == wanted.host());
        match (same.next(), same.next()) {
            (Some((name, _)), None) => Some(name),
            _ => None,
        }
    }

    fn fill_in(&mut self) {
        self.cluster.fill_in(&self.driver.release);
        self.node.fill_in(&self.driver.name);
        if self.leader.lease.is_empty() {
            self.leader.lease = format!("{}-reconciler", self.driver.release);
        }
        for backend in self.backends.values_mut() {
            if backend.nvme_address.is_empty() {
                backend.nvme_address = backend.address.host().to_owned();
            }
        }
    }

    fn check(&self) -> Check {
        let mut check = Check::default();
        let names: Vec<_> = self.backends.keys().map(BackendName::as_str).collect();
        let names = names.join(", ");
        let mut addresses = BTreeSet::new();
        check
            .that(
                self.backends.contains_key(&self.bare_ids),
                "bare_ids",
                format!("must be one of the backends {names}"),
            )
            .that(
                self.backends.contains_key(&self.default_backend),
                "default_backend",
                format!("must be one of the backends {names}"),
            );
        self.driver.validate(&mut check);
        self.cluster.validate(&mut check);
        self.agents.validate(&mut check);
        self.grpc.validate(&mut check);
        self.leader.validate(&mut check);
        self.reconcile.validate(&mut check);
        self.events.validate(&mut check);
        self.shutdown.validate(&mut check);
        self.node.validate(&mut check);
        self.nvme.validate(&mut check);
        for (name, backend) in &self.backends {
            backend.validate(name, &mut check);
            let first = addresses.insert(&backend.address);
            check.that(first, "address", "must not be the address of another backend");
        }
        check
    }
}
