//! Lanes: the sessions in which commands run, one at a time each.
//!
//! A command runs in a task of its own, which owns the volume's turn and the way to the caller. So
//! neither a restart of the actor nor a caller that gives up frees a turn whose command still runs:
//!
//! ```text
//!   open (unless a session is idle) ──▶ send ──▶ reply ──▶ answer, turn is free, session is idle
//!     │ fails, or abandoned               │ deadline, closed, abandoned, panic
//!     ▼                                   ▼
//!   NotConnected, turn is free          Unanswered; the turn is kept ──▶ settle: re-read ──▶ free
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use slog::{Logger, info, warn};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::jobs::{Job, Work, not_connected};
use super::sessions::{NoReply, Sessions};
use crate::actors::supervision::{Panicked, caught};
use crate::rds::ssh::Session;
use crate::rds::{Command, Failure, Link, Reply};
use crate::volume::turns::Turn;

/// The sessions that wait for work, and how many are at work. A lane without a session opens one
/// when it gets its first work.
#[derive(Default)]
pub struct Lanes {
    idle: Vec<Box<dyn Session>>,
    busy: usize,
}

impl Lanes {
    /// How many are at work.
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// May one more of `lanes` go to work?
    pub fn has_free(&self, lanes: usize) -> bool {
        self.busy < lanes.max(1)
    }

    /// Sends one to work: its session, where one is open, and how many were found closed.
    pub fn take(&mut self) -> (Option<Box<dyn Session>>, usize) {
        self.busy += 1;
        let mut closed = 0;
        while let Some(session) = self.idle.pop() {
            if !session.closed().is_cancelled() {
                return (Some(session), closed);
            }
            closed += 1;
        }
        (None, closed)
    }

    /// One has come back from work, with its session where that can be used again.
    pub fn give_back(&mut self, session: Option<Box<dyn Session>>) {
        self.busy = self.busy.saturating_sub(1);
        self.idle.extend(session);
    }

    /// The idle sessions of which there are too many for `lanes`.
    pub fn surplus(&mut self, lanes: usize) -> Vec<Box<dyn Session>> {
        let keep = lanes.saturating_sub(self.busy).min(self.idle.len());
        self.idle.split_off(keep)
    }
}

/// What every lane of one actor needs.
#[derive(Clone)]
pub struct Shop {
    /// The box.
    pub sessions: Sessions,
    /// The state of the connection.
    pub link: watch::Receiver<Link>,
    /// One re-read at a time.
    pub one_settles: Arc<Semaphore>,
    /// The actor's logger.
    pub log: Logger,
}

/// How a lane's work ended. The caller has been answered.
pub struct Ended {
    /// The session, where it can be used again.
    pub session: Option<Box<dyn Session>>,
    /// Why it cannot, where that was not the end of the whole connection.
    pub broken: Option<String>,
    /// The panic that ended the work.
    pub panicked: Option<Panicked>,
    /// For metrics: `answered`, `unfinished`, `unanswered`, `not_sent`.
    pub outcome: &'static str,
}

type Attempt = (Option<Box<dyn Session>>, Result<Reply, NoReply>);

/// Does one work, in `session` or a fresh one, until `abandoned`.
pub async fn run(
    shop: Shop,
    session: Option<Box<dyn Session>>,
    work: Work,
    abandoned: CancellationToken,
) -> Ended {
    let Job { command, turn, answer, .. } = work.job;
    let sent = AtomicBool::new(false);
    let attempt = tokio::select! {
        biased;
        () = abandoned.cancelled() => None,
        attempt = caught(attempt(&shop, session, &command, &sent)) => Some(attempt),
    };
    let address = shop.sessions.connect.address().to_owned();
    let (mut session, mut broken, mut panicked) = (None, None, None);
    let result = match attempt {
        Some(Ok((kept, Ok(reply)))) => {
            session = kept;
            Ok(reply)
        }
        Some(Ok((kept, Err(no_reply)))) => {
            if kept.is_none() {
                broken = Some(no_reply.clone().why());
            }
            session = kept;
            Err(failure(address, no_reply))
        }
        Some(Err(panic)) => {
            let why = "the driver failed over the answer".to_owned();
            panicked = Some(panic);
            Err(match sent.load(SeqCst) {
                true => Failure::Unanswered { address, why },
                false => Failure::Stopping { address },
            })
        }
        None => Err(given_up(address, &shop.link.borrow(), sent.load(SeqCst))),
    };
    let outcome = label(&result);
    let running = matches!(result, Err(Failure::Unanswered { .. }));
    // The caller may have gone.
    let _ = answer.send(result);
    if let (true, Some(turn)) = (running, turn) {
        // Nobody waits for it: it holds the turn, and that is all it is for.
        tokio::spawn(settle(shop, turn));
    }
    Ended { session, broken, panicked, outcome }
}

