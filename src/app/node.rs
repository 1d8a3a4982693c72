//! The composition root of a node: CSI for kubelet, the registration, metrics and health.
//!
//! ```text
//! start: agent ─▶ serve /livez, metrics and Probe ─▶ register with kubelet
//! stop:  Probe says no ─▶ registration is taken back ─▶ gRPC drains ─▶ agent ─▶ http
//! ```
//!
//! There is no connection to a box, no node watcher and no reconciler here, and no key of a box.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use slog::{Logger, info, o};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::node_agent::{Kubernetes, NodeAgent, Sweeper};
use super::observe::Measures;
use super::roll::Roll;
use super::serve::Server;
use super::{Error, step};
use crate::actors::agent::Voice;
use crate::actors::supervision::{self, Supervision};
use crate::agent::without_nonce;
use crate::config::{NodeMode, NvmeConfig};
use crate::grpc::Services;
use crate::grpc::identity::{Identity, ProbeSource, Readiness as Probed};
use crate::grpc::log::RequestLog;
use crate::grpc::node::NodeService;
use crate::grpc::runs::Runs;
use crate::grpc::socket::Socket;
use crate::host::{Host, Timing};
use crate::http::{Challenged, Health, Readiness};
use crate::metrics::Metrics;
use crate::node::{self, Deadlines, Generations, Node};
use crate::registration::{self, Known, Plugin};
use crate::volume::NodeName;

/// What a node is given from outside.
pub struct Parts {
    /// The configuration.
    pub config: NodeMode,
    /// The name of the Kubernetes Node.
    pub name: NodeName,
    /// The kernel.
    pub host: Arc<dyn Host>,
    /// Knows which generations are over.
    pub generations: Arc<dyn Generations>,
    /// Kubernetes, where it can be asked.
    pub kubernetes: Option<Kubernetes>,
    /// Where metrics and health are served.
    pub http: TcpListener,
    /// Where CSI is served.
    pub socket: Socket,
    /// All measurements.
    pub metrics: Metrics,
    /// Ends flows at named points, in tests.
    pub faults: node::Faults,
    /// The root logger.
    pub log: Logger,
}

/// The running node.
pub struct NodeApp {
    log: Logger,
    config: NodeMode,
    node: Node,
    stopping: Arc<AtomicBool>,
    csi: Server,
    http: Server,
    registration: Option<(CancellationToken, JoinHandle<()>)>,
    sweeper: Option<Sweeper>,
    roll: Roll,
    failed: mpsc::Receiver<Error>,
}

impl NodeApp {
    /// Starts everything.
    pub fn start(parts: Parts) -> Self {
        let Parts { config, name, host, generations, kubernetes, .. } = parts;
        let Parts { http, socket, metrics, faults, log, .. } = parts;
        let app = log.new(o!("component" => "app"));
        let measures = Arc::new(Measures::new(metrics.clone()));
        let node = Node::new(node::Parts {
            host,
            name,
            volumes_max: Some(config.node.volumes_max).filter(|most| *most > 0),
            deadlines: Deadlines { device: config.node.device_deadline },
            generations,
            observer: measures.clone(),
            faults,
            log: log.new(o!("component" => "node")),
        });
        let grpc_log = log.new(o!("component" => "grpc"));
        let grpc = &config.grpc;
        let runs = Runs::new(grpc.concurrency_max, grpc.deadline, grpc_log.clone());
        let stopping = Arc::new(AtomicBool::new(false));
        let (told, known) = watch::channel(Known::Unasked);
        let supervision = Supervision {
            log: log.clone(),
            metrics: measures.clone(),
            faults: supervision::Faults::default(),
        };
        let agent = NodeAgent::start(&config, &node, kubernetes.as_ref(), supervision, &measures);
        let roll = Roll::default();
        let health = Arc::new(NodeHealth {
            started: Instant::now(),
            node: node.clone(),
            stopping: stopping.clone(),
            known,
            runs: runs.clone(),
            voice: agent.voice,
            roll: roll.clone(),
        });
        let services = Services {
            identity: Identity::new(config.driver.name.clone(), health.clone(), grpc_log.clone()),
            controller: None,
            node: Some(NodeService::new(
                &config.driver.name,
                node.clone(),
                timing(&config.nvme),
                runs,
            )),
            log: RequestLog::new(grpc_log, measures),
        };
        let (tell_failed, failed) = mpsc::channel(4);
        let endpoint = socket.path().to_owned();
        let http = Server::http(http, metrics, health, &log);
        let csi = Server::csi(socket, services, config.shutdown.deadline / 2, &app, tell_failed);
        let registration = config.node.register.then(|| register(&config, endpoint, told, &log));
        let sweeper = agent.sweeper.map(|sweeper| sweeper.enrolled(&roll));
        Self { log: app, config, node, stopping, csi, http, registration, sweeper, roll, failed }
    }

