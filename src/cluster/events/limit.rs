//! Which notices become Events: pure, the time is passed in.
//!
//! Notices of one reason on one object are one series: the first is posted at once, the others of
//! a window are counted and written together when the window ends. A series that had nothing to
//! count in its window is forgotten. New series take a token from the bucket of their reason and
//! from the bucket of all; updates take one from the bucket of all and wait another window where
//! there is none. What finds no token is dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{About, Reason};

/// The bounds of what is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Notices that may wait to be posted. Fixed at the start, whatever comes later.
    pub queue: usize,
    /// Within this time there is one write per object and reason.
    pub window: Duration,
    /// So many new Events of one reason may come at once,
    pub reason_burst: u32,
    /// and then one in this time.
    pub reason_every: Duration,
    /// So many writes of all reasons together may come at once,
    pub burst: u32,
    /// and then one in this time.
    pub every: Duration,
    /// Series that are remembered at once.
    pub series: usize,
}

impl Default for Bounds {
    /// What an API server does not feel: about 1 write/s, with bursts of 200.
    fn default() -> Self {
        Self {
            queue: 512,
            window: Duration::from_secs(300),
            reason_burst: 60,
            reason_every: Duration::from_secs(5),
            burst: 200,
            every: Duration::from_secs(1),
            series: 1024,
        }
    }
}

/// What makes notices one series.
pub type Key = (About, Reason);

/// What is to be done with a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Post an Event.
    Post,
    /// It is counted; it will be written when the window ends.
    Counted,
    /// There were too many.
    Dropped,
}

/// So many tokens, refilled evenly.
struct Bucket {
    tokens: u32,
    burst: u32,
    every: Duration,
    refilled: Instant,
}

impl Bucket {
    fn new(burst: u32, every: Duration, now: Instant) -> Self {
        Self { tokens: burst, burst, every: every.max(Duration::from_millis(1)), refilled: now }
    }

    /// Other bounds from now on. What was spent of the old burst is spent of the new one.
    fn rebound(&mut self, burst: u32, every: Duration, now: Instant) {
        self.has_token(now);
        let spent = self.burst - self.tokens;
        *self = Self::new(burst, every, now);
        self.tokens = burst.saturating_sub(spent);
    }

    fn has_token(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled);
        let due = passed.as_millis() / self.every.as_millis().max(1);
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        if due >= self.burst - self.tokens {
            self.tokens = self.burst;
            self.refilled = now;
        } else {
            self.tokens += due;
            // The rest of the division counts towards the next token.
            self.refilled += self.every * due;
        }
        self.tokens > 0
    }
}

struct Series<T> {
    written: Instant,
    count: u32,
    unwritten: bool,
    memory: T,
}

/// Judges notices. `T` is what the caller remembers of a series.
pub struct Limiter<T> {
    bounds: Bounds,
    series: BTreeMap<Key, Series<T>>,
    reasons: BTreeMap<Reason, Bucket>,
    all: Bucket,
}

impl<T> Limiter<T> {
    /// Nothing posted yet.
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        let all = Bucket::new(bounds.burst, bounds.every, now);
        Self { bounds, series: BTreeMap::new(), reasons: BTreeMap::new(), all }
    }

    /// Other bounds from now on, for the series that are known as well. What was posted so far
    /// counts against them.
    pub fn rebound(&mut self, bounds: Bounds, now: Instant) {
        self.all.rebound(bounds.burst, bounds.every, now);
        for bucket in self.reasons.values_mut() {
            bucket.rebound(bounds.reason_burst, bounds.reason_every, now);
        }
        self.bounds = bounds;
    }

    /// What is to be done with a notice of this series. `remember` sees what is remembered of the
    /// series, nothing where it is a new one, and returns what is to be remembered.
    pub fn judge(
        &mut self,
        key: &Key,
        now: Instant,
        remember: impl FnOnce(Option<&mut T>) -> Option<T>,
    ) -> Verdict {
        if let Some(known) = self.series.get_mut(key) {
            known.count = known.count.saturating_add(1);
            known.unwritten = true;
            if let Some(memory) = remember(Some(&mut known.memory)) {
                known.memory = memory;
            }
            return Verdict::Counted;
        }
        if self.series.len() >= self.bounds.series || !self.take_tokens(key.1, now) {
            return Verdict::Dropped;
        }
        if let Some(memory) = remember(None) {
            let fresh = Series { written: now, count: 1, unwritten: false, memory };
            self.series.insert(key.clone(), fresh);
        }
        Verdict::Post
    }

    fn take_tokens(&mut self, reason: Reason, now: Instant) -> bool {
        let bounds = &self.bounds;
        let of_reason = self
            .reasons
            .entry(reason)
            .or_insert_with(|| Bucket::new(bounds.reason_burst, bounds.reason_every, now));
        if !of_reason.has_token(now) || !self.all.has_token(now) {
            return false;
        }
        of_reason.tokens -= 1;
        self.all.tokens -= 1;
        true
    }

    /// When a window ends next.
    pub fn next_due(&self) -> Option<Instant> {
        let written = self.series.values().map(|series| series.written).min();
        written.map(|written| written + self.bounds.window)
    }

    /// The series whose window has ended and that have something to write, with the count so far.
    /// Those that have nothing are forgotten.
    pub fn due(&mut self, now: Instant) -> Vec<(Key, u32)> {
        let window = self.bounds.window;
        let mut due = Vec::new();
        let all = &mut self.all;
        self.series.retain(|key, series| {
            if now.saturating_duration_since(series.written) < window {
                return true;
            }
            if !series.unwritten {
                return false;
            }
            series.written = now;
            if all.has_token(now) {
                all.tokens -= 1;
                series.unwritten = false;
                due.push((key.clone(), series.count));
            }
            true
        });
        due
    }

    /// What is remembered of a series.
    pub fn memory(&mut self, key: &Key) -> Option<&mut T> {
        self.series.get_mut(key).map(|series| &mut series.memory)
    }

    /// Forgets a series, so that its next notice is posted anew.
    pub fn forget(&mut self, key: &Key) {
        self.series.remove(key);
    }
}

#[cfg(test)]
mod test;