/// Opens where need be, and sends. A channel that is refused in a session that has idled is no
/// more than a session to be replaced: nothing can have run.
async fn attempt(
    shop: &Shop,
    session: Option<Box<dyn Session>>,
    command: &Command,
    sent: &AtomicBool,
) -> Attempt {
    let within = shop.sessions.settings().deadline(command);
    if let Some(mut session) = session {
        sent.store(true, SeqCst);
        match shop.sessions.exec(&mut *session, command, within).await {
            Err(NoReply::NotSent(_)) => sent.store(false, SeqCst),
            Err(no_reply @ NoReply::Unanswered(_)) => return (None, Err(no_reply)),
            result => return (Some(session), result),
        }
        shop.sessions.close(session).await;
    }
    let mut session = match shop.sessions.open().await {
        Ok(session) => session,
        Err(why) => return (None, Err(NoReply::NotSent(why))),
    };
    sent.store(true, SeqCst);
    match shop.sessions.exec(&mut *session, command, within).await {
        Err(NoReply::Unfinished(said)) => (Some(session), Err(NoReply::Unfinished(said))),
        Err(no_reply) => (None, Err(no_reply)),
        Ok(reply) => (Some(session), Ok(reply)),
    }
}

fn failure(address: String, no_reply: NoReply) -> Failure {
    match no_reply {
        NoReply::NotSent(why) => {
            Failure::NotConnected { address, why, next_attempt: std::time::Duration::ZERO }
        }
        NoReply::Unanswered(why) => Failure::Unanswered { address, why },
        NoReply::Unfinished(said) => Failure::Unfinished { address, said },
    }
}

/// The connection has gone down, or the box has restarted, while the work was under way.
fn given_up(address: String, link: &Link, sent: bool) -> Failure {
    if !sent {
        return not_connected(&address, link, Instant::now());
    }
    let why = match link {
        Link::Down { why, .. } => why.clone(),
        Link::Up { .. } => "the box has restarted".into(),
    };
    Failure::Unanswered { address, why }
}

fn label(result: &Result<Reply, Failure>) -> &'static str {
    match result {
        Ok(_) => "answered",
        Err(Failure::Unfinished { .. }) => "unfinished",
        Err(Failure::Unanswered { .. }) => "unanswered",
        Err(_) => "not_sent",
    }
}

/// Keeps `turn` until the box has answered, in a session of its own, what has become of the
/// volume: before, its command counts as still running.
async fn settle(shop: Shop, turn: Turn) {
    let Shop { sessions, mut link, one_settles, log } = shop;
    let volume = turn.volume().clone();
    let command = Command::Show(volume.slot.clone());
    warn!(log, "turn is kept until the volume is read again"; "volume" => %volume);
    let mut failed = 0u32;
    // Without a connection actor there is no process for much longer.
    while link.wait_for(Link::is_up).await.is_ok() {
        let settings = sessions.settings();
        let read = async {
            let _one = one_settles.acquire().await;
            let mut session = sessions.open().await?;
            let within = settings.deadline(&command);
            let reply = sessions.exec(&mut *session, &command, within).await;
            if !matches!(reply, Err(NoReply::Unanswered(_))) {
                sessions.close(session).await;
            }
            reply.map_err(NoReply::why)
        };
        let why = match caught(read).await {
            Ok(Ok(_)) => {
                info!(log, "turn is free again"; "volume" => %volume);
                return;
            }
            Ok(Err(why)) => why,
            Err(panic) => panic.to_string(),
        };
        failed = failed.saturating_add(1);
        let delay = settings.backoff.delay(failed);
        warn!(log, "volume was not read again";
            "volume" => %volume, "error" => why, "again_in" => ?delay);
        sleep(delay).await;
    }
}
