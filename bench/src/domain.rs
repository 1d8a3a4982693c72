//! The real operations and passes over the real connection, on a simulated box and an API server
//! double in memory: everything but SSH, gRPC and HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::actors::NoMetrics;
use rds_csi::actors::rds_connection::sessions::Language;
use rds_csi::actors::rds_connection::{self, ConnectionSettings, Handles};
use rds_csi::actors::supervision::{Faults, Supervision};
use rds_csi::attachment::storm;
use rds_csi::cluster::Cluster as _;
use rds_csi::cluster::Identity;
use rds_csi::cluster::agents::NoAgents;
use rds_csi::cluster::api::{KubeCluster, Settings};
use rds_csi::operations::reconcile::Reconciler;
use rds_csi::operations::{Backend, Backends, Happened, Limits, Observer, Operations};
use rds_csi::rds::Link;
use rds_csi::rds::ssh::{Connect, ConnectError, ExecOutput, Session, SessionError};
use rds_csi::volume::turns::Turns;
use rds_csi::volume::{BackendName, NodeName, VolumePath};
use rds_sim::apiserver::{ApiServer, world as objects};
use rds_sim::routeros::{self, ExecError, RouterOs, Setup};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::{Failure, PATIENCE};

/// The driver's name.
pub const DRIVER: &str = "rds.csi.srvlab.io";
/// Where volumes lie.
pub const FOLDER: &str = "storage-pool/volumes";
/// Where the controller runs.
pub const NAMESPACE: &str = "rds-csi";
/// What precedes `:<slot>` in every NQN.
pub const NQN_BASE: &str = "nqn.2000-02.com.mikrotik";

const LIMITS: Limits = Limits {
    grace: Duration::from_secs(30),
    max_age: Duration::from_secs(10),
    orphan_grace: Duration::from_secs(3600),
    counter_interval: Duration::from_millis(10),
    drain: Duration::from_millis(10),
    storm: storm::Limits { share: 0.4, window: Duration::from_secs(120) },
};

/// What differs between one domain and another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// What an exec takes.
    pub exec: Duration,
    /// What an exec takes longer for every command in its line but the first.
    pub further_command: Duration,
    /// Longest line that several commands share, where it is not the usual one.
    pub line_bytes_max: Option<usize>,
}

/// Everything.
pub struct Domain {
    /// The box.
    pub os: RouterOs,
    /// Kubernetes.
    pub api: ApiServer,
    /// The operations.
    pub operations: Operations,
    /// Passes.
    pub reconciler: Reconciler,
    /// Who we are.
    pub identity: Identity,
    _connection: Handles,
    _settings: watch::Sender<ConnectionSettings>,
    _limits: watch::Sender<Limits>,
    _stop: DropGuard,
}

/// A new box with a folder for volumes.
///
/// # Errors
/// What the box says.
pub fn new_box() -> Result<RouterOs, Failure> {
    // A PiB: 10,000 volumes must have room.
    let os = RouterOs::with(Setup { pool_size: 1 << 50, ..Setup::default() });
    let said = os.exec(&format!("/file/add name={FOLDER} type=directory")).text();
    if said.trim().is_empty() { Ok(os) } else { Err(said.into()) }
}

/// A new cluster with these nodes.
///
/// # Errors
/// What the API server says.
pub fn new_cluster(nodes: impl IntoIterator<Item = String>) -> Result<ApiServer, Failure> {
    let api = ApiServer::new();
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
    });
    let nodes = nodes.into_iter().map(|name| objects::node(&name).build());
    for object in std::iter::once(namespace).chain(nodes) {
        api.create(object).map_err(|error| format!("{error:?}"))?;
    }
    Ok(api)
}

