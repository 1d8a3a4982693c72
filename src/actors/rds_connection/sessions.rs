//! Opens, uses and closes sessions to one box; every wait has its deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::settings::ConnectionSettings;
use crate::rds::script::batch::{self, Batch};
use crate::rds::ssh::{Connect, ExecOutput, Session, SessionError};
use crate::rds::{Command, Reply, reply, script};
use crate::volume::chance;

const TAG_LENGTH: usize = 16;
const TAG_CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// How commands are said and replies are understood. Tests have their own.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    /// Command and tag -> line.
    pub line: fn(&Command, &str) -> String,
    /// Commands, tag and bound in bytes -> one line for as many as fit, from the first on; none
    /// where those are not two.
    pub batch: fn(&[&Command], &str, usize) -> Option<Batch>,
    /// Output and tag -> reply, or what the box printed instead.
    pub read: fn(&ExecOutput, &str) -> Result<Reply, String>,
}

impl Default for Language {
    /// RouterOS.
    fn default() -> Self {
        Self { line: script::line, batch: batch::batch, read: reply::read }
    }
}

/// What goes to the box in one exec.
#[derive(Debug, Clone)]
pub struct Line {
    /// The line.
    pub text: String,
    /// What marks the answer to each command in it, in their order.
    pub tags: Vec<String>,
}

impl Language {
    /// A line for `command` alone.
    pub fn alone(&self, command: &Command) -> Line {
        let tag = tag();
        Line { text: (self.line)(command, &tag), tags: vec![tag] }
    }

    /// A line of at most `bytes_max` bytes for as many of `commands` as fit, from the first on;
    /// none where those are not two.
    pub fn together(&self, commands: &[&Command], bytes_max: usize) -> Option<Line> {
        let batch = (self.batch)(commands, &tag(), bytes_max)?;
        Some(Line { text: batch.line, tags: batch.tags })
    }
}

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoReply {
    /// The box opened no channel: nothing can have run.
    NotSent(String),
    /// It may have run, or run still.
    Unanswered(String),
    /// It was answered without the sentinel.
    Unfinished(String),
}

impl NoReply {
    /// What happened, in words.
    pub fn why(self) -> String {
        match self {
            Self::NotSent(why) | Self::Unanswered(why) => why,
            Self::Unfinished(said) => format!("the box did not finish the command: {said}"),
        }
    }
}

/// What is needed to talk to one box.
#[derive(Clone)]
pub struct Sessions {
    /// Opens sessions.
    pub connect: Arc<dyn Connect>,
    /// What is said in them.
    pub language: Language,
    /// Deadlines.
    pub settings: watch::Receiver<ConnectionSettings>,
}

impl Sessions {
    /// A copy of the settings as they are now.
    pub fn settings(&self) -> ConnectionSettings {
        *self.settings.borrow()
    }

    /// A fresh session, or why there is none.
    pub async fn open(&self) -> Result<Box<dyn Session>, String> {
        let within = self.settings().connect_deadline;
        match timeout(within, self.connect.connect()).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no login within {} s", within.as_secs_f32())),
        }
    }

    /// One command in one exec. After [`NoReply::Unanswered`] the session must be dropped.
    pub async fn exec(
        &self,
        session: &mut dyn Session,
        command: &Command,
        within: Duration,
    ) -> Result<Reply, NoReply> {
        let line = self.language.alone(command);
        let mut replies = self.send(session, &line, within).await?.into_iter();
        let said_nothing = || Err("no command was sent".into());
        replies.next().unwrap_or_else(said_nothing).map_err(NoReply::Unfinished)
    }

    /// One exec; for each of its commands the reply, or what the box printed instead. After
    /// [`NoReply::Unanswered`] the session must be dropped.
    pub async fn send(
        &self,
        session: &mut dyn Session,
        line: &Line,
        within: Duration,
    ) -> Result<Vec<Result<Reply, String>>, NoReply> {
        match timeout(within, session.exec(&line.text)).await {
            Ok(Ok(output)) => {
                Ok(line.tags.iter().map(|tag| (self.language.read)(&output, tag)).collect())
            }
            Ok(Err(error @ SessionError::Channel(_))) => Err(NoReply::NotSent(error.to_string())),
            Ok(Err(error)) => Err(NoReply::Unanswered(error.to_string())),
            Err(_) => {
                let why = format!("no answer within {} s", within.as_secs_f32());
                Err(NoReply::Unanswered(why))
            }
        }
    }

    /// Says goodbye; the socket is closed afterwards in any case.
    pub async fn close(&self, session: Box<dyn Session>) {
        let within = self.settings().close_deadline;
        // A peer that does not take the goodbye is one that is not there.
        let _ = timeout(within, session.close()).await;
    }
}

/// Marks what belongs to one exec.
fn tag() -> String {
    let character = || char::from(TAG_CHARACTERS[chance::below(TAG_CHARACTERS.len())]);
    (0..TAG_LENGTH).map(|_| character()).collect()
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn tags_are_fresh_and_need_no_quoting() {
        let tags: std::collections::HashSet<String> = (0..1000).map(|_| tag()).collect();
        assert_eq!(tags.len(), 1000);
        for tag in tags {
            assert_eq!(tag.len(), TAG_LENGTH);
            assert!(tag.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        }
    }
}
