//! The pass: reads everything anew, judges every volume, acts on what is wrong.
//!
//! ```text
//! look ──▶ close what may not be open ──▶ restore, repair, follow ──▶ read counters ──▶ fence, release
//!      ──▶ listen to agents
//! ```
//!
//! One exec reads a box; Kubernetes is read from the caches. A pass keeps nothing that it needs but
//! the moments since when something has been missing (`memory`): after a restart grace times
//! start anew. What saves time is kept, too: what the nodes are called (`roster`), and which volumes
//! were in order (`settled`). Each volume is changed under its turn; one whose turn is taken is left
//! for the next pass.

mod act;
mod counters;
mod facts;
mod listen;
mod look;
mod memory;
mod roster;
mod settled;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};

use self::facts::{Found, Seen};
use self::look::{Frame, Judge, Judged, Look};
use self::memory::{Holders, Memory};
use self::roster::Names;
use self::settled::{Past, Settled};
use self::survey::Survey;
use super::{Backend, Error, Happened, Operations};
use crate::attachment::standing::{Standing, standing};
use crate::attachment::verdict::{Action, FenceCause, Rules, Verdict};
use crate::cluster::agents::Heard;
use crate::cluster::{About, Deleting, Identity, Notice, Reason, View};
use crate::mandate::Mandate;
use crate::rds::{Command, Disk};
use crate::volume::{BackendName, NodeName, VolumeId};

/// How many volumes are changed at a time.
const ABREAST: usize = 8;
/// When to look again after something was done, or could not be done yet.
const SOON: Duration = Duration::from_secs(2);

/// How long the table of a box may take. The pass of all boxes waits for the slowest.
const TABLE_WITHIN: Duration = Duration::from_secs(30);

/// How long agents are waited for by a pass.
const WITNESSES_WITHIN: Duration = Duration::from_secs(2);

/// When to look again at what speaks against acting.
const HOLD_POLL: Duration = Duration::from_secs(10);

/// A step of a pass.
#[derive(Debug, Clone, Copy)]
enum Step {
    Close,
    CarryOut,
}

/// A box and what it printed.
pub type Table = (Backend, Vec<Arc<Disk>>);

/// What a pass has read, beside what the watches show at any moment.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// Who we are.
    pub identity: &'a Identity,
    /// The boxes that could be read.
    pub tables: &'a [Table],
    /// The volumes that are being deleted.
    pub deleting: &'a [Deleting],
}

/// What became of a step.
type Stepped<'a> = (&'a Found<'a>, &'a Verdict, Result<act::Done, Error>);

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
    mandate: Mandate,
    memory: Mutex<Memory>,
    past: Mutex<Past>,
    names: Mutex<Names>,
    has_started: AtomicBool,
}

impl Reconciler {
    /// A reconciler that has seen nothing yet.
    pub fn new(operations: Operations) -> Self {
        Self {
            operations,
            mandate: Mandate::unlimited(),
            memory: Mutex::default(),
            past: Mutex::default(),
            names: Mutex::default(),
            has_started: AtomicBool::new(false),
        }
    }

    /// The same, changing nothing but while `mandate` holds.
    pub fn under(self, mandate: Mandate) -> Self {
        Self { mandate, ..self }
    }

    /// One pass over all boxes. A box that cannot be read is held, the others go on. An error
    /// means that nothing could be judged at all.
    pub async fn pass(&self) -> Result<PassReport, Error> {
        let identity = self.operations.known_cluster().await?;
        let mut report = PassReport::default();
        let (tables, blind) = self.read_boxes(&mut report).await;
        // Without that list nothing is judged, but what is old is closed all the same.
        let (deleting, unread) = match self.operations.cluster.deleting().await {
            Ok(deleting) => (deleting, None),
            Err(error) => (Vec::new(), Some(format!("the list of deletions: {error}"))),
        };
        let sight = Sight { identity: &identity, tables: &tables, deleting: &deleting };
        let view = self.operations.cluster.view();
        let mut look = Look::default();
        let holders = self.judge_all(sight, &view, &blind, |judged| look.add(judged));
        look.holders = holders;
        match self.operations.blindness().or(unread) {
            None => self.act(sight, &view, &look, &mut report).await,
            Some(why) => self.close_rolled_back(&identity, &look, why, &mut report).await,
        }
        self.tell_start(&report);
        Ok(report)
    }

