//! The pass: reads everything anew, judges every volume, acts on what is wrong.
//!
//! ```text
//! look ──▶ close what may not be open ──▶ restore, repair, follow ──▶ read counters ──▶ fence, release
//! ```
//!
//! One exec reads a box; Kubernetes is read from the caches. A pass keeps nothing that it needs but
//! the moments since when something has been missing (`memory`): after a restart grace times
//! start anew. Each volume is changed under its turn; one whose turn is taken is left for the next
//! pass.

mod act;
mod facts;
mod memory;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use self::facts::{Found, Survey};
use self::memory::Memory;
use super::{Backend, Error, Happened, Operations};
use crate::attachment::standing::{Standing, standing};
use crate::attachment::verdict::{Action, Facts, FenceCause, Io, Rules, Verdict, verdict};
use crate::cluster::{About, Identity, Notice, Reason};
use crate::rds::{Command, Counters, Disk};
use crate::volume::{NodeName, VolumeId};

/// How many volumes are changed at a time.
const ABREAST: usize = 8;
/// When to look again after something was done, or could not be done yet.
const SOON: Duration = Duration::from_secs(2);

/// When to look again at what speaks against acting.
const HOLD_POLL: Duration = Duration::from_secs(10);

/// A step of a pass.
#[derive(Debug, Clone, Copy)]
enum Step {
    Close,
    CarryOut,
}

/// What became of a step.
type Stepped<'a> = (&'a Found, &'a Verdict, Result<act::Done, Error>);

/// What a pass saw and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassReport {
    /// When to look again, sooner than the period.
    pub again_in: Option<Duration>,
    /// How many volumes got which treatment.
    pub done: BTreeMap<&'static str, usize>,
    /// The boxes that could not be read, and why.
    pub blind: Vec<String>,
    /// What went wrong, for people.
    pub failed: Vec<String>,
}

impl PassReport {
    fn look_again(&mut self, time: Duration) {
        self.again_in = self.again_in.into_iter().chain([time]).min();
    }
}

/// Runs passes. One at a time: whoever calls sees to that.
pub struct Reconciler {
    operations: Operations,
    memory: Mutex<Memory>,
    has_started: AtomicBool,
}

impl Reconciler {
    /// A reconciler that has seen nothing yet.
    pub fn new(operations: Operations) -> Self {
        Self { operations, memory: Mutex::default(), has_started: AtomicBool::new(false) }
    }

    /// One pass over all boxes. A box that cannot be read is held, the others go on. An error
    /// means that nothing could be judged at all.
    pub async fn pass(&self) -> Result<PassReport, Error> {
        let identity = self.operations.known_cluster().await?;
        let mut report = PassReport::default();
        let mut tables = Vec::new();
        for backend in self.operations.backends.by_name.values() {
            match backend.rds.execute(Command::Table, None).await {
                Ok(reply) => tables.push((backend.clone(), reply.disks)),
                Err(failure) => report.blind.push(format!("{}: {failure}", backend.name)),
            }
        }
        let view = self.operations.cluster.view();
        let (deleting, unread) = match self.operations.cluster.deleting().await {
            Ok(deleting) => (deleting, None),
            Err(error) => (Vec::new(), Some(format!("the list of deletions: {error}"))),
        };
        let survey = Survey { identity: &identity, view: &view, deleting: &deleting };
        let mut found: Vec<Found> = Vec::new();
        for (backend, disks) in &tables {
            found.extend(survey.volumes(backend, disks, &self.operations.backends));
        }
        {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let storm = self.operations.limits.borrow().storm;
            memory.remember(&found, &view, storm, Instant::now());
        }
        match self.operations.blindness().or(unread) {
            None => self.act(&identity, &tables, &found, &mut report).await,
            Some(why) => self.close_rolled_back(&identity, &found, why, &mut report).await,
        }
        self.tell_start(&report);
        Ok(report)
    }

