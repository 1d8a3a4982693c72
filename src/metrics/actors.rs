//! Supervision.

use prometheus::Error;

use super::series::{Counter, Register};

/// Supervision.
#[derive(Debug, Clone)]
pub struct ActorMetrics {
    restarts: Counter<2>,
}

impl ActorMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            restarts: register.counter(
                "rds_csi_actor_restarts_total",
                "Restarts of actors by their supervisor",
                ["actor", "cause"],
            )?,
        })
    }

    /// An actor was restarted.
    pub fn restarted(&self, actor: &'static str, cause: &'static str) {
        self.restarts.inc([actor, cause]);
    }

    /// How often this actor was restarted for this cause.
    pub fn restarts(&self, actor: &str, cause: &str) -> u64 {
        self.restarts.get([actor, cause])
    }
}
