//! How long each step took.

use tokio::time::Instant;

/// Tells steps with their seconds.
pub struct Told {
    begun: Instant,
    last: Instant,
}

impl Told {
    /// Begins.
    pub fn now() -> Self {
        let now = Instant::now();
        Self { begun: now, last: now }
    }

    /// A step is done.
    pub fn step(&mut self, what: &str) {
        let (step, all) = (self.last.elapsed().as_secs_f64(), self.begun.elapsed().as_secs_f64());
        eprintln!("{all:6.1} s (+{step:5.1}) {what}");
        self.last = Instant::now();
    }
}
