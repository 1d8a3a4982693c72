//! Waits until something has become so.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Trouble;

/// How often to look.
const GLANCE: Duration = Duration::from_millis(50);

/// Looks until `look` has something, at most for so long. What it says in between, why it has
/// nothing yet, is what the failure says in the end.
///
/// # Errors
/// When time is over.
pub async fn until<T, W: Display, L: Future<Output = Result<T, W>>>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> L,
) -> Result<T, Trouble> {
    let end = Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(why) if Instant::now() >= end => {
                return Err(format!("not within {within:?}: {what}; last seen: {why}").into());
            }
            Err(_) => sleep(GLANCE).await,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[tokio::test]
    async fn it_returns_what_is_found_and_says_at_the_end_what_was_seen_last() {
        let mut looks = 0;
        let found = until("three", Duration::from_secs(1), || {
            looks += 1;
            std::future::ready(if looks == 3 { Ok(looks) } else { Err(looks) })
        });
        assert_eq!(found.await.unwrap(), 3);
        let never = until("four", Duration::from_millis(120), async || Err::<(), _>("three"));
        let error = never.await.unwrap_err().to_string();
        assert_eq!(error, "not within 120ms: four; last seen: three");
    }
}
