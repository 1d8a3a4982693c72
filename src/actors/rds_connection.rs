//! The connection to one box: session lanes, the queue before them, and the state of the link.
//!
//! ```text
//!             0, 1, 2, 4, 8, 16, 16 … s
//!          ┌──────────────────────────────┐
//!          ▼                              │ fails
//!   ┌────────────┐   connects and   ┌───────────┐       answers       ┌───────────────┐
//!   │ Down, next │ ───────────────▶ │ Down,     │ ──────────────────▶ │ Up, epoch n   │
//!   │ attempt at │   polls once     │ attempts  │                     │ polls, works  │
//!   └────────────┘                  └───────────┘                     └───────────────┘
//!          ▲                                                            │    │     ▲
//!          └── no answer, not even on a fresh connection ───────────────┘    └─────┘
//!                                                     the box has restarted: epoch n + 1
//! ```
//!
//! It owns the sessions: up to [`ConnectionSettings::lanes`] for commands ([`lanes`]) and one for
//! polls ([`poll`]), each with one command at a time. It publishes `watch<Link>`. Whoever needs the
//! box sends [`Execute`], mostly through [`RdsHandle`].
//!
//! While the link is down a command is answered at once; nothing waits behind the backoff. When it
//! goes down, what waits is answered [`Failure::NotConnected`] and what runs
//! [`Failure::Unanswered`]. A failed attempt to connect is no restart of the actor; attempts go on
//! for ever, and the old session is closed before the next one begins.
//!
//! It does not know what commands mean, does not repeat them and does not judge their replies.

mod handle;
pub mod jobs;
pub mod lanes;
pub mod poll;
pub mod sessions;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::StreamExt;
use futures::future::join_all;
use slog::{info, warn};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::handle::RdsHandle;
use self::jobs::{AnswerTo, Denied, Job, Queue, not_connected};
use self::lanes::{Lanes, Shop};
use self::poll::Proven;
use self::sessions::{Language, Sessions};
pub use self::settings::ConnectionSettings;
use super::supervision::{
    Alive, Entry, Fate, Guard, Guarded, Supervision, begin, enter, later, spawn, stop,
};
use super::{NoMetrics, Shutdown};
use crate::rds::ssh::{Connect, Session};
use crate::rds::{Command, Failure, Link};
use crate::volume::turns::Turn;

/// Why the link is down after [`Shutdown`].
const SHUT_DOWN: &str = "the driver is shutting down";

/// Runs one command on the box.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Execute {
    /// What.
    pub command: Command,
    /// The right to change the volume; released when the command has ended on the box.
    pub turn: Option<Turn>,
    /// Where the reply goes. A command that still waits when this is closed is not sent; one that
    /// is dropped without an answer was not sent.
    pub answer: AnswerTo,
}

