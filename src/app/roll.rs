//! The actors that must live: nothing brings one back whose mailbox is closed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::actors::supervision::{Alive, watch_over};

type Entry = (&'static str, Arc<dyn Fn() -> bool + Send + Sync>);

/// Who must live. Cloning shares the roll.
#[derive(Clone, Default)]
pub struct Roll(Arc<Mutex<Vec<Entry>>>);

impl Roll {
    /// Adds an actor that was started.
    pub fn add(&self, name: &'static str, alive: Alive) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, Arc::from(alive)));
    }

    /// The name of one that is dead.
    pub fn dead(&self) -> Option<&'static str> {
        let alive = self.entries();
        alive.iter().find(|(_, alive)| !alive()).map(|(name, _)| *name)
    }

    /// Resolves with the name of one that has died. Looks after those that were added so far.
    pub async fn death(&self) -> &'static str {
        let watched = self.entries().into_iter().map(|(name, alive)| {
            let alive: Alive = Box::new(move || alive());
            (name, alive)
        });
        watch_over(watched.collect()).await
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod test {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dead_actor_is_named_to_whoever_asks_and_to_whoever_waits() {
        let (roll, lives) = (Roll::default(), Arc::new(AtomicBool::new(true)));
        roll.add("probe", Box::new(|| true));
        let seen = lives.clone();
        roll.add("reconciler", Box::new(move || seen.load(Ordering::Relaxed)));
        assert_eq!(roll.dead(), None);
        let waiting = tokio::spawn({
            let roll = roll.clone();
            async move { roll.death().await }
        });
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert!(!waiting.is_finished());
        lives.store(false, Ordering::Relaxed);
        assert_eq!(roll.dead(), Some("reconciler"));
        assert_eq!(waiting.await.unwrap(), "reconciler");
    }
}
