//! `[events]`: how many Kubernetes events we post. All keys are live.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Check;

/// `[events]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsConfig {
    /// Time in which the same event on the same object is posted once.
    #[serde(with = "humantime_serde")]
    pub dedup_window: Duration,
    /// Events that may be posted at once.
    pub burst: u32,
    /// Events a minute that may be posted in the long run.
    pub per_minute: u32,
}

impl EventsConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        let bounds = [Duration::from_secs(1), Duration::from_secs(24 * 3600)];
        check
            .part("events")
            .lasts("dedup_window", self.dedup_window, bounds)
            .counts("burst", self.burst as usize, [1, 1000])
            .counts("per_minute", self.per_minute as usize, [1, 1000]);
    }
}
