//! Passes, fences and what holds them.

use std::time::Duration;

use prometheus::Error;

use super::series::{Counter, Gauge, QUICK_SECONDS, Register, Took};

/// Actions of the first driver, and those that a pass takes here.
const ACTIONS: [[&str; 1]; 6] = [
    ["clear_stale"],
    ["node_watcher_trigger"],
    ["sync_annotation"],
    ["repair"],
    ["unexport"],
    ["fence"],
];

/// Passes, fences and what holds them.
#[derive(Debug, Clone)]
pub struct ReconcileMetrics {
    pass_duration: Took<0>,
    passes: Counter<2>,
    actions: Counter<1>,
    fences: Counter<2>,
    suspect_nodes: Gauge<0>,
    leading: Gauge<0>,
    holds: Gauge<1>,
    orphans_cleaned: Counter<0>,
}

impl ReconcileMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        let causes = ["trigger", "timer"].into_iter();
        let known: Vec<_> =
            causes.flat_map(|cause| [[cause, "success"], [cause, "failure"]]).collect();
        Ok(Self {
            pass_duration: register
                .took(
                    "rds_csi_reconcile_pass_duration_seconds",
                    "Time of one pass",
                    [],
                    QUICK_SECONDS,
                )?
                .known(&[[]]),
            passes: register
                .counter("rds_csi_reconcile_passes_total", "Passes", ["cause", "result"])?
                .known(&known),
            actions: register
                .counter(
                    "rds_csi_attachment_reconcile_total",
                    "Actions of the reconciler and what triggered it",
                    ["action"],
                )?
                .known(&ACTIONS),
            fences: register.counter("rds_csi_fences_total", "Fences", ["reason", "result"])?,
            suspect_nodes: register
                .gauge("rds_csi_suspect_nodes", "Nodes that are suspect at present", [])?
                .known(&[[]]),
            leading: register
                .gauge("rds_csi_leading", "1 on the replica that reconciles, else 0", [])?
                .known(&[[]]),
            holds: register.gauge(
                "rds_csi_holds",
                "Volumes on which a pass would act but for this reason",
                ["reason"],
            )?,
            orphans_cleaned: register
                .counter("rds_csi_orphans_cleaned_total", "Orphans that were removed", [])?
                .known(&[[]]),
        })
    }

    /// A pass of this cause (`trigger` or `timer`) ended with `result` after `took`.
    pub fn pass(&self, cause: &'static str, result: &'static str, took: Duration) {
        self.passes.inc([cause, result]);
        self.pass_duration.observe([], took);
    }

    /// How many passes of this cause ended with this result.
    pub fn passes(&self, cause: &str, result: &str) -> u64 {
        self.passes.get([cause, result])
    }

    /// The reconciler did this (`clear_stale`, `repair`, …), or was triggered by it.
    pub fn action(&self, action: &'static str) {
        self.actions.inc([action]);
    }

    /// How often [`ReconcileMetrics::action`] was called with this action.
    pub fn actions(&self, action: &str) -> u64 {
        self.actions.get([action])
    }

    /// A fence for this reason ended so.
    pub fn fence(&self, reason: &'static str, result: &'static str) {
        self.fences.inc([reason, result]);
    }

    /// So many nodes are suspect at present.
    pub fn suspect_nodes(&self, count: usize) {
        self.suspect_nodes.set([], count as f64);
    }

    /// Does this replica reconcile at present?
    pub fn leading(&self, leads: bool) {
        self.leading.set([], if leads { 1.0 } else { 0.0 });
    }

    /// So many volumes are held at present for this reason; 0 when it is over.
    pub fn holds(&self, reason: &'static str, count: usize) {
        self.holds.set([reason], count as f64);
    }

    /// An orphan was removed.
    pub fn orphan_cleaned(&self) {
        self.orphans_cleaned.inc([]);
    }
}
