//! The reconciler's work, as the actor wants it.

use async_trait::async_trait;
use tokio::sync::watch;

use crate::actors::reconciler::{self, PassError, Reconcile};
use crate::actors::trigger::Causes;
use crate::operations::reconcile::{PassReport, Reconciler};

/// Runs passes and publishes what they did.
pub struct Pass {
    reconciler: Reconciler,
    reports: watch::Sender<PassReport>,
}

impl Pass {
    /// Of this reconciler.
    pub fn new(reconciler: Reconciler) -> Self {
        Self { reconciler, reports: watch::Sender::new(PassReport::default()) }
    }

    /// What the latest pass did.
    pub fn reports(&self) -> watch::Receiver<PassReport> {
        self.reports.subscribe()
    }
}

#[async_trait]
impl Reconcile for Pass {
    async fn pass(&self, _: Causes) -> Result<reconciler::PassReport, PassError> {
        let report = self.reconciler.pass().await.map_err(|error| PassError(error.to_string()))?;
        let again_in = report.again_in;
        self.reports.send_replace(report);
        Ok(reconciler::PassReport { again_in })
    }
}
