//! Reloads of the configuration.

use prometheus::Error;

use super::series::{Counter, Register};

/// Reloads of the configuration.
#[derive(Debug, Clone)]
pub struct ConfigMetrics {
    reloads: Counter<1>,
}

impl ConfigMetrics {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, Error> {
        Ok(Self {
            reloads: register
                .counter(
                    "rds_csi_config_reload_total",
                    "Changes of the configuration file",
                    ["result"],
                )?
                .known(&[["applied"], ["refused"]]),
        })
    }

    /// A changed file was applied.
    pub fn applied(&self) {
        self.reloads.inc(["applied"]);
    }

    /// A changed file was refused.
    pub fn refused(&self) {
        self.reloads.inc(["refused"]);
    }

    /// How many changed files were applied and refused.
    pub fn reloads(&self) -> (u64, u64) {
        (self.reloads.get(["applied"]), self.reloads.get(["refused"]))
    }
}
