//! What /livez, /readyz, /statusz and Probe answer.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::actors::probe::{LinkSource, ProbeHandle};
use crate::actors::reconciler::LastPass;
use crate::cluster::Cluster;
use crate::grpc::identity::{ProbeSource, Readiness as Probed};
use crate::http::{Health, Readiness};
use crate::operations::reconcile::PassReport;
use crate::rds::Link;

/// Asks the actors and shows what they publish.
pub struct AppHealth {
    /// Asks the probe actor.
    pub probe: ProbeHandle,
    /// Which caches have synced.
    pub cluster: Arc<dyn Cluster>,
    /// The state of each connection.
    pub links: Vec<LinkSource>,
    /// The latest pass.
    pub last: watch::Receiver<Option<LastPass>>,
    /// What it did.
    pub report: watch::Receiver<PassReport>,
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
    /// A dead actor ends the process; whoever can answer this is alive.
    fn livez(&self) -> Result<(), String> {
        Ok(())
    }

    async fn readyz(&self) -> Readiness {
        let probed = self.probe.readiness().await;
        let mut fields = Map::new();
        fields.insert("boxes".into(), self.boxes());
        Readiness { ready: probed.ready, reasons: probed.reasons, fields }
    }

    fn statusz(&self) -> Value {
        let view = self.cluster.view();
        let report = self.report.borrow().clone();
        let pass = self.last.borrow().as_ref().map(|pass| {
            json!({
                "outcome": pass.outcome.label(),
                "took_ms": u64::try_from(pass.took.as_millis()).unwrap_or(u64::MAX),
                "cause": pass.causes.label(),
                "done": report.done,
                "blind": report.blind,
                "failed": report.failed,
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "boxes": self.boxes(),
            "unsynced": self.cluster.unsynced(),
            "nodes": view.nodes.len(),
            "volumes": view.volumes.len(),
            "attachments": view.attachments.len(),
            "last_pass": pass,
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
}

fn shown(link: Option<Link>) -> Value {
    match link {
        None => Value::Null,
        Some(Link::Up { since, epoch, system }) => json!({
            "state": "up", "seconds": since.elapsed().as_secs(), "epoch": epoch,
            "routeros": system.version,
        }),
        Some(Link::Down { since, next, why }) => json!({
            "state": "down", "seconds": since.elapsed().as_secs(), "why": why,
            "next_attempt_seconds":
                next.map(|at| at.saturating_duration_since(tokio::time::Instant::now()).as_secs()),
        }),
    }
}
