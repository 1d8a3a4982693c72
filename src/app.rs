//! The composition root: the only file that knows every part. Ordered start, ordered stop.
//!
//! ```text
//! start: bind, serve /livez, metrics and Probe ─▶ caches ─▶ node watcher ─▶ reconciler ─▶ connections
//!        none of them waits for another; once the caches have synced, the startup trigger
//! stop:  Probe says no ─▶ gRPC drains ─▶ node watcher ─▶ reconciler ─▶ connections ─▶ Lease given free
//!        ─▶ watches ─▶ http
//! ```
//!
//! Neither the box nor the API server is needed to start. The whole stop has one deadline.

mod announce;
mod boxes;
mod drills;
mod election;
mod health;
mod live;
pub mod node;
pub mod node_agent;
mod observe;
mod pass;
mod roll;
mod serve;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slog::{Logger, error, info, o, warn};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::boxes::Boxes;
use self::election::Election;
use self::health::AppHealth;
use self::live::Live;
use self::observe::Measures;
use self::roll::Roll;
use self::serve::Server;
use crate::actors::supervision::{self, Supervision};
use crate::actors::trigger::{Cause, TriggerHandle};
use crate::actors::{Shutdown, node_watcher, probe, reconciler};
use crate::cluster::Cluster;
use crate::cluster::agents::{self, Agents, NoAgents, NodeAgents, OverHttp};
use crate::cluster::api::{KubeCluster, Settings};
use crate::cluster::drills::Drills;
use crate::config::Config;
use crate::grpc::Services;
use crate::grpc::controller::Controller;
use crate::grpc::identity::Identity;
use crate::grpc::log::RequestLog;
use crate::grpc::request::Places;
use crate::grpc::runs::Runs;
use crate::grpc::socket::Socket;
use crate::metrics::Metrics;
use crate::operations::reconcile::Reconciler;
use crate::operations::{Backends, Operations};
use crate::volume::turns::Turns;

pub use self::boxes::{Connector, over_ssh};

/// What the app is given from outside.
pub struct Parts {
    /// The configuration at the start, and its changes.
    pub config: watch::Receiver<Arc<Config>>,
    /// The API server.
    pub kube: kube::Client,
    /// Our own pod, for events about the driver.
    pub pod: Option<crate::cluster::events::Pod>,
    /// Makes what opens sessions to a box.
    pub connector: Connector,
    /// Where metrics and health are served.
    pub http: TcpListener,
    /// Where CSI is served.
    pub socket: Socket,
    /// Why the newest configuration was refused; `None` while the one that runs is the newest.
    pub rejected: watch::Receiver<Option<String>>,
    /// All measurements.
    pub metrics: Metrics,
    /// The root logger.
    pub log: Logger,
    /// Panics on demand, in tests; none otherwise.
    pub faults: Faults,
}

/// The fault points of each actor.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Of the probe.
    pub probe: supervision::Faults,
    /// Of the node watcher.
    pub node_watcher: supervision::Faults,
    /// Of the reconciler.
    pub reconciler: supervision::Faults,
    /// Of the connections, all of them.
    pub rds_connection: supervision::Faults,
}

/// Why the app did not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is to blame: starting again without changing it cannot help.
    #[error("configuration refused: {0}")]
    Configuration(String),
    /// Anything else. A new process may do better.
    #[error("{0}")]
    Failed(String),
}

