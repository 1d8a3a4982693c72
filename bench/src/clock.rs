//! Taking times, and what is said of many.

use std::hint::black_box;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Far above what anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no figure.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Many times of one thing, in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<f64>);

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        let at = self.0.partition_point(|known| *known < milliseconds(time));
        self.0.insert(at, milliseconds(time));
    }

    /// The time that so much of them (0 to 1) does not exceed; 0 where there are none.
    pub fn share(&self, share: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "thousands at most")]
        let at = share * self.0.len().saturating_sub(1) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        self.0.get(at.ceil() as usize).copied().unwrap_or_default()
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.share(0.5)
    }
}

/// In milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What one run of `work` takes of a processor, in milliseconds: the mean of so many, after two that
/// do not count. On a machine that does other things as well the clock on the wall would tell of those.
///
/// # Errors
/// Where the kernel does not say.
pub fn processor_time<T>(runs: u32, mut work: impl FnMut() -> T) -> Result<f64, Failure> {
    for _ in 0..2 {
        drop(black_box(work()));
    }
    let before = on_processor()?;
    for _ in 0..runs {
        drop(black_box(work()));
    }
    Ok(milliseconds(on_processor()?.saturating_sub(before)) / f64::from(runs))
}

/// Time that this thread was on a processor (Linux, Documentation/scheduler/sched-stats.rst); it may
/// lag by a tick.
fn on_processor() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split_whitespace().next().ok_or("no schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// Waits until `is_so`, looking often.
///
/// # Errors
/// When it takes longer than [`PATIENCE`].
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > end {
            return Err(format!("waited for {} s: {what}", PATIENCE.as_secs()).into());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn shares_are_taken_of_the_sorted_times() {
        let mut times = Times::default();
        for at in [5, 1, 4, 2, 3] {
            times.add(Duration::from_millis(at));
        }
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| times.share(share)), [1.0, 3.0, 5.0, 5.0]);
        assert_eq!(Times::default().median(), 0.0);
    }
}
