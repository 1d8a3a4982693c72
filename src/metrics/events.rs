//! Kubernetes events.

use prometheus::Error;

use super::series::{Counter, Register};

/// Kubernetes events.
#[derive(Debug, Clone)]
pub struct EventMetrics {
    posted: Counter<1>,
}

impl EventMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            posted: register.counter(
                "rds_csi_events_posted_total",
                "Kubernetes events that were posted",
                ["reason"],
            )?,
        })
    }

    /// An event of this reason was posted.
    pub fn posted(&self, reason: &'static str) {
        self.posted.inc([reason]);
    }

    /// How many events of this reason were posted.
    pub fn count(&self, reason: &str) -> u64 {
        self.posted.get([reason])
    }
}