    /// What a pass would do with each volume, in no particular order. This is all of a pass that
    /// neither waits nor acts.
    pub fn verdicts(&self, sight: Sight<'_>, view: &View) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        self.judge_all(sight, view, &BTreeSet::new(), |judged| {
            verdicts.push(match judged {
                Judged::Settled(it) => Verdict { action: Action::Nothing, reason: it.reason },
                Judged::Anew(_, verdict) => verdict,
            });
        });
        verdicts
    }

    /// Every volume, and what to do with it; what is missing is remembered.
    fn judge_all<'a>(
        &'a self,
        sight: Sight<'a>,
        view: &'a View,
        blind: &BTreeSet<BackendName>,
        each: impl FnMut(Judged<'a, '_>),
    ) -> Holders<'a> {
        let survey = self.survey(sight, view);
        let limits = *self.operations.limits.borrow();
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut memory, now) = (self.memory(), Instant::now());
        let frame = Frame { limits, blind, now };
        look::judge_all(&survey, frame, &mut memory, &mut past, each)
    }

    fn survey<'a>(&'a self, sight: Sight<'a>, view: &'a View) -> Survey<'a> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Survey::new(sight, view, &mut names, &self.operations.backends)
    }

    fn judge<'m>(&self, memory: &'m Memory, seen: &'m Seen, now: Instant) -> Judge<'m> {
        let rules = Rules::from(*self.operations.limits.borrow());
        Judge { memory, seen, rules, now, holders: Vec::new() }
    }

    /// One exec each.
    async fn read_boxes(&self, report: &mut PassReport) -> (Vec<Table>, BTreeSet<BackendName>) {
        let (mut tables, mut blind) = (Vec::new(), BTreeSet::new());
        let read = self.operations.backends.by_name.values().map(|backend| async move {
            let table = timeout(TABLE_WITHIN, backend.rds.execute(Command::Table, None)).await;
            (backend, table)
        });
        for (backend, table) in futures::future::join_all(read).await {
            let why = match table {
                Ok(Ok(reply)) => {
                    let disks = reply.disks.into_iter().map(Arc::new).collect();
                    tables.push((backend.clone(), disks));
                    continue;
                }
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => "its table takes too long".to_owned(),
            };
            report.blind.push(format!("{}: {why}", backend.name));
            blind.insert(backend.name.clone());
        }
        (tables, blind)
    }

    /// Without a fresh view of the cluster only one thing is certain: a copy never goes back, so a
    /// record that is older than one already seen is not current, and is closed.
    async fn close_rolled_back(
        &self,
        identity: &Identity,
        look: &Look<'_>,
        why: String,
        report: &mut PassReport,
    ) {
        let is_older = |found: &Found<'_>| {
            let record = found.record.as_deref().ok().filter(|_| found.is_ours);
            let standing = record.map(|record| standing(record, found.copied.as_deref()));
            standing == Some(Standing::RolledBack)
        };
        // None of them is in order.
        let open: Vec<_> = look.amiss.iter().filter(|(found, _)| is_older(found)).collect();
        self.each(identity, &open, Step::Close, report).await;
        report.blind.push(why);
        report.look_again(HOLD_POLL);
    }

    async fn act(&self, sight: Sight<'_>, view: &View, look: &Look<'_>, report: &mut PassReport) {
        let identity = sight.identity;
        // Whatever may not be open is closed first, on all volumes, before anything is put back.
        let mut open = Vec::new();
        let mut direct = Vec::new();
        for judged in &look.amiss {
            match judged.1.action {
                Action::Restore | Action::Undo | Action::Close => open.push(judged),
                Action::Wait(time) => {
                    *report.done.entry("waiting").or_default() += 1;
                    report.look_again(time);
                }
                Action::Hold => report.look_again(HOLD_POLL),
                _ => {}
            }
            if is_direct(judged.1.action) {
                direct.push(judged);
            }
        }
        self.each(identity, &open, Step::Close, report).await;
        self.each(identity, &direct, Step::CarryOut, report).await;
        let busy = self.fence_the_quiet(sight, view, look, report).await;
        self.operations.observer.happened(Happened::Attached(look.attached));
        let held = busy + look.amiss.iter().filter(|(_, v)| v.action == Action::Hold).count();
        self.operations.observer.happened(Happened::Held(held));
        self.tell_suspects(look).await;
        self.listen(sight, view, look, report).await;
    }

    /// Nodes whose Node object or VolumeAttachment is gone: fenced, unless counters of their
    /// volumes move, or too many nodes went at once. Says how many volumes are held because of
    /// their counters.
    async fn fence_the_quiet(
        &self,
        sight: Sight<'_>,
        view: &View,
        look: &Look<'_>,
        report: &mut PassReport,
    ) -> usize {
        let unread = |verdict: &Verdict| matches!(verdict.action, Action::ReadIo(_));
        let unread_ones = look.amiss.iter().filter(|(_, verdict)| unread(verdict));
        let candidates: Vec<&Found<'_>> = unread_ones.map(|(found, _)| found).collect();
        if candidates.is_empty() {
            return 0;
        }
        self.operations.observer.happened(Happened::GraceUsed);
        let suspects: BTreeSet<&NodeName> =
            candidates.iter().flat_map(|found| found.holder_names()).collect();
        let of_suspect = |found: &Found<'_>| found.holder_names().any(|it| suspects.contains(it));
        let volumes = self.those(sight, view, |found| found.is_single() && of_suspect(found));
        let interval = self.operations.limits.borrow().counter_interval;
        // Beside the counters, which take longer.
        let silent: BTreeSet<NodeName> = suspects.iter().copied().cloned().collect();
        let (io, witnesses) = tokio::join!(
            counters::read(sight.tables, &volumes, &suspects, interval),
            self.operations.hear_all(silent, WITNESSES_WITHIN),
        );
        let seen = Seen { io, witnesses };
        // That took a while. A node that has come back meanwhile is not gone.
        let view = self.operations.cluster.view();
        let ids: BTreeSet<&VolumeId> = candidates.iter().map(|found| &found.id).collect();
        let now = self.those(sight, &view, |found| ids.contains(&found.id));
        let mut judged = Vec::new();
        {
            let memory = self.memory();
            let mut judge = self.judge(&memory, &seen, Instant::now());
            judged.extend(now.into_iter().map(|found| {
                let verdict = judge.verdict(&found);
                (found, verdict)
            }));
        }
        let mut allowed = Vec::new();
        let mut held = 0;
        for both in &judged {
            let (found, verdict) = both;
            if verdict.action == Action::Hold {
                held += 1;
                report.look_again(HOLD_POLL);
            }
            if unread(verdict) {
                report.failed.push(format!("{}: its counters could not be read", found.id));
                report.look_again(HOLD_POLL);
            }
            if !is_undecided(verdict.action) && !self.is_storm(found, verdict, report) {
                allowed.push(both);
            }
        }
        self.each(sight.identity, &allowed, Step::CarryOut, report).await;
        held
    }

    /// The volumes that `wanted` accepts.
    fn those<'a>(
        &'a self,
        sight: Sight<'a>,
        view: &'a View,
        wanted: impl Fn(&Found<'_>) -> bool,
    ) -> Vec<Found<'a>> {
        let mut those = Vec::new();
        self.survey(sight, view).volumes(&Settled::default(), |_, found| {
            if wanted(&found) {
                those.push(found);
            }
        });
        those
    }

    /// Is the fence of this volume held back, because many nodes went at once?
    fn is_storm(&self, found: &Found<'_>, verdict: &Verdict, report: &mut PassReport) -> bool {
        if verdict.action != Action::Fence(FenceCause::NodeGone) {
            return false;
        }
        let limits = self.operations.limits.borrow().storm;
        let mut memory = self.memory();
        let holds =
            found.holder_names().filter_map(|node| memory.storm.hold(node, limits, Instant::now()));
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

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a step for each, some at a time, and counts what became of it.
    async fn each(
        &self,
        identity: &Identity,
        volumes: &[&(Found<'_>, Verdict)],
        step: Step,
        report: &mut PassReport,
    ) {
        let act = act::Act { operations: &self.operations, identity, mandate: &self.mandate };
        let mut jobs: Vec<BoxFuture<'_, Stepped<'_>>> = Vec::new();
        for (found, verdict) in volumes {
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
        if matches!(outcome, Ok(act::Done::Changed(_))) {
            self.memory().succeeded(id);
        }
        match outcome {
            Ok(act::Done::Nothing) => {}
            Ok(act::Done::Later) => report.look_again(SOON),
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
                report.look_again(self.memory().failed(id));
            }
        }
    }

    async fn tell_suspects(&self, look: &Look<'_>) {
        let suspect = look.amiss.iter().filter(|(_, verdict)| verdict.action == Action::Suspect);
        let nodes: BTreeSet<&NodeName> = suspect.flat_map(|(found, _)| found.not_ready()).collect();
        self.operations.observer.happened(Happened::SuspectNodes(nodes.len()));
        let asked = nodes.iter().copied().cloned().collect();
        let witnesses = self.operations.hear_all(asked, WITNESSES_WITHIN).await;
        for node in nodes {
            let count = look.not_ready.get(node).copied().unwrap_or_default();
            self.operations.cluster.post(Notice {
                reason: Reason::NodeSuspect,
                about: About::Node(node.clone()),
                note: format!(
                    "node {node} is not Ready{} and holds {count} volumes; they are fenced when its \
                     Node object is deleted or it is tainted out-of-service",
                    match witnesses.get(node) {
                        Some(Heard::Said(_)) =>
                            ", though its agent answers (it lost the API server, not its disks),",
                        Some(Heard::Alive(_)) => ", though its kernel is alive,",
                        Some(Heard::Silent(_)) | None => "",
                    }
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
    !is_undecided(action) && action != Action::Close
}

/// What asks for nothing to be done now.
fn is_undecided(action: Action) -> bool {
    matches!(action, Action::Nothing | Action::Wait(_) | Action::ReadIo(_) | Action::Suspect)
}
