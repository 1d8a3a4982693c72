//! A level that changes at run time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slog::{Drain, Level, OwnedKVList, Record};

/// Changes the level of all loggers behind it. Clones share the level.
#[derive(Debug, Clone)]
pub struct LevelSwitch(Arc<AtomicUsize>);

impl LevelSwitch {
    /// Starts at `level`.
    pub fn new(level: Level) -> Self {
        Self(Arc::new(AtomicUsize::new(level.as_usize())))
    }

    /// From now on, `level` is the least important one that is logged.
    pub fn set(&self, level: Level) {
        // Relaxed: a record more or less at the moment of the change harms nobody.
        self.0.store(level.as_usize(), Ordering::Relaxed);
    }

    /// The least important level that is logged.
    pub fn get(&self) -> Level {
        Level::from_usize(self.0.load(Ordering::Relaxed)).unwrap_or(Level::Info)
    }

    pub(super) fn in_front_of<D>(&self, drain: D) -> Switched<D> {
        Switched { level: self.clone(), drain }
    }
}

/// Passes on what the switch lets through.
pub(super) struct Switched<D> {
    level: LevelSwitch,
    drain: D,
}

impl<D: Drain<Ok = (), Err = slog::Never>> Drain for Switched<D> {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        if record.level().is_at_least(self.level.get()) {
            self.drain.log(record, values)?;
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(self.level.get())
    }
}