/// Measures the connection.
pub trait ConnectionMetrics: Send + Sync {
    /// The state has changed: `rds_csi_rds_connection_state{address}`.
    fn connection_state(&self, address: &str, up: bool);
    /// An attempt to connect has ended: `rds_csi_rds_reconnect_total{status}`.
    fn attempted(&self, address: &str, succeeded: bool);
    /// It is up after so long: `rds_csi_rds_reconnect_duration_seconds`.
    fn reconnected(&self, address: &str, after: Duration);
    /// The session of a lane was lost, and will be replaced.
    fn lane_replaced(&self, address: &str);
    /// Commands that wait for a lane and that run.
    fn queue(&self, address: &str, waiting: usize, running: usize);
    /// A command was not taken, or not kept.
    fn denied(&self, address: &str, reason: Denied);
    /// A command that was sent has ended: `answered`, `unfinished`, `unanswered`, `not_sent`.
    fn executed(&self, address: &str, outcome: &'static str, took: Duration);
}

impl ConnectionMetrics for NoMetrics {
    fn connection_state(&self, _: &str, _: bool) {}
    fn attempted(&self, _: &str, _: bool) {}
    fn reconnected(&self, _: &str, _: Duration) {}
    fn lane_replaced(&self, _: &str) {}
    fn queue(&self, _: &str, _: usize, _: usize) {}
    fn denied(&self, _: &str, _: Denied) {}
    fn executed(&self, _: &str, _: &'static str, _: Duration) {}
}

/// What a connection is made of.
pub struct Parts {
    /// Log, restarts, fault points.
    pub supervision: Supervision,
    /// Opens sessions to the box.
    pub connect: Arc<dyn Connect>,
    /// RouterOS, except in tests.
    pub language: Language,
    /// Intervals, deadlines, bounds; may change.
    pub settings: watch::Receiver<ConnectionSettings>,
    /// Measures.
    pub metrics: Arc<dyn ConnectionMetrics>,
}

/// A connection from outside.
pub struct Handles {
    /// The box.
    pub rds: RdsHandle,
    /// What the actor publishes.
    pub link: watch::Receiver<Link>,
    /// Ends what runs, then disconnects for good.
    pub shutdown: Recipient<Shutdown>,
    /// Does it live?
    pub alive: Alive,
}

/// Starts a connection, which begins to connect at once. The box need not be there.
pub fn start(parts: Parts) -> Handles {
    let (link, link_seen) = watch::channel(Link::Down {
        since: Instant::now(),
        next: None,
        why: "not connected yet".into(),
    });
    let address = parts.connect.address().to_owned();
    let guard = Guard::new("rds_connection", parts.supervision);
    let shop = Shop {
        sessions: Sessions {
            connect: parts.connect,
            language: parts.language,
            settings: parts.settings,
        },
        link: link_seen.clone(),
        one_settles: Arc::new(Semaphore::new(1)),
        log: guard.log().clone(),
    };
    let actor = RdsConnectionActor {
        guard,
        shop,
        address: address.clone(),
        metrics: parts.metrics,
        link,
        epoch: 0,
        stopping: false,
        volatile: Volatile::default(),
    };
    let addr = Supervisor::start(|_| actor);
    Handles {
        rds: RdsHandle {
            to: addr.clone().recipient(),
            link: link_seen.clone(),
            address,
        },
        link: link_seen,
        shutdown: addr.clone().recipient(),
        alive: Box::new(move || addr.connected()),
    }
}

struct RdsConnectionActor {
    guard: Guard,
    shop: Shop,
    address: String,
    metrics: Arc<dyn ConnectionMetrics>,
    link: watch::Sender<Link>,
    /// How often the link came up.
    epoch: u64,
    stopping: bool,
    volatile: Volatile,
}

/// What a restart forgets.
#[derive(Default)]
struct Volatile {
    /// Failed attempts since a session last answered its first poll.
    failed: u32,
    queue: Queue,
    /// The timer for the job that expires first.
    expiry: Option<SpawnHandle>,
    up: Option<Up>,
    /// Who waits for the end.
    shutdowns: Vec<oneshot::Sender<()>>,
}

/// A link that is up. Dropping it abandons what runs.
struct Up {
    epoch: u64,
    lanes: Lanes,
    /// Cancelled when nothing that runs will be answered.
    abandon: CancellationToken,
    /// Cancelled when polling shall end with a goodbye.
    stop_polling: CancellationToken,
    _abandoned_on_drop: DropGuard,
}

/// The settings have changed, or are looked at for the first time.
struct SettingsSeen;

impl Guarded for RdsConnectionActor {
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

impl Actor for RdsConnectionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        begin(self, ctx, |act, ctx| {
            ctx.add_stream(
                WatchStream::new(act.shop.sessions.settings.clone()).map(|_| SettingsSeen),
            );
            act.attempt(ctx);
        });
    }
}

impl Supervised for RdsConnectionActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        let delay = self.guard.restarting();
        // What runs looks at the link when it is abandoned.
        let why = "the connection actor was restarted";
        self.publish_down(Some(Instant::now() + delay), why.into());
        self.volatile = Volatile::default();
    }
}

impl Handler<Execute> for RdsConnectionActor {
    type Result = ();

    fn handle(&mut self, execute: Execute, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Handler, |act, ctx| act.take(ctx, execute));
    }
}

impl Handler<Shutdown> for RdsConnectionActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        let (told, ended) = oneshot::channel();
        let goodbyes = self
            .shop
            .sessions
            .settings()
            .close_deadline
            .saturating_mul(2);
        let within = shutdown.within.saturating_add(goodbyes);
        enter(self, ctx, Entry::Handler, |act, ctx| {
            act.shut_down(ctx, shutdown, told)
        });
        // A sender that was dropped is an end, too: a restarted actor has no sessions.
        Box::pin(async move {
            let _ = tokio::time::timeout(within, ended).await;
        })
    }
}

impl StreamHandler<SettingsSeen> for RdsConnectionActor {
    fn handle(&mut self, SettingsSeen: SettingsSeen, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Stream, |act, ctx| {
            let lanes = act.shop.sessions.settings().lanes;
            if let Some(up) = &mut act.volatile.up {
                let surplus = up.lanes.surplus(lanes);
                act.close_surplus(ctx, surplus);
            }
            act.dispatch(ctx);
        });
    }

    /// The last settings stay.
    fn finished(&mut self, _: &mut Self::Context) {}
}

