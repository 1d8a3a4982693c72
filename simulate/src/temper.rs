//! What kind of run a seed makes: how many volumes and nodes, how hectic, which troubles. Runs that
//! differ from each other find more than runs that are all alike, and few volumes meet often.

use std::time::Duration;

use crate::dice::Dice;

/// A kind of action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A volume is made.
    Provision,
    /// A volume is wanted on a node.
    Attach,
    /// It is not wanted there any more.
    Detach,
    /// A volume is deleted.
    Delete,
    /// A volume grows.
    Expand,
    /// A sidecar repeats itself.
    Repeat,
    /// A person changes an export by hand.
    Meddle,
    /// A pass is asked for.
    Pass,
    /// Two things happen to one volume at the same moment.
    Collide,
    /// Something goes wrong with one line.
    FaultOfTheBox,
    /// Something goes wrong with the API.
    FaultOfTheApi,
    /// A node goes or comes.
    Node,
    /// A controller dies, or is replaced.
    Crash,
    /// Something goes wrong with the box.
    TroubleOfTheBox,
}

/// Every kind, how often it happens in the usual run, and whether it is a trouble that some runs do
/// without and others have plenty of.
const KINDS: [(Kind, usize, bool); 14] = [
    (Kind::Provision, 8, false),
    (Kind::Attach, 20, false),
    (Kind::Detach, 11, false),
    (Kind::Delete, 3, false),
    (Kind::Expand, 3, true),
    (Kind::Repeat, 3, true),
    (Kind::Meddle, 4, true),
    (Kind::Pass, 2, true),
    (Kind::Collide, 8, true),
    (Kind::FaultOfTheBox, 13, true),
    (Kind::FaultOfTheApi, 8, true),
    (Kind::Node, 14, true),
    (Kind::Crash, 5, true),
    (Kind::TroubleOfTheBox, 6, true),
];

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Temper {
    /// Volumes there are at most.
    pub volumes: usize,
    /// Nodes that volumes are wanted on.
    pub nodes: usize,
    /// Of 100 changing lines, so many are held up on their way.
    pub held_up: u32,
    /// Do lines of two sessions interleave from the beginning?
    pub interleave: bool,
    /// Upper ends of the pauses between two actions, in milliseconds, by the tenths of them.
    pauses: [u64; 10],
    weights: Vec<(Kind, usize)>,
}

impl Temper {
    /// As the dice fall.
    pub fn of(dice: &Dice) -> Self {
        let hectic = [0, 0, 0, 50, 200, 500, 1_000, 2_000, 5_000, 20_000];
        let usual = [0, 0, 0, 1_000, 2_000, 2_000, 10_000, 30_000, 60_000, 120_000];
        let calm = [0, 0, 1_000, 2_000, 5_000, 30_000, 60_000, 120_000, 240_000, 400_000];
        let pauses = [hectic, hectic, usual, usual, usual, calm][dice.below(6)];
        let share = |(kind, usual, is_trouble): (Kind, usize, bool)| {
            let factor = if is_trouble { [0, 1, 1, 1, 3][dice.below(5)] } else { 1 };
            (kind, usual * factor)
        };
        Self {
            volumes: [1, 1, 2, 4][dice.below(4)],
            nodes: [2, 3][dice.below(2)],
            held_up: [0, 4, 4, 20][dice.below(4)],
            interleave: dice.percent(30),
            pauses,
            weights: KINDS.map(share).to_vec(),
        }
    }

    /// What happens next.
    pub fn next(&self, dice: &Dice) -> Kind {
        let all: usize = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = dice.below(all.max(1));
        for (kind, weight) in &self.weights {
            match at.checked_sub(*weight) {
                Some(left) => at = left,
                None => return *kind,
            }
        }
        Kind::Attach
    }

    /// How long until something else happens.
    pub fn pause(&self, dice: &Dice) -> Duration {
        let tenth = dice.below(self.pauses.len());
        let (from, to) = (self.pauses[tenth.saturating_sub(1)], self.pauses[tenth]);
        if from < to { dice.millis(from, to) } else { Duration::from_millis(to) }
    }
}
