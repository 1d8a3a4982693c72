//! `[shutdown]`: the ordered stop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Check;

/// `[shutdown]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownConfig {
    /// Time for the whole ordered stop.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

impl ShutdownConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        let bounds = [Duration::from_secs(1), Duration::from_secs(600)];
        check.part("shutdown").lasts("deadline", self.deadline, bounds);
    }
}
