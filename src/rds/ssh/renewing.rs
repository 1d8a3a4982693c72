//! A session over thrussh that replaces its connection every few commands.
//!
//! thrussh 0.49 never answers the close of a channel, and its interface has no way to: on the
//! other side every finished command stays half open until the connection ends. OpenSSH refuses
//! the eleventh (observed on 9.2); what RouterOS does is unproven. So a connection serves a
//! bounded number of commands. The next one is opened in the background before the bound is
//! reached, so that nobody waits for a login, and the change is not seen from outside.
//!
//! ```text
//! used:   0 … EARLY          EARLY … LIMIT                 LIMIT
//!         one connection     the next one is being opened  change over, used = 0
//! ```
//!
//! It deliberately does not retry: a renewal that fails ends the session, and its owner, who
//! knows about backoff, opens another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{ConnectError, ExecOutput, Session, SessionError};

/// Commands per connection. OpenSSH's default allows ten open channels.
const LIMIT: u32 = 8;
/// Commands after which the next connection is opened.
const EARLY: u32 = 6;
/// How long the goodbye to a used-up connection may take before it is cut.
const GOODBYE: Duration = Duration::from_secs(2);

type Opened = Result<Box<dyn Session>, ConnectError>;
/// Opens one more connection of the same kind.
pub(super) type Open = Arc<dyn Fn() -> BoxFuture<'static, Opened> + Send + Sync>;

/// See the module.
pub(super) struct Renewing {
    open: Open,
    current: Box<dyn Session>,
    used: u32,
    next: Option<AbortOnDropHandle<Opened>>,
    closed: CancellationToken,
    /// Tells the watch over `current` that its end is intended.
    superseded: CancellationToken,
    /// A command was begun and its future dropped: no fresh connection may hide that.
    unfinished: bool,
}

impl Renewing {
    /// Starts with an open session.
    pub(super) fn new(first: Box<dyn Session>, open: Open) -> Self {
        let closed = CancellationToken::new();
        let superseded = watch(first.as_ref(), closed.clone());
        Renewing {
            open,
            current: first,
            used: 0,
            next: None,
            closed,
            superseded,
            unfinished: false,
        }
    }

    fn opening(&mut self) -> &mut AbortOnDropHandle<Opened> {
        let open = &self.open;
        self.next.get_or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(open())))
    }

    async fn renew(&mut self) -> Result<(), SessionError> {
        let opened = self.opening().await;
        self.next = None;
        let fresh = match opened {
            Ok(Ok(session)) => session,
            Ok(Err(e)) => return Err(self.give_up(e.to_string())),
            Err(_) => return Err(self.give_up("the SSH library panicked".to_owned())),
        };
        self.superseded.cancel();
        self.superseded = watch(fresh.as_ref(), self.closed.clone());
        let old = std::mem::replace(&mut self.current, fresh);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(GOODBYE, old.close()).await;
        });
        self.used = 0;
        Ok(())
    }

    fn give_up(&self, reason: String) -> SessionError {
        self.closed.cancel();
        SessionError::Channel(format!("the connection could not be renewed: {reason}"))
    }
}

/// Passes the end of `session` on to `closed`, unless the returned token says that it is meant.
fn watch(session: &dyn Session, closed: CancellationToken) -> CancellationToken {
    let superseded = CancellationToken::new();
    let (ended, meant) = (session.closed(), superseded.clone());
    tokio::spawn(async move {
        ended.cancelled().await;
        if !meant.is_cancelled() {
            closed.cancel();
        }
    });
    superseded
}

#[async_trait]
impl Session for Renewing {
    async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError> {
        if self.unfinished {
            return Err(SessionError::Closed("the command before was given up".to_owned()));
        }
        if self.closed.is_cancelled() {
            return Err(SessionError::Channel("the session has ended before".to_owned()));
        }
        self.unfinished = true;
        if self.used >= LIMIT {
            self.renew().await?;
        }
        self.used += 1;
        let output = self.current.exec(line).await;
        self.unfinished = !matches!(output, Ok(_) | Err(SessionError::Channel(_)));
        let output = output?;
        if self.used >= EARLY {
            self.opening();
        }
        Ok(output)
    }

    fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    async fn close(self: Box<Self>) {
        self.current.close().await;
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use futures::FutureExt as _;
    use std::sync::Mutex;

    /// Answers with its own number, and keeps what happens to all of its kind.
    struct Numbered {
        number: usize,
        ended: CancellationToken,
    }

    #[async_trait]
    impl Session for Numbered {
        async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError> {
            if line == "hang" {
                std::future::pending::<()>().await;
            }
            let stdout = self.number.to_string().into_bytes();
            Ok(ExecOutput { stdout, ..ExecOutput::default() })
        }

        fn closed(&self) -> CancellationToken {
            self.ended.clone()
        }

        async fn close(self: Box<Self>) {
            self.ended.cancel();
        }
    }

    impl Drop for Numbered {
        fn drop(&mut self) {
            self.ended.cancel();
        }
    }

    /// Opens up to `available` sessions, then says that the box is away.
    fn opener(available: usize) -> (Open, Arc<Mutex<Vec<CancellationToken>>>) {
        let opened = Arc::new(Mutex::new(Vec::new()));
        let all = opened.clone();
        let open: Open = Arc::new(move || {
            let all = all.clone();
            Box::pin(async move {
                let mut all = all.lock().unwrap();
                if all.len() == available {
                    return Err(ConnectError::Unreachable {
                        address: "box:22".to_owned(),
                        reason: "away".to_owned(),
                    });
                }
                let ended = CancellationToken::new();
                all.push(ended.clone());
                Ok(Box::new(Numbered { number: all.len(), ended }) as Box<dyn Session>)
            })
        });
        (open, opened)
    }

    async fn renewing(available: usize) -> (Renewing, Arc<Mutex<Vec<CancellationToken>>>) {
        let (open, opened) = opener(available);
        let first = open().await.unwrap();
        (Renewing::new(first, open), opened)
    }

    async fn exec(session: &mut Renewing) -> Result<String, SessionError> {
        session.exec("x").await.map(|o| String::from_utf8(o.stdout).unwrap())
    }

    #[tokio::test]
    async fn every_connection_serves_a_bounded_number_of_commands() {
        let (mut session, opened) = renewing(10).await;
        let mut numbers = Vec::new();
        for _ in 0..3 * LIMIT {
            numbers.push(exec(&mut session).await.unwrap());
        }
        for number in ["1", "2", "3"] {
            let count = numbers.iter().filter(|n| *n == number).count();
            assert_eq!(count, LIMIT as usize, "connection {number}");
        }
        assert!(!session.closed().is_cancelled());
        let first = opened.lock().unwrap()[0].clone();
        first.cancelled().await;
    }

    #[tokio::test]
    async fn the_next_connection_is_open_before_it_is_needed() {
        let (mut session, opened) = renewing(10).await;
        for _ in 0..EARLY {
            exec(&mut session).await.unwrap();
        }
        tokio::task::yield_now().await;
        assert_eq!(opened.lock().unwrap().len(), 2);
        assert_eq!(exec(&mut session).await.unwrap(), "1");
    }

    #[tokio::test]
    async fn the_end_of_the_current_connection_is_passed_on_and_that_of_a_used_up_one_is_not() {
        let (mut session, opened) = renewing(10).await;
        for _ in 0..=LIMIT {
            exec(&mut session).await.unwrap();
        }
        let all = opened.lock().unwrap().clone();
        all[0].cancelled().await;
        tokio::task::yield_now().await;
        assert!(!session.closed().is_cancelled());

        all[1].cancel();
        session.closed().cancelled().await;
    }

    #[tokio::test]
    async fn a_renewal_that_fails_ends_the_session_before_a_command_is_sent() {
        let (mut session, _) = renewing(1).await;
        for _ in 0..LIMIT {
            assert_eq!(exec(&mut session).await.unwrap(), "1");
        }
        let error = exec(&mut session).await.unwrap_err();
        assert!(matches!(&error, SessionError::Channel(text) if text.contains("away")), "{error}");
        assert!(session.closed().is_cancelled());
    }

    #[tokio::test]
    async fn a_command_that_was_given_up_ends_the_session_at_every_point_of_its_life() {
        for before in 0..LIMIT {
            let (mut session, _) = renewing(10).await;
            for _ in 0..before {
                exec(&mut session).await.unwrap();
            }
            assert!(session.exec("hang").now_or_never().is_none());
            let error = exec(&mut session).await.unwrap_err();
            assert!(matches!(error, SessionError::Closed(_)), "after {before}: {error}");
        }
    }

    #[tokio::test]
    async fn a_used_up_connection_that_has_died_is_not_renewed_silently() {
        let (mut session, opened) = renewing(10).await;
        for _ in 0..LIMIT {
            exec(&mut session).await.unwrap();
        }
        let first = opened.lock().unwrap()[0].clone();
        first.cancel();
        session.closed().cancelled().await;
        let error = exec(&mut session).await.unwrap_err();
        assert!(matches!(error, SessionError::Channel(_)), "{error}");
    }
}
