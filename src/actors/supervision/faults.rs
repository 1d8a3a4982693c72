//! Fault points: a test makes any entry of any actor panic, on demand and under load.
//!
//! Without a test there is nothing here: one look at an empty `Option` per entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::Entry;

/// The fault points of one actor. `Faults::default()` has none.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    armed: Option<Arc<[AtomicU32; Entry::ALL.len()]>>,
}

impl Faults {
    /// Fault points that [`Faults::arm`] can arm.
    pub fn armable() -> Self {
        Self { armed: Some(Arc::default()) }
    }

    /// The next `times` passages of `entry` panic. Does nothing to `Faults::default()`.
    pub fn arm(&self, entry: Entry, times: u32) {
        if let Some(armed) = &self.armed {
            armed[entry as usize].store(times, SeqCst);
        }
    }

    /// Is a panic of `entry` still to come?
    pub fn is_armed(&self, entry: Entry) -> bool {
        let armed = self.armed.as_ref();
        armed.is_some_and(|armed| armed[entry as usize].load(SeqCst) > 0)
    }

    /// Panics where a test has asked for it.
    pub(in crate::actors) fn pass(&self, entry: Entry) {
        let Some(armed) = &self.armed else { return };
        let left = &armed[entry as usize];
        let less = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        if less.is_ok() {
            panic!("injected into {}", entry.label());
        }
    }
}
