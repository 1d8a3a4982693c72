//! The agent of a node: watches what the host has attached, sweeps what is over, connects again what
//! the kernel dropped, and answers challenges ([`Voice`]).
//!
//! One round after another ([`round`]); between two it waits for the kernel to tell of a change, and
//! looks by itself after a while, because the kernel does not tell everything. A round that is
//! abandoned loses nothing: the next one looks anew.

pub mod look;
pub mod round;
pub mod secret;
pub mod staged;
pub mod voice;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use slog::warn;
use tokio::time::{sleep, timeout};

use self::round::Rounds;
pub use self::secret::SecretFile;
pub use self::staged::{Noted, StagedVolume, StagedVolumes};
pub use self::voice::{Mute, Voice};
use super::supervision::{Alive, Entry, Fate, Guard, Guarded, Supervision, begin, enter, spawn};
use super::{NoMetrics, Shutdown};

/// Longest pause between two rounds.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// Shortest pause: one change of the kernel's comes as many.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest round.
const ROUND_WITHIN: Duration = Duration::from_secs(300);

/// Measures what the agent sees and does.
pub trait AgentMetrics: Send + Sync {
    /// So many connections work, and so many wait for the box.
    fn connections(&self, live: usize, connecting: usize);
    /// So many mounts have lost their device.
    fn stale_mounts(&self, count: usize);
    /// What was over was swept; was nothing left?
    fn swept(&self, clean: bool);
    /// A volume was connected again; did its device survive?
    fn reconnected(&self, survived: bool);
}

impl AgentMetrics for NoMetrics {
    fn connections(&self, _: usize, _: usize) {}
    fn stale_mounts(&self, _: usize) {}
    fn swept(&self, _: bool) {}
    fn reconnected(&self, _: bool) {}
}

/// What the agent is made of.
pub struct Parts {
    /// Log, restarts, fault points.
    pub supervision: Supervision,
    /// Its work.
    pub rounds: Rounds,
}

/// The agent from outside.
pub struct Handles {
    /// No further round; one that runs is abandoned.
    pub shutdown: Recipient<Shutdown>,
    /// Does it live?
    pub alive: Alive,
}

/// Starts the agent.
pub fn start(parts: Parts) -> Handles {
    let actor = AgentActor {
        guard: Guard::new("agent", parts.supervision),
        rounds: Arc::new(parts.rounds),
        stopping: false,
        round: None,
    };
    let address = Supervisor::start(|_| actor);
    Handles { shutdown: address.clone().recipient(), alive: Box::new(move || address.connected()) }
}

struct AgentActor {
    guard: Guard,
    rounds: Arc<Rounds>,
    stopping: bool,
    /// The round that runs, or waits; volatile.
    round: Option<SpawnHandle>,
}

impl Guarded for AgentActor {
    fn guard(&mut self) -> &mut Guard {
        &mut self.guard
    }
}

impl Actor for AgentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        begin(self, ctx, Self::go_round);
    }
}

impl Supervised for AgentActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.guard.restarting();
        self.round = None;
    }
}

impl Handler<Shutdown> for AgentActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Handler, |act, ctx| {
            act.stopping = true;
            if let Some(round) = act.round.take() {
                ctx.cancel_future(round);
            }
        });
    }
}

impl AgentActor {
    fn go_round(&mut self, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let rounds = Arc::clone(&self.rounds);
        let round = async move {
            // Taken before the look, so that no change is missed.
            let mut changes = rounds.host.changes();
            let ended = timeout(ROUND_WITHIN, rounds.run()).await.is_ok();
            sleep(PAUSE).await;
            if timeout(LOOK_EVERY, changes.changed()).await.is_ok_and(|told| told.is_err()) {
                sleep(LOOK_EVERY).await;
            }
            ended
        };
        let then = |act: &mut Self, ctx: &mut Context<Self>, ended: bool| {
            if !ended {
                warn!(act.guard.log(), "a round took too long and was abandoned");
            }
            act.go_round(ctx);
        };
        self.round = Some(spawn(self, ctx, Fate::Owned, round, then));
    }
}

#[cfg(test)]
mod test;
