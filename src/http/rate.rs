//! How often something may be asked: a bucket of tokens.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many at once,
const BURST: f64 = 40.0;
/// and in the long run one in so long. A controller asks each agent a few times a minute.
const EVERY: Duration = Duration::from_millis(50);

/// A bucket, full at first.
pub struct Rate {
    /// Tokens, and when they were counted.
    bucket: Mutex<(f64, Instant)>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { bucket: Mutex::new((BURST, Instant::now())) }
    }
}

impl Rate {
    /// Takes a token, where there is one.
    pub fn allows(&self) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, since) = *bucket;
        let now = Instant::now();
        let gained = now.duration_since(since).as_secs_f64() / EVERY.as_secs_f64();
        let tokens = (tokens + gained).min(BURST);
        let allowed = tokens >= 1.0;
        *bucket = (if allowed { tokens - 1.0 } else { tokens }, now);
        allowed
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_one_in_each_interval() {
        let rate = Rate::default();
        let allowed = |wanted: u32| (0..wanted).filter(|_| rate.allows()).count();
        assert_eq!(allowed(100), 40);
        tokio::time::advance(EVERY * 7 / 2).await;
        assert_eq!(allowed(100), 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(allowed(100), 40, "a quiet hour saves nothing up");
    }
}