// The link.
impl RdsConnectionActor {
    fn publish_down(&mut self, next: Option<Instant>, why: String) {
        let before = self.link.borrow().clone();
        let since = match before {
            Link::Down { since, .. } => since,
            Link::Up { .. } => {
                self.metrics.connection_state(&self.address, false);
                Instant::now()
            }
        };
        self.link.send_replace(Link::Down { since, next, why });
    }

    fn attempt(&mut self, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let before = self.link.borrow().clone();
        if let Link::Down { why, .. } = before {
            self.publish_down(None, why);
        }
        let sessions = self.shop.sessions.clone();
        let open = async move { poll::open(&sessions).await };
        spawn(self, ctx, Fate::Owned, open, |act, ctx, opened| {
            act.metrics.attempted(&act.address, opened.is_ok());
            match opened {
                // What was opened is closed by being dropped.
                _ if act.stopping => {}
                Ok(proven) => act.come_up(ctx, proven),
                Err(why) => act.come_back_later(ctx, why),
            }
        });
    }

    fn come_back_later(&mut self, ctx: &mut Context<Self>, why: String) {
        self.volatile.failed = self.volatile.failed.saturating_add(1);
        let backoff = self.shop.sessions.settings().backoff;
        let delay = backoff.delay(self.volatile.failed);
        warn!(self.guard.log(), "box is not connected";
            "address" => &self.address, "error" => &why, "next_attempt_in" => ?delay);
        self.publish_down(Some(Instant::now() + delay), why);
        later(ctx, delay, Self::attempt);
    }

    fn come_up(&mut self, ctx: &mut Context<Self>, proven: Proven) {
        let before = self.link.borrow().clone();
        if let Link::Down { since, .. } = before {
            self.metrics.reconnected(&self.address, since.elapsed());
            self.metrics.connection_state(&self.address, true);
        }
        self.volatile.failed = 0;
        self.epoch += 1;
        info!(self.guard.log(), "box is connected"; "address" => &self.address,
            "epoch" => self.epoch, "version" => &proven.system.version);
        self.link.send_replace(Link::Up {
            since: Instant::now(),
            epoch: self.epoch,
            system: proven.system.clone(),
        });
        let abandon = CancellationToken::new();
        let stop_polling = CancellationToken::new();
        // Where the box has restarted under a link that was up, this abandons what ran before.
        self.volatile.up = Some(Up {
            epoch: self.epoch,
            lanes: Lanes::default(),
            abandon: abandon.clone(),
            stop_polling: stop_polling.clone(),
            _abandoned_on_drop: abandon.drop_guard(),
        });
        let watch = poll::watch(self.shop.sessions.clone(), proven, stop_polling);
        spawn(
            self,
            ctx,
            Fate::Owned,
            watch,
            |act, ctx, ended| match ended {
                poll::Ended::Lost(why) => act.go_down(ctx, why),
                poll::Ended::Restarted(proven) => {
                    info!(act.guard.log(), "box has restarted"; "address" => &act.address);
                    act.come_up(ctx, proven);
                }
                poll::Ended::Stopped => act.end(),
            },
        );
        self.dispatch(ctx);
    }

    fn go_down(&mut self, ctx: &mut Context<Self>, why: String) {
        self.come_back_later(ctx, why);
        // After the link has been published: what runs looks at it when it is abandoned.
        self.volatile.up = None;
        for job in self.volatile.queue.drain() {
            self.deny(job.answer, Denied::NotConnected);
        }
        self.measure();
    }
}

// The work.
impl RdsConnectionActor {
    fn take(&mut self, ctx: &mut Context<Self>, execute: Execute) {
        let Execute {
            command,
            turn,
            answer,
        } = execute;
        if self.stopping {
            return self.deny(answer, Denied::Stopping);
        }
        if self.volatile.up.is_none() {
            return self.deny(answer, Denied::NotConnected);
        }
        let settings = self.shop.sessions.settings();
        if !self.volatile.queue.has_room(settings.queue_max) {
            return self.deny(answer, Denied::Busy);
        }
        self.volatile.queue.push(Job {
            command,
            turn,
            answer,
            expires: Instant::now() + settings.command_deadline,
        });
        self.dispatch(ctx);
    }

    fn deny(&self, answer: AnswerTo, denied: Denied) {
        let address = self.address.clone();
        let failure = match denied {
            Denied::NotConnected => not_connected(&address, &self.link.borrow(), Instant::now()),
            Denied::Busy => Failure::Busy {
                address,
                waiting: self.volatile.queue.waiting(),
            },
            Denied::Stopping => Failure::Stopping { address },
        };
        self.metrics.denied(&self.address, denied);
        // The caller may have gone.
        let _ = answer.send(Err(failure));
    }

