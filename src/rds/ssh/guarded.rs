//! What makes a [`Session`] of a library's connection, whichever library it is: one command at a
//! time, none after one that was given up, and no output beyond the bound.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::socket::Grip;
use super::{ExecOutput, Session, SessionError};

/// A connection of one of the libraries, logged in.
#[async_trait]
pub(super) trait Library: Send {
    /// Runs one line and returns when its channel has closed.
    async fn run(&mut self, line: &str, grip: &Grip) -> Result<ExecOutput, SessionError>;

    /// Says goodbye; whether the library took it.
    async fn goodbye(&mut self) -> bool;
}

/// A library's connection behind the rules of a session.
pub(super) struct Guarded<L> {
    library: L,
    grip: Grip,
    /// A command was begun and its future dropped: what comes now belongs to it.
    unfinished: bool,
}

impl<L> Guarded<L> {
    pub(super) fn new(library: L, grip: Grip) -> Self {
        Self { library, grip, unfinished: false }
    }
}

#[async_trait]
impl<L: Library> Session for Guarded<L> {
    async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError> {
        if self.unfinished {
            return Err(SessionError::Closed("the command before was given up".to_owned()));
        }
        if self.grip.ended().is_cancelled() {
            return Err(SessionError::Channel("the session has ended before".to_owned()));
        }
        self.unfinished = true;
        self.grip.replenish();
        let result = self.library.run(line, &self.grip).await;
        match &result {
            Ok(_) | Err(SessionError::Channel(_)) => self.unfinished = false,
            Err(_) => self.grip.abandon(),
        }
        result
    }

    fn closed(&self) -> CancellationToken {
        self.grip.ended()
    }

    async fn close(mut self: Box<Self>) {
        if self.library.goodbye().await {
            self.grip.ended().cancelled().await;
        }
    }
}

#[cfg(test)]
mod test {
    use super::super::socket::Socket;
    use super::*;

    /// Answers with the line; never, with "never"; too much, with "much"; no channel, with "none".
    struct Echo;

    #[async_trait]
    impl Library for Echo {
        async fn run(&mut self, line: &str, _: &Grip) -> Result<ExecOutput, SessionError> {
            match line {
                "never" => std::future::pending().await,
                "much" => Err(SessionError::TooLong(1)),
                "none" => Err(SessionError::Channel("no".to_owned())),
                line => Ok(ExecOutput { stdout: line.into(), ..ExecOutput::default() }),
            }
        }

        async fn goodbye(&mut self) -> bool {
            true
        }
    }

    fn session() -> (Guarded<Echo>, Socket<tokio::io::Empty>) {
        let (socket, grip) = Socket::new(tokio::io::empty(), 1000);
        (Guarded::new(Echo, grip), socket)
    }

    #[tokio::test]
    async fn after_a_command_that_was_given_up_nothing_is_run() {
        let (mut session, _socket) = session();
        assert_eq!(session.exec("one").await.unwrap().stdout, b"one");
        assert!(futures::poll!(session.exec("never")).is_pending());
        let error = session.exec("two").await.unwrap_err();
        assert_eq!(error, SessionError::Closed("the command before was given up".to_owned()));
    }

    #[tokio::test]
    async fn a_refused_channel_leaves_the_session_usable_and_a_broken_command_does_not() {
        let (mut session, _socket) = session();
        assert!(matches!(session.exec("none").await, Err(SessionError::Channel(_))));
        assert_eq!(session.exec("one").await.unwrap().stdout, b"one");
        assert_eq!(session.exec("much").await.unwrap_err(), SessionError::TooLong(1));
        assert!(matches!(session.exec("two").await, Err(SessionError::Closed(_))));
    }

    #[tokio::test]
    async fn on_a_connection_that_has_ended_nothing_is_run_and_it_is_said_that_nothing_was() {
        let (mut session, socket) = session();
        drop(socket);
        assert!(session.closed().is_cancelled());
        assert!(matches!(session.exec("one").await, Err(SessionError::Channel(_))));
    }
}
