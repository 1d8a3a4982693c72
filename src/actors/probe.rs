//! The probe: folds what others publish into "ready" or the reasons why not.
//!
//! It does no I/O and owns no state: a [`Probe`] is answered from the `watch<Link>` of every box
//! and from conditions such as "the caches have synced". With several boxes the driver is ready
//! while one of them is connected: a volume on a healthy box must go on working. Each box that is
//! not connected is among the reasons all the same.
//!
//! It must never be what restarts the driver: liveness does not ask it.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use super::supervision::{Alive, Entry, Guard, Guarded, Supervision, begin, enter};
use super::{Answer, NoMetrics, ask};
use crate::rds::Link;
use crate::volume::BackendName;

/// How long a caller waits for the actor, which has nothing to wait for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// "Are you ready?"
#[derive(Debug, Message)]
#[rtype(result = "Readiness")]
pub struct Probe;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Is the driver ready?
    pub ready: bool,
    /// What is missing, one sentence each. Not empty where it is not ready.
    pub reasons: Vec<String>,
}

/// Something that must hold, besides the connections: `None`, or what is missing. Must not block.
pub type Condition = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Where the state of one connection comes from.
#[derive(Clone)]
pub struct LinkSource {
    /// The box.
    pub backend: BackendName,
    /// `host:port`, the label of the gauge.
    pub address: String,
    /// What its connection actor publishes.
    pub supervisor: Option<watch::Receiver<Link>>,
    /// The session's own state, for where nobody publishes.
    pub fallback: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Records what was found.
pub trait ProbeMetrics: Send + Sync {
    /// `rds_csi_rds_connection_state{address}`, on every probe.
    fn connection_state(&self, address: &str, up: bool);
}

impl ProbeMetrics for NoMetrics {
    fn connection_state(&self, _: &str, _: bool) {}
}

/// What the probe is made of.
pub struct Parts {
    /// Log, restarts, fault points.
    pub supervision: Supervision,
    /// Every configured box; none on a node.
    pub links: Vec<LinkSource>,
    /// Caches, sockets, "not shutting down".
    pub conditions: Vec<Condition>,
    /// Records.
    pub metrics: Arc<dyn ProbeMetrics>,
}

/// The probe from outside.
pub struct Handles {
    /// Asks.
    pub probe: ProbeHandle,
    /// Does it live?
    pub alive: Alive,
}

/// Starts the probe.
pub fn start(parts: Parts) -> Handles {
    let actor = ProbeActor {
        guard: Guard::new("probe", parts.supervision),
        links: parts.links,
        conditions: parts.conditions,
        metrics: parts.metrics,
        volatile: Volatile::default(),
    };
    let address = Supervisor::start(|_| actor);
    Handles {
        probe: ProbeHandle { to: address.clone().recipient() },
        alive: Box::new(move || address.connected()),
    }
}

/// Asks the probe.
#[derive(Clone)]
pub struct ProbeHandle {
    to: Recipient<Probe>,
}

impl ProbeHandle {
    /// Asks whoever `to` leads to.
    pub fn new(to: Recipient<Probe>) -> Self {
        Self { to }
    }

    /// Is the driver ready? Answers within a second; without an answer it is not.
    pub async fn readiness(&self) -> Readiness {
        let answer = ask(&self.to, Probe, ANSWER_WITHIN).await;
        answer.unwrap_or_else(|error| Readiness {
            ready: false,
            reasons: vec![format!("no answer from the probe: {error}")],
        })
    }
}

struct ProbeActor {
    guard: Guard,
    links: Vec<LinkSource>,
    conditions: Vec<Condition>,
    metrics: Arc<dyn ProbeMetrics>,
    volatile: Volatile,
}

/// What a restart forgets.
#[derive(Default)]
struct Volatile {
    /// Has it begun? A probe that has just panicked says so until its backoff has passed.
    begun: bool,
}

impl Guarded for ProbeActor {
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

impl Actor for ProbeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        begin(self, ctx, |act, _| act.volatile.begun = true);
    }
}

impl Supervised for ProbeActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.guard.restarting();
        self.volatile = Volatile::default();
    }
}

impl Handler<Probe> for ProbeActor {
    type Result = Answer<Readiness>;

    fn handle(&mut self, _: Probe, ctx: &mut Self::Context) -> Self::Result {
        Answer(enter(self, ctx, Entry::Handler, |act, _| act.readiness()))
    }
}

impl ProbeActor {
    fn readiness(&self) -> Readiness {
        let connections = self.links.iter().map(connection).collect::<Vec<_>>();
        for (link, found) in self.links.iter().zip(&connections) {
            self.metrics.connection_state(&link.address, found.is_ok());
        }
        let mut missing: Vec<String> = self.conditions.iter().filter_map(|c| c()).collect();
        if !self.volatile.begun {
            missing.push("the probe is being restarted".into());
        }
        fold(connections, missing)
    }
}

/// Is the box connected? The supervisor knows best; without one the session itself is asked.
fn connection(source: &LinkSource) -> Result<(), String> {
    let LinkSource { backend, address, .. } = source;
    // A closed channel has nobody who would correct its last value.
    let published = source.supervisor.as_ref();
    let link =
        published.filter(|link| link.has_changed().is_ok()).map(|link| link.borrow().clone());
    match link {
        Some(Link::Up { .. }) => Ok(()),
        Some(Link::Down { why, .. }) => {
            Err(format!("{backend} at {address} is not connected ({why})"))
        }
        None if (source.fallback)() => Ok(()),
        None => Err(format!("{backend} at {address} is not connected (nobody supervises it)")),
    }
}

/// Ready while every condition holds and a box is connected, or none is configured.
fn fold(connections: Vec<Result<(), String>>, missing: Vec<String>) -> Readiness {
    let connected = connections.is_empty() || connections.iter().any(Result::is_ok);
    let ready = connected && missing.is_empty();
    let mut reasons = missing;
    reasons.extend(connections.into_iter().filter_map(Result::err));
    Readiness { ready, reasons }
}

#[cfg(test)]
mod test;
