//! How long a restarted actor waits before its first work. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::actors::backoff::Backoff;

/// Delays between restarts of one actor.
const DELAYS: Backoff =
    Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30), jitter: 0.0 };
/// An actor that has worked for so long starts again with the first delay.
const STABLE: Duration = Duration::from_secs(60);

/// The restarts of one actor.
#[derive(Debug, Default)]
pub struct Restarts {
    /// Restarts since the actor was last stable.
    count: u32,
    /// When the work after the latest restart began, or shall begin.
    working_since: Option<Instant>,
}

impl Restarts {
    /// The actor has stopped at `now`: the delay before it works again.
    pub fn next(&mut self, now: Instant) -> Duration {
        let stable = |since: Instant| now.saturating_duration_since(since) >= STABLE;
        if self.working_since.is_some_and(stable) {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        let delay = DELAYS.delay(self.count);
        self.working_since = Some(now + delay);
        delay
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn restarts_slow_down_and_a_stable_period_forgives_them() {
        let mut restarts = Restarts::default();
        let start = Instant::now();
        let mut at = |second: u64| restarts.next(start + Duration::from_secs(second)).as_secs();
        assert_eq!(at(0), 1);
        assert_eq!(at(1), 2);
        assert_eq!(at(3), 4);
        // Works again at 7; 59 s are not enough.
        assert_eq!(at(66), 8);
        // Works again at 74.
        assert_eq!(at(134), 1);
    }
}
