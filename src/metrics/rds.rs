//! Boxes and their connections.

use std::time::Duration;

use prometheus::Error;

use super::series::{BOX_SECONDS, Counter, Gauge, QUICK_SECONDS, Register, Took};
use super::status;

/// Why a job was not taken.
const DENIALS: [[&str; 1]; 3] = [["not_connected"], ["queue_full"], ["shutting_down"]];

/// Boxes and their connections.
#[derive(Debug, Clone)]
pub struct RdsMetrics {
    connection_state: Gauge<1>,
    reconnect: Counter<1>,
    reconnect_duration: Took<0>,
    lane_replaced: Counter<0>,
    exec_duration: Took<1>,
    job_denied: Counter<1>,
    queue_depth: Gauge<1>,
    drill: Gauge<2>,
}

impl RdsMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            connection_state: register.gauge(
                "rds_csi_rds_connection_state",
                "Whether the box answers (1) or not (0)",
                ["address"],
            )?,
            reconnect: register
                .counter(
                    "rds_csi_rds_reconnect_total",
                    "Attempts to reconnect to a box",
                    ["status"],
                )?
                .known(&[["success"], ["failure"]]),
            reconnect_duration: register
                .took(
                    "rds_csi_rds_reconnect_duration_seconds",
                    "Time from the loss of a box, or the start, until it answers",
                    [],
                    QUICK_SECONDS,
                )?
                .known(&[[]]),
            lane_replaced: register
                .counter(
                    "rds_csi_rds_lane_replaced_total",
                    "Connections for commands that were replaced while the box answered",
                    [],
                )?
                .known(&[[]]),
            exec_duration: register.took(
                "rds_csi_rds_exec_duration_seconds",
                "Time of one exec on a box",
                ["command"],
                BOX_SECONDS,
            )?,
            job_denied: register
                .counter("rds_csi_rds_job_denied_total", "Jobs that were not taken", ["reason"])?
                .known(&DENIALS),
            queue_depth: register.gauge("rds_csi_queue_depth", "Members of a queue", ["queue"])?,
            drill: register.gauge(
                "rds_csi_drill_state",
                "1 for what is known of the fence of a box, else 0",
                ["backend", "state"],
            )?,
        })
    }

    /// Whether the box at `address` answers.
    pub fn link(&self, address: &str, up: bool) {
        self.connection_state.set([address], if up { 1.0 } else { 0.0 });
    }

    /// Whether that is what is known of the fence of a box.
    pub fn drill(&self, backend: &str, state: &str, is_so: bool) {
        self.drill.set([backend, state], if is_so { 1.0 } else { 0.0 });
    }

    /// What [`RdsMetrics::link`] was told last; `false` where it never was.
    pub fn is_up(&self, address: &str) -> bool {
        self.connection_state.get([address]) == 1.0
    }

    /// A box answers again, `took` after it was lost.
    pub fn reconnected(&self, took: Duration) {
        self.reconnect.inc([status(true)]);
        self.reconnect_duration.observe([], took);
    }

    /// An attempt to reconnect failed.
    pub fn reconnect_failed(&self) {
        self.reconnect.inc([status(false)]);
    }

    /// How often [`RdsMetrics::reconnected`] and [`RdsMetrics::reconnect_failed`] were called.
    pub fn reconnects(&self) -> (u64, u64) {
        (self.reconnect.get([status(true)]), self.reconnect.get([status(false)]))
    }

    /// A lane was replaced while the box answered.
    pub fn lane_replaced(&self) {
        self.lane_replaced.inc([]);
    }

    /// One exec of the kind `command` (a fixed word, never text from outside) took `took`.
    pub fn exec(&self, command: &'static str, took: Duration) {
        self.exec_duration.observe([command], took);
    }

    /// A job was not taken: `not_connected`, `queue_full` or `shutting_down`.
    pub fn job_denied(&self, reason: &'static str) {
        self.job_denied.inc([reason]);
    }

    /// The queue of this name has `depth` members.
    pub fn queue_depth(&self, queue: &str, depth: usize) {
        self.queue_depth.set([queue], depth as f64);
    }
}
