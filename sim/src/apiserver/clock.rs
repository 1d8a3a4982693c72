//! Where the server's timestamps come from: a function, so that paused time moves them too.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the server's wall clock time.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// 2026-01-01T00:00:00Z, in seconds since the epoch.
const START: u64 = 1_767_225_600;

/// A clock that starts at 2026-01-01T00:00:00Z and follows tokio's time, paused or not.
pub fn simulated() -> Clock {
    let began = Instant::now();
    Arc::new(move || UNIX_EPOCH + Duration::from_secs(START) + began.elapsed())
}

/// The machine's own clock.
pub fn machine() -> Clock {
    Arc::new(SystemTime::now)
}

/// A timestamp as Kubernetes writes it, in whole seconds.
pub fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod test {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_moves_with_paused_time() {
        let clock = simulated();
        assert_eq!(rfc3339(clock()), "2026-01-01T00:00:00Z");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(rfc3339(clock()), "2026-01-01T00:01:01Z");
    }
}
