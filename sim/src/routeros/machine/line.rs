//! One line from its text to the bytes of its answer.

use futures::FutureExt;

use super::super::eval::{self, Finished};
use super::super::journal::{Entry, Outcome};
use super::super::moment::Moment;
use super::super::parser::{self, Dialect};
use super::super::quirks::{ExitStatus, Quirks};
use super::super::syntax::Block;
use super::{ExecResult, Pace, RouterOs};

impl RouterOs {
    /// Changes how the last line of that session ended.
    pub(crate) fn amend(&self, session: u64, outcome: Outcome) {
        self.lock().journal.amend(session, outcome);
    }

    /// Writes down a line that did not run to its end.
    pub(crate) fn note(&self, session: u64, line: &str, outcome: Outcome) {
        let (line, output) = (line.to_owned(), String::new());
        let moments = Vec::new();
        let entry = Entry { number: 0, session, line, output, error: None, outcome, moments };
        self.lock().journal.push(entry);
    }

    /// Parses and runs one line; true where the power went meanwhile: at the moment `cut`, or
    /// because a fuse burned down.
    pub(crate) async fn run_line(
        &self,
        session: u64,
        user: &str,
        line: &str,
        pace: Pace,
        cut: Option<Moment>,
    ) -> (ExecResult, bool) {
        self.run_due();
        let hook = self.lock().hook.clone();
        if let Some(hook) = hook {
            hook(line);
        }
        let quirks = self.quirks();
        let finished = match self.parse(line, &quirks) {
            Ok(block) => eval::run(self, self.rights(user), (pace, cut), &block).await,
            Err(text) => Finished { error: Some(text), ..Finished::default() },
        };
        let power_cut = finished.power_cut;
        let outcome = if power_cut { Outcome::PowerCut } else { Outcome::Answered };
        let result = answer(&finished, &quirks);
        if session > 0 {
            self.lock().journal.push(Entry {
                number: 0,
                session,
                line: line.to_owned(),
                output: finished.out,
                error: finished.error,
                outcome,
                moments: finished.moments,
            });
        }
        (result, power_cut)
    }

    /// Runs what the box was to run when it started, where that is due by now.
    pub(crate) fn run_due(&self) {
        let now = self.0.clock.now();
        let due = {
            let mut core = self.lock();
            if core.startup_at.is_none_or(|at| now < at) {
                return;
            }
            core.startup_at = None;
            core.is_starting = true;
            core.store.automation.at_startup()
        };
        let quirks = self.quirks();
        for (script, rights) in due {
            // What goes wrong there goes to the box's own log, which nobody reads.
            if let Ok(block) = self.parse(&script, &quirks) {
                let _ = eval::run(self, rights, (Pace::Immediate, None), &block).now_or_never();
            }
        }
        self.lock().is_starting = false;
    }

    pub(crate) fn parse(&self, line: &str, quirks: &Quirks) -> Result<Block, String> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.chars().count() > quirks.max_line {
            return Err(format!("max line length {} exceeded!", quirks.max_line));
        }
        let dialect = Dialect { version: self.version(), terse_errors: quirks.terse_parse_errors };
        if let Some(at) = line.find(['\r', '\n']) {
            let column = line[..at].chars().count() + 1;
            return Err(format!("syntax error (line 1 column {column})"));
        }
        parser::parse(line, dialect).map_err(|error| error.to_string())
    }
}

/// Output and error as the box sends them.
fn answer(finished: &Finished, quirks: &Quirks) -> ExecResult {
    let mut stdout = finished.out.clone();
    let mut stderr = String::new();
    if let Some(error) = &finished.error {
        let stream = if quirks.errors_on_stderr { &mut stderr } else { &mut stdout };
        stream.push_str(error);
        stream.push('\n');
    }
    let failed = finished.error.is_some();
    let exit_status = match quirks.exit_status {
        ExitStatus::Never => None,
        ExitStatus::OneOnError => Some(u32::from(failed)),
        ExitStatus::AlwaysZero => Some(0),
    };
    let bytes = |text: String| match quirks.crlf {
        true => text.replace('\n', "\r\n").into_bytes(),
        false => text.into_bytes(),
    };
    ExecResult { stdout: bytes(stdout), stderr: bytes(stderr), exit_status }
}
