//! Attachments and migrations.

use std::time::Duration;

use prometheus::Error;

use super::series::{BOX_SECONDS, Counter, Gauge, Register, SLOW_SECONDS, Took};
use super::status;

/// Attach or detach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// ControllerPublishVolume.
    Attach,
    /// ControllerUnpublishVolume.
    Detach,
}

/// Attachments and migrations.
#[derive(Debug, Clone)]
pub struct AttachmentMetrics {
    attach: Counter<1>,
    detach: Counter<1>,
    conflicts: Counter<0>,
    operation_duration: Took<1>,
    grace_period_used: Counter<0>,
    stale_cleared: Counter<0>,
    connections_active: Gauge<0>,
    migrations: Counter<1>,
    migration_duration: Took<0>,
    migrations_active: Gauge<0>,
}

impl AttachmentMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        let statuses = [["success"], ["failure"]];
        let count = |name, help| register.counter(name, help, ["status"]);
        let plain = |name, help| Ok::<_, Error>(register.counter(name, help, [])?.known(&[[]]));
        Ok(Self {
            attach: count("rds_csi_attachment_attach_total", "Attachments")?.known(&statuses),
            detach: count("rds_csi_attachment_detach_total", "Detachments")?.known(&statuses),
            conflicts: plain(
                "rds_csi_attachment_conflicts_total",
                "Attachments refused because another node holds the volume",
            )?,
            operation_duration: register
                .took(
                    "rds_csi_attachment_operation_duration_seconds",
                    "Time of an attachment or detachment",
                    ["operation"],
                    BOX_SECONDS,
                )?
                .known(&[["attach"], ["detach"]]),
            grace_period_used: plain(
                "rds_csi_attachment_grace_period_used_total",
                "Times that a node came back within its grace",
            )?,
            stale_cleared: plain(
                "rds_csi_attachment_stale_cleared_total",
                "Stale attachments that were cleared",
            )?,
            connections_active: register
                .gauge("rds_csi_nvme_connections_active", "Volumes that are attached", [])?
                .known(&[[]]),
            migrations: register
                .counter("rds_csi_migration_migrations_total", "Live migrations", ["result"])?
                .known(&[["success"], ["failed"], ["timeout"]]),
            migration_duration: register
                .took(
                    "rds_csi_migration_duration_seconds",
                    "Time of a live migration",
                    [],
                    SLOW_SECONDS,
                )?
                .known(&[[]]),
            migrations_active: register
                .gauge("rds_csi_migration_active_migrations", "Live migrations under way", [])?
                .known(&[[]]),
        })
    }

    /// An attachment or detachment ended after `took`.
    pub fn done(&self, operation: Operation, ok: bool, took: Duration) {
        let (counter, label) = match operation {
            Operation::Attach => (&self.attach, "attach"),
            Operation::Detach => (&self.detach, "detach"),
        };
        counter.inc([status(ok)]);
        self.operation_duration.observe([label], took);
    }

    /// An attachment was refused because another node holds the volume.
    pub fn conflict(&self) {
        self.conflicts.inc([]);
    }

    /// A node came back within its grace.
    pub fn grace_period_used(&self) {
        self.grace_period_used.inc([]);
    }

    /// A stale attachment was cleared.
    pub fn stale_cleared(&self) {
        self.stale_cleared.inc([]);
    }

    /// How often [`AttachmentMetrics::stale_cleared`] was called.
    pub fn stale_cleared_count(&self) -> u64 {
        self.stale_cleared.get([])
    }

    /// So many volumes are attached at present.
    pub fn attached(&self, volumes: usize) {
        self.connections_active.set([], volumes as f64);
    }

    /// So many live migrations are under way at present.
    pub fn migrations_active(&self, count: usize) {
        self.migrations_active.set([], count as f64);
    }

    /// A live migration ended with `success`, `failed` or `timeout` after `took`.
    pub fn migrated(&self, result: &'static str, took: Duration) {
        self.migrations.inc([result]);
        self.migration_duration.observe([], took);
    }
}
