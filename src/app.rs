//! The composition root: the only file that knows every part. Ordered start, ordered stop.
//!
//! ```text
//! start: bind, serve /livez, metrics and Probe ─▶ caches ─▶ node watcher ─▶ reconciler ─▶ connections
//!        none of them waits for another; once the caches have synced, the startup trigger
//! stop:  Probe says no ─▶ gRPC drains ─▶ node watcher ─▶ reconciler ─▶ connections ─▶ watches ─▶ http
//! ```
//!
//! Neither the box nor the API server is needed to start. The whole stop has one deadline.

mod announce;
mod boxes;
mod health;
mod live;
mod observe;
mod pass;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slog::{Logger, info, o, warn};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::boxes::Boxes;
use self::health::AppHealth;
use self::live::Live;
use self::observe::Measures;
use crate::actors::supervision::{Alive, Supervision, watch_over};
use crate::actors::trigger::{Cause, TriggerHandle};
use crate::actors::{Shutdown, node_watcher, probe, reconciler};
use crate::cluster::Cluster;
use crate::cluster::api::{KubeCluster, Settings};
use crate::config::Config;
use crate::grpc::controller::Controller;
use crate::grpc::identity::Identity;
use crate::grpc::log::RequestLog;
use crate::grpc::request::Places;
use crate::grpc::runs::Runs;
use crate::grpc::socket::Socket;
use crate::grpc::{self, Services};
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
    /// The reason why the newest configuration was refused.
    pub rejected: watch::Receiver<Option<String>>,
    /// All measurements.
    pub metrics: Metrics,
    /// The root logger.
    pub log: Logger,
    /// Panics on demand, in tests; none otherwise.
    pub faults: crate::actors::supervision::Faults,
}

