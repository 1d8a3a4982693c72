//! CSI requests.

use std::time::Duration;

use prometheus::Error;

use super::series::{Counter, QUICK_SECONDS, Register, Took};

/// CSI requests.
#[derive(Debug, Clone)]
pub struct GrpcMetrics {
    requests: Counter<2>,
    duration: Took<1>,
}

impl GrpcMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            requests: register.counter(
                "rds_csi_grpc_requests_total",
                "CSI requests",
                ["method", "code"],
            )?,
            duration: register.took(
                "rds_csi_grpc_request_duration_seconds",
                "Time of a CSI request",
                ["method"],
                QUICK_SECONDS,
            )?,
        })
    }

    /// A request ended with `code` after `took`. `method` is one of the service's own names, never
    /// text from outside.
    pub fn request(&self, method: &str, code: &str, took: Duration) {
        self.requests.inc([method, code]);
        self.duration.observe([method], took);
    }
}
