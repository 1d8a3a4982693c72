//! Lanes: the sessions in which commands run, one line at a time each.
//!
//! A line runs in a task of its own, which owns the turns of its volumes and the ways to the callers.
//! So neither a restart of the actor nor a caller that gives up frees a turn whose command still
//! runs:
//!
//! ```text
//!   open (unless a session is idle) ──▶ send ──▶ reply ──▶ answer, turn is free, session is idle
//!     │ fails, or abandoned               │ deadline, closed, abandoned, panic
//!     ▼                                   ▼
//!   NotConnected, turn is free          Unanswered; the turn is kept ──▶ settle: re-read ──▶ free
//! ```
//!
//! What comes back without its sentinel is Unfinished, and keeps its turn as above: the box may have
//! ended the channel and not the line. Where a line holds several jobs and some are missing, those are
//! Unfinished and the others are answered. All are missing:
//! most likely the console did not understand the line, and one job is to blame, or the form. Then
//! each job runs alone. That is its re-read, too: every command looks at the box before it acts and
//! prints what it finds, so one that had run after all changes nothing and tells its caller so.
//!
//! A job that needs a mandate (a pass runs it) is sent only while that holds, which is looked at
//! before every step of the way: while it waited here another replica may have become the one that
//! reconciles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::batches::Work;
use super::jobs::{Job, not_connected};
use super::sessions::{Line, NoReply, Sessions};
use crate::actors::supervision::{Panicked, caught};
use crate::mandate::{Mandate, while_held};
use crate::rds::ssh::Session;
use crate::rds::{Command, Failure, Link, Reply};
use crate::volume::turns::Turn;

/// The outcome of a command that has a reply.
const ANSWERED: &str = "answered";

/// Why nobody waits for the reply to a command of a pass any more.
const TAKEN_OVER: &str = "another replica reconciles since it was sent";

/// The sessions that wait for work, and how many are at work. A lane without a session opens one
/// when it gets its first work.
#[derive(Default)]
pub struct Lanes {
    idle: Vec<Box<dyn Session>>,
    busy: usize,
    /// How many the box let in when it refused one more, and until when that counts.
    room: Option<(usize, Instant)>,
}

/// How long a box that let in no further session is not asked for one again.
const NO_ROOM_FOR: Duration = Duration::from_secs(60);

impl Lanes {
    /// How many are at work.
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// How many more of `lanes` may go to work.
    pub fn free(&self, lanes: usize) -> usize {
        self.at_most(lanes).max(1).saturating_sub(self.busy)
    }

    /// A fresh session was not to be had, while the box was there: for a while there are no more
    /// lanes than have one. Says so where that is news.
    pub fn no_room(&mut self) -> Option<usize> {
        let now = Instant::now();
        let before = self.room.filter(|(_, until)| now < *until).map(|(room, _)| room);
        let room = (self.busy + self.idle.len()).max(1);
        self.room = Some((room, now + NO_ROOM_FOR));
        (before != Some(room)).then_some(room)
    }

