//! Which of several replicas reconciles: the rules of a Lease, as a plain state machine.
//!
//! ```text
//!              found free, or not renewed for its duration            written
//!   ┌───────────┐ ────────────────────────────────▶ ┌────────┐ ─────────────────▶ ┌─────────┐
//!   │ Following │                                   │ Taking │                    │ Leading │ ─┐ renewed
//!   └───────────┘ ◀──────────────────────────────── └────────┘ ◀───────────────── └─────────┘ ◀┘
//!        ▲           somebody else was quicker                      another holder │
//!        └────────────────────────────────────────────────────────────────────────┘
//!                         not renewed within the deadline: leads no more
//! ```
//!
//! Two of them never lead at once, as long as clocks run equally fast within `duration` against
//! `renew_deadline`: a holder counts from *before* it sent its last successful write and stops after
//! `renew_deadline`; everybody else counts from when *they saw* that write, which is later, and waits
//! for `duration`, which is longer. Timestamps in the Lease are for people: nobody's wall clock is
//! believed. Every write names the resourceVersion that was seen, so that of two who take at once one
//! loses.

use std::time::Duration;

use tokio::time::Instant;

use crate::mandate::Term;

/// The times of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long a Lease counts that is not renewed.
    pub duration: Duration,
    /// How long its holder acts without having renewed it; less than `duration`.
    pub renew_deadline: Duration,
    /// Time between two looks at it.
    pub retry_period: Duration,
}

/// What stands in a Lease, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `metadata.resourceVersion`: changes with every renewal.
    pub version: String,
    /// `spec.holderIdentity`, where somebody holds it.
    pub holder: Option<String>,
    /// `spec.leaseDurationSeconds`: what its holder reckons with.
    pub duration: Duration,
}

/// What to do about a Lease that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make it, held by us: there is none.
    Create,
    /// Write ourselves into it, if it still has this version.
    Take {
        /// The version that was seen.
        version: String,
    },
    /// Somebody else holds it. Look again after the retry period.
    Wait,
}

/// One replica that would lead.
#[derive(Debug)]
pub struct Candidate {
    name: String,
    times: Times,
    /// The Lease as it was last seen, and since when it has been seen like that.
    seen: Option<(Option<Found>, Instant)>,
    /// A write of ours has failed, or may have.
    is_unsure: bool,
    /// Until when we lead.
    term: Option<Instant>,
}

impl Candidate {
    /// One that has seen nothing yet. No other may have its name.
    pub fn new(name: String, times: Times) -> Self {
        Self { name, times, seen: None, is_unsure: true, term: None }
    }

    /// Must the Lease be looked at before the next step? Whoever leads knows what it wrote.
    pub fn must_look(&self, now: Instant) -> bool {
        self.is_unsure || !self.leads(now)
    }

    /// The Lease was read at `now`; `None`: there is none.
    pub fn found(&mut self, found: Option<Found>, now: Instant) {
        self.is_unsure = false;
        let is_ours = found.as_ref().is_some_and(|found| self.is_ours(found));
        if !is_ours {
            // Somebody took it, or took it away. Nothing is left on which we could lead.
            self.term = None;
        }
        let is_as_before = self.seen.as_ref().is_some_and(|(before, _)| *before == found);
        if !is_as_before {
            self.seen = Some((found, now));
        }
    }

    /// What to do now.
    pub fn next(&self, now: Instant) -> Step {
        let Some((found, since)) = &self.seen else {
            return Step::Wait;
        };
        let Some(found) = found else {
            return Step::Create;
        };
        // Ours: our last write, one whose answer was lost, or one of the same pod before its container
        // was started anew. Two containers of one pod never run at once.
        let is_free = found.holder.is_none() || self.is_ours(found);
        let counts = found.duration.max(self.times.duration);
        if is_free || now.saturating_duration_since(*since) >= counts {
            return Step::Take { version: found.version.clone() };
        }
        Step::Wait
    }

    /// Our write, sent at `sent`, was answered at `now` with the Lease as it is.
    pub fn written(&mut self, written: Found, sent: Instant, now: Instant) {
        self.term = Some(sent + self.times.renew_deadline);
        self.seen = Some((Some(written), now));
    }

    /// Our write was refused, or its outcome is not known. For how long we lead does not change by
    /// that.
    pub fn not_written(&mut self) {
        self.is_unsure = true;
    }

    /// For how long we may act.
    pub fn term(&self, now: Instant) -> Term {
        match self.term {
            Some(end) if now < end => Term::Until(end),
            _ => Term::None,
        }
    }

    /// Do we lead?
    pub fn leads(&self, now: Instant) -> bool {
        self.term(now) != Term::None
    }

    /// We lead no more, of our own will. The version under which the Lease can be given free; `None`
    /// where it was not ours.
    pub fn resign(&mut self) -> Option<String> {
        self.term = None;
        self.is_unsure = true;
        let (found, _) = self.seen.take()?;
        found.filter(|found| self.is_ours(found)).map(|found| found.version)
    }

    /// Who holds it, as it was last seen.
    pub fn holder(&self) -> Option<&str> {
        let (found, _) = self.seen.as_ref()?;
        found.as_ref()?.holder.as_deref()
    }

    fn is_ours(&self, found: &Found) -> bool {
        found.holder.as_deref() == Some(self.name.as_str())
    }
}

#[cfg(test)]
mod test;
