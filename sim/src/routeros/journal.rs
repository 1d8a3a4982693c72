//! What was sent to the box and what came of it, so that tests can assert both.

use std::collections::VecDeque;

use super::moment::Moment;

/// How a line ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and was answered.
    Answered,
    /// It ran and the connection was cut before the answer.
    AppliedThenDropped,
    /// The connection was cut first; nothing ran.
    Dropped,
    /// It was never read, or never answered; nothing ran.
    Stalled,
    /// The power went while it ran.
    PowerCut,
}

/// One line that reached the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1 over the life of the box.
    pub number: u64,
    /// The session it came from.
    pub session: u64,
    /// The line.
    pub line: String,
    /// What it printed, with `\n` line ends and whatever the connection did to it.
    pub output: String,
    /// The error that ended it.
    pub error: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The moments that it came to, in their order: where the power could have gone.
    pub moments: Vec<Moment>,
}

/// The last lines.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    total: u64,
}

impl Journal {
    /// Entries kept.
    const BOUND: usize = 4096;

    /// Appends; the oldest go when there are too many.
    pub fn push(&mut self, mut entry: Entry) {
        self.total += 1;
        entry.number = self.total;
        if self.entries.len() == Self::BOUND {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Changes how the last line of that session ended.
    pub fn amend(&mut self, session: u64, outcome: Outcome) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.session == session) {
            entry.outcome = outcome;
        }
    }

    /// The entries still kept, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    /// How many lines ever came.
    pub fn total(&self) -> u64 {
        self.total
    }
}
