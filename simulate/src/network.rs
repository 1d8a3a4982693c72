//! The way of lines to the box: mostly short, sometimes long, and at times just so long that two
//! lines about one volume arrive together, or the later one first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::dice::Dice;

/// Lines that are waited for, and lines that wait.
#[derive(Default)]
struct Meetings {
    /// How long the next changing line about a volume is held up at most, and until how many
    /// others have been sent.
    wanted: BTreeMap<String, (Duration, usize)>,
    /// A line about this volume waits until so many others have been sent.
    waiting: BTreeMap<String, (Arc<Notify>, usize)>,
}

/// The network, of all controllers.
pub struct Network {
    dice: Dice,
    /// Of 100 changing lines, so many are held up.
    held_up: u32,
    meetings: Mutex<Meetings>,
}

impl Network {
    /// One that holds up so many of 100 changing lines by chance.
    pub fn new(dice: Dice, held_up: u32) -> Self {
        Self { dice, held_up, meetings: Mutex::default() }
    }

    /// How long another controller takes to start, or the old one lives on.
    pub fn millis(&self, from: u64, to: u64) -> Duration {
        self.dice.millis(from, to)
    }

    /// Holds the next changing line about this volume up until so many others about it are sent, or
    /// for so long.
    pub fn hold_up(&self, volume: &str, at_most: Duration, others: usize) {
        let mut meetings = self.meetings.lock().unwrap_or_else(PoisonError::into_inner);
        meetings.wanted.insert(volume.to_owned(), (at_most, others));
    }

    /// Nothing is held up on purpose any more.
    pub fn calm(&self) {
        let mut meetings = self.meetings.lock().unwrap_or_else(PoisonError::into_inner);
        meetings.wanted.clear();
    }

    /// The way of a line that changes something. Returns when it has arrived.
    pub async fn carry(&self, line: &str) {
        if let Some((met, at_most)) = self.meet(line) {
            // Nobody came: it goes on alone.
            let _ = timeout(at_most, met.notified()).await;
        } else if self.dice.percent(self.held_up) {
            return sleep(self.dice.millis(500, 40_000)).await;
        }
        sleep(self.dice.millis(0, 5)).await;
    }

    /// Lets the line go that waits for this one; says whether this one is to wait, and how long.
    fn meet(&self, line: &str) -> Option<(Arc<Notify>, Duration)> {
        let mut meetings = self.meetings.lock().unwrap_or_else(PoisonError::into_inner);
        let is_about = |volume: &&String| line.contains(&format!("\"{volume}\""));
        if let Some(volume) = meetings.waiting.keys().find(is_about).cloned() {
            let (waiting, others) = meetings.waiting.remove(&volume)?;
            match others {
                0 | 1 => waiting.notify_one(),
                _ => drop(meetings.waiting.insert(volume, (waiting, others - 1))),
            }
            return None;
        }
        let volume = meetings.wanted.keys().find(is_about).cloned()?;
        let (at_most, others) = meetings.wanted.remove(&volume)?;
        let met = Arc::new(Notify::new());
        meetings.waiting.insert(volume, (Arc::clone(&met), others));
        Some((met, at_most))
    }
}
