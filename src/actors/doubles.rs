//! What the tests of the actors share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use slog::{Discard, Logger, o};

use super::supervision::{ActorMetrics, Cause, Faults, Supervision};

/// Remembers restarts.
#[derive(Default)]
pub struct Restarted(Mutex<Vec<(&'static str, &'static str)>>);

impl ActorMetrics for Restarted {
    fn restarted(&self, actor: &'static str, cause: Cause) {
        self.0.lock().unwrap().push((actor, cause.label()));
    }
}

impl Restarted {
    /// Actor and cause of every restart.
    pub fn all(&self) -> Vec<(&'static str, &'static str)> {
        self.0.lock().unwrap().clone()
    }

    /// The cause of every restart.
    pub fn causes(&self) -> Vec<&'static str> {
        self.all().into_iter().map(|(_, cause)| cause).collect()
    }
}

/// A logger for nobody.
pub fn log() -> Logger {
    Logger::root(Discard, o!())
}

/// Supervision with fault points that can be armed, and what it counts.
pub fn supervision() -> (Supervision, Faults, Arc<Restarted>) {
    let (faults, restarted) = (Faults::armable(), Arc::new(Restarted::default()));
    let supervision =
        Supervision { log: log(), metrics: restarted.clone(), faults: faults.clone() };
    (supervision, faults, restarted)
}

/// Lets paused time pass, and everything that is due with it.
pub async fn pass(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
