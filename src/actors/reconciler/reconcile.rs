//! What a pass is, seen from the reconciler.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::actors::NoMetrics;
use crate::actors::trigger::Causes;

/// One pass over everything.
#[async_trait]
pub trait Reconcile: Send + Sync {
    /// Reads everything anew and does what is to be done. `causes` are for the log. May be dropped
    /// at any await.
    async fn pass(&self, causes: Causes) -> Result<PassReport, PassError>;
}

/// What a pass wants to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassReport {
    /// Run again after this time, where the period is longer: a grace time runs, a fence waits
    /// for its confirmation.
    pub again_in: Option<Duration>,
}

/// A pass that could not do its work, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PassError(pub String);

/// When passes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconcileSettings {
    /// From the end of one pass to the next without any other cause.
    pub interval: Duration,
    /// A pass that takes longer is abandoned at its next await.
    pub deadline: Duration,
}

impl Default for ReconcileSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(300), deadline: Duration::from_secs(120) }
    }
}

/// The latest pass that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastPass {
    /// When it began.
    pub began: SystemTime,
    /// Why it ran.
    pub causes: Causes,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was to be done.
    Done(PassReport),
    /// It said why it could not.
    Failed(PassError),
    /// It took longer than its deadline.
    Late,
    /// The actor was restarted, or shut down, meanwhile.
    Abandoned,
}

impl Outcome {
    /// For logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Late => "late",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Measures passes.
pub trait ReconcileMetrics: Send + Sync {
    /// A pass has ended.
    fn pass_ended(&self, pass: &LastPass);
}

impl ReconcileMetrics for NoMetrics {
    fn pass_ended(&self, _: &LastPass) {}
}
