//! Two controllers over one box whose console mixes the lines of two sessions command by command:
//! of one cluster, racing over one volume, and of two clusters, which may never meet.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "races/clusters.rs"]
mod clusters;
#[path = "races/flaws.rs"]
mod flaws;
#[path = "races/hosts.rs"]
mod hosts;
#[expect(dead_code, reason = "other stories need more of it")]
#[path = "support/in_memory.rs"]
mod in_memory;
#[path = "races/line.rs"]
mod line;
#[path = "races/pair.rs"]
mod pair;
#[path = "races/race.rs"]
mod race;
#[path = "races/round.rs"]
mod round;
#[path = "races/strangers.rs"]
mod strangers;
#[path = "races/winner.rs"]
mod winner;
