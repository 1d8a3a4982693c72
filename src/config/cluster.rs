//! `[cluster]`: the Kubernetes API and our place in it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, is_dns_label};

/// `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Whose volumes these are; the UID of the namespace kube-system where there is none.
    #[serde(deserialize_with = "super::value::optional")]
    pub id: Option<String>,
    /// Path of a kubeconfig file; the pod's service account where there is none.
    #[serde(deserialize_with = "super::value::optional")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the Secret from which host NQNs are derived. Filled in while loading.
    pub secret_name: String,
    /// Longest wait for one answer of the API server.
    #[serde(with = "humantime_serde")]
    pub request_deadline: Duration,
}

impl ClusterConfig {
    /// Names the Secret where no name is given.
    pub(super) fn fill_in(&mut self, release: &str) {
        if self.secret_name.is_empty() {
            self.secret_name = format!("{release}-cluster");
        }
    }

    pub(super) fn validate(&self, check: &mut Check) {
        // The ledger record has room for 200 bytes in all.
        let id = |id: &String| {
            id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let label = |part| is_dns_label(part, 63);
        let name = self.secret_name.len() <= 253 && self.secret_name.split('.').all(label);
        let seconds = Duration::from_secs;
        check
            .part("cluster")
            .that(self.id.as_ref().is_none_or(id), "id", "must be at most 64 of A-Z a-z 0-9 -")
            .that(name, "secret_name", "must be the name of a Secret")
            .lasts("request_deadline", self.request_deadline, [seconds(1), seconds(300)]);
    }
}