/// The running controller.
pub struct App {
    log: Logger,
    config: watch::Receiver<Arc<Config>>,
    stopping: Arc<AtomicBool>,
    csi: Server,
    /// In the order in which they stop.
    actors: Vec<(&'static str, actix::Recipient<Shutdown>)>,
    election: Election,
    watches: Watches,
    http: Server,
    roll: Roll,
    failed: mpsc::Receiver<Error>,
    trigger: TriggerHandle,
}

/// Everything that follows Kubernetes or tells it something.
struct Watches {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Watches {
    /// Reads what drills have shown until the watches end.
    fn follow_drills(
        &self,
        common: &Common,
        kube: &kube::Client,
        boxes: &Boxes,
        standings: watch::Sender<drills::Standings>,
    ) {
        let (driver, deadline) = (&common.config.driver, common.config.cluster.request_deadline);
        let following = drills::Following {
            drills: Drills::new(kube.clone(), deadline, &driver.namespace, &driver.release),
            links: boxes.links.clone(),
            cluster: common.cluster.clone(),
            measures: common.measures.clone(),
            standings,
            log: common.log.new(o!("component" => "drills")),
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(following.follow()).await });
    }
}

/// Time that every step of the stop has at most, of what is left of the whole.
const STEP_MAX: Duration = Duration::from_secs(10);
/// What must be clear before anything acts on a volume: see [`startup_trigger`].
const CHECK_OF_IDS: &str = "bare_ids, not compared with the PersistentVolumes yet";

/// What every part is made with.
struct Common {
    log: Logger,
    config: Arc<Config>,
    live: Live,
    measures: Arc<Measures>,
    faults: Faults,
    trigger: TriggerHandle,
    cluster: Arc<KubeCluster>,
    agents: Arc<dyn Agents>,
}

impl App {
    /// Starts everything. Must run within an actix System.
    ///
    /// # Errors
    /// [`Error::Configuration`] where a box could never be connected to as it is configured.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let log = parts.log.new(o!("component" => "app"));
        let common = Common::new(&parts);
        let cluster = &common.cluster;
        cluster.hold(CHECK_OF_IDS);
        let (stopping, roll) = (Arc::new(AtomicBool::new(false)), Roll::default());
        let (tell_failed, failed) = mpsc::channel(4);
        let election = Election::start(&common, &parts)?;
        let mandate = election.leader.mandate.clone();
        let begin = CancellationToken::new();
        let boxes = Boxes::start(&common, &parts.connector, &begin)?;
        let operations = common.operations(&boxes);

        // Serve first: whoever looks sees at once that we live, and what is missing.
        let probe = probe::start(probe::Parts {
            supervision: common.supervision(&common.faults.probe),
            links: boxes.links.clone(),
            conditions: conditions(cluster, &stopping),
            metrics: common.measures.clone(),
        });
        let pass = pass::Pass::new(Reconciler::new(operations.clone()).under(mandate.clone()));
        let report = pass.reports();
        let reconciler = reconciler::start(reconciler::Parts {
            supervision: common.supervision(&common.faults.reconciler),
            work: Arc::new(pass),
            trigger: common.trigger.clone(),
            settings: common.live.reconcile(),
            links: boxes.watches(),
            mandate,
            metrics: common.measures.clone(),
        });
        let runs = common.runs();
        let told = watch::Sender::default();
        let health = Arc::new(AppHealth {
            started: Instant::now(),
            roll: roll.clone(),
            probe: probe.probe,
            cluster: cluster.clone(),
            links: boxes.links.clone(),
            leader: election.leader.clone(),
            last: reconciler.last,
            report,
            runs: runs.clone(),
            drills: told.subscribe(),
            rejected: parts.rejected.clone(),
        });
        let services = common.services(&operations, runs, health.clone());
        let http = Server::http(parts.http, parts.metrics, health, &parts.log);
        let drain = common.config.shutdown.deadline / 2;
        let csi = Server::csi(parts.socket, services, drain, &log, tell_failed.clone());

        // None of these waits for another.
        info!(log, "starting caches");
        let stop = CancellationToken::new();
        let watches = Watches { tasks: cluster.start(&stop), stop };
        info!(log, "starting node watcher");
        let node_watcher = node_watcher::start(common.node_watcher());
        info!(log, "starting reconciler");
        startup_trigger(cluster, &common.trigger, operations.backends, tell_failed, &log);
        info!(log, "starting connections"; "boxes" => boxes.links.len());
        begin.cancel();
        watches.follow_drills(&common, &parts.kube, &boxes, told);
        announce::links(&boxes.links, cluster, &watches.stop, &watches.tasks);
        tokio::spawn(announce::rejections(parts.rejected, cluster.clone()));

