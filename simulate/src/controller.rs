//! The whole controller without sockets: what the composition root makes, over a [`Line`] and a
//! [`Kube`]. It can be killed at any moment, and another started in its place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::actors::probe::{self, LinkSource, ProbeHandle};
use rds_csi::actors::rds_connection::{self, ConnectionSettings};
use rds_csi::actors::reconciler::{self, PassError, Reconcile, ReconcileSettings};
use rds_csi::actors::supervision::{Faults, Supervision};
use rds_csi::actors::trigger::{Cause, Causes, TriggerHandle};
use rds_csi::actors::{NoMetrics, Shutdown, node_watcher};
use rds_csi::attachment::storm;
use rds_csi::cluster::agents::NoAgents;
use rds_csi::cluster::api::{KubeCluster, Settings};
use rds_csi::grpc::runs::Runs;
use rds_csi::mandate::Mandate;
use rds_csi::operations::reconcile::{PassReport, Reconciler};
use rds_csi::operations::{Backend, Backends, Happened, Limits, Observer, Operations};
use rds_csi::rds::Link;
use rds_csi::volume::turns::Turns;
use rds_csi::volume::{BackendName, Refused, VolumePath};
use slog::{Logger, o};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;
use crate::kube::Kube;
use crate::line::{ADDRESS, Line, Wires};

/// The driver's name.
pub const DRIVER: &str = "rds.csi.srvlab.io";
/// The namespace it runs in.
pub const NAMESPACE: &str = "rds-csi";
/// Its release, and so the list of deletions is `rds-csi-deleting`.
pub const RELEASE: &str = "rds-csi";
/// The cluster Secret.
pub const SECRET: &str = "rds-csi-cluster";
/// Where images lie.
pub const IMAGES: &str = "storage-pool/volumes";
/// The port of NVMe/TCP.
pub const PORT: u16 = 4420;

/// A pass that has ended.
#[derive(Debug, Clone)]
pub struct Passed {
    /// When it began.
    pub began: Instant,
    /// What it did.
    pub report: PassReport,
}

/// One controller.
pub struct Controller {
    /// What RPCs are.
    pub operations: Operations,
    /// How they are run.
    pub runs: Runs,
    /// Readiness.
    pub probe: ProbeHandle,
    /// Its only way to the world.
    pub gate: Arc<Gate>,
    /// Asks for a pass.
    pub trigger: TriggerHandle,
    passed: Arc<Mutex<Option<Passed>>>,
    shutdowns: Vec<actix::Recipient<Shutdown>>,
    watches: CancellationToken,
    keep: Vec<Box<dyn std::any::Any + Send + Sync>>,
}

/// What a controller is started with.
pub struct Parts {
    /// To the box.
    pub line: Arc<Line>,
    /// To the API server.
    pub kube: Kube,
    /// For its log.
    pub log: Logger,
}

impl Controller {
    /// Starts one, within an actix System. Neither box nor API server need be there.
    pub fn start(parts: Parts) -> Result<Self, Refused> {
        let Parts { line, kube, log } = parts;
        let gate = Arc::clone(&line.gate);
        let cluster = cluster(kube, &log);
        let supervision = Supervision {
            log: log.clone(),
            metrics: Arc::new(NoMetrics),
            faults: Faults::default(),
        };
        let (connection, settings) = connection(line, &supervision);
        let trigger = TriggerHandle::new();
        let (limits, limits_rx) = watch::channel(limits());
        let name = BackendName::parse("main")?;
        let operations = Operations {
            backends: backends(&name, Arc::new(connection.rds))?,
            cluster: cluster.clone(),
            agents: Arc::new(NoAgents),
            turns: Turns::default(),
            limits: limits_rx,
            observer: Arc::new(Nobody),
            ask_for_pass: {
                let trigger = trigger.clone();
                Arc::new(move || trigger.fire(Cause::Operator))
            },
            log: log.new(o!("component" => "operations")),
        };
        let probe = probe(&name, &connection.link, &supervision);
        let passed = Arc::new(Mutex::new(None));
        let (interval, interval_rx) = watch::channel(ReconcileSettings::default());
        let reconciler = reconciler::start(reconciler::Parts {
            supervision: supervision.clone(),
            work: Arc::new(Pass {
                reconciler: Reconciler::new(operations.clone()),
                passed: Arc::clone(&passed),
            }),
            trigger: trigger.clone(),
            settings: interval_rx,
            links: vec![(name, connection.link)],
            mandate: Mandate::unlimited(),
            metrics: Arc::new(NoMetrics),
        });
        let watches = CancellationToken::new();
        let tasks = cluster.start(&watches);
        let changes = cluster.clone();
        let watcher = node_watcher::start(node_watcher::Parts {
            supervision,
            changes: Arc::new(move || changes.node_changes()),
            trigger: trigger.clone(),
            metrics: Arc::new(NoMetrics),
        });
        let startup = trigger.clone();
        tokio::spawn(async move {
            cluster.synced().await;
            startup.fire(Cause::Startup);
        });
        Ok(Self {
            operations,
            runs: Runs::new(64, Duration::from_secs(120), log),
            probe: probe.probe,
            gate,
            trigger,
            passed,
            shutdowns: vec![watcher.shutdown, reconciler.shutdown, connection.shutdown],
            watches,
            keep: vec![
                Box::new((settings, limits, interval, tasks)),
                Box::new((probe.alive, watcher.alive, reconciler.alive, connection.alive)),
            ],
        })
    }

