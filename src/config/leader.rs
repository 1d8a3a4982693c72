//! `[leader]`: which of several replicas reconciles.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, is_dns_label};
use super::value::words;

/// `[leader]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaderConfig {
    /// Does one replica reconcile, chosen by a Lease?
    pub election: Election,
    /// Name of the Lease in our namespace. Filled in while loading.
    pub lease: String,
    /// How long a Lease counts that is not renewed.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
    /// How long its holder acts without having renewed it.
    #[serde(with = "humantime_serde")]
    pub renew_deadline: Duration,
    /// Time between two looks at the Lease.
    #[serde(with = "humantime_serde")]
    pub retry_period: Duration,
}

words! {
    /// Is there an election?
    Election {
        /// Where the pod's name is known. Without it there is nobody else: a pod has a name.
        Auto = "auto",
        /// Always; without a name the driver does not start.
        On = "on",
        /// Never: this process reconciles.
        Off = "off",
    }
}

impl LeaderConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        let seconds = Duration::from_secs;
        let label = |part| is_dns_label(part, 63);
        let name = self.lease.len() <= 253 && self.lease.split('.').all(label);
        // A Lease holds its duration in whole seconds.
        let whole = self.duration.subsec_nanos() == 0;
        check
            .part("leader")
            .that(name, "lease", "must be the name of a Lease")
            .lasts("duration", self.duration, [seconds(2), seconds(3600)])
            .that(whole, "duration", "must be whole seconds")
            .that(
                self.renew_deadline < self.duration,
                "renew_deadline",
                "must be less than leader.duration: whoever lost the Lease has stopped before \
                 anybody else may begin",
            )
            .that(
                self.retry_period * 2 < self.renew_deadline,
                "retry_period",
                "must be less than half of leader.renew_deadline: one attempt may fail",
            )
            .lasts("retry_period", self.retry_period, [Duration::from_millis(100), seconds(1800)]);
    }
}
