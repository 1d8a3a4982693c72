//! Commands that wait for a lane: first in, first out, bounded. Pure but for the senders in it.
//!
//! What a lane gets of them is a matter of [`super::batches`].

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::mandate::Mandate;
use crate::rds::{Command, Failure, Link, Reply};
use crate::volume::turns::Turn;

/// Where the answer to a command goes.
pub type AnswerTo = oneshot::Sender<Result<Reply, Failure>>;

/// A command, and who waits for its reply.
#[derive(Debug)]
pub struct Job {
    /// What the box shall do.
    pub command: Command,
    /// The right to change the volume: goes where the command goes.
    pub turn: Option<Turn>,
    /// Closed when the caller has gone.
    pub answer: AnswerTo,
    /// If it still waits then, it is answered that the box is busy.
    pub expires: Instant,
}

impl Job {
    /// What must hold when it is sent.
    pub fn mandate(&self) -> Option<&Mandate> {
        self.turn.as_ref().and_then(Turn::mandate)
    }

    /// May it be sent now?
    pub fn may_act(&self) -> bool {
        self.turn.as_ref().is_none_or(Turn::may_act)
    }
}

/// Why a command was not taken, or not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// There is no connection.
    NotConnected,
    /// Too many wait, or it waited too long.
    Busy,
    /// The daemon stops, or the actor was restarted.
    Stopping,
}

impl Denied {
    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
        }
    }
}

/// That the box of `address` is not connected, as `link` says it at `now`.
pub fn not_connected(address: &str, link: &Link, now: Instant) -> Failure {
    let (why, next) = match link {
        Link::Down { why, next, .. } => (why.clone(), *next),
        Link::Up { .. } => ("the connection was replaced".into(), None),
    };
    Failure::NotConnected {
        address: address.to_owned(),
        why,
        next_attempt: next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now)),
    }
}

/// The jobs that wait.
#[derive(Debug, Default)]
pub struct Queue {
    jobs: VecDeque<Job>,
}

impl Queue {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// Is there room for one more, where `max` may wait? Callers that have gone make room.
    pub fn has_room(&mut self, max: usize) -> bool {
        if self.jobs.len() >= max {
            self.jobs.retain(|job| !job.answer.is_closed());
        }
        self.jobs.len() < max
    }

    /// Puts `job` behind the others.
    pub fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    /// What callers that have not gone wait for, in order. The other jobs are dropped.
    pub fn commands(&mut self) -> Vec<&Command> {
        self.jobs.retain(|job| !job.answer.is_closed());
        self.jobs.iter().map(|job| &job.command).collect()
    }

    /// Takes out the first `count` jobs.
    pub fn take(&mut self, count: usize) -> Vec<Job> {
        self.jobs.drain(..count.min(self.jobs.len())).collect()
    }

    /// When the first of them expires.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.jobs.iter().map(|job| job.expires).min()
    }

    /// Takes out the jobs that have waited too long.
    pub fn expired(&mut self, now: Instant) -> Vec<Job> {
        let jobs = std::mem::take(&mut self.jobs);
        let (expired, waiting): (Vec<_>, _) = jobs.into_iter().partition(|job| job.expires <= now);
        self.jobs = waiting.into();
        expired
    }

    /// Takes out all jobs.
    pub fn drain(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs).into()
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    type Caller = oneshot::Receiver<Result<Reply, Failure>>;

    fn job(expires: Instant) -> (Job, Caller) {
        let (answer, caller) = oneshot::channel();
        let job = Job { command: Command::Poll, turn: None, answer, expires };
        (job, caller)
    }

    #[test]
    fn a_full_queue_has_no_room_until_a_caller_goes() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let (first, first_caller) = job(now);
        assert!(queue.has_room(1));
        queue.push(first);
        assert!(!queue.has_room(1));
        drop(first_caller);
        assert!(queue.has_room(1));
        assert_eq!(queue.waiting(), 0);
        assert!(!queue.has_room(0));
    }

    #[test]
    fn a_job_whose_caller_has_gone_is_dropped() {
        let mut queue = Queue::default();
        let (gone, caller) = job(Instant::now());
        queue.push(gone);
        drop(caller);
        assert!(queue.commands().is_empty());
        assert!(queue.take(1).is_empty());
    }

    #[test]
    fn what_has_waited_too_long_comes_out_and_the_rest_stays_in_order() {
        let now = Instant::now();
        let seconds = |n| now + Duration::from_secs(n);
        let mut queue = Queue::default();
        let mut callers = Vec::new();
        for expires in [seconds(3), seconds(1), seconds(2)] {
            let (job, caller) = job(expires);
            queue.push(job);
            callers.push(caller);
        }
        assert_eq!(queue.next_expiry(), Some(seconds(1)));
        assert_eq!(queue.expired(seconds(1)).len(), 1);
        let left: Vec<_> = queue.take(9).into_iter().map(|job| job.expires).collect();
        assert_eq!(left, [seconds(3), seconds(2)]);
    }

    proptest! {
        /// Random pushes, takes and callers that leave: the bound holds, the order holds, nobody
        /// who still waits is forgotten.
        #[test]
        fn order_and_bound_hold(steps in prop::collection::vec(0u8..4, 0..200), max in 0usize..6) {
            let start = Instant::now();
            let mut queue = Queue::default();
            let mut callers: VecDeque<(Instant, Caller)> = VecDeque::new();
            for (at, step) in steps.into_iter().enumerate() {
                let at = start + Duration::from_secs(at as u64);
                match step {
                    0 | 1 => {
                        let (job, caller) = job(at);
                        if queue.has_room(max) {
                            queue.push(job);
                            callers.push_back((at, caller));
                        } else {
                            prop_assert_eq!(callers.len(), max);
                        }
                    }
                    2 => {
                        let waiting = queue.commands().len();
                        let taken: Vec<_> =
                            queue.take(2).into_iter().map(|job| job.expires).collect();
                        let first: Vec<_> =
                            callers.drain(..waiting.min(2)).map(|(at, _)| at).collect();
                        prop_assert_eq!(taken, first);
                        prop_assert_eq!(queue.waiting(), callers.len());
                    }
                    _ => drop(callers.pop_back()),
                }
                prop_assert!(queue.waiting() <= max);
            }
        }
    }
}
