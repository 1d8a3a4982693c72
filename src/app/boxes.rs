//! The configured boxes: a connection each, and what operations know of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use slog::{Logger, o};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Common, Error};
use crate::actors::probe::LinkSource;
use crate::actors::supervision::{Alive, Supervision};
use crate::actors::{Shutdown, rds_connection};
use crate::cluster::View;
use crate::config::backend::{self, BackendConfig};
use crate::operations::{Backend, Backends};
use crate::rds::Link;
use crate::rds::ssh::connector::{SecondSession, SshConnector};
use crate::rds::ssh::host_key::PinnedKeys;
use crate::rds::ssh::{Connect, ConnectError, Session};
use crate::volume::{BackendName, VolumeId};

/// Makes what opens sessions to a box.
pub type Connector =
    Arc<dyn Fn(&BackendConfig, &Logger) -> Result<Arc<dyn Connect>, String> + Send + Sync>;

/// Sessions over SSH, as the configuration says.
pub fn over_ssh() -> Connector {
    Arc::new(|config, log| {
        let pinned = PinnedKeys::parse(config.host_key.iter().map(String::as_str))
            .map_err(|error| format!("host_key: {error}"))?;
        let second = match config.second_session {
            backend::SecondSession::Auto => SecondSession::Auto,
            backend::SecondSession::Force => SecondSession::Force,
            backend::SecondSession::Forbid => SecondSession::Forbid,
        };
        let (address, key) = (config.address.to_string(), config.key_path.clone());
        let log = log.clone();
        Ok(Arc::new(SshConnector::new(address, &config.user, key, pinned, second, log)))
    })
}

/// All boxes, once their actors run.
pub struct Boxes {
    /// What operations know.
    pub backends: BTreeMap<BackendName, Backend>,
    /// The state of each connection.
    pub links: Vec<LinkSource>,
    /// How each is stopped and watched.
    pub actors: Vec<(actix::Recipient<Shutdown>, Alive)>,
}

impl Boxes {
    /// Starts an actor for every box. They connect once `begin` is cancelled.
    pub fn start(
        common: &Common,
        connector: &Connector,
        begin: &CancellationToken,
    ) -> Result<Self, Error> {
        let mut boxes = Self { backends: BTreeMap::new(), links: Vec::new(), actors: Vec::new() };
        for (name, backend) in &common.config.backends {
            let log = common.log.new(o!("backend" => name.to_string()));
            let connect = connector(backend, &log)
                .map_err(|why| Error::Configuration(format!("backends.{name}.{why}")))?;
            let handles = rds_connection::start(rds_connection::Parts {
                supervision: Supervision {
                    log,
                    ..common.supervision(&common.faults.rds_connection)
                },
                connect: Arc::new(OnceBegun { connect, begin: begin.clone() }),
                language: rds_connection::sessions::Language::default(),
                settings: common.live.connection(name),
                metrics: common.measures.clone(),
            });
            let fallback = handles.link.clone();
            boxes.links.push(LinkSource {
                backend: name.clone(),
                address: backend.address.to_string(),
                supervisor: Some(handles.link.clone()),
                fallback: Arc::new(move || fallback.borrow().is_up()),
            });
            boxes.actors.push((handles.shutdown, handles.alive));
            boxes.backends.insert(
                name.clone(),
                Backend {
                    name: name.clone(),
                    address: backend.address.to_string(),
                    nvme_address: backend.nvme_address.clone(),
                    nvme_port: backend.nvme_port,
                    volume_paths: backend.volume_paths.clone(),
                    nqn_base: backend.nqn_base.to_string(),
                    rds: Arc::new(handles.rds),
                },
            );
        }
        Ok(boxes)
    }

    /// The state of each connection, by name.
    pub fn watches(&self) -> Vec<(BackendName, watch::Receiver<Link>)> {
        let known = self.links.iter();
        known.filter_map(|link| Some((link.backend.clone(), link.supervisor.clone()?))).collect()
    }
}

/// Connects no sooner than everything is served: callers hold the actor from the beginning.
struct OnceBegun {
    connect: Arc<dyn Connect>,
    begin: CancellationToken,
}

#[async_trait]
impl Connect for OnceBegun {
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        self.begin.cancelled().await;
        self.connect.connect().await
    }

    fn address(&self) -> &str {
        self.connect.address()
    }
}

/// A PV whose volume would be looked for on another box than the one it was made on, because
/// `bare_ids` was changed. Its volume context tells where that was.
pub fn moved_volume(view: &View, backends: &Backends) -> Option<String> {
    view.volumes.values().find_map(|volume| {
        let id = VolumeId::parse(&volume.handle, &backends.bare_ids).ok()?;
        let made_on = volume.attributes.get("backend")?;
        let is_bare = !volume.handle.contains('/');
        (is_bare && made_on != id.backend.as_str()).then(|| {
            format!(
                "bare_ids = \"{}\": PersistentVolume {} has the id {} without a backend and was \
                 made on {made_on}; set bare_ids = \"{made_on}\" again",
                backends.bare_ids, volume.name, volume.handle
            )
        })
    })
}
