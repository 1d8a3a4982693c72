//! How long to wait before the next attempt: 0, min, 2 min, 4 min … max, max …
//!
//! Pure: whoever waits keeps the number of the attempt itself.

use std::time::Duration;

/// Doublings beyond this one change nothing that anybody would configure.
const ATTEMPT_MAX: u32 = 31;

/// The delays between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first delay.
    pub min: Duration,
    /// The longest delay.
    pub max: Duration,
    /// How much a delay may differ from its nominal length, as a fraction: 0.1 is a tenth. At `max`
    /// it only shortens. Below 0.01 there is none.
    pub jitter: f32,
}

impl Backoff {
    /// The delay before the attempt that follows `failed` failed ones; none before the first.
    pub fn delay(&self, failed: u32) -> Duration {
        if failed == 0 {
            return Duration::ZERO;
        }
        let steps = failed.min(ATTEMPT_MAX);
        // It panics where min > max and where the jitter is below one hundredth.
        let max = self.max.max(self.min);
        // The crate varies a delay before it bounds it, so one that is far beyond `max` would
        // always be `max`, and all controllers would come at once. There, `max` is what it varies.
        let nominal = self.min.saturating_mul(1 << (steps - 1));
        let (min, step) = if nominal < max { (self.min, steps) } else { (max / 2, 2) };
        // The crate's last item is `None` ("give up"), so it gets one step more than is taken.
        let mut delays = exponential_backoff::Backoff::new(step + 1, min, max);
        delays.set_factor(2);
        delays.set_jitter(self.whole_percent());
        let delay = delays.iter().nth(step as usize - 1).flatten();
        delay.unwrap_or(max).clamp(self.min, max)
    }

    /// The jitter, or none where the crate would round it down to an empty range.
    fn whole_percent(&self) -> f32 {
        let jitter = self.jitter.clamp(0.0, 1.0);
        if (jitter * 100.0) as u32 == 0 { 0.0 } else { jitter }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    fn exact(min: u64, max: u64) -> Backoff {
        Backoff { min: Duration::from_secs(min), max: Duration::from_secs(max), jitter: 0.0 }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_never_end() {
        let backoff = exact(1, 16);
        let seconds = |failed| backoff.delay(failed).as_secs();
        let first: Vec<u64> = (0..8).map(seconds).collect();
        assert_eq!(first, [0, 1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(seconds(1_000_000), 16);
        assert_eq!(seconds(u32::MAX), 16);
    }

    #[test]
    fn a_longest_delay_below_the_first_is_the_first() {
        assert_eq!(exact(5, 2).delay(3), Duration::from_secs(5));
        assert_eq!(exact(0, 0).delay(3), Duration::ZERO);
    }

    #[test]
    fn the_longest_delays_differ_too() {
        for (min, max) in [(1, 16), (1, 30), (3, 16)] {
            let backoff = Backoff { jitter: 0.1, ..exact(min, max) };
            let delays: Vec<Duration> = (6..60).map(|failed| backoff.delay(failed)).collect();
            let nine_tenths = Duration::from_secs(max).mul_f64(0.9);
            assert!(delays.iter().all(|delay| (nine_tenths..=backoff.max).contains(delay)));
            let shorter = delays.iter().filter(|delay| **delay < backoff.max).count();
            assert!(shorter > 5, "{delays:?}");
        }
    }

    proptest! {
        #[test]
        fn no_setting_panics_and_no_delay_leaves_its_bounds(
            failed in any::<u32>(), min in 0u64..100_000, max in 0u64..100_000,
            jitter in prop_oneof![any::<f32>(), -0.1f32..1.2],
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let delay = Backoff { min, max, jitter }.delay(failed);
            if failed == 0 {
                prop_assert_eq!(delay, Duration::ZERO);
            } else {
                prop_assert!(delay >= min && delay <= max.max(min));
            }
        }

        #[test]
        fn jitter_stays_within_its_fraction(failed in 1u32..4) {
            let jittered = Backoff { jitter: 0.1, ..exact(1, 16) }.delay(failed).as_secs_f64();
            let nominal = exact(1, 16).delay(failed).as_secs_f64();
            prop_assert!((jittered - nominal).abs() <= nominal * 0.1 + 1e-6);
        }
    }
}
