//! Backoff supervision: what actix's `Supervisor` does not do.
//!
//! actix restarts an actor that has *stopped*, at once, with the same struct, and does nothing for
//! one that has *panicked*: its mailbox closes, silently. So every entry into an actor goes
//! through this file:
//!
//! ```text
//!   handler ──▶ enter(Handler) ─┐
//!   started ──▶ begin           ├─ a panic is caught, logged, and becomes ctx.stop()
//!   timer   ──▶ later           │        │
//!   stream  ──▶ enter(Stream)   │        ▼
//!   future  ──▶ spawn          ─┘   restarting(): counted, everything volatile replaced whole
//!                                        │
//!                                        ▼
//!                                   started() ── begin: first work after 1, 2, 4 … 30 s
//! ```
//!
//! Queued messages survive a restart and are handled while the first work still waits, so handlers
//! must cope with an actor that has not begun. 60 s of work forgive earlier restarts. Whatever
//! gets past the guards closes the mailbox for good; [`watch_over`] sees it, and the process ends.
//!
//! It does not hold addresses: an actor that held its own would never end.

mod faults;
mod restarts;

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use futures::future::Either;
use slog::{Logger, error, o};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use self::faults::Faults;
use self::restarts::Restarts;
use super::NoMetrics;

/// How often [`watch_over`] looks.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Asks whether an actor still takes messages. Keeps the actor alive, too.
pub type Alive = Box<dyn Fn() -> bool + Send + Sync>;

/// The ways into an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A message.
    Handler,
    /// The first work after a start or restart.
    Started,
    /// A timer.
    Timer,
    /// An item of a stream, or its end.
    Stream,
    /// A future that was spawned, and what is done with its result.
    Future,
}

impl Entry {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Handler, Self::Started, Self::Timer, Self::Stream, Self::Future];

    /// For logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Started => "started",
            Self::Timer => "timer",
            Self::Stream => "stream",
            Self::Future => "future",
        }
    }
}

/// Why an actor was restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// This entry panicked.
    Panic(Entry),
    /// It stopped without a panic that we saw.
    Stopped,
}

impl Cause {
    /// The value of the label `cause`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Panic(Entry::Handler) => "panic_handler",
            Self::Panic(Entry::Started) => "panic_started",
            Self::Panic(Entry::Timer) => "panic_timer",
            Self::Panic(Entry::Stream) => "panic_stream",
            Self::Panic(Entry::Future) => "panic_future",
            Self::Stopped => "stopped",
        }
    }
}

/// Counts what supervision does.
pub trait ActorMetrics: Send + Sync {
    /// An actor was restarted: `rds_csi_actor_restarts_total{actor,cause}`.
    fn restarted(&self, actor: &'static str, cause: Cause);
}

impl ActorMetrics for NoMetrics {
    fn restarted(&self, _: &'static str, _: Cause) {}
}

/// What every actor needs in order to be supervised.
#[derive(Clone)]
pub struct Supervision {
    /// The parent of the actor's logger.
    pub log: Logger,
    /// Counts restarts.
    pub metrics: Arc<dyn ActorMetrics>,
    /// Fault points; `Faults::default()` except in tests.
    pub faults: Faults,
}

/// The guard of one actor, a field of it that survives restarts.
pub struct Guard {
    actor: &'static str,
    log: Logger,
    metrics: Arc<dyn ActorMetrics>,
    faults: Faults,
    restarts: Restarts,
    /// Why the actor is stopping.
    cause: Option<Cause>,
    /// When the first work after the latest restart is due.
    due: Option<Instant>,
}

impl Guard {
    /// The guard of the actor called `actor` in logs and metrics.
    pub fn new(actor: &'static str, supervision: Supervision) -> Self {
        Self {
            actor,
            log: supervision.log.new(o!("actor" => actor)),
            metrics: supervision.metrics,
            faults: supervision.faults,
            restarts: Restarts::default(),
            cause: None,
            due: None,
        }
    }

    /// The actor's logger.
    pub fn log(&self) -> &Logger {
        &self.log
    }

    /// The actor's fault points, for work that catches its own panics.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// To be called by `restarting()`: counts, and decides how long the first work waits. Returns
    /// that delay.
    pub fn restarting(&mut self) -> Duration {
        let cause = self.cause.take().unwrap_or(Cause::Stopped);
        let now = Instant::now();
        let delay = self.restarts.next(now);
        self.due = Some(now + delay);
        self.metrics.restarted(self.actor, cause);
        error!(self.log, "actor restarts"; "cause" => cause.label(), "delay" => ?delay);
        delay
    }

