//! Wakes whoever waits for a change of the store or of the faults.
//!
//! Like `tokio::sync::watch`, but all are woken in the order in which they began to wait: watch
//! spreads its waiters at random, and a simulation that is repeated must repeat itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts changes. Clones are the same counter.
#[derive(Debug, Clone, Default)]
pub struct Ticks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU64,
    changed: Notify,
}

/// One who waits for changes.
#[derive(Debug)]
pub struct Waiting {
    ticks: Ticks,
    seen: u64,
}

impl Ticks {
    /// Something has changed.
    pub fn tick(&self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }

    /// Waits from now on.
    pub fn subscribe(&self) -> Waiting {
        Waiting { ticks: self.clone(), seen: self.count() }
    }

    fn count(&self) -> u64 {
        self.0.count.load(Ordering::SeqCst)
    }
}

impl Waiting {
    /// What has changed so far is known.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.ticks.count();
    }

    /// Returns when something has changed since.
    pub async fn changed(&mut self) {
        loop {
            let ticks = self.ticks.clone();
            let mut notified = std::pin::pin!(ticks.0.changed.notified());
            // From here on no tick is missed, so the count is looked at only now.
            notified.as_mut().enable();
            let count = ticks.count();
            if count != self.seen {
                self.seen = count;
                return;
            }
            notified.await;
        }
    }
}
