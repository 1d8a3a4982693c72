//! What the connection measures.

use std::time::Duration;

use super::jobs::Denied;
use crate::actors::NoMetrics;

/// Measures the connection.
pub trait ConnectionMetrics: Send + Sync {
    /// The state has changed: `rds_csi_rds_connection_state{address}`.
    fn connection_state(&self, address: &str, up: bool);
    /// An attempt to connect has ended: `rds_csi_rds_reconnect_total{status}`.
    fn attempted(&self, address: &str, succeeded: bool);
    /// It is up after so long: `rds_csi_rds_reconnect_duration_seconds`.
    fn reconnected(&self, address: &str, after: Duration);
    /// The session of a lane was lost, and will be replaced.
    fn lane_replaced(&self, address: &str);
    /// Commands that wait for a lane, and lanes at work.
    fn queue(&self, address: &str, waiting: usize, running: usize);
    /// A command was not taken, or not kept.
    fn denied(&self, address: &str, reason: Denied);
    /// A command has ended: `answered`, `unfinished`, `unanswered`, `not_sent`. Those that shared a
    /// line took the same time.
    fn executed(&self, address: &str, outcome: &'static str, took: Duration);
}

impl ConnectionMetrics for NoMetrics {
    fn connection_state(&self, _: &str, _: bool) {}
    fn attempted(&self, _: &str, _: bool) {}
    fn reconnected(&self, _: &str, _: Duration) {}
    fn lane_replaced(&self, _: &str) {}
    fn queue(&self, _: &str, _: usize, _: usize) {}
    fn denied(&self, _: &str, _: Denied) {}
    fn executed(&self, _: &str, _: &'static str, _: Duration) {}
}
