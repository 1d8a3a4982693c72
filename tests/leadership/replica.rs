//! One replica: its own way to the API server, its own sessions to the box, and the real parts that
//! elect, pass and send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::actors::rds_connection::{self, ConnectionSettings};
use rds_csi::actors::reconciler::{self, LastPass, PassError, Reconcile, ReconcileSettings};
use rds_csi::actors::supervision::{Faults, Supervision};
use rds_csi::actors::trigger::{Cause, Causes, TriggerHandle};
use rds_csi::actors::{NoMetrics, Shutdown};
use rds_csi::cluster::api::{KubeCluster, Settings};
use rds_csi::cluster::leader::{self, Leader};
use rds_csi::cluster::lease::Times;
use rds_csi::operations::reconcile::Reconciler;
use rds_csi::operations::{Backend, Operations};
use rds_csi::rds::ssh::{Connect, ConnectError, ExecOutput, Session, SessionError};
use rds_csi::volume::turns::Turns;
use rds_sim::apiserver::ApiServer;
use rds_sim::routeros::{self, RouterOs};
use slog::{Discard, Logger, o};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::in_memory::{DRIVER, LIMITS, World};

const NAMESPACE: &str = "rds-csi";

/// A replica.
pub struct Replica {
    pub leader: Leader,
    cable: Arc<Cable>,
    passes: watch::Receiver<Option<LastPass>>,
    passed: Arc<AtomicUsize>,
    shutdowns: Vec<actix::Recipient<Shutdown>>,
    election: CancellationToken,
    elected: TaskTracker,
    _keep: (DropGuard, Vec<Box<dyn std::any::Any>>),
}

/// What lies between a replica and the rest of the world.
#[derive(Default)]
struct Cable {
    /// Requests about Leases are swallowed.
    swallows_leases: AtomicBool,
    /// Lines that change a disk wait before they reach the box.
    holds: watch::Sender<bool>,
    held: AtomicUsize,
    /// Lines that reached the box and could change a disk.
    changes: AtomicUsize,
}

fn is_change(line: &str) -> bool {
    ["/disk/set", "/disk/add", "/disk/remove", "/file/remove"]
        .iter()
        .any(|part| line.contains(part))
}

impl Replica {
    /// Starts one over the world's box and API server.
    pub fn start(world: &World, name: &str) -> Self {
        let cable = Arc::new(Cable::default());
        let log = Logger::root(Discard, o!());
        let supervision = Supervision {
            log: log.clone(),
            metrics: Arc::new(NoMetrics),
            faults: Faults::default(),
        };
        let (settings, settings_rx) = watch::channel(ConnectionSettings::default());
        let connection = rds_connection::start(rds_connection::Parts {
            supervision: supervision.clone(),
            connect: Arc::new(Wire { os: world.os.clone(), cable: cable.clone() }),
            language: rds_connection::sessions::Language::default(),
            settings: settings_rx,
            metrics: Arc::new(NoMetrics),
        });
        let watches = CancellationToken::new();
        let cluster = cluster(&world.api, &cable, &log);
        cluster.start(&watches);
        let (election, elected) = (CancellationToken::new(), TaskTracker::new());
        let stand = leader::Settings {
            namespace: NAMESPACE.into(),
            lease: "rds-csi-reconciler".into(),
            me: name.into(),
            times: Times {
                duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry_period: Duration::from_secs(2),
            },
        };
        let leader = leader::start(client(&world.api, &cable), stand, &election, &elected, &log);
        elected.close();
        let trigger = TriggerHandle::new();
        let (limits, limits_rx) = watch::channel(LIMITS);
        let mut operations = Operations {
            cluster,
            turns: Turns::default(),
            limits: limits_rx,
            ..world.operations.clone()
        };
        let rds = Arc::new(connection.rds);
        for backend in operations.backends.by_name.values_mut() {
            *backend = Backend { rds: rds.clone(), ..backend.clone() };
        }
        // Often, so that nothing depends on who triggers.
        let interval = Duration::from_secs(5);
        let (intervals, intervals_rx) =
            watch::channel(ReconcileSettings { interval, ..ReconcileSettings::default() });
        let passed = Arc::new(AtomicUsize::new(0));
        let reconciler = reconciler::start(reconciler::Parts {
            supervision,
            work: Arc::new(Pass {
                reconciler: Reconciler::new(operations).under(leader.mandate.clone()),
                passed: passed.clone(),
            }),
            trigger: trigger.clone(),
            settings: intervals_rx,
            links: operations_links(connection.link),
            mandate: leader.mandate.clone(),
            metrics: Arc::new(NoMetrics),
        });
        trigger.fire(Cause::Startup);
        Self {
            leader,
            cable,
            passes: reconciler.last,
            passed,
            shutdowns: vec![reconciler.shutdown, connection.shutdown],
            election,
            elected,
            _keep: (
                watches.drop_guard(),
                vec![
                    Box::new((settings, limits, intervals)),
                    Box::new((reconciler.alive, connection.alive)),
                ],
            ),
        }
    }

