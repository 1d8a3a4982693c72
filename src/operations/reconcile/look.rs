//! A look at everything: what is to be done or said, and with which volumes.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::facts::{Found, Seen};
use super::memory::{Holders, Memory, Tally};
use super::settled::{Entry, Past};
use super::survey::Survey;
use crate::attachment::verdict::{Action, Holder, Rules, Verdict, verdict};
use crate::operations::Limits;
use crate::volume::{BackendName, NodeName};

/// What a look has shown. Of volumes that are in order there is no more than a count.
#[derive(Debug, Default)]
pub(super) struct Look<'a> {
    /// Those with which something is to be done or said.
    pub amiss: Vec<(Found<'a>, Verdict)>,
    /// How many are attached.
    pub attached: usize,
    /// The nodes that hold attached ones.
    pub holders: Holders<'a>,
    /// How many are held by each node that is there and not Ready.
    pub not_ready: BTreeMap<&'a NodeName, usize>,
}

impl<'a> Look<'a> {
    /// One volume more.
    pub fn add(&mut self, judged: Judged<'a, '_>) {
        let (found, verdict) = match judged {
            Judged::Settled(entry) => {
                self.attached += usize::from(entry.is_attached);
                return;
            }
            Judged::Anew(found, verdict) => (found, verdict),
        };
        self.attached += usize::from(found.is_attached());
        for node in found.not_ready() {
            *self.not_ready.entry(node).or_default() += 1;
        }
        if verdict.action != Action::Nothing {
            self.amiss.push((found, verdict));
        }
    }
}

/// A volume, and what to do with it.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is handed on at once, of every volume; never kept"
)]
pub(super) enum Judged<'a, 's> {
    /// Nothing, as before.
    Settled(&'s Entry),
    /// This.
    Anew(Found<'a>, Verdict),
}

/// What limits a look, and when it is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'f> {
    pub limits: Limits,
    /// The boxes that could not be read.
    pub blind: &'f BTreeSet<BackendName>,
    pub now: Instant,
}

/// Every volume, in no particular order, and what to do with it. What is missing is remembered, and
/// what is in order. Says who holds anything.
pub(super) fn judge_all<'a>(
    survey: &Survey<'a>,
    frame: Frame<'_>,
    memory: &mut Memory,
    past: &mut Past,
    mut each: impl FnMut(Judged<'a, '_>),
) -> Holders<'a> {
    let Frame { limits, blind, now } = frame;
    let rules = Rules::from(limits);
    let settled = past.settled(survey, rules, memory.failing());
    let mut tally = Tally::new(survey.view);
    for entry in settled.entries() {
        tally.note_settled(entry);
        each(Judged::Settled(entry));
    }
    let seen = Seen::default();
    let mut judge = Judge { memory, seen: &seen, rules, now, holders: Vec::new() };
    let mut fresh = Vec::new();
    survey.volumes(&settled, |at, found| {
        tally.note(&found, judge.memory);
        let verdict = judge.verdict(&found);
        if let Some(at) = at
            && let Some(entry) = Entry::of(&found, &verdict)
        {
            fresh.push((at, entry));
        }
        each(Judged::Anew(found, verdict));
    });
    past.keep(settled, fresh, survey);
    memory.remember(tally, blind, survey.view, limits.storm, now)
}

impl From<Limits> for Rules {
    fn from(limits: Limits) -> Self {
        Self { grace: limits.grace, orphan_grace: limits.orphan_grace }
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