        let mut actors =
            vec![("node watcher", node_watcher.shutdown), ("reconciler", reconciler.shutdown)];
        roll.add("probe", probe.alive);
        roll.add("node_watcher", node_watcher.alive);
        roll.add("reconciler", reconciler.alive);
        for (shutdown, alive) in boxes.actors {
            actors.push(("connection", shutdown));
            roll.add("rds_connection", alive);
        }
        let (config, trigger) = (parts.config, common.trigger);
        Ok(Self {
            log,
            config,
            stopping,
            csi,
            actors,
            election,
            watches,
            http,
            roll,
            failed,
            trigger,
        })
    }

    /// Asks for a pass.
    pub fn trigger(&self) -> &TriggerHandle {
        &self.trigger
    }

    /// Resolves when something ended that nothing brings back; the process must end then.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            dead = self.roll.death() => Error::Failed(format!("actor {dead} is dead")),
            Some(why) = self.failed.recv() => why,
        }
    }

    /// The ordered stop. Everything together takes the configured deadline at most.
    pub async fn shutdown(self) {
        let whole = self.config.borrow().shutdown.deadline;
        let end = Instant::now() + whole;
        info!(self.log, "stopping"; "deadline" => ?whole);
        self.stopping.store(true, Ordering::Relaxed);
        info!(self.log, "stopping grpc");
        step(&self.log, "grpc", end, self.csi.end()).await;
        for (name, actor) in self.actors {
            info!(self.log, "stopping actor"; "actor" => name);
            let left = end.saturating_duration_since(Instant::now());
            let within = left.min(STEP_MAX) / 2;
            step(&self.log, name, end, actor.send(Shutdown { within })).await;
        }
        // Nobody acts any more: the next one need not wait until the Lease runs out.
        step(&self.log, "election", end, self.election.end()).await;
        info!(self.log, "stopping watches");
        self.watches.stop.cancel();
        step(&self.log, "watches", end, self.watches.tasks.wait()).await;
        step(&self.log, "http", end, self.http.end()).await;
        info!(self.log, "stopped");
    }
}

async fn step<T>(log: &Logger, what: &str, end: Instant, ends: impl Future<Output = T>) {
    let by = end.min(Instant::now() + STEP_MAX);
    if timeout_at(by, ends).await.is_err() {
        warn!(log, "did not stop in time"; "what" => what.to_owned());
    }
}

impl Common {
    fn new(parts: &Parts) -> Self {
        let config = parts.config.borrow().clone();
        let live = Live::follow(parts.config.clone());
        let measures = Arc::new(Measures::new(parts.metrics.clone()));
        let settings = Settings {
            driver: config.driver.name.clone(),
            release: config.driver.release.clone(),
            namespace: config.driver.namespace.clone(),
            cluster_id: config.cluster.id.clone(),
            secret: config.cluster.secret_name.clone(),
            deadline: config.cluster.request_deadline,
            pod: parts.pod.clone(),
            events: live.events(),
        };
        let posted = measures.clone();
        let told = Arc::new(move |reason| posted.event(reason));
        let cluster = KubeCluster::new(parts.kube.clone(), settings, told, &parts.log);
        let agents = agents(parts, &config, &cluster);
        let (log, faults) = (parts.log.clone(), parts.faults.clone());
        Self { log, config, live, measures, faults, trigger: TriggerHandle::new(), cluster, agents }
    }

    fn supervision(&self, faults: &supervision::Faults) -> Supervision {
        let (log, metrics) = (self.log.clone(), self.measures.clone());
        Supervision { log, metrics, faults: faults.clone() }
    }

