//! The interpreter: runs the tree of one line against one box.
//!
//! Asynchronous only so that it can pause: between any two commands of menus it asks the box
//! (interleaving, a power cut), and `:delay` waits. Each single command is atomic. All work is
//! bounded: steps, loop rounds, output.

mod command;
mod expression;
mod menu;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use super::catalog::{Menu, Verb};
use super::machine::{Pace, RouterOs};
use super::moment::{Half, Moment, Step};
use super::row::Row;
use super::syntax::Block;
use super::user::Rights;
use super::value::Value;

/// Evaluated commands and values in one line.
const MAX_STEPS: u32 = 2_000_000;

/// Scripts within scripts.
const MAX_SCRIPTS: usize = 8;

/// Bytes of output of one line.
const MAX_OUTPUT: usize = 32 << 20;

/// Moments of one line that are written down.
const MAX_MOMENTS: usize = 16_384;

/// Why a line does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A runtime error: ends the line unless something catches it.
    Error(String),
    /// `:return`.
    Return(Value),
    /// `:break`.
    Break,
    /// `:continue`.
    Continue,
    /// `:exit`.
    Exit,
    /// The power went. Nothing catches this.
    PowerCut,
}

pub(crate) struct Evaluator<'a> {
    os: &'a RouterOs,
    rights: Rights,
    pace: Pace,
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
    out: String,
    scopes: Vec<HashMap<String, Value>>,
    row: Option<Arc<Row>>,
    steps: u32,
    /// The command of a menu that runs.
    at: Option<Step>,
    moments: Vec<Moment>,
    /// When the power goes.
    cut: Option<Moment>,
    /// Scripts within scripts.
    depth: usize,
}

/// What a finished line leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// Lines end with `\n` here; the transport makes CR LF of it.
    pub out: String,
    /// The error that ended the line, if one did.
    pub error: Option<String>,
    /// The power went before the line was through.
    pub power_cut: bool,
    /// The moments that it came to.
    pub moments: Vec<Moment>,
}

/// Runs a parsed line with the rights of whoever sent it; the power goes at the moment `cut`.
pub(crate) async fn run(
    os: &RouterOs,
    rights: Rights,
    (pace, cut): (Pace, Option<Moment>),
    block: &Block,
) -> Finished {
    let mut evaluator = Evaluator {
        os,
        rights,
        pace,
        guard: os.take_line(pace).await,
        out: String::new(),
        scopes: vec![HashMap::new()],
        row: None,
        steps: 0,
        at: None,
        moments: Vec::new(),
        cut,
        depth: 0,
    };
    let mut stop = evaluator.block(block).await.err();
    if stop != Some(Stop::PowerCut) && evaluator.comes_to(Moment::End) {
        stop = Some(Stop::PowerCut);
    }
    let error = match &stop {
        Some(Stop::Error(text)) => Some(text.clone()),
        _ => None,
    };
    let power_cut = stop == Some(Stop::PowerCut);
    Finished { out: evaluator.out, error, power_cut, moments: evaluator.moments }
}

impl Evaluator<'_> {
    fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        match self.steps > MAX_STEPS {
            true => Err(error("failure: script runs too long")),
            false => Ok(()),
        }
    }

    /// A line of output.
    fn print(&mut self, text: &str) -> Result<(), Stop> {
        if self.out.len() + text.len() > MAX_OUTPUT {
            return Err(error("failure: too much output"));
        }
        self.out.push_str(text);
        self.out.push('\n');
        Ok(())
    }

    fn variable(&self, name: &str) -> Value {
        for scope in self.scopes.iter().rev() {
            if let Some(value) = scope.get(name) {
                return value.clone();
            }
        }
        self.os.global(name)
    }

    fn declare(&mut self, name: &str, value: Value) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), value);
        }
    }

    fn assign(&mut self, name: &str, value: Value) {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(slot) = scope.get_mut(name) {
                *slot = value;
                return;
            }
        }
        self.os.set_global(name, value);
    }

    /// Writes the moment down; true where the power goes then.
    fn comes_to(&mut self, moment: Moment) -> bool {
        if self.moments.len() < MAX_MOMENTS {
            self.moments.push(moment);
        }
        self.cut == Some(moment)
    }

    /// The moment inside the command that runs.
    fn comes_to_half(&mut self, half: Half) -> bool {
        self.at.is_some_and(|step| self.comes_to(Moment::Inside(step, half)))
    }

    /// Between two commands of menus: others may get a turn, the power may go.
    async fn between_commands(&mut self, menu: Menu, verb: Verb) -> Result<(), Stop> {
        let number = self.at.map_or(1, |before| before.number.saturating_add(1));
        let step = Step { number, menu, verb };
        self.at = Some(step);
        if self.comes_to(Moment::Before(step)) || self.os.burns_fuse() {
            return Err(Stop::PowerCut);
        }
        // A line that began alone stays alone, whatever is switched meanwhile.
        if self.pace == Pace::Tokio
            && self.guard.is_none()
            && let Some(pause) = self.os.interleaving_pause()
        {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// A script: its own variables, its own rights, what it prints is printed.
    async fn script(&mut self, rights: Rights, block: &Block) -> Result<(), Stop> {
        if self.depth >= MAX_SCRIPTS {
            return Err(error("failure: too many scripts within scripts"));
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.rights, rights);
        let (scopes, row) = (std::mem::take(&mut self.scopes), self.row.take());
        let result = self.block(block).await;
        (self.scopes, self.row, self.rights) = (scopes, row, outer);
        self.depth -= 1;
        match result {
            Ok(_) | Err(Stop::Return(_)) => Ok(()),
            Err(stop) => Err(stop),
        }
    }

    /// `:delay`: other lines may run meanwhile.
    async fn delay(&mut self, seconds: i64) {
        let seconds = u64::try_from(seconds).unwrap_or(0).min(3600);
        if self.pace != Pace::Tokio || seconds == 0 {
            return;
        }
        self.guard = None;
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        self.guard = self.os.take_line(self.pace).await;
    }
}

fn error(text: &str) -> Stop {
    Stop::Error(text.to_owned())
}

#[cfg(test)]
mod test;
