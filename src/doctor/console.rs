//! The doctor's session with a box: one line at a time, each with a deadline, each written down.
//!
//! A session that missed a deadline or ended is not used again, and no other is opened: what could
//! not be asked is shown as not checked. Only the cleaning opens a new one.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::{Instant, timeout};

use crate::rds::question::{self, Answers};
use crate::rds::ssh::{Connect, ConnectError, ExecOutput, Session};
use crate::rds::{Command, Reply, reply, script};
use crate::volume::hex;

use super::access::Came;
use super::capture::{Capture, Ended, Exec};

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// A session, from TCP to login.
    pub connect: Duration,
    /// The answer to one line.
    pub command: Duration,
}

/// See the module.
pub struct Console {
    connect: Arc<dyn Connect>,
    deadlines: Deadlines,
    session: Option<Box<dyn Session>>,
    /// Why there is no session any more.
    why: String,
    capture: Option<Capture>,
    version: Option<String>,
    /// Random words that a line may have beside its tag.
    fresh: Vec<String>,
}

impl Console {
    /// Connects to nothing yet.
    pub fn new(connect: Arc<dyn Connect>, deadlines: Deadlines, capture: Option<Capture>) -> Self {
        Self {
            connect,
            deadlines,
            session: None,
            why: "nobody is logged in".to_owned(),
            capture,
            version: None,
            fresh: Vec::new(),
        }
    }

    /// The deadlines.
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// What is written down.
    pub fn capture(&mut self) -> Option<&mut Capture> {
        self.capture.as_mut()
    }

    /// Takes the capture away, to be finished.
    pub fn take_capture(&mut self) -> Option<Capture> {
        self.capture.take()
    }

    /// Names the box's version in the capture from now on.
    pub fn set_version(&mut self, version: &str) {
        self.version = Some(version.to_owned());
    }

    /// Marks a word as random in every line from now on.
    pub fn mark_fresh(&mut self, word: &str) {
        self.fresh.push(word.to_owned());
    }

    /// Opens a session.
    pub async fn open(&mut self) -> Came<Result<(), ConnectError>> {
        let deadline = self.deadlines.connect;
        match timeout(deadline, self.connect.connect()).await {
            Ok(Ok(session)) => {
                self.session = Some(session);
                Came::Ended(Ok(()))
            }
            Ok(Err(error)) => Came::Ended(Err(error)),
            Err(_) => Came::Late(deadline),
        }
    }

    /// Whether lines can be sent.
    pub fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Why no line can be sent.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Says goodbye.
    pub async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = timeout(GOODBYE, session.close()).await;
        }
    }

    /// A word that marks one answer.
    pub fn tag() -> String {
        format!("doctor{}", hex(&rand::rng().random::<[u8; 8]>()))
    }

    /// Sends one line. `tag` is the random word in it.
    ///
    /// # Errors
    /// Why no answer came, in words.
    pub async fn exec(&mut self, line: &str, tag: &str) -> Result<ExecOutput, String> {
        let session = self.session.as_mut().ok_or(&self.why)?;
        let begun = Instant::now();
        let deadline = self.deadlines.command;
        let (ended, outcome) = match timeout(deadline, session.exec(line)).await {
            Ok(Ok(output)) => (Ended::Answered, Ok(output)),
            Ok(Err(error)) => (Ended::Closed, Err(error.to_string())),
            Err(_) => {
                let why = format!("no answer within {} s", deadline.as_secs_f64());
                (Ended::Deadline, Err(why))
            }
        };
        self.write_down(line, tag, outcome.as_ref().ok(), ended, begun.elapsed());
        if let Err(why) = &outcome {
            self.why = format!("the session ended: {why}");
            // What is left of it may hang; nobody waits for it.
            self.session = None;
        }
        outcome
    }

    fn write_down(
        &mut self,
        line: &str,
        tag: &str,
        output: Option<&ExecOutput>,
        ended: Ended,
        took: Duration,
    ) {
        let Some(capture) = &mut self.capture else { return };
        let words = std::iter::once(tag.to_owned()).chain(self.fresh.iter().cloned());
        let fresh: Vec<String> = words.filter(|word| line.contains(word.as_str())).collect();
        let nothing = ExecOutput::default();
        capture.add(&Exec {
            line,
            fresh: &fresh,
            version: self.version.as_deref(),
            output: output.unwrap_or(&nothing),
            ended,
            took,
        });
    }

    /// Runs a command as the driver does.
    ///
    /// # Errors
    /// What the box said instead of an answer, or why none came.
    pub async fn run(&mut self, command: &Command) -> Result<Reply, String> {
        let tag = Self::tag();
        let output = self.exec(&script::line(command, &tag), &tag).await?;
        reply::read(&output, &tag)
    }

    /// Asks for expressions.
    ///
    /// # Errors
    /// As [`Console::run`].
    pub async fn ask(&mut self, parts: &[(&str, String)]) -> Result<Answers, String> {
        let tag = Self::tag();
        let parts: Vec<(&str, &str)> = parts.iter().map(|(n, e)| (*n, e.as_str())).collect();
        let output = self.exec(&question::line(&parts, &tag), &tag).await?;
        question::read(&output, &tag)
    }
}

#[cfg(test)]
mod test {
    use async_trait::async_trait;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::rds::ssh::SessionError;

    /// A box that lets in and then says nothing, or lets nobody in.
    struct Silent {
        lets_in: bool,
    }

    #[async_trait]
    impl Connect for Silent {
        async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
            if !self.lets_in {
                std::future::pending::<()>().await;
            }
            Ok(Box::new(Silent { lets_in: true }))
        }
        fn address(&self) -> &str {
            "box:22"
        }
    }

    #[async_trait]
    impl Session for Silent {
        async fn exec(&mut self, _: &str) -> Result<ExecOutput, SessionError> {
            std::future::pending().await
        }
        fn closed(&self) -> CancellationToken {
            CancellationToken::new()
        }
        async fn close(self: Box<Self>) {
            std::future::pending().await
        }
    }

    fn console(lets_in: bool) -> Console {
        let deadlines =
            Deadlines { connect: Duration::from_secs(3), command: Duration::from_secs(7) };
        Console::new(Arc::new(Silent { lets_in }), deadlines, None)
    }

    #[tokio::test(start_paused = true)]
    async fn every_wait_ends_at_its_deadline() {
        let begun = Instant::now();
        let came = console(false).open().await;
        assert!(matches!(came, Came::Late(after) if after == Duration::from_secs(3)), "{came:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(3));

        let mut console = console(true);
        assert!(matches!(console.open().await, Came::Ended(Ok(()))));
        let begun = Instant::now();
        let why = console.exec(":put 1", "t").await.unwrap_err();
        assert_eq!(
            (why.as_str(), begun.elapsed()),
            ("no answer within 7 s", Duration::from_secs(7))
        );
        // The session is not used again, and that costs no further wait.
        let again = console.exec(":put 1", "t").await.unwrap_err();
        assert!(again.contains("the session ended"), "{again}");
        assert_eq!(begun.elapsed(), Duration::from_secs(7));

        assert!(matches!(console.open().await, Came::Ended(Ok(()))));
        let begun = Instant::now();
        console.close().await;
        assert_eq!(begun.elapsed(), GOODBYE);
    }
}
