//! What /livez, /readyz, /statusz and Probe answer.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::drills::{self, Standings};
use super::roll::Roll;
use super::{election, status};
use crate::actors::probe::{LinkSource, ProbeHandle};
use crate::actors::reconciler::{LastPass, Outcome};
use crate::cluster::Cluster;
use crate::cluster::leader::Leader;
use crate::grpc::identity::{ProbeSource, Readiness as Probed};
use crate::grpc::runs::Runs;
use crate::http::{Health, Readiness};
use crate::operations::reconcile::PassReport;
use crate::rds::Link;

/// Asks the actors and shows what they publish.
pub struct AppHealth {
    /// When the driver started.
    pub started: Instant,
    /// The actors that must live.
    pub roll: Roll,
    /// Asks the probe actor.
    pub probe: ProbeHandle,
    /// What the watches have shown, and which of them fail.
    pub cluster: Arc<dyn Cluster>,
    /// The state of each connection.
    pub links: Vec<LinkSource>,
    /// May this replica reconcile?
    pub leader: Leader,
    /// The latest pass.
    pub last: watch::Receiver<Option<LastPass>>,
    /// What it did.
    pub report: watch::Receiver<PassReport>,
    /// The requests in work.
    pub runs: Runs,
    /// What is known of the fences of the boxes.
    pub drills: watch::Receiver<Standings>,
    /// Why the file is not what is running, where it was refused.
    pub rejected: watch::Receiver<Option<String>>,
}

#[async_trait]
impl ProbeSource for AppHealth {
    async fn probe(&self) -> Probed {
        let readiness = self.probe.readiness().await;
        if readiness.ready {
            return Probed::Ready;
        }
        Probed::NotReady { why: readiness.reasons }
    }
}

#[async_trait]
impl Health for AppHealth {
    /// A dead actor ends the process; where even that fails, kubelet does it.
    fn livez(&self) -> Result<(), String> {
        self.roll.dead().map_or(Ok(()), |name| Err(format!("actor {name} is dead")))
    }

    async fn readyz(&self) -> Readiness {
        let probed = self.probe.readiness().await;
        let leader = election::shown(&self.leader);
        let fields =
            Map::from_iter([("boxes".to_owned(), self.boxes()), ("leader".to_owned(), leader)]);
        Readiness { ready: probed.ready, reasons: probed.reasons, fields }
    }

    async fn statusz(&self) -> Value {
        let probed = self.probe.readiness().await;
        let failing = self.cluster.failing().into_iter();
        let failing = failing.map(|(name, age)| (name.to_owned(), json!(age.as_secs())));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "up_seconds": self.started.elapsed().as_secs(),
            "ready": probed.ready,
            "missing": probed.reasons,
            "dead_actor": self.roll.dead(),
            "boxes": self.boxes(),
            "drills": drills::shown(&self.drills.borrow()),
            "api_server": {
                "unsynced": self.cluster.unsynced(),
                "watches_failing_seconds": Value::Object(failing.collect()),
            },
            "cluster": status::of(&self.cluster.view()),
            "leader": election::shown(&self.leader),
            "last_pass": self.last_pass(),
            "requests_in_work": self.runs.count(),
            "configuration_refused": *self.rejected.borrow(),
        })
    }
}

impl AppHealth {
    fn boxes(&self) -> Value {
        let shown = self.links.iter().map(|link| {
            let state = link.supervisor.as_ref().map(|state| state.borrow().clone());
            (link.backend.to_string(), json!({"address": link.address, "link": shown(state)}))
        });
        Value::Object(shown.collect())
    }

    fn last_pass(&self) -> Value {
        let Some(pass) = self.last.borrow().clone() else { return Value::Null };
        let report = self.report.borrow().clone();
        let began = pass.began.elapsed().map_or(0, |age| age.as_secs());
        let error = match &pass.outcome {
            Outcome::Failed(error) => Some(error.to_string()),
            Outcome::Done(_) | Outcome::Late | Outcome::Abandoned => None,
        };
        json!({
            "began_seconds_ago": began,
            "took_ms": u64::try_from(pass.took.as_millis()).unwrap_or(u64::MAX),
            "causes": pass.causes.to_string(),
            "outcome": pass.outcome.label(),
            "error": error,
            // Of the latest pass that came to its end.
            "done": report.done,
            "blind": report.blind,
            "failed": report.failed,
        })
    }
}

fn shown(link: Option<Link>) -> Value {
    match link {
        None => Value::Null,
        Some(Link::Up { since, epoch, system }) => json!({
            "state": "up", "seconds": since.elapsed().as_secs(), "epoch": epoch,
            "routeros": system.version,
            "box_up_seconds": system.uptime.map(|uptime| (uptime + since.elapsed()).as_secs()),
        }),
        Some(Link::Down { since, next, why }) => json!({
            "state": "down", "seconds": since.elapsed().as_secs(), "why": why,
            "next_attempt_seconds":
                next.map(|at| at.saturating_duration_since(Instant::now()).as_secs()),
        }),
    }
}
