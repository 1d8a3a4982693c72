//! `[agents]`: how the controller finds the agents of nodes.

use serde::{Deserialize, Serialize};

use super::check::Check;

/// `[agents]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentsConfig {
    /// Are they asked at all?
    pub ask: bool,
    /// The port of metrics and health on the nodes.
    pub port: u16,
}

impl AgentsConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        check.part("agents").that(self.port > 0, "port", "must be from 1 to 65535");
    }
}
