//! The reconciler: decides *when* a pass runs. What a pass does is behind [`Reconcile`].
//!
//! Triggers come from the node watcher, the startup, an operator ([`super::trigger`]), from a box
//! that answers again (`watch<Link>`), from the period, and from the last pass, which may ask to be
//! run again soon. Any number of them during a pass is exactly one more pass ([`pass`]).
//!
//! The period counts from the end of a pass, so passes never pile up. A pass that fails, panics or
//! takes too long is repeated after 5, 10, 20 … s, never later than the period says.
//!
//! Of several replicas one passes: the one with the mandate. The others gather causes and wait; whoever
//! gets the mandate passes once, and whoever loses it abandons its pass at once.
//!
//! After a restart it passes once: something may have been missed. It never looks at what a
//! trigger or a link says beyond "look", and it knows nothing of volumes.

mod leads;
pub mod pass;
mod reconcile;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::prelude::*;
use futures::StreamExt;
use slog::{info, warn};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;

use self::pass::{Event, Next, Pass};
pub use self::reconcile::{
    LastPass, Outcome, PassError, PassReport, Reconcile, ReconcileMetrics, ReconcileSettings,
};
use super::Shutdown;
use super::backoff::Backoff;
use super::supervision::{
    Alive, Entry, Fate, Guard, Guarded, Supervision, begin, enter, later, spawn,
};
use super::trigger::{Cause, Causes, Pending, Trigger, TriggerHandle};
use crate::mandate::Mandate;
use crate::rds::Link;
use crate::volume::BackendName;

/// The delays after failed passes, bounded by the period as well.
const RETRY: Backoff =
    Backoff { min: Duration::from_secs(5), max: Duration::from_secs(300), jitter: 0.0 };

/// What the reconciler is made of.
pub struct Parts {
    /// Log, restarts, fault points.
    pub supervision: Supervision,
    /// What a pass does.
    pub work: Arc<dyn Reconcile>,
    /// Who fires; bound to the actor by [`start`].
    pub trigger: TriggerHandle,
    /// When passes run; may change.
    pub settings: watch::Receiver<ReconcileSettings>,
    /// The connection to every box.
    pub links: Vec<(BackendName, watch::Receiver<Link>)>,
    /// The right to run passes.
    pub mandate: Mandate,
    /// Measures passes.
    pub metrics: Arc<dyn ReconcileMetrics>,
}

/// The reconciler from outside.
pub struct Handles {
    /// Ends or abandons the running pass; none follows.
    pub shutdown: Recipient<Shutdown>,
    /// The latest pass, `None` before the first has ended.
    pub last: watch::Receiver<Option<LastPass>>,
    /// Does it live?
    pub alive: Alive,
}

/// Starts the reconciler. Its first pass waits for a trigger, a box that comes up, or the period.
pub fn start(parts: Parts) -> Handles {
    let (last, last_seen) = watch::channel(None);
    let actor = ReconcilerActor {
        guard: Guard::new("reconciler", parts.supervision),
        work: parts.work,
        pending: parts.trigger.pending(),
        settings: parts.settings,
        epochs: vec![0; parts.links.len()],
        links: parts.links,
        leads: false,
        mandate: parts.mandate,
        last,
        metrics: parts.metrics,
        one_pass: Arc::new(Semaphore::new(1)),
        stopping: false,
        restarted: false,
        volatile: Volatile::default(),
    };
    let address = Supervisor::start(|_| actor);
    parts.trigger.bind(address.clone().recipient());
    Handles {
        shutdown: address.clone().recipient(),
        last: last_seen,
        alive: Box::new(move || address.connected()),
    }
}

struct ReconcilerActor {
    guard: Guard,
    work: Arc<dyn Reconcile>,
    pending: Pending,
    settings: watch::Receiver<ReconcileSettings>,
    links: Vec<(BackendName, watch::Receiver<Link>)>,
    /// The epoch in which each link was last seen up; 0 is never.
    epochs: Vec<u64>,
    mandate: Mandate,
    /// Did the mandate hold when it was last looked at?
    leads: bool,
    last: watch::Sender<Option<LastPass>>,
    metrics: Arc<dyn ReconcileMetrics>,
    /// Held by the pass itself: an abandoned one may run on to its next await.
    one_pass: Arc<Semaphore>,
    /// Shut down: no further passes.
    stopping: bool,
    /// Was it ever restarted?
    restarted: bool,
    volatile: Volatile,
}

