//! What the parts tell, as measurements: each part has a trait of its own, this knows them all.

use std::time::Duration;

use crate::actors::agent::AgentMetrics;
use crate::actors::node_watcher::NodeWatcherMetrics;
use crate::actors::probe::ProbeMetrics;
use crate::actors::rds_connection::ConnectionMetrics;
use crate::actors::rds_connection::jobs::Denied;
use crate::actors::reconciler::{LastPass, ReconcileMetrics};
use crate::actors::supervision::{ActorMetrics, Cause};
use crate::cluster::Reason;
use crate::grpc::log::RpcMetrics;
use crate::metrics::Metrics;
use crate::metrics::Operation;
use crate::node;
use crate::operations::{Happened, Observer};

/// Translates.
pub struct Measures {
    metrics: Metrics,
}

impl Measures {
    /// Into these metrics.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }

    /// An event was posted.
    pub fn event(&self, reason: Reason) {
        self.metrics.events.posted(reason.as_str());
    }

    /// Is this what is known of the fence of a box?
    pub fn drill(&self, backend: &str, state: &str, is_so: bool) {
        self.metrics.rds.drill(backend, state, is_so);
    }

    /// Does this replica reconcile?
    pub fn leading(&self, leads: bool) {
        self.metrics.reconcile.leading(leads);
    }
}

impl ActorMetrics for Measures {
    fn restarted(&self, actor: &'static str, cause: Cause) {
        self.metrics.actors.restarted(actor, cause.label());
    }
}

impl NodeWatcherMetrics for Measures {
    fn node_watcher_trigger(&self) {
        self.metrics.reconcile.action("node_watcher_trigger");
    }
}

impl ProbeMetrics for Measures {
    fn connection_state(&self, address: &str, up: bool) {
        self.metrics.rds.link(address, up);
    }
}

impl ConnectionMetrics for Measures {
    fn connection_state(&self, address: &str, up: bool) {
        self.metrics.rds.link(address, up);
    }
    fn attempted(&self, _: &str, succeeded: bool) {
        if !succeeded {
            self.metrics.rds.reconnect_failed();
        }
    }
    fn reconnected(&self, _: &str, after: Duration) {
        self.metrics.rds.reconnected(after);
    }
    fn lane_replaced(&self, _: &str) {
        self.metrics.rds.lane_replaced();
    }
    fn queue(&self, address: &str, waiting: usize, _: usize) {
        self.metrics.rds.queue_depth(address, waiting);
    }
    fn denied(&self, _: &str, reason: Denied) {
        self.metrics.rds.job_denied(reason.label());
    }
    fn executed(&self, _: &str, outcome: &'static str, took: Duration) {
        self.metrics.rds.exec(outcome, took);
    }
}

impl AgentMetrics for Measures {
    fn connections(&self, live: usize, connecting: usize) {
        self.metrics.agent.connections(live, connecting);
    }
    fn stale_mounts(&self, count: usize) {
        self.metrics.agent.stale_mounts(count);
    }
    fn swept(&self, clean: bool) {
        self.metrics.agent.swept(clean);
    }
    fn reconnected(&self, survived: bool) {
        self.metrics.agent.reconnected(survived);
    }
}

impl ReconcileMetrics for Measures {
    fn pass_ended(&self, pass: &LastPass) {
        let result = if pass.outcome.label() == "done" { "success" } else { "failure" };
        self.metrics.reconcile.pass(pass.causes.label(), result, pass.took);
    }
}

impl RpcMetrics for Measures {
    fn answered(&self, method: &str, code: &'static str, took: Duration) {
        self.metrics.grpc.request(method, code, took);
        let operation = match method {
            "CreateVolume" => "create",
            "DeleteVolume" => "delete",
            "ControllerExpandVolume" | "NodeExpandVolume" => "expand",
            "NodeStageVolume" => "stage",
            "NodeUnstageVolume" => "unstage",
            "NodePublishVolume" => "publish",
            "NodeUnpublishVolume" => "unpublish",
            "ControllerPublishVolume" => {
                return self.metrics.attachment.done(Operation::Attach, code == "OK", took);
            }
            "ControllerUnpublishVolume" => {
                return self.metrics.attachment.done(Operation::Detach, code == "OK", took);
            }
            _ => return,
        };
        self.metrics.volume.done(operation, code == "OK", took);
    }
}

impl node::Observer for Measures {
    fn happened(&self, what: node::Happened) {
        let metrics = &self.metrics.node;
        match what {
            node::Happened::Connected { ok, took } => metrics.connected(ok, took),
            node::Happened::Mounted { operation, ok } => metrics.mounted(operation, ok),
            node::Happened::StaleMount => metrics.stale_mount(),
            node::Happened::StaleRecovered { ok } => metrics.recovered(ok),
            node::Happened::IdentityChanged => metrics.identity_changed(),
            node::Happened::UnreadableNotes(count) => metrics.unreadable_notes(count),
        }
    }
}

impl Observer for Measures {
    fn happened(&self, what: Happened) {
        let (attachment, reconcile) = (&self.metrics.attachment, &self.metrics.reconcile);
        match what {
            Happened::Conflict => attachment.conflict(),
            Happened::Fenced(cause, outcome) => {
                let result = if outcome.is_ok() { "confirmed" } else { "failed" };
                reconcile.fence(cause.word(), result);
            }
            Happened::StaleCleared => {
                attachment.stale_cleared();
                reconcile.action("clear_stale");
            }
            Happened::Reconciled(action) => reconcile.action(action),
            Happened::GraceUsed => attachment.grace_period_used(),
            Happened::SuspectNodes(count) => reconcile.suspect_nodes(count),
            Happened::Held(count) => reconcile.holds("evidence", count),
            Happened::Attached(count) => attachment.attached(count),
        }
    }
}