    fn at_most(&self, lanes: usize) -> usize {
        let room = self.room.filter(|(_, until)| Instant::now() < *until);
        room.map_or(lanes, |(room, _)| lanes.min(room))
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

/// How a lane's work ended. The callers have been answered.
#[derive(Default)]
pub struct Ended {
    /// The session, where it can be used again.
    pub session: Option<Box<dyn Session>>,
    /// Why it cannot, where that was not the end of the whole connection.
    pub broken: Option<String>,
    /// The box let in no further session.
    pub no_room: bool,
    /// The panic that ended the work.
    pub panicked: Option<Panicked>,
    /// For metrics, of each job: `answered`, `unfinished`, `unanswered`, `not_sent`.
    pub outcomes: Vec<&'static str>,
    /// The box answered no job of a line that several shared, and then each of them alone: it is
    /// the form of such lines that it does not understand.
    pub wants_each_alone: bool,
}

/// Does one work, in `session` or a fresh one, until `abandoned`.
pub async fn run(
    shop: Shop,
    session: Option<Box<dyn Session>>,
    work: Work,
    abandoned: CancellationToken,
) -> Ended {
    let mut lane =
        Lane { shop, abandoned, may_have_run: false, ended: Ended { session, ..Ended::default() } };
    let again = lane.exec(work).await;
    let (all, was_sent) = (again.len(), lane.may_have_run);
    for job in again {
        let sessions = &lane.shop.sessions;
        let work = Work::alone(job, &sessions.language, &sessions.settings());
        lane.exec(work).await;
    }
    let answered = lane.ended.outcomes.iter().filter(|outcome| **outcome == ANSWERED).count();
    lane.ended.wants_each_alone = was_sent && all > 0 && answered == all;
    lane.ended
}

/// A lane at work.
struct Lane {
    shop: Shop,
    abandoned: CancellationToken,
    /// Can the jobs have run before they are sent?
    may_have_run: bool,
    ended: Ended,
}

impl Lane {
    /// One exec. Answers its jobs, or gives back those that shall run alone.
    async fn exec(&mut self, work: Work) -> Vec<Job> {
        let Work { jobs, line, within } = work;
        let jobs = match self.refuse(jobs) {
            // The line holds the refused ones, so nothing of it is sent; the others go alone.
            (jobs, true) => return jobs,
            (jobs, false) => jobs,
        };
        let mandates: Vec<Mandate> = jobs.iter().filter_map(Job::mandate).cloned().collect();
        let sent = AtomicBool::new(self.may_have_run);
        let session = self.ended.session.take();
        let attempt = while_held(&mandates, attempt(&self.shop, session, &line, within, &sent));
        let attempt = tokio::select! {
            biased;
            () = self.abandoned.cancelled() => None,
            attempt = caught(attempt) => Some(attempt),
        };
        let attempt = match attempt {
            Some(Ok(None)) if !sent.load(SeqCst) => return self.refuse(jobs).0,
            Some(Ok(None)) => Some(Ok((None, Err(NoReply::Unanswered(TAKEN_OVER.into()))))),
            Some(Ok(Some(attempt))) => Some(Ok(attempt)),
            Some(Err(panic)) => Some(Err(panic)),
            None => None,
        };
        let sent = sent.load(SeqCst);
        let address = self.shop.sessions.connect.address().to_owned();
        let failure = match attempt {
            Some(Ok((kept, Ok(replies)))) => {
                self.ended.session = kept;
                return self.read(jobs, replies);
            }
            Some(Ok((kept, Err(no_reply)))) => {
                if kept.is_none() {
                    self.ended.broken = Some(no_reply.clone().why());
                    self.ended.no_room = matches!(no_reply, NoReply::NotSent(_));
                }
                self.ended.session = kept;
                failure(address, no_reply, sent)
            }
            Some(Err(panic)) => {
                let why = "the driver failed over the answer".to_owned();
                self.ended.panicked = Some(panic);
                match sent {
                    true => Failure::Unanswered { address, why },
                    false => Failure::Stopping { address },
                }
            }
            None => given_up(address, &self.shop.link.borrow(), sent),
        };
        let keeps_turn = matches!(failure, Failure::Unanswered { .. });
        for job in jobs {
            self.answer(job, Err(failure.clone()), keeps_turn);
        }
        Vec::new()
    }

    /// Answers the jobs of a pass that is another replica's to run by now, and gives back the
    /// others; were there any of the first kind?
    fn refuse(&mut self, jobs: Vec<Job>) -> (Vec<Job>, bool) {
        let (jobs, not_ours): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(Job::may_act);
        let any = !not_ours.is_empty();
        for job in not_ours {
            let address = self.shop.sessions.connect.address().to_owned();
            let failure = if self.may_have_run {
                Failure::Unanswered { address, why: TAKEN_OVER.into() }
            } else {
                Failure::NotLeading { address }
            };
            self.answer(job, Err(failure), self.may_have_run);
        }
        (jobs, any)
    }

    /// Answers the jobs of a line that came back.
    fn read(&mut self, jobs: Vec<Job>, replies: Vec<Result<Reply, String>>) -> Vec<Job> {
        let shared = jobs.len() > 1;
        if shared
            && let Some(Err(said)) = replies.first()
            && replies.iter().all(Result::is_err)
        {
            warn!(self.shop.log, "box did not finish a line of several commands; each goes alone";
                "address" => self.shop.sessions.connect.address(), "commands" => jobs.len(),
                "error" => said);
            // Whatever becomes of them now, the line that they shared was sent.
            self.may_have_run = true;
            return jobs;
        }
        for (job, reply) in jobs.into_iter().zip(replies) {
            let address = self.shop.sessions.connect.address().to_owned();
            let result = reply.map_err(|said| Failure::Unfinished { address, said });
            // Without the sentinel nothing says that the line has ended: the channel may have.
            let keeps_turn = result.is_err();
            self.answer(job, result, keeps_turn);
        }
        Vec::new()
    }

    fn answer(&mut self, job: Job, result: Result<Reply, Failure>, keeps_turn: bool) {
        self.ended.outcomes.push(label(&result));
        // The caller may have gone.
        let _ = job.answer.send(result);
        if let (true, Some(turn)) = (keeps_turn, job.turn) {
            // Nobody waits for it: it holds the turn, and that is all it is for.
            tokio::spawn(settle(self.shop.clone(), turn));
        }
    }
}

type Attempt = (Option<Box<dyn Session>>, Result<Vec<Result<Reply, String>>, NoReply>);

/// Opens where need be, and sends. A channel that is refused in a session that has idled is no
/// more than a session to be replaced: nothing can have run.
async fn attempt(
    shop: &Shop,
    session: Option<Box<dyn Session>>,
    line: &Line,
    within: Duration,
    sent: &AtomicBool,
) -> Attempt {
    let before = sent.load(SeqCst);
    if let Some(mut session) = session {
        sent.store(true, SeqCst);
        match shop.sessions.send(&mut *session, line, within).await {
            Err(NoReply::NotSent(_)) => sent.store(before, SeqCst),
            Err(no_reply) => return (None, Err(no_reply)),
            Ok(replies) => return (Some(session), Ok(replies)),
        }
        shop.sessions.close(session).await;
    }
    let mut session = match shop.sessions.open().await {
        Ok(session) => session,
        Err(why) => return (None, Err(NoReply::NotSent(why))),
    };
    sent.store(true, SeqCst);
    match shop.sessions.send(&mut *session, line, within).await {
        Ok(replies) => (Some(session), Ok(replies)),
        Err(no_reply) => {
            if matches!(no_reply, NoReply::NotSent(_)) {
                sent.store(before, SeqCst);
            }
            (None, Err(no_reply))
        }
    }
}

/// Why there is no answer at all; `sent` says whether the command can have run.
fn failure(address: String, no_reply: NoReply, sent: bool) -> Failure {
    match no_reply {
        NoReply::NotSent(why) if !sent => {
            Failure::NotConnected { address, why, next_attempt: Duration::ZERO }
        }
        NoReply::Unfinished(said) => Failure::Unfinished { address, said },
        NoReply::NotSent(why) | NoReply::Unanswered(why) => Failure::Unanswered { address, why },
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
        Ok(_) => ANSWERED,
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
            let within = settings.deadline([&command]);
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

#[cfg(test)]
mod test {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_box_that_lets_in_no_further_session_has_fewer_lanes_for_a_while() {
        let mut lanes = Lanes::default();
        lanes.take();
        lanes.take();
        assert_eq!(lanes.free(3), 1);
        lanes.give_back(None);
        assert_eq!(lanes.no_room(), Some(1), "one is at work");
        assert_eq!(lanes.no_room(), None, "that is no news");
        assert_eq!(lanes.free(3), 0);
        lanes.give_back(None);
        assert_eq!(lanes.free(3), 1, "one lane is always left");
        tokio::time::advance(NO_ROOM_FOR).await;
        assert_eq!(lanes.free(3), 3);
    }
}