    fn caught(&mut self, entry: Entry, panic: &Panicked) {
        self.cause = Some(Cause::Panic(entry));
        error!(self.log, "actor panicked"; "entry" => entry.label(), "panic" => %panic);
    }
}

/// What a panic said.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Panicked(String);

impl Panicked {
    fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).into());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "no text".into()))
    }
}

/// An actor whose every entry is guarded.
pub trait Guarded: Actor<Context = Context<Self>> + Supervised {
    /// Its guard.
    fn guard(&mut self) -> &mut Guard;
}

/// Runs `body`; a panic stops the actor and gives `None`.
pub fn enter<A: Guarded, R>(
    actor: &mut A,
    ctx: &mut Context<A>,
    entry: Entry,
    body: impl FnOnce(&mut A, &mut Context<A>) -> R,
) -> Option<R> {
    // What a panic leaves half done is in the volatile part, which the restart replaces whole.
    let result = catch_unwind(AssertUnwindSafe(|| {
        actor.guard().faults.pass(entry);
        body(actor, ctx)
    }));
    match result {
        Ok(result) => Some(result),
        Err(payload) => {
            stop(actor, ctx, entry, &Panicked::from_payload(&*payload));
            None
        }
    }
}

/// Stops the actor because of a panic that was caught elsewhere: in a task of its own.
pub fn stop<A: Guarded>(actor: &mut A, ctx: &mut Context<A>, entry: Entry, panic: &Panicked) {
    actor.guard().caught(entry, panic);
    ctx.stop();
}

/// To be called by `started()`: runs the first work at once, or, after a restart, when its backoff
/// has passed. Never stops the actor from within `started()` twice in a row: that would be a loop
/// without an end inside one poll.
pub fn begin<A: Guarded>(
    actor: &mut A,
    ctx: &mut Context<A>,
    body: impl FnOnce(&mut A, &mut Context<A>) + 'static,
) {
    let due = actor.guard().due;
    let wait = due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
    if wait.is_zero() {
        enter(actor, ctx, Entry::Started, body);
        return;
    }
    ctx.run_later(wait, |actor, ctx| {
        enter(actor, ctx, Entry::Started, body);
    });
}

/// A guarded timer.
pub fn later<A: Guarded>(
    ctx: &mut Context<A>,
    delay: Duration,
    body: impl FnOnce(&mut A, &mut Context<A>) + 'static,
) -> SpawnHandle {
    ctx.run_later(delay, |actor, ctx| {
        enter(actor, ctx, Entry::Timer, body);
    })
}

/// Whose the work is that [`spawn`] starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It ends with the actor: a restart abandons it at its next await.
    Owned,
    /// It goes on to its own end; a restart only stops listening.
    Detached,
}

/// Runs `work` on the runtime's workers and `then` in the actor. A panic of either stops the
/// actor.
pub fn spawn<A: Guarded, T: Send + 'static>(
    actor: &mut A,
    ctx: &mut Context<A>,
    fate: Fate,
    work: impl Future<Output = T> + Send + 'static,
    then: impl FnOnce(&mut A, &mut Context<A>, T) + 'static,
) -> SpawnHandle {
    let faults = actor.guard().faults();
    let task = tokio::spawn(async move {
        let work = async move {
            faults.pass(Entry::Future);
            work.await
        };
        caught(work).await
    });
    let task = ended(fate, task).into_actor(actor);
    ctx.spawn(task.map(|result, actor, ctx| match result {
        Some(Ok(result)) => {
            enter(actor, ctx, Entry::Future, |actor, ctx| {
                then(actor, ctx, result);
            });
        }
        Some(Err(panic)) => stop(actor, ctx, Entry::Future, &panic),
        // The runtime is being shut down.
        None => {}
    }))
}

/// Runs `work` to its end or its panic.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.map_err(|payload| Panicked::from_payload(&*payload))
}

/// The result of `task`, or none where the runtime is being shut down. An owned task is bound to
/// the future before anybody polls it: an entry may panic right after it has spawned something.
fn ended<T>(fate: Fate, task: JoinHandle<T>) -> impl Future<Output = Option<T>> {
    let task = match fate {
        Fate::Owned => Either::Left(AbortOnDropHandle::new(task)),
        Fate::Detached => Either::Right(task),
    };
    async move { task.await.ok() }
}

/// Looks after actors that were started and resolves with the name of one that is dead: the
/// process must end then, since nothing brings it back.
pub async fn watch_over(actors: Vec<(&'static str, Alive)>) -> &'static str {
    loop {
        if let Some((name, _)) = actors.iter().find(|(_, alive)| !alive()) {
            return name;
        }
        tokio::time::sleep(WATCH_PERIOD).await;
    }
}

#[cfg(test)]
mod test;
