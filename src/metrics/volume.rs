//! Volumes made, grown and deleted.

use std::time::Duration;

use prometheus::Error;

use super::series::{BOX_SECONDS, Counter, Register, Took};
use super::status;

/// Operations of which the series exist from the start.
const OPERATIONS: [&str; 3] = ["create", "delete", "expand"];

/// Volumes made, grown and deleted.
#[derive(Debug, Clone)]
pub struct VolumeMetrics {
    operations: Counter<2>,
    duration: Took<1>,
}

impl VolumeMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        let known = OPERATIONS.map(|operation| [[operation, "success"], [operation, "failure"]]);
        Ok(Self {
            operations: register
                .counter(
                    "rds_csi_volume_operations_total",
                    "Operations on volumes",
                    ["operation", "status"],
                )?
                .known(known.as_flattened()),
            duration: register
                .took(
                    "rds_csi_volume_operation_duration_seconds",
                    "Time of an operation on a volume",
                    ["operation"],
                    BOX_SECONDS,
                )?
                .known(&OPERATIONS.map(|operation| [operation])),
        })
    }

    /// An operation (`create`, `delete`, `expand`; on a node `stage`, `publish` and their inverses) ended after `took`.
    pub fn done(&self, operation: &'static str, ok: bool, took: Duration) {
        self.operations.inc([operation, status(ok)]);
        self.duration.observe([operation], took);
    }
}
