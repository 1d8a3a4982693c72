//! `[backends.<name>]`: one box. Keys that are missing there come from `[backend_defaults]`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::value::{HostPort, is_host, words};
use crate::volume::{BackendName, Nqn, VolumePath};

/// `[backends.<name>]`, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendConfig {
    /// SSH address.
    pub address: HostPort,
    /// RouterOS user.
    pub user: String,
    /// Private key file.
    pub key_path: PathBuf,
    /// Pinned host keys: lines as in known_hosts, or `SHA256:` fingerprints.
    #[serde(deserialize_with = "super::value::list")]
    pub host_key: Vec<String>,
    /// Directories for images; the first one is the default. Never empty.
    #[serde(deserialize_with = "super::value::list")]
    pub volume_paths: Vec<VolumePath>,
    /// When the second SSH implementation is used.
    pub second_session: SecondSession,
    /// Address at which nodes reach the volumes. Filled in while loading.
    pub nvme_address: String,
    /// NVMe/TCP port.
    pub nvme_port: u16,
    /// First part of a volume's NQN.
    pub nqn_base: Nqn,
    /// Connections for commands, beside the one of the poll.
    pub lanes: usize,
    /// Commands that may wait for a lane.
    pub queue_max: usize,
    /// Longest line sent to the box, in bytes.
    pub line_bytes_max: usize,
    /// Time between two polls of the box. Live, as everything below.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Longest wait for the answer to a poll.
    #[serde(with = "humantime_serde")]
    pub poll_deadline: Duration,
    /// Longest wait for the answer to a command.
    #[serde(with = "humantime_serde")]
    pub command_deadline: Duration,
    /// Added to it for each GiB that a command writes.
    #[serde(with = "humantime_serde")]
    pub command_deadline_per_gib: Duration,
    /// Longest wait for a session, from TCP to login.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// Wait after the first failed attempt; doubles with each further one.
    #[serde(with = "humantime_serde")]
    pub backoff_min: Duration,
    /// Longest wait between two attempts.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// Share of a wait that is left to chance, from 0 to 1.
    pub backoff_jitter: f64,
}

words! {
    /// When the second SSH implementation is used.
    SecondSession {
        /// When the first one shares no algorithm with the box.
        Auto = "auto",
        /// Always.
        Force = "force",
        /// Never.
        Forbid = "forbid",
    }
}

impl BackendConfig {
    pub(super) fn validate(&self, name: &BackendName, check: &mut Check) {
        check.part(format!("backends.{name}"));
        self.validate_identity(check);
        self.validate_bounds(check);
    }

    fn validate_identity(&self, check: &mut Check) {
        let user = !self.user.is_empty()
            && self.user.len() <= 64
            && self.user.bytes().all(|b| b.is_ascii_graphic());
        let pinned = |key: &String| {
            ["ssh-ed25519 ", "ssh-rsa ", "SHA256:"].iter().any(|form| key.starts_with(form))
        };
        let paths: BTreeSet<_> = self.volume_paths.iter().collect();
        check
            .that(user, "user", "must be 1 to 64 printable characters without spaces")
            .that(!self.key_path.as_os_str().is_empty(), "key_path", "must name a file")
            .that(
                !self.host_key.is_empty(),
                "host_key",
                "must list a key: a host key is never trusted on first use",
            )
            .that(
                self.host_key.iter().all(pinned),
                "host_key",
                "must hold lines that begin with ssh-ed25519 or ssh-rsa, or SHA256: fingerprints",
            )
            .that(!self.volume_paths.is_empty(), "volume_paths", "must list a directory")
            .that(
                paths.len() == self.volume_paths.len(),
                "volume_paths",
                "must not name a directory twice",
            )
            .that(
                is_host(&self.nvme_address),
                "nvme_address",
                "must be a host or an IP address, without a port",
            )
            .that(self.nvme_port > 0, "nvme_port", "must be from 1 to 65535")
            // `:<slot>.g<generation>-<nonce>` follows, and an NQN has 223 bytes.
            .that(self.nqn_base.as_str().len() <= 100, "nqn_base", "must have at most 100 bytes");
    }

    fn validate_bounds(&self, check: &mut Check) {
        let seconds = Duration::from_secs;
        let milliseconds = Duration::from_millis;
        check
            // RouterOS allows 20 sessions per service; people and the poll need some, too.
            .counts("lanes", self.lanes, [1, 16])
            .counts("queue_max", self.queue_max, [1, 65_536])
            .counts("line_bytes_max", self.line_bytes_max, [2048, 65_536])
            .lasts("poll_interval", self.poll_interval, [milliseconds(100), seconds(300)])
            .lasts("poll_deadline", self.poll_deadline, [milliseconds(100), seconds(60)])
            .lasts("command_deadline", self.command_deadline, [seconds(1), seconds(3600)])
            .lasts(
                "command_deadline_per_gib",
                self.command_deadline_per_gib,
                [Duration::ZERO, seconds(600)],
            )
            .lasts("connect_deadline", self.connect_deadline, [milliseconds(100), seconds(300)])
            .lasts("backoff_min", self.backoff_min, [milliseconds(10), seconds(300)])
            .lasts(
                "backoff_max",
                self.backoff_max,
                [self.backoff_min.min(seconds(3600)), seconds(3600)],
            )
            .that(
                (0.0..=1.0).contains(&self.backoff_jitter),
                "backoff_jitter",
                "must be from 0 to 1",
            );
    }
}