    /// The latest pass that could judge.
    pub fn passed(&self) -> Option<Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills it. What is left can reach nothing any more; it is told to end to save work.
    pub fn kill(mut self) {
        self.gate.kill();
        self.watches.cancel();
        for shutdown in std::mem::take(&mut self.shutdowns) {
            let goodbye = async move { shutdown.send(Shutdown { within: Duration::ZERO }).await };
            tokio::spawn(goodbye);
        }
        let keep = std::mem::take(&mut self.keep);
        tokio::spawn(async move {
            // Its actors must not end before they have handled that.
            tokio::time::sleep(Duration::from_secs(10)).await;
            drop(keep);
        });
    }
}

fn connection(
    line: Arc<Line>,
    supervision: &Supervision,
) -> (rds_connection::Handles, watch::Sender<ConnectionSettings>) {
    let (settings, settings_rx) = watch::channel(ConnectionSettings::default());
    let connection = rds_connection::start(rds_connection::Parts {
        supervision: supervision.clone(),
        connect: Arc::new(Wires(line)),
        language: rds_connection::sessions::Language::default(),
        settings: settings_rx,
        metrics: Arc::new(NoMetrics),
    });
    (connection, settings)
}

fn probe(
    name: &BackendName,
    link: &watch::Receiver<Link>,
    supervision: &Supervision,
) -> probe::Handles {
    let fallback = link.clone();
    probe::start(probe::Parts {
        supervision: supervision.clone(),
        links: vec![LinkSource {
            backend: name.clone(),
            address: ADDRESS.into(),
            supervisor: Some(link.clone()),
            fallback: Arc::new(move || fallback.borrow().is_up()),
        }],
        conditions: Vec::new(),
        metrics: Arc::new(NoMetrics),
    })
}

/// The defaults of the configuration.
fn limits() -> Limits {
    Limits {
        grace: Duration::from_secs(30),
        max_age: Duration::from_secs(10),
        orphan_grace: Duration::from_secs(3600),
        counter_interval: Duration::from_secs(1),
        drain: Duration::from_secs(5),
        storm: storm::Limits { share: 0.4, window: Duration::from_secs(120) },
    }
}

fn backends(name: &BackendName, rds: Arc<rds_connection::RdsHandle>) -> Result<Backends, Refused> {
    let backend = Backend {
        name: name.clone(),
        address: ADDRESS.into(),
        nvme_address: "10.0.0.1".into(),
        nvme_port: PORT,
        volume_paths: vec![VolumePath::parse(IMAGES)?],
        nqn_base: "nqn.2000-02.com.mikrotik".into(),
        rds,
    };
    Ok(Backends {
        by_name: BTreeMap::from([(name.clone(), backend)]),
        bare_ids: name.clone(),
        default: name.clone(),
    })
}

fn cluster(kube: Kube, log: &Logger) -> Arc<KubeCluster> {
    let settings = Settings {
        driver: DRIVER.into(),
        release: RELEASE.into(),
        namespace: NAMESPACE.into(),
        cluster_id: None,
        secret: SECRET.into(),
        deadline: Duration::from_secs(10),
        pod: None,
        events: tokio::sync::watch::channel(rds_csi::cluster::events::Bounds::default()).1,
    };
    let client = ::kube::Client::new(kube, "default");
    KubeCluster::new(client, settings, Arc::new(|_| {}), log)
}

struct Nobody;

impl Observer for Nobody {
    fn happened(&self, _: Happened) {}
}

/// Runs passes and remembers the latest.
struct Pass {
    reconciler: Reconciler,
    passed: Arc<Mutex<Option<Passed>>>,
}

#[async_trait]
impl Reconcile for Pass {
    async fn pass(&self, _: Causes) -> Result<reconciler::PassReport, PassError> {
        let began = Instant::now();
        let report = self.reconciler.pass().await.map_err(|error| PassError(error.to_string()))?;
        let again_in = report.again_in;
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Passed { began, report });
        Ok(reconciler::PassReport { again_in })
    }
}