impl Domain {
    /// A controller over this box and this cluster, connected and synced.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn over(os: RouterOs, api: ApiServer, pace: Pace) -> Result<Self, Failure> {
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let client = kube::Client::new(api.service(), "default");
        let cluster = KubeCluster::new(client, settings(), Arc::new(|_| {}), &log);
        let stop = CancellationToken::new();
        cluster.start(&stop);
        timeout(PATIENCE, cluster.synced()).await?;
        let mut connection = connection_settings();
        connection.line_bytes_max = pace.line_bytes_max.unwrap_or(connection.line_bytes_max);
        let (settings_sender, settings) = watch::channel(connection);
        let handles = rds_connection::start(rds_connection::Parts {
            supervision: Supervision {
                log: log.clone(),
                metrics: Arc::new(NoMetrics),
                faults: Faults::default(),
            },
            connect: Arc::new(Console { os: os.clone(), further: pace.further_command }),
            language: Language::default(),
            settings,
            metrics: Arc::new(NoMetrics),
        });
        timeout(PATIENCE, handles.link.clone().wait_for(Link::is_up)).await??;
        os.set_latency(pace.exec, Duration::ZERO);
        let (limits_sender, limits) = watch::channel(LIMITS);
        let operations = Operations {
            backends: backends(&handles)?,
            cluster: cluster.clone(),
            agents: Arc::new(NoAgents),
            turns: Turns::default(),
            limits,
            observer: Arc::new(Nobody),
            ask_for_pass: Arc::new(|| {}),
            log,
        };
        Ok(Self {
            os,
            api,
            reconciler: Reconciler::new(operations.clone()),
            operations,
            identity: cluster.identity().await?,
            _connection: handles,
            _settings: settings_sender,
            _limits: limits_sender,
            _stop: stop.drop_guard(),
        })
    }

    /// The box as a pass knows it.
    ///
    /// # Errors
    /// Never: there is one.
    pub fn backend(&self) -> Result<Backend, Failure> {
        Ok(self.operations.backends.by_name.values().next().ok_or("no box")?.clone())
    }
}

fn settings() -> Settings {
    Settings {
        driver: DRIVER.into(),
        release: "rds-csi".into(),
        namespace: NAMESPACE.into(),
        cluster_id: None,
        secret: "rds-csi-cluster".into(),
        deadline: PATIENCE,
        pod: None,
        events: watch::channel(rds_csi::cluster::events::Bounds::default()).1,
    }
}

/// Polls would be counted among the execs.
fn connection_settings() -> ConnectionSettings {
    ConnectionSettings { poll_interval: Duration::from_secs(3600), ..ConnectionSettings::default() }
}

fn backends(handles: &Handles) -> Result<Backends, Failure> {
    let name = BackendName::parse("main")?;
    let backend = Backend {
        name: name.clone(),
        address: "box:22".into(),
        nvme_address: "10.0.0.1".into(),
        nvme_port: 4420,
        volume_paths: vec![VolumePath::parse(FOLDER)?],
        nqn_base: NQN_BASE.into(),
        rds: Arc::new(handles.rds.clone()),
    };
    let by_name = BTreeMap::from([(name.clone(), backend)]);
    Ok(Backends { by_name, bare_ids: name.clone(), default: name })
}

/// The node of this number.
///
/// # Errors
/// Never: it is a name.
pub fn node(number: usize) -> Result<NodeName, Failure> {
    Ok(NodeName::parse(&format!("worker-{number:04}.example.com"))?)
}

/// Is told what was done, and forgets it.
struct Nobody;

impl Observer for Nobody {
    fn happened(&self, _: Happened) {}
}

/// Opens sessions to the box: one command at a time each.
struct Console {
    os: RouterOs,
    further: Duration,
}

struct InMemory {
    session: routeros::Session,
    further: Duration,
}

#[async_trait]
impl Connect for Console {
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        let session = self.os.open_session().await.map_err(|error| ConnectError::Unreachable {
            address: self.address().into(),
            reason: error.to_string(),
        })?;
        Ok(Box::new(InMemory { session, further: self.further }))
    }

    fn address(&self) -> &str {
        "box:22"
    }
}

#[async_trait]
impl Session for InMemory {
    async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError> {
        // Each command of a shared line is a row of data that begins with its tag.
        let further = line.matches("{t=").count().saturating_sub(1);
        if further > 0 && !self.further.is_zero() {
            let further = u32::try_from(further).unwrap_or(u32::MAX);
            tokio::time::sleep(self.further.saturating_mul(further)).await;
        }
        match self.session.exec(line).await {
            Ok(said) => Ok(ExecOutput {
                stdout: said.stdout,
                stderr: said.stderr,
                exit_status: said.exit_status,
            }),
            Err(error @ ExecError::Dropped) => Err(SessionError::Closed(error.to_string())),
            Err(error @ ExecError::ChannelRefused) => Err(SessionError::Channel(error.to_string())),
        }
    }

    fn closed(&self) -> CancellationToken {
        self.session.closed()
    }

    async fn close(self: Box<Self>) {}
}
