//! Sessions: what a logged-in client has, in memory or behind SSH, with latency and faults in
//! tokio's time.
//!
//! A line that was sent runs to its end even if nobody waits for the answer any more, as it does on
//! a real box.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::faults::{Fault, Reboot};
use super::journal::Outcome;
use super::machine::{ExecResult, Pace, RouterOs};
use super::quirks::SecondChannel;
use super::replay::Replayed;
use super::user::ADMINISTRATOR;

/// Why a session could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The box is off or refuses connections.
    #[error("connection refused")]
    Refused,
    /// `max-sessions` is reached.
    #[error("too many sessions")]
    TooManySessions,
}

/// Why a line has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The connection was cut. The line may have run.
    #[error("the connection was cut")]
    Dropped,
    /// Another line was running and the box opens no second channel. Nothing ran.
    #[error("the box opened no second channel")]
    ChannelRefused,
}

/// One of the sessions that the box allows at once; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Inner {
    os: RouterOs,
    user: String,
    number: u64,
    /// Cancelled when the box cuts the connection.
    cut: CancellationToken,
    /// Cancelled when the box stops reading and writing.
    frozen: CancellationToken,
    /// Cancelled when the connection is over, whoever ended it.
    closed: CancellationToken,
    running: AtomicUsize,
    _place: Place,
}

/// A logged-in session. Dropping it closes the connection.
#[derive(Debug)]
pub struct Session(Arc<Inner>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.closed.cancel();
    }
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl RouterOs {
    /// Logs in. Waits as long as the box takes, for ever while it is half-open: the caller sets the
    /// deadline by dropping the future.
    pub async fn open_session(&self) -> Result<Session, OpenError> {
        if self.net().borrow().refusing || self.is_down() {
            return Err(OpenError::Refused);
        }
        if self.net().borrow().half_open {
            std::future::pending::<()>().await;
        }
        let (_, connect_latency) = self.latency();
        if !connect_latency.is_zero() {
            tokio::time::sleep(connect_latency).await;
        }
        if self.is_down() {
            return Err(OpenError::Refused);
        }
        let over = self.net().borrow().cut.child_token();
        self.session(ADMINISTRATOR, over).ok_or(OpenError::TooManySessions)
    }

    /// A session on a connection that already stands and ends with `over`; none where there are too
    /// many.
    pub(super) fn session(&self, user: &str, over: CancellationToken) -> Option<Session> {
        let place = self.place()?;
        let (cut, frozen) = {
            let receiver = self.net();
            let net = receiver.borrow();
            (net.cut.clone(), net.frozen.clone())
        };
        Some(Session(Arc::new(Inner {
            os: self.clone(),
            user: user.to_owned(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            closed: over,
            cut,
            frozen,
            running: AtomicUsize::new(0),
            _place: place,
        })))
    }

    fn place(&self) -> Option<Place> {
        let max = self.quirks().max_sessions;
        let count = self.session_count();
        let taken = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |sessions| {
            (sessions < max).then_some(sessions + 1)
        });
        taken.is_ok().then(|| Place(Arc::clone(count)))
    }

    /// How many sessions are open.
    pub fn open_sessions(&self) -> usize {
        self.session_count().load(Ordering::SeqCst)
    }
}

impl Session {
    /// Runs one line. A second one at the same time goes as the second channel of an SSH connection
    /// does. Once called it runs even if the future is dropped.
    pub async fn exec(&self, line: &str) -> Result<ExecResult, ExecError> {
        let running = self.0.running.fetch_add(1, Ordering::SeqCst);
        let guard = Running(Arc::clone(&self.0));
        if running > 0 && !self.0.frozen.is_cancelled() {
            match self.0.os.quirks().second_channel {
                SecondChannel::Serve => {}
                SecondChannel::Refuse => return Err(ExecError::ChannelRefused),
                SecondChannel::Stall => {
                    self.0.closed.cancelled().await;
                    return Err(ExecError::Dropped);
                }
            }
        }
        let line = line.to_owned();
        let task = tokio::spawn(async move { guard.0.run(&line).await });
        task.await.unwrap_or(Err(ExecError::Dropped))
    }