    /// Without a fresh view of the cluster only one thing is certain: a copy never goes back, so a
    /// record that is older than one already seen is not current, and is closed.
    async fn close_rolled_back(
        &self,
        identity: &Identity,
        found: &[Found],
        why: String,
        report: &mut PassReport,
    ) {
        let verdicts: Vec<(&Found, Verdict)> =
            found.iter().map(|found| (found, self.judge(found, &BTreeMap::new()))).collect();
        let is_older = |found: &Found| {
            let record = found.record.as_ref().ok().filter(|_| found.is_ours);
            let standing = record.map(|record| standing(record, found.copied.as_ref()));
            standing == Some(Standing::RolledBack)
        };
        let mut open = Vec::new();
        for (found, verdict) in &verdicts {
            if is_older(found) {
                open.push((*found, verdict));
            }
        }
        self.each(identity, &open, Step::Close, report).await;
        report.blind.push(why);
        report.look_again(HOLD_POLL);
    }

    async fn act(
        &self,
        identity: &Identity,
        tables: &[(Backend, Vec<Disk>)],
        found: &[Found],
        report: &mut PassReport,
    ) {
        let verdicts: Vec<(&Found, Verdict)> =
            found.iter().map(|found| (found, self.judge(found, &BTreeMap::new()))).collect();
        self.tell_suspects(&verdicts);
        // Whatever may not be open is closed first, on all volumes, before anything is put back.
        let mut open = Vec::new();
        let mut direct = Vec::new();
        for (found, verdict) in &verdicts {
            match verdict.action {
                Action::Restore | Action::Undo | Action::Close => open.push((*found, verdict)),
                Action::Wait(time) => report.look_again(time),
                Action::Hold => report.look_again(HOLD_POLL),
                _ => {}
            }
            if is_direct(verdict.action) {
                direct.push((*found, verdict));
            }
        }
        self.each(identity, &open, Step::Close, report).await;
        self.each(identity, &direct, Step::CarryOut, report).await;
        self.fence_the_quiet(identity, tables, &verdicts, report).await;
        let attached = found.iter().filter(|found| found.is_attached()).count();
        self.operations.observer.happened(Happened::Attached(attached));
        let held = verdicts.iter().filter(|(_, v)| v.action == Action::Hold).count();
        self.operations.observer.happened(Happened::Held(held));
    }

    /// Nodes whose Node object or VolumeAttachment is gone: fenced, unless counters of their
    /// volumes move, or too many nodes went at once.
    async fn fence_the_quiet(
        &self,
        identity: &Identity,
        tables: &[(Backend, Vec<Disk>)],
        verdicts: &[(&Found, Verdict)],
        report: &mut PassReport,
    ) {
        let unread = |verdict: &Verdict| matches!(verdict.action, Action::ReadIo(_));
        let candidates: Vec<&Found> =
            verdicts.iter().filter(|(_, v)| unread(v)).map(|(found, _)| *found).collect();
        if candidates.is_empty() {
            return;
        }
        self.operations.observer.happened(Happened::GraceUsed);
        let suspects: Vec<&NodeName> =
            candidates.iter().flat_map(|found| found.holders.iter()).collect();
        let everything: Vec<&Found> = verdicts.iter().map(|(found, _)| *found).collect();
        let io = self.read_io(tables, &everything, &suspects).await;
        let judged: Vec<(&Found, Verdict)> =
            candidates.iter().map(|found| (*found, self.judge(found, &io))).collect();
        let mut allowed = Vec::new();
        for (found, verdict) in &judged {
            if !self.is_storm(found, verdict, report) {
                allowed.push((*found, verdict));
            }
        }
        self.each(identity, &allowed, Step::CarryOut, report).await;
    }

