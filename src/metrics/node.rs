//! What a node does with its kernel.

use std::time::Duration;

use prometheus::Error;

use super::series::{Counter, Gauge, QUICK_SECONDS, Register, Took};
use super::status;

/// Operations of which the series exist from the start.
const OPERATIONS: [&str; 3] = ["mount", "bind", "unmount"];

/// Connections and mounts of a node.
#[derive(Debug, Clone)]
pub struct NodeMetrics {
    connects: Counter<1>,
    connect_duration: Took<0>,
    mounts: Counter<2>,
    stale: Counter<0>,
    recoveries: Counter<1>,
    identities: Counter<0>,
    unreadable: Gauge<0>,
}

impl NodeMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        let statuses = [["success"], ["failure"]];
        let known = OPERATIONS.map(|operation| [[operation, "success"], [operation, "failure"]]);
        Ok(Self {
            connects: register
                .counter("rds_csi_nvme_connects_total", "NVMe/TCP connects", ["status"])?
                .known(&statuses),
            connect_duration: register
                .took(
                    "rds_csi_nvme_connect_duration_seconds",
                    "Time until the kernel has accepted a connection",
                    [],
                    QUICK_SECONDS,
                )?
                .known(&[[]]),
            mounts: register
                .counter(
                    "rds_csi_mount_operations_total",
                    "Mounts made and taken away",
                    ["operation", "status"],
                )?
                .known(known.as_flattened()),
            stale: register
                .counter(
                    "rds_csi_stale_mounts_detected_total",
                    "Mounts whose device is not the volume's any more",
                    [],
                )?
                .known(&[[]]),
            recoveries: register
                .counter(
                    "rds_csi_stale_recoveries_total",
                    "Attempts to take such a mount away",
                    ["status"],
                )?
                .known(&statuses),
            identities: register
                .counter(
                    "rds_csi_device_identity_changes_total",
                    "Devices that the box calls otherwise than before under the same NQN",
                    [],
                )?
                .known(&[[]]),
            unreadable: register
                .gauge(
                    "rds_csi_unreadable_notes",
                    "Notes of this node that cannot be read; their volumes are left as they are",
                    [],
                )?
                .known(&[[]]),
        })
    }

    /// A connect ended after `took`.
    pub fn connected(&self, ok: bool, took: Duration) {
        self.connects.inc([status(ok)]);
        if ok {
            self.connect_duration.observe([], took);
        }
    }

    /// A mount was made or taken away (`mount`, `bind`, `unmount`), or was not.
    pub fn mounted(&self, operation: &'static str, ok: bool) {
        self.mounts.inc([operation, status(ok)]);
    }

    /// A mount was found whose device is not the volume's any more.
    pub fn stale_mount(&self) {
        self.stale.inc([]);
    }

    /// The box calls a device otherwise than before, under the same NQN.
    pub fn identity_changed(&self) {
        self.identities.inc([]);
    }

    /// So many notes cannot be read now.
    pub fn unreadable_notes(&self, count: usize) {
        self.unreadable.set([], count as f64);
    }

    /// It was taken away, or was not.
    pub fn recovered(&self, ok: bool) {
        self.recoveries.inc([status(ok)]);
    }
}