    fn operations(&self, boxes: &Boxes) -> Operations {
        let trigger = self.trigger.clone();
        Operations {
            backends: Backends {
                by_name: boxes.backends.clone(),
                bare_ids: self.config.bare_ids.clone(),
                default: self.config.default_backend.clone(),
            },
            cluster: self.cluster.clone(),
            agents: self.agents.clone(),
            turns: Turns::default(),
            limits: self.live.limits(),
            observer: self.measures.clone(),
            ask_for_pass: Arc::new(move || trigger.fire(Cause::Operator)),
            log: self.log.new(o!("component" => "operations")),
        }
    }

    fn grpc_log(&self) -> Logger {
        self.log.new(o!("component" => "grpc"))
    }

    fn runs(&self) -> Runs {
        let grpc = &self.config.grpc;
        Runs::new(grpc.concurrency_max, grpc.deadline, self.grpc_log())
    }

    fn services(&self, operations: &Operations, runs: Runs, health: Arc<AppHealth>) -> Services {
        let places = Places::from(&operations.backends);
        let driver = self.config.driver.name.clone();
        Services {
            identity: Identity::new(driver, health, self.grpc_log()),
            controller: Some(Controller::new(Arc::new(operations.clone()), places, runs)),
            node: None,
            log: RequestLog::new(self.grpc_log(), self.measures.clone()),
        }
    }

    fn node_watcher(&self) -> node_watcher::Parts {
        let changes = self.cluster.clone();
        node_watcher::Parts {
            supervision: self.supervision(&self.faults.node_watcher),
            changes: Arc::new(move || changes.node_changes()),
            trigger: self.trigger.clone(),
            metrics: self.measures.clone(),
        }
    }
}

/// The agents of nodes, where they are to be asked.
fn agents(parts: &Parts, config: &Config, cluster: &Arc<KubeCluster>) -> Arc<dyn Agents> {
    if !config.agents.ask {
        return Arc::new(NoAgents);
    }
    let settings = agents::Settings {
        driver: config.driver.name.clone(),
        release: config.driver.release.clone(),
        namespace: config.driver.namespace.clone(),
        port: config.agents.port,
        deadline: config.cluster.request_deadline,
    };
    Arc::new(NodeAgents::new(
        parts.kube.clone(),
        cluster.clone(),
        settings,
        Arc::new(OverHttp),
        &parts.log,
    ))
}

/// What Probe needs beside the boxes.
fn conditions(cluster: &Arc<KubeCluster>, stopping: &Arc<AtomicBool>) -> Vec<probe::Condition> {
    let (cluster, stopping) = (cluster.clone(), stopping.clone());
    vec![
        Arc::new(move || {
            let unsynced = cluster.unsynced();
            let missing = || format!("not synced with the API server: {}", unsynced.join(", "));
            (!unsynced.is_empty()).then(missing)
        }),
        Arc::new(move || {
            stopping.load(Ordering::Relaxed).then(|| "the driver is shutting down".to_owned())
        }),
    ]
}

/// Once the caches have synced: refuse a changed `bare_ids`, else run the first pass. Until then
/// the cluster counts as unsynced, so that no request and no pass acts on the wrong box.
fn startup_trigger(
    cluster: &Arc<KubeCluster>,
    trigger: &TriggerHandle,
    backends: Backends,
    failed: mpsc::Sender<Error>,
    log: &Logger,
) {
    let (cluster, trigger, log) = (cluster.clone(), trigger.clone(), log.clone());
    // Losing this task means that the process ends; it waits for nothing else.
    tokio::spawn(async move {
        cluster.synced().await;
        match boxes::moved_volume(&cluster.view(), &backends) {
            Some(why) => {
                error!(log, "configuration refused"; "error" => &why);
                // Nobody waits for it any more when this fails: the process is ending.
                let _ = failed.send(Error::Configuration(why)).await;
            }
            None => {
                info!(log, "caches have synced");
                cluster.release();
                trigger.fire(Cause::Startup);
            }
        }
    });
}