    /// Is the fence of this volume held back, because many nodes went at once?
    fn is_storm(&self, found: &Found, verdict: &Verdict, report: &mut PassReport) -> bool {
        if verdict.action != Action::Fence(FenceCause::NodeGone) {
            return false;
        }
        let limits = self.operations.limits.borrow().storm;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let holds =
            found.holders.iter().filter_map(|node| memory.storm.hold(node, limits, Instant::now()));
        let Some(hold) = holds.max() else {
            return false;
        };
        drop(memory);
        report.look_again(hold);
        *report.done.entry("storm_hold").or_default() += 1;
        self.operations.cluster.post(Notice {
            reason: Reason::RecoveryHeld,
            about: About::Driver,
            note: "several nodes became unhealthy at once; nothing is fenced before no further \
                   node has joined them for a while"
                .into(),
        });
        true
    }

    fn judge(&self, found: &Found, io: &BTreeMap<NodeName, Io>) -> Verdict {
        let limits = self.operations.limits.borrow();
        let rules = Rules { grace: limits.grace, orphan_grace: limits.orphan_grace };
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let facts: Facts<'_> = found.facts(&memory, io, Instant::now());
        verdict(&facts, rules)
    }

    /// Do counters of any single-node volume of these nodes move? Three reads, a second apart.
    async fn read_io(
        &self,
        tables: &[(Backend, Vec<Disk>)],
        everything: &[&Found],
        nodes: &[&NodeName],
    ) -> BTreeMap<NodeName, Io> {
        let mut io: BTreeMap<NodeName, Io> = BTreeMap::new();
        let of_node = |found: &Found| found.holders.iter().any(|holder| nodes.contains(&holder));
        let mut volumes: Vec<&Found> = everything.to_vec();
        volumes.retain(|found| found.is_single() && of_node(found));
        let mut reads: Vec<Vec<Option<Counters>>> = vec![Vec::new(); volumes.len()];
        for round in 0..3 {
            if round > 0 {
                let apart = self.operations.limits.borrow().counter_interval;
                tokio::time::sleep(apart).await;
            }
            let mut jobs: Vec<BoxFuture<'_, Option<Counters>>> = Vec::new();
            for found in &volumes {
                jobs.push(counters(tables, &found.id).boxed());
            }
            let row: Vec<_> = futures::stream::iter(jobs).buffered(ABREAST).collect().await;
            reads.iter_mut().zip(row).for_each(|(reads, counters)| reads.push(counters));
        }
        for (found, reads) in volumes.iter().zip(reads) {
            for holder in &found.holders {
                let entry = io.entry(holder.clone()).or_insert(Io::Untold);
                *entry = worse(*entry, movement(&reads));
            }
        }
        nodes.iter().for_each(|node| {
            io.entry((*node).clone()).or_insert(Io::Untold);
        });
        io
    }

    /// Takes a step for each, some at a time, and counts what became of it.
    async fn each(
        &self,
        identity: &Identity,
        volumes: &[(&Found, &Verdict)],
        step: Step,
        report: &mut PassReport,
    ) {
        let act = act::Act { operations: &self.operations, identity };
        let mut jobs: Vec<BoxFuture<'_, Stepped<'_>>> = Vec::new();
        for &(found, verdict) in volumes {
            jobs.push(
                async move {
                    let outcome = match step {
                        Step::Close => act.close(found).await,
                        Step::CarryOut => act.carry_out(found, verdict).await,
                    };
                    (found, verdict, outcome)
                }
                .boxed(),
            );
        }
        let outcomes: Vec<_> =
            futures::stream::iter(jobs).buffer_unordered(ABREAST).collect().await;
        for (found, verdict, outcome) in outcomes {
            self.count(&found.id, verdict, outcome, report);
        }
    }

