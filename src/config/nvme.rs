//! `[nvme]`: how patiently a node's kernel keeps its connections.

use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::check::Check;

/// `[nvme]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvmeConfig {
    /// After this long without the box the kernel gives up.
    pub ctrl_loss: Never,
    /// Time between two attempts to connect again.
    #[serde(with = "humantime_serde")]
    pub reconnect_delay: Duration,
    /// Time between two signs of life.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// After this long I/O fails while the kernel goes on trying.
    pub fast_io_fail: Never,
    /// Number of I/O queues; 0: as the kernel chooses.
    pub io_queues: u16,
}

/// A time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Never(pub Option<Duration>);

/// What stands for never.
const OFF: &str = "off";

impl Serialize for Never {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => to.serialize_str(OFF),
            Some(time) => to.collect_str(&humantime::format_duration(time)),
        }
    }
}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOf;
        impl Visitor<'_> for OneOf {
            type Value = Never;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a duration with its unit, or \"{OFF}\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Never, E> {
                // -1 is what the kernel calls it.
                if text == OFF || text == "-1" {
                    return Ok(Never(None));
                }
                let read = humantime::parse_duration(text);
                read.map(|time| Never(Some(time))).map_err(|_| {
                    E::custom(format!("is no duration with its unit, and not \"{OFF}\""))
                })
            }
        }
        from.deserialize_str(OneOf)
    }
}

impl NvmeConfig {
    pub(super) fn validate(&self, check: &mut Check) {
        let seconds = Duration::from_secs;
        check
            .part("nvme")
            .lasts(
                "ctrl_loss",
                self.ctrl_loss.0.unwrap_or_default(),
                [seconds(0), seconds(31_536_000)],
            )
            .lasts("reconnect_delay", self.reconnect_delay, [seconds(1), seconds(3600)])
            .lasts("keep_alive", self.keep_alive, [seconds(1), seconds(3600)])
            .lasts(
                "fast_io_fail",
                self.fast_io_fail.0.unwrap_or_default(),
                [seconds(0), seconds(31_536_000)],
            )
            .counts("io_queues", usize::from(self.io_queues), [0, 1024]);
    }
}
