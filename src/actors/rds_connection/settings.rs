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
    /// Longest line that several commands share, in bytes.
    pub line_bytes_max: usize,
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
            line_bytes_max: 4096,
        }
    }
}

impl ConnectionSettings {
    /// How long a line with these commands may take: the time of one, and what each of them may
    /// take longer for the bytes that it makes, since the box makes one image after the other.
    pub fn deadline<'a>(&self, commands: impl IntoIterator<Item = &'a Command>) -> Duration {
        let more = commands.into_iter().map(|command| self.more_time(command));
        more.fold(self.command_deadline, Duration::saturating_add)
    }

    /// How many of `commands`, from the first on, may share a line for the time that they take: all
    /// of them wait until the last has ended, and the lane with them. So a line gets at most twice
    /// the time of a command that makes no bytes; one that needs more goes alone.
    pub fn in_time(&self, commands: &[&Command]) -> usize {
        let mut more = Duration::ZERO;
        let fits = |command: &&&Command| {
            more = more.saturating_add(self.more_time(command));
            more <= self.command_deadline
        };
        commands.iter().take_while(fits).count()
    }

    fn more_time(&self, command: &Command) -> Duration {
        let bytes = match command {
            Command::Create(disk) | Command::Remake(disk) => disk.bytes,
            Command::Change(change) => change.grow_to.unwrap_or(0),
            _ => 0,
        };
        let gib = u32::try_from(bytes.div_ceil(BYTES_PER_GIB)).unwrap_or(u32::MAX);
        self.command_deadline_per_gib.saturating_mul(gib)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::rds::NewDisk;
    use crate::volume::{Slot, VolumePath};

    fn create(bytes: u64) -> Command {
        let slot = Slot::parse("a").unwrap();
        let image = VolumePath::parse("pool").unwrap().image(&slot);
        let comment = String::new();
        Command::Create(NewDisk { slot, image, bytes, comment })
    }

    #[test]
    fn only_commands_that_make_bytes_get_time_for_them() {
        let settings = ConnectionSettings::default();
        let table = [
            (Command::Poll, 30),
            (Command::Show(Slot::parse("a").unwrap()), 30),
            (create(1), 31),
            (create(10 << 30), 40),
            (create((10 << 30) + 1), 41),
        ];
        for (command, seconds) in table {
            assert_eq!(settings.deadline([&command]).as_secs(), seconds, "{command:?}");
        }
        // Absurd, but no panic.
        let absurd = create(u64::MAX);
        assert!(settings.deadline([&absurd, &absurd]) > settings.command_deadline);
        assert_eq!(settings.in_time(&[&absurd, &absurd]), 0);
    }

    #[test]
    fn a_line_gets_the_time_of_one_command_and_that_of_all_bytes() {
        let settings = ConnectionSettings::default();
        let (small, large) = (create(1 << 30), create(16 << 30));
        let show = Command::Show(Slot::parse("a").unwrap());
        assert_eq!(settings.deadline([&small, &show, &small]).as_secs(), 32);
        assert_eq!(settings.deadline([&large, &large]).as_secs(), 62);
        assert_eq!(settings.in_time(&[&small, &large, &show]), 3);
        assert_eq!(settings.in_time(&[&show, &large, &large, &show]), 2, "32 s more are too much");
        assert_eq!(settings.in_time(&[&small; 64]), 30);
    }
}