    /// Cancelled as soon as the connection is over. A frozen connection is not over.
    pub fn closed(&self) -> CancellationToken {
        self.0.closed.clone()
    }

    /// The number that the journal has.
    pub fn number(&self) -> u64 {
        self.0.number
    }
}

/// One line that runs.
struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inner {
    async fn run(&self, line: &str) -> Result<ExecResult, ExecError> {
        if self.frozen.is_cancelled() {
            return self.silence(line, Some(Outcome::Stalled)).await;
        }
        let (latency, _) = self.os.latency();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if self.closed.is_cancelled() {
            self.os.note(self.number, line, Outcome::Dropped);
            return Err(ExecError::Dropped);
        }
        let fault = self.os.take_fault(line);
        match fault {
            Some(Fault::DropBefore) => {
                self.os.note(self.number, line, Outcome::Dropped);
                self.closed.cancel();
                return Err(ExecError::Dropped);
            }
            Some(Fault::Stall) => return self.silence(line, Some(Outcome::Stalled)).await,
            Some(Fault::HalfOpen) => {
                self.os.set_half_open(true);
                return self.silence(line, Some(Outcome::Stalled)).await;
            }
            Some(Fault::PowerCut { after, .. }) => self.os.light_fuse(Some(after)),
            _ => {}
        }
        match self.os.replayed(line) {
            None => {}
            Some(Replayed::Answer(result)) => {
                self.os.note(self.number, line, Outcome::Answered);
                return self.after(line, fault, (result, false)).await;
            }
            Some(Replayed::Silence) => return self.silence(line, Some(Outcome::Stalled)).await,
            Some(Replayed::Cut) => {
                self.os.note(self.number, line, Outcome::Dropped);
                self.closed.cancel();
                return Err(ExecError::Dropped);
            }
        }
        let cut = match fault {
            Some(Fault::CutAt { moment, .. }) => Some(moment),
            _ => None,
        };
        let result = tokio::select! {
            biased;
            () = self.cut.cancelled() => {
                self.os.note(self.number, line, Outcome::PowerCut);
                return Err(ExecError::Dropped);
            }
            result = self.os.run_line(self.number, &self.user, line, Pace::Tokio, cut) => result,
        };
        self.after(line, fault, result).await
    }

    /// What happens between the work and the answer.
    async fn after(
        &self,
        line: &str,
        fault: Option<Fault>,
        (result, power_cut): (ExecResult, bool),
    ) -> Result<ExecResult, ExecError> {
        match fault {
            Some(Fault::PowerCut { downtime, .. }) => {
                self.os.light_fuse(None);
                self.os.reboot(Reboot::KeepEverything, downtime);
                return Err(ExecError::Dropped);
            }
            Some(Fault::CutAt { what, downtime, .. }) if power_cut => {
                self.os.reboot(what, downtime);
                return Err(ExecError::Dropped);
            }
            Some(Fault::DropAfter) => {
                self.os.amend(self.number, Outcome::AppliedThenDropped);
                self.closed.cancel();
                return Err(ExecError::Dropped);
            }
            Some(Fault::StallAfter) => return self.silence(line, None).await,
            Some(Fault::Slow(by)) => tokio::time::sleep(by).await,
            _ => {}
        }
        if power_cut || self.closed.is_cancelled() {
            return Err(ExecError::Dropped);
        }
        if self.frozen.is_cancelled() {
            return self.silence(line, None).await;
        }
        Ok(result)
    }

    /// No answer until the connection is over.
    async fn silence(&self, line: &str, outcome: Option<Outcome>) -> Result<ExecResult, ExecError> {
        if let Some(outcome) = outcome {
            self.os.note(self.number, line, outcome);
        }
        self.closed.cancelled().await;
        Err(ExecError::Dropped)
    }
}