    pub fn leads(&self) -> bool {
        self.leader.mandate.holds()
    }

    /// Passes that were begun.
    pub fn passes(&self) -> usize {
        assert_eq!(self.passes.borrow().is_some(), self.passed.load(SeqCst) > 0);
        self.passed.load(SeqCst)
    }

    /// Lines of this replica that reached the box and could change a disk.
    pub fn changes(&self) -> usize {
        self.cable.changes.load(SeqCst)
    }

    /// Lines that wait on their way.
    pub fn held(&self) -> usize {
        self.cable.held.load(SeqCst)
    }

    pub fn hold_changes(&self) {
        self.cable.holds.send_replace(true);
    }

    pub fn let_changes_go(&self) {
        self.cable.holds.send_replace(false);
    }

    pub fn lose_sight_of_the_lease(&self) {
        self.cable.swallows_leases.store(true, SeqCst);
    }

    pub fn see_the_lease(&self) {
        self.cable.swallows_leases.store(false, SeqCst);
    }

    /// The ordered stop, as the app does it.
    pub async fn stop(&self) {
        for shutdown in &self.shutdowns {
            shutdown.send(Shutdown { within: Duration::from_secs(5) }).await.unwrap();
        }
        self.election.cancel();
        self.elected.wait().await;
    }
}

fn operations_links(
    link: watch::Receiver<rds_csi::rds::Link>,
) -> Vec<(rds_csi::volume::BackendName, watch::Receiver<rds_csi::rds::Link>)> {
    vec![(rds_csi::volume::BackendName::parse("main").unwrap(), link)]
}

fn client(api: &ApiServer, cable: &Arc<Cable>) -> kube::Client {
    let (service, cable) = (api.service(), cable.clone());
    let through = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (service, cable) = (service.clone(), cable.clone());
        async move {
            if request.uri().path().contains("/leases") && cable.swallows_leases.load(SeqCst) {
                std::future::pending::<()>().await;
            }
            service.oneshot(request).await
        }
    });
    kube::Client::new(through, "default")
}

fn cluster(api: &ApiServer, cable: &Arc<Cable>, log: &Logger) -> Arc<KubeCluster> {
    let settings = Settings {
        driver: DRIVER.into(),
        release: "rds-csi".into(),
        namespace: NAMESPACE.into(),
        cluster_id: None,
        secret: "rds-csi-cluster".into(),
        deadline: Duration::from_secs(10),
        pod: None,
        events: watch::channel(rds_csi::cluster::events::Bounds::default()).1,
    };
    KubeCluster::new(client(api, cable), settings, Arc::new(|_| {}), log)
}

struct Pass {
    reconciler: Reconciler,
    passed: Arc<AtomicUsize>,
}

#[async_trait]
impl Reconcile for Pass {
    async fn pass(&self, _: Causes) -> Result<reconciler::PassReport, PassError> {
        self.passed.fetch_add(1, SeqCst);
        let report = self.reconciler.pass().await.map_err(|error| PassError(error.to_string()))?;
        Ok(reconciler::PassReport { again_in: report.again_in })
    }
}

/// Sessions to the box, in memory.
struct Wire {
    os: RouterOs,
    cable: Arc<Cable>,
}

struct Wired {
    session: routeros::Session,
    cable: Arc<Cable>,
}

#[async_trait]
impl Connect for Wire {
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        let session = self.os.open_session().await.map_err(|error| ConnectError::Unreachable {
            address: self.address().to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Box::new(Wired { session, cable: self.cable.clone() }))
    }

    fn address(&self) -> &str {
        "box:22"
    }
}

#[async_trait]
impl Session for Wired {
    async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError> {
        if is_change(line) {
            let mut holds = self.cable.holds.subscribe();
            if *holds.borrow() {
                self.cable.held.fetch_add(1, SeqCst);
            }
            // Like a channel that opens late: nothing has reached the box until then.
            let _ = holds.wait_for(|holds| !holds).await;
            self.cable.changes.fetch_add(1, SeqCst);
        }
        let result = self.session.exec(line).await;
        let result = result.map_err(|error| SessionError::Closed(error.to_string()))?;
        let routeros::ExecResult { stdout, stderr, exit_status } = result;
        Ok(ExecOutput { stdout, stderr, exit_status })
    }

    fn closed(&self) -> CancellationToken {
        self.session.closed()
    }

    async fn close(self: Box<Self>) {}
}
