//! Tells a story as it happens, and counts what held.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Where a story is told. Cloning shares it.
#[derive(Clone)]
pub struct Narrator {
    inner: Arc<Mutex<Inner>>,
    coloured: bool,
}

struct Inner {
    out: Box<dyn Write + Send>,
    started: Instant,
    held: usize,
    broken: Vec<String>,
}

/// What a story came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Expectations that held.
    pub held: usize,
    /// The words of those that did not.
    pub broken: Vec<String>,
}

impl Tally {
    /// Did all hold, and was there any?
    pub fn all_held(&self) -> bool {
        self.broken.is_empty() && self.held > 0
    }
}

impl Narrator {
    /// Tells it on standard output: in colour on a terminal, unless `NO_COLOR` is set.
    pub fn on_stdout() -> Self {
        let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self::new(Box::new(io::stdout()), coloured)
    }

    /// Tells it to `out`.
    pub fn new(out: Box<dyn Write + Send>, coloured: bool) -> Self {
        let inner = Inner { out, started: Instant::now(), held: 0, broken: Vec::new() };
        Self { inner: Arc::new(Mutex::new(inner)), coloured }
    }

    /// A new chapter.
    pub fn chapter(&self, title: &str) {
        self.write(&format!("\n{}", self.paint(BOLD, title)));
    }

    /// Something that is being done or was seen.
    pub fn say(&self, text: &str) {
        let at = self.elapsed().as_secs_f64();
        self.write(&format!("{} {text}", self.paint(DIM, &format!("{at:7.2} s"))));
    }

    /// Something that must be so.
    pub fn expect(&self, what: &str, holds: bool) {
        let at = self.elapsed().as_secs_f64();
        let mark = if holds { self.paint(GREEN, "held") } else { self.paint(RED, "BROKEN") };
        self.write(&format!("{} {mark}  {what}", self.paint(DIM, &format!("{at:7.2} s"))));
        let mut inner = self.lock();
        if holds {
            inner.held += 1;
        } else {
            inner.broken.push(what.to_owned());
        }
    }

    /// What it came to so far.
    pub fn tally(&self) -> Tally {
        let inner = self.lock();
        Tally { held: inner.held, broken: inner.broken.clone() }
    }

    /// Ends the story with its one line for scripts.
    pub fn end(&self) -> Tally {
        let tally = self.tally();
        let all = tally.held + tally.broken.len();
        self.write("");
        for broken in &tally.broken {
            self.write(&format!("{} {broken}", self.paint(RED, "not held:")));
        }
        self.write(&format!("sandbox: {} of {all} expectations held", tally.held));
        tally
    }

    fn elapsed(&self) -> Duration {
        self.lock().started.elapsed()
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.coloured { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }

    /// Nobody may be reading any more; the story goes on all the same.
    fn write(&self, line: &str) {
        let mut inner = self.lock();
        let _ = writeln!(inner.out, "{line}").and_then(|()| inner.out.flush());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::page::Page;

    #[test]
    fn it_counts_what_held_and_names_what_did_not() {
        let page = Page::default();
        let narrator = Narrator::new(Box::new(page.clone()), false);
        assert!(!narrator.tally().all_held(), "a story without expectations proves nothing");
        narrator.expect("one is one", true);
        assert!(narrator.tally().all_held());
        narrator.expect("one is two", false);
        assert!(!narrator.end().all_held());
        let text = page.text();
        assert!(text.contains("not held: one is two"), "{text}");
        assert!(text.ends_with("sandbox: 1 of 2 expectations held\n"), "{text}");
        assert!(!text.contains('\x1b'), "plain where it is no terminal");
    }
}
