//! What happened, in order: the end of it for people, a hash of all of it for comparing two runs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::dice::Fnv;

/// Lines that are kept.
const KEPT: usize = 20_000;
/// Marks a line that the schedule wrote.
const ACTION: &str = "* ";

/// The trace of one run.
pub struct Trace {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    hash: Fnv,
    lines: VecDeque<String>,
    violation: Option<String>,
}

impl Trace {
    /// Begins now, in simulated time.
    pub fn begin() -> Self {
        Self { began: Instant::now(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.push(format!("{:>10.3}   {what}", self.began.elapsed().as_secs_f64()), true);
    }

    /// The schedule did something.
    pub fn action(&self, step: usize, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        self.push(format!("{at:>10.3} {ACTION}{step}: {what}"), true);
    }

    /// Something that is the same in every run but for its words: the driver's log.
    pub fn remark(&self, what: &str) {
        self.push(format!("{:>10.3}     {what}", self.began.elapsed().as_secs_f64()), false);
    }

    fn push(&self, line: String, counts: bool) {
        let mut inner = self.inner();
        if counts {
            inner.hash.add(line.as_bytes());
        }
        if inner.lines.len() == KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// What must never happen has happened. The first one counts.
    pub fn violated(&self, what: String) {
        self.note(format_args!("VIOLATION {what}"));
        self.inner().violation.get_or_insert(what);
    }

    /// The first violation.
    pub fn violation(&self) -> Option<String> {
        self.inner().violation.clone()
    }

    /// A hash of everything noted.
    pub fn hash(&self) -> u64 {
        self.inner().hash.0
    }

    /// The last `actions` of the schedule and all that happened since.
    pub fn tail(&self, actions: usize) -> Vec<String> {
        let inner = self.inner();
        let is_action = |line: &String| line.get(11..13) == Some(ACTION);
        let at = inner.lines.iter().enumerate().filter(|(_, line)| is_action(line));
        let at: Vec<usize> = at.map(|(at, _)| at).collect();
        let from = at.len().checked_sub(actions).and_then(|nth| at.get(nth)).copied().unwrap_or(0);
        inner.lines.iter().skip(from).cloned().collect()
    }
}