/// What a restart forgets.
#[derive(Default)]
struct Volatile {
    /// Has the first work been done? Before, triggers only gather.
    begun: bool,
    pass: Pass,
    /// Causes of the next pass.
    causes: Causes,
    running: Option<Running>,
    /// The one timer.
    timer: Option<SpawnHandle>,
    /// When the last pass ended, or the actor began.
    rested_since: Option<Instant>,
    /// When the last pass wants to be repeated.
    again: Option<Instant>,
    /// Failed passes since the last good one.
    failures: u32,
    /// Who waits for the end of the running pass.
    waiting: Vec<oneshot::Sender<()>>,
}

struct Running {
    handle: SpawnHandle,
    began: SystemTime,
    started: Instant,
    causes: Causes,
}

/// A link has changed, or is looked at for the first time.
struct LinkSeen(usize, Link);
/// The settings have changed, or are looked at for the first time.
struct SettingsSeen;

impl Guarded for ReconcilerActor {
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

impl Actor for ReconcilerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        begin(self, ctx, Self::begin);
    }
}

impl Supervised for ReconcilerActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.guard.restarting();
        self.restarted = true;
        let before = std::mem::take(&mut self.volatile);
        if let Some(running) = before.running {
            self.publish(running, Outcome::Abandoned);
        }
    }
}

impl Handler<Trigger> for ReconcilerActor {
    type Result = ();

    fn handle(&mut self, _: Trigger, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Handler, |act, ctx| {
            let causes = act.pending.take();
            // An earlier message has taken the causes of this one along.
            if !causes.is_empty() {
                act.due(ctx, causes);
            }
        });
    }
}

impl Handler<Shutdown> for ReconcilerActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        let (told, ended) = oneshot::channel();
        enter(self, ctx, Entry::Handler, |act, ctx| act.shut_down(ctx, shutdown, told));
        // A sender that was dropped is an end, too: nothing runs in a restarted actor.
        Box::pin(async move {
            let _ = ended.await;
        })
    }
}

