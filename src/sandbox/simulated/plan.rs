//! What a simulated world is made of.

use std::time::Duration;

use rds_sim::routeros::{HostKey, Quirks, Version};

use crate::app::Faults;

/// What the world is made of.
pub struct Plan {
    /// The box's RouterOS.
    pub version: Version,
    /// What of it nobody has proven.
    pub quirks: Quirks,
    /// What the box takes for one exec.
    pub latency: Duration,
    /// Lines of configuration beside the box itself, with dotted keys; empty: the defaults.
    pub config: String,
    /// With which host key the box greets.
    pub host_key: HostKey,
    /// The seed of both doubles.
    pub seed: u64,
    /// Panics on demand.
    pub faults: Faults,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            version: Version::V7_24_4,
            quirks: Quirks::default(),
            latency: Duration::from_millis(60),
            config: String::new(),
            host_key: HostKey::Rsa,
            seed: 1,
            faults: Faults::default(),
        }
    }
}

impl Plan {
    /// Short intervals, for tests in real time. Printed by whoever uses them.
    pub fn quick(self) -> Self {
        let quick = Self { latency: Duration::from_millis(2), host_key: HostKey::Ed25519, ..self };
        quick
            .with("reconcile.grace", "1s")
            .with("reconcile.counter_interval", "100ms")
            .with("reconcile.drain_time", "1s")
            .with("backend_defaults.poll_interval", "200ms")
            .with("backend_defaults.poll_deadline", "1s")
            .with("backend_defaults.connect_deadline", "1s")
            .with("backend_defaults.backoff_min", "200ms")
            .with("backend_defaults.backoff_max", "800ms")
    }

    /// The keys that differ from the defaults, in one line.
    pub fn differences(&self) -> String {
        let key = |line: &str| line.replace([' ', '"'], "");
        self.config.lines().map(key).collect::<Vec<_>>().join(" ")
    }

    /// One more key of the configuration, such as `reconcile.interval`; each once.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.config.push_str(&format!("{key} = \"{value}\"\n"));
        self
    }
}
