//! What the agent of a node sees and does.

use prometheus::Error;

use super::series::{Counter, Gauge, Register};
use super::status;

/// Connections and mounts, as the agent sees them.
#[derive(Debug, Clone)]
pub struct AgentMetrics {
    connections: Gauge<1>,
    stale_mounts: Gauge<0>,
    swept: Counter<1>,
    reconnected: Counter<1>,
}

impl AgentMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        let statuses = [["success"], ["failure"]];
        Ok(Self {
            connections: register.gauge(
                "rds_csi_node_connections",
                "NVMe/TCP connections of this node to volumes, by state",
                ["state"],
            )?,
            stale_mounts: register.gauge(
                "rds_csi_node_stale_mounts",
                "Mounts of this node whose device is gone",
                [],
            )?,
            swept: register
                .counter(
                    "rds_csi_node_sweeps_total",
                    "Attachments that are over and were cleared from this node",
                    ["status"],
                )?
                .known(&statuses),
            reconnected: register
                .counter(
                    "rds_csi_node_reconnects_total",
                    "Volumes connected again after the kernel had dropped them; success: the device \
                     survived",
                    ["status"],
                )?
                .known(&statuses),
        })
    }

    /// So many connections work, and so many wait for the box.
    pub fn connections(&self, live: usize, connecting: usize) {
        self.connections.set(["live"], live as f64);
        self.connections.set(["connecting"], connecting as f64);
    }

    /// So many mounts have lost their device.
    pub fn stale_mounts(&self, count: usize) {
        self.stale_mounts.set([], count as f64);
    }

    /// What was over was swept, all of it or not.
    pub fn swept(&self, clean: bool) {
        self.swept.inc([status(clean)]);
    }

    /// A volume was connected again; its device survived, or not.
    pub fn reconnected(&self, survived: bool) {
        self.reconnected.inc([status(survived)]);
    }
}