    fn count(
        &self,
        id: &VolumeId,
        verdict: &Verdict,
        outcome: Result<act::Done, Error>,
        report: &mut PassReport,
    ) {
        let log = &self.operations.log;
        match outcome {
            Ok(act::Done::Nothing) => {}
            Ok(act::Done::Reported(word)) => *report.done.entry(word).or_default() += 1,
            Ok(act::Done::Changed(word)) => {
                slog::info!(log, "volume reconciled"; "volume" => %id, "action" => word,
                    "reason" => verdict.reason);
                self.operations.observer.happened(Happened::Reconciled(word));
                *report.done.entry(word).or_default() += 1;
                report.look_again(SOON);
            }
            Err(error) => {
                slog::warn!(log, "volume not reconciled"; "volume" => %id, "reason" => verdict.reason,
                    "error" => %error);
                report.failed.push(format!("{id}: {error}"));
                report.look_again(SOON);
            }
        }
    }

    fn tell_suspects(&self, verdicts: &[(&Found, Verdict)]) {
        let suspect = verdicts.iter().filter(|(_, v)| v.action == Action::Suspect);
        let mut nodes: Vec<&NodeName> = suspect.flat_map(|(found, _)| &found.not_ready).collect();
        nodes.sort();
        nodes.dedup();
        self.operations.observer.happened(Happened::SuspectNodes(nodes.len()));
        for node in nodes {
            let count = verdicts.iter().filter(|(found, _)| found.holders.contains(node)).count();
            self.operations.cluster.post(Notice {
                reason: Reason::NodeSuspect,
                about: About::Node(node.clone()),
                note: format!(
                    "node {node} is not Ready and holds {count} volumes; they are fenced when its \
                     Node object is deleted or it is tainted out-of-service"
                ),
            });
        }
    }

    fn tell_start(&self, report: &PassReport) {
        if !report.blind.is_empty() || self.has_started.swap(true, Ordering::Relaxed) {
            return;
        }
        let did: Vec<String> = report.done.iter().map(|(word, n)| format!("{n} {word}")).collect();
        let did = if did.is_empty() { "nothing was stale".to_owned() } else { did.join(", ") };
        self.operations.cluster.post(Notice {
            reason: Reason::StartupReconciliation,
            about: About::Driver,
            note: format!("first pass after the start: {did}"),
        });
    }
}

/// What is done at once, without reading counters first.
fn is_direct(action: Action) -> bool {
    !matches!(
        action,
        Action::Nothing | Action::Wait(_) | Action::ReadIo(_) | Action::Suspect | Action::Close
    )
}

async fn counters(tables: &[(Backend, Vec<Disk>)], id: &VolumeId) -> Option<Counters> {
    let (backend, _) = tables.iter().find(|(backend, _)| backend.name == id.backend)?;
    let reply = backend.rds.execute(Command::Show(id.slot.clone()), None).await.ok()?;
    reply.disks.into_iter().find(|disk| disk.slot == id.slot.as_str())?.counters
}

/// Reads that all stand still prove something; one that is missing proves nothing.
fn movement(reads: &[Option<Counters>]) -> Io {
    let Some(reads) = reads.iter().copied().collect::<Option<Vec<Counters>>>() else {
        return Io::Untold;
    };
    let moved = |pair: &[Counters]| {
        pair[1].writes != pair[0].writes || pair[1].reads != pair[0].reads || pair[1].in_flight > 0
    };
    if reads.windows(2).any(moved) { Io::Moving } else { Io::Still }
}

fn worse(a: Io, b: Io) -> Io {
    let rank = |io| match io {
        Io::Unread => 0,
        Io::Untold => 1,
        Io::Still => 2,
        Io::Moving => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn counters_move_when_anything_ended_or_is_under_way() {
        let at = |writes, reads, in_flight| Some(Counters { writes, reads, in_flight });
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(1, 1, 0)]), Io::Still);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(2, 1, 0)]), Io::Moving);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 2, 0), at(1, 2, 0)]), Io::Moving);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(1, 1, 1)]), Io::Moving);
        assert_eq!(movement(&[at(1, 1, 0), None, at(1, 1, 0)]), Io::Untold);
    }
}
