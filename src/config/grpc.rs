//! `[grpc]`: bounds of the CSI services.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Check;

/// `[grpc]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcConfig {
    /// Requests in work at once.
    pub concurrency_max: usize,
    /// Longest time a request may take, whatever its caller allows.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

impl GrpcConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        let seconds = Duration::from_secs;
        check.part("grpc").counts("concurrency_max", self.concurrency_max, [1, 65_536]).lasts(
            "deadline",
            self.deadline,
            [seconds(1), seconds(3600)],
        );
    }
}
