//! What can be tuned about a connection.

use std::time::Duration;

use crate::actors::backoff::Backoff;
use crate::rds::Command;

const BYTES_PER_GIB: u64 = 1 << 30;

/// The settings of the connection to one box. All but the addresses may change while it runs; what
/// is under way keeps the settings with which it began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConnectionSettings {
    /// From the answer to one poll to the next poll.
    pub poll_interval: Duration,
    /// How long a poll may take; once more for the one on a fresh connection.
    pub poll_deadline: Duration,
    /// How long a command may take.
    pub command_deadline: Duration,
    /// What a command may take longer for every GiB of the image that it makes or grows.
    pub command_deadline_per_gib: Duration,
    /// How long connecting and logging in may take.
    pub connect_deadline: Duration,
    /// How long saying goodbye may take.
    pub close_deadline: Duration,
    /// The delays between attempts to connect.
    pub backoff: Backoff,
    /// Sessions for commands, besides the one for polls. The box allows 20 sessions per service.
    pub lanes: usize,
    /// Commands that may wait for a lane.
    pub queue_max: usize,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(5),
            poll_deadline: Duration::from_secs(3),
            command_deadline: Duration::from_secs(30),
            command_deadline_per_gib: Duration::from_secs(1),
            connect_deadline: Duration::from_secs(10),
            close_deadline: Duration::from_secs(1),
            backoff: Backoff {
                min: Duration::from_secs(1),
                max: Duration::from_secs(16),
                jitter: 0.1,
            },
            lanes: 3,
            queue_max: 256,
        }
    }
}

impl ConnectionSettings {
    /// How long `command` may take.
    pub fn deadline(&self, command: &Command) -> Duration {
        let bytes = match command {
            Command::Create(disk) => disk.bytes,
            Command::Change(change) => change.grow_to.unwrap_or(0),
            _ => 0,
        };
        let gib = u32::try_from(bytes.div_ceil(BYTES_PER_GIB)).unwrap_or(u32::MAX);
        let more = self.command_deadline_per_gib.saturating_mul(gib);
        self.command_deadline.saturating_add(more)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::rds::NewDisk;
    use crate::volume::{Slot, VolumePath};

    #[test]
    fn only_commands_that_make_bytes_get_time_for_them() {
        let settings = ConnectionSettings::default();
        let create = |bytes| {
            let slot = Slot::parse("a").unwrap();
            let image = VolumePath::parse("pool").unwrap().image(&slot);
            let comment = String::new();
            Command::Create(NewDisk { slot, image, bytes, comment })
        };
        let table = [
            (Command::Poll, 30),
            (Command::Show(Slot::parse("a").unwrap()), 30),
            (create(1), 31),
            (create(10 << 30), 40),
            (create((10 << 30) + 1), 41),
        ];
        for (command, seconds) in table {
            assert_eq!(settings.deadline(&command).as_secs(), seconds, "{command:?}");
        }
        // Absurd, but no panic.
        assert!(settings.deadline(&create(u64::MAX)) > settings.command_deadline);
    }
}
