//! What the driver has promised so far, volume by volume: what the invariants are held against.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A publish context that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// To this node.
    pub node: String,
    /// Its host NQN.
    pub host: String,
    /// The NQN to connect to.
    pub nqn: String,
    /// The generation within.
    pub generation: u64,
    /// May nobody connect with it ever again?
    pub dead: bool,
}

/// Where a volume is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// CreateVolume was not answered yet.
    Making,
    /// There is a PV.
    There,
    /// DeleteVolume was not answered yet.
    Going,
    /// Deleted.
    Gone,
}

/// What is known of one volume.
#[derive(Debug, Clone)]
pub struct Known {
    /// Where it is in its life.
    pub stage: Stage,
    /// Shared by two nodes?
    pub multi: bool,
    /// What its image held when it was made.
    pub content: Option<u64>,
    /// The size that was acknowledged.
    pub bytes: u64,
    /// Every context ever handed out.
    pub given: Vec<Given>,
    /// The highest generation under which a host has written.
    pub written: u64,
}

/// Contexts kept for a volume; the oldest go.
const GIVEN_MAX: usize = 16;

/// All volumes there ever were.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<String, Known>>);

impl Ledger {
    /// All of them.
    pub fn all(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of those at this stage.
    pub fn at(&self, stage: Stage) -> Vec<String> {
        let all = self.all();
        let at = all.iter().filter(|(_, known)| known.stage == stage);
        at.map(|(name, _)| name.clone()).collect()
    }

    /// Changes what is known of one.
    pub fn with<T>(&self, name: &str, change: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.all().get_mut(name).map(change)
    }

    /// A context was handed out. In it the newest generation counts: older ones are dead.
    pub fn published(&self, name: &str, given: Given) {
        self.with(name, |known| {
            let same = |other: &&Given| (&other.node, &other.nqn) == (&given.node, &given.nqn);
            if known.given.iter().find(same).is_none() {
                known.given.push(given);
            }
            let newest = known.given.iter().map(|given| given.generation).max().unwrap_or(0);
            for given in &mut known.given {
                given.dead |= given.generation < newest;
            }
            if known.given.len() > GIVEN_MAX {
                known.given.remove(0);
            }
        });
    }

    /// The newest generation that was handed out.
    pub fn newest(&self, name: &str) -> u64 {
        let newest = |known: &mut Known| known.given.iter().map(|g| g.generation).max();
        self.with(name, newest).flatten().unwrap_or(0)
    }

    /// The node has let go, and the driver said that it is out. One of two that share an NQN
    /// cannot be shut out alone.
    /// Contexts of a generation above `upto` were handed out since that was asked for.
    pub fn unpublished(&self, name: &str, node: &str, upto: u64) {
        self.with(name, |known| {
            if known.multi {
                return;
            }
            let theirs = |given: &&mut Given| given.node == node && given.generation <= upto;
            known.given.iter_mut().filter(theirs).for_each(|given| given.dead = true);
        });
    }
}
