//! The node watcher: Node watch in, trigger out.
//!
//! The stream is read on the workers and made anew, with backoff, whenever it ends. What was known
//! of the nodes survives that, so a node that vanished in the gap is noticed by the list with which
//! the next stream begins ([`transitions`]). It does not survive a restart of the actor: that fires
//! the trigger once instead, and a pass looks at everything.
//!
//! It decides nothing about nodes: that is the pass's work.

pub mod transitions;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::prelude::*;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use slog::{info, warn};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use self::transitions::Known;
use super::backoff::Backoff;
use super::supervision::{
    Alive, Entry, Faults, Guard, Guarded, Panicked, Supervision, begin, caught, enter, later, stop,
};
use super::trigger::{Cause, TriggerHandle};
use super::{NoMetrics, Shutdown};
use crate::cluster::NodeChange;

/// Changes that wait between the workers and the actor; more of them wait in the stream.
const CHANGES_MAX: usize = 64;

/// The delays before a stream that has ended is made anew.
const AGAIN: Backoff =
    Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30), jitter: 0.1 };

/// Makes a stream of changes, beginning with [`NodeChange::All`].
pub type NodeChanges = Arc<dyn Fn() -> BoxStream<'static, NodeChange> + Send + Sync>;

/// Counts what the node watcher does.
pub trait NodeWatcherMetrics: Send + Sync {
    /// It fired the trigger: action `node_watcher_trigger`.
    fn node_watcher_trigger(&self);
}

impl NodeWatcherMetrics for NoMetrics {
    fn node_watcher_trigger(&self) {}
}

/// What the node watcher is made of.
pub struct Parts {
    /// Log, restarts, fault points.
    pub supervision: Supervision,
    /// The Node watch.
    pub changes: NodeChanges,
    /// What it fires.
    pub trigger: TriggerHandle,
    /// Counts.
    pub metrics: Arc<dyn NodeWatcherMetrics>,
}

/// The node watcher from outside.
pub struct Handles {
    /// Drops the stream; no other follows.
    pub shutdown: Recipient<Shutdown>,
    /// Does it live?
    pub alive: Alive,
}

/// Starts the node watcher.
pub fn start(parts: Parts) -> Handles {
    let actor = NodeWatcherActor {
        guard: Guard::new("node_watcher", parts.supervision),
        changes: parts.changes,
        trigger: parts.trigger,
        metrics: parts.metrics,
        stopping: false,
        restarted: false,
        volatile: Volatile::default(),
    };
    let address = Supervisor::start(|_| actor);
    Handles { shutdown: address.clone().recipient(), alive: Box::new(move || address.connected()) }
}

struct NodeWatcherActor {
    guard: Guard,
    changes: NodeChanges,
    trigger: TriggerHandle,
    metrics: Arc<dyn NodeWatcherMetrics>,
    stopping: bool,
    restarted: bool,
    volatile: Volatile,
}

/// What a restart forgets.
#[derive(Default)]
struct Volatile {
    known: Known,
    stream: Option<SpawnHandle>,
    /// Streams that ended since one has shown something.
    ended: u32,
}

impl Guarded for NodeWatcherActor {
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

impl Actor for NodeWatcherActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        begin(self, ctx, |act, ctx| {
            if act.restarted {
                act.trigger.fire(Cause::Restart);
            }
            act.watch(ctx);
        });
    }
}

impl Supervised for NodeWatcherActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.guard.restarting();
        self.restarted = true;
        self.volatile = Volatile::default();
    }
}

impl StreamHandler<Result<NodeChange, Panicked>> for NodeWatcherActor {
    fn handle(&mut self, change: Result<NodeChange, Panicked>, ctx: &mut Self::Context) {
        match change {
            Ok(change) => {
                enter(self, ctx, Entry::Stream, |act, _| act.see(change));
            }
            Err(panic) => stop(self, ctx, Entry::Future, &panic),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Stream, |act, ctx| {
            act.volatile.stream = None;
            act.volatile.ended = act.volatile.ended.saturating_add(1);
            let delay = AGAIN.delay(act.volatile.ended);
            warn!(act.guard.log(), "node watch ended"; "again_in" => ?delay);
            later(ctx, delay, Self::watch);
        });
    }
}

impl Handler<Shutdown> for NodeWatcherActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Handler, |act, ctx| {
            act.stopping = true;
            if let Some(stream) = act.volatile.stream.take() {
                ctx.cancel_future(stream);
            }
        });
    }
}

impl NodeWatcherActor {
    fn watch(&mut self, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let stream = Pumped::new(Arc::clone(&self.changes), self.guard.faults());
        self.volatile.stream = Some(ctx.add_stream(stream));
    }

    fn see(&mut self, change: NodeChange) {
        if let NodeChange::Failed(why) = &change {
            warn!(self.guard.log(), "node watch failed"; "error" => why);
        } else {
            self.volatile.ended = 0;
        }
        let seen = self.volatile.known.fold(change);
        for (node, transition) in &seen {
            info!(self.guard.log(), "node changed";
                "node" => %node, "transition" => transition.label());
        }
        if !seen.is_empty() {
            self.metrics.node_watcher_trigger();
            self.trigger.fire(Cause::Node);
        }
    }
}

/// A stream that is made and read on the workers. A panic there is its last item.
struct Pumped {
    changes: mpsc::Receiver<Result<NodeChange, Panicked>>,
    #[expect(dead_code, reason = "the pump ends when this is dropped")]
    pump: AbortOnDropHandle<()>,
}

impl Pumped {
    fn new(make: NodeChanges, faults: Faults) -> Self {
        let (to, changes) = mpsc::channel(CHANGES_MAX);
        let pump = tokio::spawn(async move {
            let read = async {
                faults.pass(Entry::Future);
                let mut stream = make();
                while let Some(change) = stream.next().await {
                    if to.send(Ok(change)).await.is_err() {
                        break;
                    }
                }
            };
            if let Err(panic) = caught(read).await {
                // Nobody listens to an actor's former stream.
                let _ = to.send(Err(panic)).await;
            }
        });
        Self { changes, pump: AbortOnDropHandle::new(pump) }
    }
}

impl Stream for Pumped {
    type Item = Result<NodeChange, Panicked>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.changes.poll_recv(cx)
    }
}

#[cfg(test)]
mod test;
