//! A look at everything: what is to be done or said, and with which volumes.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::facts::{Found, Seen};
use super::memory::Memory;
use crate::attachment::verdict::{Action, Holder, Rules, Verdict, verdict};
use crate::volume::NodeName;

/// What a look has shown. Of volumes that are in order there is no more than a count.
#[derive(Debug, Default)]
pub(super) struct Look<'a> {
    /// Those with which something is to be done or said.
    pub amiss: Vec<(Found<'a>, Verdict)>,
    /// How many are attached.
    pub attached: usize,
    /// The nodes that hold attached ones, and whether they are Ready.
    pub holding: HashMap<&'a NodeName, bool, RandomState>,
    /// How many are held by each node that is there and not Ready.
    pub not_ready: BTreeMap<&'a NodeName, usize>,
}

impl<'a> Look<'a> {
    /// One volume more.
    pub fn add(&mut self, found: Found<'a>, verdict: Verdict) {
        if found.is_attached() {
            self.attached += 1;
            self.holding.extend(found.holders().map(|held| (held.name, held.is_ready())));
        }
        for node in found.not_ready() {
            *self.not_ready.entry(node).or_default() += 1;
        }
        if verdict.action != Action::Nothing {
            self.amiss.push((found, verdict));
        }
    }
}

/// Judges one volume after the other.
pub(super) struct Judge<'m> {
    pub memory: &'m Memory,
    pub seen: &'m Seen,
    pub rules: Rules,
    pub now: Instant,
    /// Room for the holders of one volume.
    pub holders: Vec<Holder>,
}

impl Judge<'_> {
    pub fn verdict(&mut self, found: &Found<'_>) -> Verdict {
        let holders = std::mem::take(&mut self.holders);
        let facts = found.facts(self.memory, self.seen, self.now, holders);
        let verdict = verdict(&facts, self.rules);
        self.holders = facts.holders;
        verdict
    }
}