    /// The operations.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Resolves when something ended that nothing brings back; the process must end then.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            dead = self.roll.death() => Error::Failed(format!("actor {dead} is dead")),
            Some(why) = self.failed.recv() => why,
        }
    }

    /// The ordered stop. Everything together takes the configured deadline at most. Mounts and
    /// connections stay: pods are using them.
    pub async fn shutdown(self) {
        let whole = self.config.shutdown.deadline;
        let end = Instant::now() + whole;
        info!(self.log, "stopping"; "deadline" => ?whole);
        self.stopping.store(true, Ordering::Relaxed);
        if let Some((stop, task)) = self.registration {
            info!(self.log, "stopping registration");
            stop.cancel();
            step(&self.log, "registration", end, task).await;
        }
        info!(self.log, "stopping grpc");
        step(&self.log, "grpc", end, self.csi.end()).await;
        if let Some(sweeper) = self.sweeper {
            info!(self.log, "stopping agent");
            step(&self.log, "agent", end, sweeper.end()).await;
        }
        step(&self.log, "http", end, self.http.end()).await;
        info!(self.log, "stopped");
    }
}

fn register(
    config: &NodeMode,
    endpoint: PathBuf,
    told: watch::Sender<Known>,
    log: &Logger,
) -> (CancellationToken, JoinHandle<()>) {
    let plugin = Plugin {
        name: config.driver.name.clone(),
        endpoint,
        kubelet: config.node.kubelet_dir.clone(),
    };
    let (stop, log) = (CancellationToken::new(), log.clone());
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        registration::offer(plugin, told, &log, stopped).await;
    });
    (stop, task)
}

/// The timing of connections whose StorageClass says nothing.
fn timing(config: &NvmeConfig) -> Timing {
    Timing {
        ctrl_loss: config.ctrl_loss.0,
        reconnect_delay: config.reconnect_delay,
        keep_alive: config.keep_alive,
        fast_io_fail: config.fast_io_fail.0,
        io_queues: Some(config.io_queues).filter(|queues| *queues > 0),
    }
}

/// What /livez, /readyz, /statusz and Probe answer.
struct NodeHealth {
    started: Instant,
    node: Node,
    stopping: Arc<AtomicBool>,
    known: watch::Receiver<Known>,
    runs: Runs,
    voice: Option<Voice>,
    roll: Roll,
}

impl NodeHealth {
    fn missing(&self) -> Vec<String> {
        let stopping = self.stopping.load(Ordering::Relaxed);
        stopping.then(|| "the driver is shutting down".to_owned()).into_iter().collect()
    }
}

#[async_trait]
impl ProbeSource for NodeHealth {
    async fn probe(&self) -> Probed {
        match self.missing() {
            why if why.is_empty() => Probed::Ready,
            why => Probed::NotReady { why },
        }
    }
}

#[async_trait]
impl Health for NodeHealth {
    fn livez(&self) -> Result<(), String> {
        self.roll.dead().map_or(Ok(()), |name| Err(format!("actor {name} is dead")))
    }

    fn agent(&self) -> Option<&dyn Challenged> {
        self.voice.as_ref().map(|voice| voice as &dyn Challenged)
    }

    async fn readyz(&self) -> Readiness {
        let reasons = self.missing();
        let known = (*self.known.borrow()).clone();
        let fields = Map::from_iter([("kubelet".to_owned(), shown(&known))]);
        Readiness { ready: reasons.is_empty(), reasons, fields }
    }

    async fn statusz(&self) -> Value {
        let known = (*self.known.borrow()).clone();
        let staged = match self.node.staged().await {
            Ok(staged) => Value::Array(staged.iter().map(volume).collect()),
            Err(error) => json!({ "error": error.to_string() }),
        };
        let unreadable = match self.node.unreadable().await {
            Ok(notes) => notes.iter().map(|note| json!({ note.name.as_str(): note.why })).collect(),
            Err(_) => Vec::new(),
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "up_seconds": self.started.elapsed().as_secs(),
            "node": self.node.name(),
            "ready": self.missing().is_empty(),
            "kubelet": shown(&known),
            "requests_in_work": self.runs.count(),
            "staged": staged,
            "unreadable": unreadable,
        })
    }
}

fn shown(known: &Known) -> Value {
    match known {
        Known::Unasked => json!("has not asked"),
        Known::Registered => json!("registered"),
        Known::Refused(error) => json!({ "refused": error }),
    }
}

fn volume(staged: &node::Staged) -> Value {
    json!({
        "volume": staged.volume,
        // Whoever knows the whole of it may connect to a box that has no list of hosts.
        "nqn": without_nonce(staged.nqn.as_str()),
        "staging": staged.staging,
        "targets": staged.targets,
        "file_system": staged.file_system,
        "uuid": staged.uuid,
    })
}
