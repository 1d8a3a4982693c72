//! The configuration as each part takes it, following its changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::actors::backoff::Backoff;
use crate::actors::rds_connection::ConnectionSettings;
use crate::actors::reconciler::ReconcileSettings;
use crate::attachment::storm;
use crate::cluster::events::Bounds;
use crate::config::Config;
use crate::config::backend::BackendConfig;
use crate::config::events::EventsConfig;
use crate::operations::Limits;
use crate::volume::BackendName;

/// How long a pass may take beside its waits for counters and drains: beyond it it is abandoned,
/// and the next one goes on.
const PASS_DEADLINE: Duration = Duration::from_secs(120);
/// How long saying goodbye to the box may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// What follows the configuration.
pub struct Live {
    limits: watch::Receiver<Limits>,
    reconcile: watch::Receiver<ReconcileSettings>,
    events: watch::Receiver<Bounds>,
    connections: BTreeMap<BackendName, watch::Receiver<ConnectionSettings>>,
}

impl Live {
    /// Follows `config` for as long as anybody changes it.
    pub fn follow(mut config: watch::Receiver<Arc<Config>>) -> Self {
        let now = config.borrow_and_update().clone();
        let (limits_tx, limits_rx) = watch::channel(limits(&now));
        let (reconcile_tx, reconcile) = watch::channel(reconcile_settings(&now));
        let (events_tx, events) = watch::channel(event_bounds(&now.events));
        let (mut senders, mut connections) = (Vec::new(), BTreeMap::new());
        for (name, backend) in &now.backends {
            let (sender, receiver) = watch::channel(connection(backend));
            senders.push((name.clone(), sender));
            connections.insert(name.clone(), receiver);
        }
        // Ends when nobody can change the configuration any more.
        tokio::spawn(async move {
            while config.changed().await.is_ok() {
                let now = config.borrow_and_update().clone();
                limits_tx.send_replace(limits(&now));
                reconcile_tx.send_replace(reconcile_settings(&now));
                events_tx.send_replace(event_bounds(&now.events));
                for (name, sender) in &senders {
                    if let Some(backend) = now.backends.get(name) {
                        sender.send_replace(connection(backend));
                    }
                }
            }
        });
        Self { limits: limits_rx, reconcile, events, connections }
    }

    /// For operations and passes.
    pub fn limits(&self) -> watch::Receiver<Limits> {
        self.limits.clone()
    }

    /// For the reconciler.
    pub fn reconcile(&self) -> watch::Receiver<ReconcileSettings> {
        self.reconcile.clone()
    }

    /// For the poster of events.
    pub fn events(&self) -> watch::Receiver<Bounds> {
        self.events.clone()
    }

    /// For the connection to a box.
    pub fn connection(&self, name: &BackendName) -> watch::Receiver<ConnectionSettings> {
        let none = || watch::channel(ConnectionSettings::default()).1;
        self.connections.get(name).cloned().unwrap_or_else(none)
    }
}

fn limits(config: &Config) -> Limits {
    let reconcile = &config.reconcile;
    Limits {
        grace: reconcile.grace,
        max_age: reconcile.max_age,
        orphan_grace: reconcile.orphan_grace,
        counter_interval: reconcile.counter_interval,
        drain: reconcile.drain_time,
        storm: storm::Limits {
            share: f64::from(reconcile.max_unhealthy.get()) / 100.0,
            window: reconcile.storm_window,
        },
    }
}

fn reconcile_settings(config: &Config) -> ReconcileSettings {
    let reconcile = &config.reconcile;
    // Three reads before a fence, ten after it. A pass that could not wait for them would never end.
    let waits = reconcile.counter_interval.saturating_mul(13).saturating_add(reconcile.drain_time);
    let deadline = PASS_DEADLINE.saturating_add(waits);
    ReconcileSettings { interval: reconcile.interval, deadline }
}

fn connection(config: &BackendConfig) -> ConnectionSettings {
    ConnectionSettings {
        poll_interval: config.poll_interval,
        poll_deadline: config.poll_deadline,
        command_deadline: config.command_deadline,
        command_deadline_per_gib: config.command_deadline_per_gib,
        connect_deadline: config.connect_deadline,
        close_deadline: CLOSE_DEADLINE,
        backoff: Backoff {
            min: config.backoff_min,
            max: config.backoff_max,
            #[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
            jitter: config.backoff_jitter as f32,
        },
        lanes: config.lanes,
        queue_max: config.queue_max,
        line_bytes_max: config.line_bytes_max,
    }
}

pub(super) fn event_bounds(config: &EventsConfig) -> Bounds {
    let every = Duration::from_secs(60) / config.per_minute.max(1);
    Bounds {
        window: config.dedup_window,
        reason_burst: config.burst,
        reason_every: every,
        burst: config.burst.saturating_mul(4),
        every: every / 4,
        ..Bounds::default()
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::config::source::Sources;

    #[test]
    fn a_pass_may_take_as_long_as_its_configured_waits() {
        let sources = Sources { file: None, environment: BTreeMap::new() };
        let text = "[reconcile]\ncounter_interval = \"60s\"\ndrain_time = \"1h\"\n\
            [backends.main]\naddress = \"10.0.0.1\"\nuser = \"u\"\nkey_path = \"/k\"\n\
            host_key = [\"SHA256:x\"]\nvolume_paths = [\"pool\"]\n";
        let config = Config::parse(&sources, Some(text)).unwrap();
        let waits = config.reconcile.drain_time + 10 * config.reconcile.counter_interval;
        assert!(reconcile_settings(&config).deadline > waits);
    }
}
