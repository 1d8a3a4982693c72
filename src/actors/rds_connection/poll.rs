//! Is the box there? A cheap exec every few seconds, in a session that is used for nothing else, so
//! that long commands never look like an outage.
//!
//! ```text
//!   answer ── 5 s ──▶ poll ── 3 s without answer ──▶ close, connect, poll ── 3 s without answer ──▶ lost
//!     │                                    ▲
//!     └── TCP connection has ended ────────┘  (at once)
//! ```
//!
//! A half-open connection is thus noticed within 5 + 3 + 3 s, and a single session that has broken,
//! while the box is there, is replaced and nobody hears of it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::sessions::Sessions;
use crate::rds::ssh::Session;
use crate::rds::{Command, System};

/// A session that has answered a poll.
pub struct Proven {
    /// The session.
    pub session: Box<dyn Session>,
    /// What the box said.
    pub system: System,
}

/// How watching ends.
pub enum Ended {
    /// The box does not answer; why, in words.
    Lost(String),
    /// The box answers, and has been restarted since it answered last.
    Restarted(Proven),
    /// It was asked to stop, and has closed its session.
    Stopped,
}

/// Connects and polls once.
pub async fn open(sessions: &Sessions) -> Result<Proven, String> {
    let mut session = sessions.open().await?;
    match ask(sessions, &mut *session).await {
        Ok(system) => Ok(Proven { session, system }),
        Err(why) => {
            drop(session);
            Err(why)
        }
    }
}

/// Polls until the box is lost, was restarted, or `stop` is cancelled.
pub async fn watch(mut sessions: Sessions, mut proven: Proven, stop: CancellationToken) -> Ended {
    let mut uptime = proven.system.uptime;
    loop {
        let closed = proven.session.closed();
        let trouble = match pause(&mut sessions, &closed, &stop).await {
            Pause::Over => None,
            Pause::Closed => Some("the TCP connection has ended".to_owned()),
            Pause::Stopped => {
                sessions.close(proven.session).await;
                return Ended::Stopped;
            }
        };
        let answer = match trouble {
            Some(why) => Err(why),
            None => ask(&sessions, &mut *proven.session).await,
        };
        match answer {
            Ok(system) => proven.system = system,
            Err(why) => match replace(&sessions, proven.session).await {
                Ok(fresh) => proven = fresh,
                Err(then) => return Ended::Lost(format!("{why}; on a fresh connection: {then}")),
            },
        }
        if has_restarted(uptime, proven.system.uptime) {
            return Ended::Restarted(proven);
        }
        uptime = proven.system.uptime.or(uptime);
    }
}

/// Has the box been restarted between two polls? An uptime that could not be read says nothing.
fn has_restarted(before: Option<Duration>, now: Option<Duration>) -> bool {
    matches!((before, now), (Some(before), Some(now)) if now < before)
}

/// How the time between two polls ends.
enum Pause {
    Over,
    Closed,
    Stopped,
}

/// Waits for the interval to pass; it may change meanwhile, and counts from the last answer.
async fn pause(
    sessions: &mut Sessions,
    closed: &CancellationToken,
    stop: &CancellationToken,
) -> Pause {
    let answered = Instant::now();
    let mut may_change = true;
    loop {
        let due = answered + sessions.settings().poll_interval;
        tokio::select! {
            biased;
            () = stop.cancelled() => return Pause::Stopped,
            () = closed.cancelled() => return Pause::Closed,
            () = sleep_until(due) => return Pause::Over,
            changed = sessions.settings.changed(), if may_change => may_change = changed.is_ok(),
        }
    }
}

/// One poll.
async fn ask(sessions: &Sessions, session: &mut dyn Session) -> Result<System, String> {
    let within = sessions.settings().poll_deadline;
    let reply = sessions.exec(session, &Command::Poll, within).await;
    let reply = reply.map_err(super::sessions::NoReply::why)?;
    let missing = || "the box said neither version nor uptime".to_owned();
    reply.system.ok_or_else(missing)
}

/// Closes the old session, connects and polls, all within the deadline of one poll.
async fn replace(sessions: &Sessions, old: Box<dyn Session>) -> Result<Proven, String> {
    let within = sessions.settings().poll_deadline;
    let fresh = async {
        sessions.close(old).await;
        open(sessions).await
    };
    let late = |_| Err(format!("no answer within {} s", within.as_secs_f32()));
    timeout(within, fresh).await.unwrap_or_else(late)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_two_uptimes_that_were_read_tell_of_a_restart() {
        let seconds = |n| Some(Duration::from_secs(n));
        let table = [
            (seconds(9), seconds(8), true),
            (seconds(9), seconds(9), false),
            (seconds(9), seconds(14), false),
            (seconds(9), None, false),
            (None, seconds(3), false),
            (None, None, false),
        ];
        for (before, now, restarted) in table {
            assert_eq!(has_restarted(before, now), restarted, "{before:?} {now:?}");
        }
    }
}
