//! `[reconcile]`: when a pass runs and what it may act on. All keys are live.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::value::Percent;

/// `[reconcile]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileConfig {
    /// Time between two passes when nothing triggers one.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long a node must be gone before its volumes are fenced.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Oldest view of box and cluster on which a pass may act.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// How long an item may lack a PV before it is reported.
    #[serde(with = "humantime_serde")]
    pub orphan_grace: Duration,
    /// Share of the nodes in use that may fail at once before it is a storm.
    pub max_unhealthy: Percent,
    /// Time within which failing nodes count as one storm.
    #[serde(with = "humantime_serde")]
    pub storm_window: Duration,
    /// Time between two reads of a disk's counters that confirm a fence.
    #[serde(with = "humantime_serde")]
    pub counter_interval: Duration,
    /// Wait after a fence where the box has no such counters.
    #[serde(with = "humantime_serde")]
    pub drain_time: Duration,
}

impl ReconcileConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        let seconds = Duration::from_secs;
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        check
            .part("reconcile")
            .lasts("interval", self.interval, [seconds(1), hours(24)])
            .lasts("grace", self.grace, [seconds(1), hours(24)])
            .lasts("max_age", self.max_age, [seconds(1), hours(1)])
            .lasts("orphan_grace", self.orphan_grace, [seconds(1), hours(24 * 30)])
            // With 0% every single failure would be a storm, and nothing would ever be fenced.
            .that(self.max_unhealthy.get() > 0, "max_unhealthy", "must be from 1% to 100%")
            .lasts("storm_window", self.storm_window, [seconds(1), hours(1)])
            .lasts(
                "counter_interval",
                self.counter_interval,
                [Duration::from_millis(100), seconds(60)],
            )
            .lasts("drain_time", self.drain_time, [seconds(1), hours(1)]);
    }
}