impl StreamHandler<LinkSeen> for ReconcilerActor {
    fn handle(&mut self, LinkSeen(index, link): LinkSeen, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Stream, |act, ctx| {
            if let Link::Up { epoch, .. } = link
                && std::mem::replace(&mut act.epochs[index], epoch) != epoch
            {
                act.due(ctx, Cause::Reconnected.into());
            }
        });
    }

    /// Its connection actor is gone, and with it the process.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl StreamHandler<SettingsSeen> for ReconcilerActor {
    fn handle(&mut self, SettingsSeen: SettingsSeen, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Stream, Self::arm);
    }

    /// The last settings stay.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl ReconcilerActor {
    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.volatile.begun = true;
        self.volatile.rested_since = Some(Instant::now());
        for (index, (_, link)) in self.links.iter().enumerate() {
            let links = WatchStream::new(link.clone());
            ctx.add_stream(links.map(move |link| LinkSeen(index, link)));
        }
        ctx.add_stream(WatchStream::new(self.settings.clone()).map(|_| SettingsSeen));
        self.follow_mandate(ctx);
        if self.restarted {
            self.volatile.causes.add(Cause::Restart);
            // The message that stood for these may be the one that panicked.
            self.volatile.causes.add(self.pending.take());
        }
        let causes = self.volatile.causes;
        if causes.is_empty() {
            self.arm(ctx);
        } else {
            self.due(ctx, causes);
        }
    }

    /// A pass is wanted.
    fn due(&mut self, ctx: &mut Context<Self>, causes: Causes) {
        self.volatile.causes.add(causes);
        if self.volatile.begun && self.leads && !self.stopping {
            self.accept(ctx, Event::Due);
        }
    }

    fn accept(&mut self, ctx: &mut Context<Self>, event: Event) {
        let (pass, next) = self.volatile.pass.accept(event);
        self.volatile.pass = pass;
        match next {
            Next::Start => self.start_pass(ctx),
            Next::Wait if pass == Pass::Idle => self.arm(ctx),
            Next::Wait => {}
        }
    }

    fn start_pass(&mut self, ctx: &mut Context<Self>) {
        self.disarm(ctx);
        self.volatile.again = None;
        let causes = std::mem::take(&mut self.volatile.causes);
        let (work, one_pass) = (Arc::clone(&self.work), Arc::clone(&self.one_pass));
        let deadline = self.settings.borrow().deadline;
        let pass = async move {
            let pass = async {
                let _one = one_pass.acquire().await;
                work.pass(causes).await
            };
            match tokio::time::timeout(deadline, pass).await {
                Ok(Ok(report)) => Outcome::Done(report),
                Ok(Err(error)) => Outcome::Failed(error),
                Err(_) => Outcome::Late,
            }
        };
        let handle = spawn(self, ctx, Fate::Owned, pass, Self::end_pass);
        self.volatile.running =
            Some(Running { handle, began: SystemTime::now(), started: Instant::now(), causes });
    }

    fn end_pass(&mut self, ctx: &mut Context<Self>, outcome: Outcome) {
        let now = Instant::now();
        self.volatile.rested_since = Some(now);
        self.volatile.again = match &outcome {
            Outcome::Done(report) => {
                self.volatile.failures = 0;
                report.again_in.map(|again_in| now + again_in)
            }
            Outcome::Failed(_) | Outcome::Late | Outcome::Abandoned => {
                self.volatile.failures = self.volatile.failures.saturating_add(1);
                Some(now + RETRY.delay(self.volatile.failures))
            }
        };
        if let Some(running) = self.volatile.running.take() {
            self.publish(running, outcome);
        }
        self.volatile.waiting.clear();
        if self.stopping || !self.leads {
            self.volatile.pass = Pass::Idle;
        } else {
            self.accept(ctx, Event::Ended);
        }
    }

    fn publish(&mut self, running: Running, outcome: Outcome) {
        let last = LastPass {
            began: running.began,
            causes: running.causes,
            took: running.started.elapsed(),
            outcome,
        };
        let log = self.guard.log();
        match &last.outcome {
            Outcome::Failed(error) => warn!(log, "pass failed";
                "by" => last.causes.label(), "causes" => %last.causes, "took" => ?last.took, "error" => %error),
            outcome => info!(log, "pass ended";
                "by" => last.causes.label(), "causes" => %last.causes, "took" => ?last.took, "outcome" => outcome.label()),
        }
        self.metrics.pass_ended(&last);
        self.last.send_replace(Some(last));
    }

    /// Sets the one timer: the period from the end of the last pass, or earlier where that asked.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        self.disarm(ctx);
        if self.volatile.pass != Pass::Idle || self.stopping || !self.leads {
            return;
        }
        let now = Instant::now();
        let period = self.volatile.rested_since.unwrap_or(now) + self.settings.borrow().interval;
        let (at, cause) = match self.volatile.again {
            Some(again) if again < period => (again, Cause::Again),
            _ => (period, Cause::Timer),
        };
        let timer = later(ctx, at.saturating_duration_since(now), move |act: &mut Self, ctx| {
            act.volatile.timer = None;
            act.due(ctx, cause.into());
        });
        self.volatile.timer = Some(timer);
    }

    fn disarm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.volatile.timer.take() {
            ctx.cancel_future(timer);
        }
    }

    fn shut_down(
        &mut self,
        ctx: &mut Context<Self>,
        Shutdown { within }: Shutdown,
        told: oneshot::Sender<()>,
    ) {
        self.stopping = true;
        self.disarm(ctx);
        if self.volatile.running.is_none() {
            return;
        }
        self.volatile.waiting.push(told);
        later(ctx, within, |act: &mut Self, ctx| {
            if let Some(running) = &act.volatile.running {
                ctx.cancel_future(running.handle);
                act.end_pass(ctx, Outcome::Abandoned);
            }
        });
    }
}

#[cfg(test)]
mod test;