    /// Sends waiting work to free lanes.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        let lanes = self.shop.sessions.settings().lanes;
        while let Some(up) = &mut self.volatile.up
            && up.lanes.has_free(lanes)
            && let Some(work) = self.volatile.queue.take()
        {
            let (session, closed) = up.lanes.take();
            let (epoch, abandon) = (up.epoch, up.abandon.clone());
            for _ in 0..closed {
                self.metrics.lane_replaced(&self.address);
            }
            let began = Instant::now();
            let run = lanes::run(self.shop.clone(), session, work, abandon);
            spawn(self, ctx, Fate::Detached, run, move |act, ctx, ended| {
                act.metrics
                    .executed(&act.address, ended.outcome, began.elapsed());
                act.lane_ended(ctx, epoch, ended);
            });
        }
        self.expire_later(ctx);
        self.measure();
    }

    fn lane_ended(&mut self, ctx: &mut Context<Self>, epoch: u64, ended: lanes::Ended) {
        if let Some(panic) = &ended.panicked {
            return stop(self, ctx, Entry::Future, panic);
        }
        // The lanes of an earlier link are forgotten, and their sessions with them.
        let Some(up) = self.volatile.up.as_mut().filter(|up| up.epoch == epoch) else {
            return;
        };
        if let Some(why) = ended.broken {
            info!(self.guard.log(), "lane lost its session";
                "address" => &self.address, "error" => why);
            self.metrics.lane_replaced(&self.address);
        }
        up.lanes.give_back(ended.session);
        let surplus = up.lanes.surplus(self.shop.sessions.settings().lanes);
        let busy = up.lanes.busy();
        self.close_surplus(ctx, surplus);
        if !self.stopping {
            self.dispatch(ctx);
        } else if busy == 0 {
            self.disconnect(ctx);
        }
    }

    /// Sets the timer for the job that expires first.
    fn expire_later(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.volatile.expiry.take() {
            ctx.cancel_future(timer);
        }
        let Some(at) = self.volatile.queue.next_expiry() else {
            return;
        };
        let wait = at.saturating_duration_since(Instant::now());
        let timer = later(ctx, wait, |act: &mut Self, ctx| {
            for job in act.volatile.queue.expired(Instant::now()) {
                act.deny(job.answer, Denied::Busy);
            }
            act.expire_later(ctx);
            act.measure();
        });
        self.volatile.expiry = Some(timer);
    }

    fn measure(&self) {
        let busy = self.volatile.up.as_ref().map_or(0, |up| up.lanes.busy());
        self.metrics
            .queue(&self.address, self.volatile.queue.waiting(), busy);
    }

    fn close_surplus(&mut self, ctx: &mut Context<Self>, surplus: Vec<Box<dyn Session>>) {
        if !surplus.is_empty() {
            self.close(ctx, surplus, |_, _| {});
        }
    }

    /// Says goodbye in `closing`, all at once.
    fn close(
        &mut self,
        ctx: &mut Context<Self>,
        closing: Vec<Box<dyn Session>>,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let sessions = self.shop.sessions.clone();
        let close = async move {
            let goodbyes = closing.into_iter().map(|session| sessions.close(session));
            join_all(goodbyes).await;
        };
        spawn(self, ctx, Fate::Owned, close, |act, ctx, ()| then(act, ctx));
    }
}

// The end.
impl RdsConnectionActor {
    fn shut_down(
        &mut self,
        ctx: &mut Context<Self>,
        Shutdown { within }: Shutdown,
        told: oneshot::Sender<()>,
    ) {
        self.stopping = true;
        for job in self.volatile.queue.drain() {
            self.deny(job.answer, Denied::Stopping);
        }
        let Some(up) = &self.volatile.up else {
            return;
        };
        self.volatile.shutdowns.push(told);
        if up.lanes.busy() == 0 {
            return self.disconnect(ctx);
        }
        later(ctx, within, Self::disconnect);
    }

    /// Says goodbye in every idle session, then in that of the polls; what still runs is abandoned.
    fn disconnect(&mut self, ctx: &mut Context<Self>) {
        let Some(mut up) = self.volatile.up.take() else {
            return;
        };
        self.publish_down(None, SHUT_DOWN.into());
        let idle = up.lanes.surplus(0);
        let stop_polling = up.stop_polling.clone();
        drop(up);
        info!(self.guard.log(), "disconnecting"; "address" => &self.address);
        self.close(ctx, idle, move |_, _| stop_polling.cancel());
    }

    /// Nothing is left of the connection.
    fn end(&mut self) {
        self.publish_down(None, SHUT_DOWN.into());
        self.volatile.up = None;
        self.volatile.shutdowns.clear();
    }
}

#[cfg(test)]
mod test;