/// Why the app did not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// The running controller.
pub struct App {
    log: Logger,
    stopping: Arc<AtomicBool>,
    grpc_stop: CancellationToken,
    grpc: JoinHandle<()>,
    watches_stop: CancellationToken,
    watches: tokio_util::task::TaskTracker,
    http_stop: CancellationToken,
    http: JoinHandle<()>,
    /// In the order in which they stop.
    actors: Vec<(&'static str, actix::Recipient<Shutdown>)>,
    alive: Vec<(&'static str, Alive)>,
    failed: tokio::sync::mpsc::Receiver<String>,
    trigger: TriggerHandle,
    config: watch::Receiver<Arc<Config>>,
}

/// Time that every step of the stop has at most, of what is left of the whole.
const STEP_MAX: Duration = Duration::from_secs(10);

impl App {
    /// Starts everything. Must run within an actix System.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let log = parts.log.new(o!("component" => "app"));
        let config = parts.config.borrow().clone();
        let (failed_tx, failed) = tokio::sync::mpsc::channel(4);
        let measures = Arc::new(Measures::new(parts.metrics.clone()));
        let live = Live::follow(parts.config.clone());
        let trigger = TriggerHandle::new();
        let stopping = Arc::new(AtomicBool::new(false));
        let supervise = || Supervision {
            log: parts.log.clone(),
            metrics: measures.clone(),
            faults: parts.faults.clone(),
        };
        let cluster = cluster(&parts, &config, &measures);
        let begin = CancellationToken::new();
        let boxes = Boxes::start(&config, &parts, &live, &measures, supervise, begin.clone())?;
        let operations = Operations {
            backends: Backends {
                by_name: boxes.backends.clone(),
                bare_ids: config.bare_ids.clone(),
                default: config.default_backend.clone(),
            },
            cluster: cluster.clone(),
            turns: Turns::default(),
            limits: live.limits(),
            observer: measures.clone(),
            ask_for_pass: {
                let trigger = trigger.clone();
                Arc::new(move || trigger.fire(Cause::Operator))
            },
            log: parts.log.new(o!("component" => "operations")),
        };

        // Serve first: whoever looks sees at once that we live, and what is missing.
        let probe = probe::start(probe::Parts {
            supervision: supervise(),
            links: boxes.links.clone(),
            conditions: conditions(&cluster, &stopping),
            metrics: measures.clone(),
        });
        let reconcile = pass::Pass::new(Reconciler::new(operations.clone()));
        let last_report = reconcile.reports();
        let reconciler = reconciler::start(reconciler::Parts {
            supervision: supervise(),
            work: Arc::new(reconcile),
            trigger: trigger.clone(),
            settings: live.reconcile(),
            links: boxes.watches(),
            metrics: measures.clone(),
        });
        let health = Arc::new(AppHealth {
            probe: probe.probe.clone(),
            cluster: cluster.clone(),
            links: boxes.links.clone(),
            last: reconciler.last.clone(),
            report: last_report,
        });
        let http_stop = CancellationToken::new();
        let http = {
            let (metrics, log, stop) = (parts.metrics, parts.log.clone(), http_stop.clone());
            let address = parts.http.local_addr().map_err(|e| StartError(e.to_string()))?;
            info!(log, "serving metrics and health"; "address" => %address);
            let health: Arc<dyn crate::http::Health> = health.clone();
            tokio::spawn(async move {
                crate::http::serve(parts.http, metrics, health, &log, stop).await
            })
        };
        let grpc_stop = CancellationToken::new();
        let services = Services {
            identity: Identity::new(
                config.driver.name.clone(),
                health.clone(),
                parts.log.new(o!("component" => "grpc")),
            ),
            controller: Some(Controller::new(
                Arc::new(operations.clone()),
                Places::from(&operations.backends),
                Runs::new(
                    config.grpc.concurrency_max,
                    config.grpc.deadline,
                    parts.log.new(o!("component" => "grpc")),
                ),
            )),
            log: RequestLog::new(parts.log.new(o!("component" => "grpc")), measures.clone()),
        };
        info!(log, "serving csi"; "socket" => %parts.socket.path().display());
        let drain = config.shutdown.deadline / 2;
        let grpc = serve(parts.socket, services, grpc_stop.clone(), drain, &log, failed_tx.clone());

        // None of these waits for another.
        info!(log, "starting caches");
        let watches_stop = CancellationToken::new();
        let watches = cluster.start(&watches_stop);
        info!(log, "starting node watcher");
        let changes = cluster.clone();
        let node_watcher = node_watcher::start(node_watcher::Parts {
            supervision: supervise(),
            changes: Arc::new(move || changes.node_changes()),
            trigger: trigger.clone(),
            metrics: measures.clone(),
        });
        info!(log, "starting reconciler");
        startup_trigger(&cluster, &trigger, &operations, failed_tx, &log);
        info!(log, "starting connections"; "boxes" => boxes.backends.len());
        begin.cancel();
        announce::links(&boxes.links, &cluster, &watches_stop, &watches);
        tokio::spawn(announce::rejections(parts.rejected, cluster.clone()));

        let mut actors =
            vec![("node watcher", node_watcher.shutdown), ("reconciler", reconciler.shutdown)];
        let mut alive = vec![
            ("probe", probe.alive),
            ("node_watcher", node_watcher.alive),
            ("reconciler", reconciler.alive),
        ];
        for (_, shutdown, is_alive) in boxes.actors {
            actors.push(("connection", shutdown));
            alive.push(("rds_connection", is_alive));
        }
        Ok(Self {
            log,
            stopping,
            grpc_stop,
            grpc,
            watches_stop,
            watches,
            http_stop,
            http,
            actors,
            alive,
            failed,
            trigger,
            config: parts.config,
        })
    }

    /// Asks for a pass.
    pub fn trigger(&self) -> &TriggerHandle {
        &self.trigger
    }

    /// Resolves when something ended that nothing brings back; the process must end then.
    pub async fn failed(&mut self) -> String {
        let alive = std::mem::take(&mut self.alive);
        tokio::select! {
            dead = watch_over(alive) => format!("actor {dead} is dead"),
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
        self.grpc_stop.cancel();
        step(&self.log, "grpc", end, self.grpc).await;
        for (name, actor) in self.actors {
            info!(self.log, "stopping actor"; "actor" => name);
            let left = end.saturating_duration_since(Instant::now());
            let within = left.min(STEP_MAX) / 2;
            step(&self.log, name, end, actor.send(Shutdown { within })).await;
        }
        info!(self.log, "stopping watches");
        self.watches_stop.cancel();
        step(&self.log, "watches", end, self.watches.wait()).await;
        self.http_stop.cancel();
        step(&self.log, "http", end, self.http).await;
        info!(self.log, "stopped");
    }
}

async fn step<T>(log: &Logger, what: &str, end: Instant, ends: impl Future<Output = T>) {
    let by = end.min(Instant::now() + STEP_MAX);
    if timeout_at(by, ends).await.is_err() {
        warn!(log, "did not stop in time"; "what" => what.to_owned());
    }
}

fn cluster(parts: &Parts, config: &Config, measures: &Arc<Measures>) -> Arc<KubeCluster> {
    let settings = Settings {
        driver: config.driver.name.clone(),
        release: config.driver.release.clone(),
        namespace: config.driver.namespace.clone(),
        cluster_id: config.cluster.id.clone(),
        secret: config.cluster.secret_name.clone(),
        deadline: config.cluster.request_deadline,
        pod: parts.pod.clone(),
        events: live::event_bounds(&config.events),
    };
    let posted = measures.clone();
    let told = Arc::new(move |reason: crate::cluster::Reason| posted.event(reason));
    KubeCluster::new(parts.kube.clone(), settings, told, &parts.log)
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

fn serve(
    socket: Socket,
    services: Services,
    stop: CancellationToken,
    drain: Duration,
    log: &Logger,
    failed: tokio::sync::mpsc::Sender<String>,
) -> JoinHandle<()> {
    let log = log.clone();
    tokio::spawn(async move {
        match grpc::serve(socket, services, stop.clone(), drain).await {
            Ok(drained) => info!(log, "grpc ended"; "drained" => ?drained),
            Err(error) => warn!(log, "grpc failed"; "error" => %crate::logging::Chain(&error)),
        }
        if !stop.is_cancelled() {
            // Nobody waits for it any more when this fails: the process is ending.
            let _ = failed.send("the gRPC server has ended".into()).await;
        }
    })
}

/// Once the caches have synced: refuse a changed `bare_ids`, else run the first pass.
fn startup_trigger(
    cluster: &Arc<KubeCluster>,
    trigger: &TriggerHandle,
    operations: &Operations,
    failed: tokio::sync::mpsc::Sender<String>,
    log: &Logger,
) {
    let (cluster, trigger, operations, log) =
        (cluster.clone(), trigger.clone(), operations.clone(), log.clone());
    // Losing this task means that the process ends; it waits for nothing else.
    tokio::spawn(async move {
        cluster.synced().await;
        match boxes::moved_volume(&cluster.view(), &operations.backends) {
            Some(why) => {
                warn!(log, "configuration refused"; "error" => &why);
                let _ = failed.send(why).await;
            }
            None => {
                info!(log, "caches have synced");
                trigger.fire(Cause::Startup);
            }
        }
    });
}
