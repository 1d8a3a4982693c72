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
//! polls ([`poll`]), each with one line at a time; commands that wait together go in one line
//! ([`batches`]). It publishes `watch<Link>`. Whoever needs the
//! box sends [`Execute`], mostly through [`RdsHandle`].
//!
//! While the link is down a command is answered at once; nothing waits behind the backoff. When it
//! goes down, what waits is answered [`NotConnected`](crate::rds::Failure::NotConnected) and what runs
//! [`Unanswered`](crate::rds::Failure::Unanswered). A failed attempt to connect is no restart of the actor; attempts go on
//! for ever, and the old session is closed before the next one begins.
//!
//! It does not know what commands mean, does not repeat them and does not judge their replies.

pub mod batches;
mod handle;
pub mod jobs;
pub mod lanes;
mod link;
mod metrics;
pub mod poll;
pub mod sessions;
pub mod settings;
mod work;

use std::sync::Arc;

use actix::prelude::*;
use futures::StreamExt;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::handle::RdsHandle;
use self::jobs::{AnswerTo, Queue};
use self::lanes::{Lanes, Shop};
pub use self::metrics::ConnectionMetrics;
use self::sessions::{Language, Sessions};
pub use self::settings::ConnectionSettings;
use super::Shutdown;
use super::supervision::{Alive, Entry, Guard, Guarded, Supervision, begin, enter};
use crate::rds::ssh::Connect;
use crate::rds::{Command, Link};
use crate::volume::turns::Turn;

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
        rds: RdsHandle { to: addr.clone().recipient(), link: link_seen.clone(), address },
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
    /// A [`Dispatch`] is under way.
    dispatch_is_due: bool,
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
    /// May several commands share a line? Until the box shows that it does not understand that.
    shares_lines: bool,
    /// Cancelled when nothing that runs will be answered.
    abandon: CancellationToken,
    /// Cancelled when polling shall end with a goodbye.
    stop_polling: CancellationToken,
    _abandoned_on_drop: DropGuard,
}

/// Messages that may wait for the actor itself, which looks at each at once. As many as come at the
/// same time get into a line together.
const MAILBOX: usize = 128;

/// Waiting commands may go to free lanes.
#[derive(Message)]
#[rtype(result = "()")]
struct Dispatch;

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
        ctx.set_mailbox_capacity(MAILBOX);
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

impl Handler<Dispatch> for RdsConnectionActor {
    type Result = ();

    fn handle(&mut self, Dispatch: Dispatch, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Handler, |act, ctx| act.dispatch(ctx));
    }
}

impl Handler<Shutdown> for RdsConnectionActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        let (told, ended) = oneshot::channel();
        let goodbyes = self.shop.sessions.settings().close_deadline.saturating_mul(2);
        let within = shutdown.within.saturating_add(goodbyes);
        enter(self, ctx, Entry::Handler, |act, ctx| act.shut_down(ctx, shutdown, told));
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

#[cfg(test)]
mod test;
