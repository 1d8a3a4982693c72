//! The hosts: each keeps every publish context that it was ever given, tries for ever and writes
//! wherever it is let in. They do so between any two commands of the box, and what may never be
//! seen there is written down.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use rds_sim::routeros::{Connection, RouterOs};

use crate::in_memory::PublishContext;

/// Contexts that are still tried; the oldest go.
const KEPT: usize = 16;

/// A context that a host was given.
pub struct Given {
    /// The life of the volume in which: a name may be used again after its volume was deleted.
    pub life: u64,
    pub node: &'static str,
    pub nqn: String,
    host: String,
    generation: u64,
    dead: bool,
    connection: Option<Connection>,
}

impl Given {
    /// Where it stands among all that were ever given.
    fn rank(&self) -> (u64, u64) {
        (self.life, self.generation)
    }
}

#[derive(Default)]
struct State {
    given: Vec<Given>,
    life: u64,
    newest: (u64, u64),
    violations: Vec<String>,
}

/// All hosts, of one volume.
pub struct Hosts {
    os: RouterOs,
    slot: &'static str,
    /// Host NQNs of all nodes.
    names: Vec<String>,
    state: Mutex<State>,
}

impl Hosts {
    pub fn new(os: RouterOs, slot: &'static str, names: Vec<String>) -> Self {
        Self { os, slot, names, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A node was given this context.
    pub fn give(&self, node: &'static str, context: &PublishContext) {
        let mut state = self.state();
        let given = Given {
            life: state.life,
            node,
            nqn: context["nqn"].clone(),
            host: context["hostNqn"].clone(),
            generation: context["generation"].parse().unwrap(),
            dead: false,
            connection: None,
        };
        let same = |old: &Given| old.rank() == given.rank() && old.node != node;
        if let Some(other) = state.given.iter().find(|old| same(old)) {
            let (other, rank) = (other.node, given.rank());
            state.violations.push(format!("{other} and {node} were both given {rank:?}"));
        }
        let known =
            |old: &Given| (old.rank(), &old.nqn, old.dead) == (given.rank(), &given.nqn, false);
        if !state.given.iter().any(known) {
            state.given.push(given);
        }
        if state.given.len() > KEPT {
            state.given.remove(0);
        }
        drop(state);
        self.look();
    }

    /// How many contexts were given so far that are still tried.
    pub fn ranks(&self, node: &str) -> Vec<(u64, u64)> {
        let state = self.state();
        state.given.iter().filter(|given| given.node == node).map(Given::rank).collect()
    }

    /// Of these contexts of the node none may ever be of use again: their end was acknowledged.
    pub fn end(&self, node: &str, ranks: &[(u64, u64)]) {
        let mut state = self.state();
        for given in state.given.iter_mut().filter(|given| given.node == node) {
            given.dead |= ranks.contains(&given.rank());
        }
    }

    /// Whatever does not belong to this NQN may never be of use again.
    pub fn only(&self, current: Option<&str>) {
        for given in &mut self.state().given {
            given.dead |= Some(given.nqn.as_str()) != current;
        }
    }

    /// The volume is gone; one of the same name is another one.
    pub fn next_life(&self) {
        self.only(None);
        self.state().life += 1;
    }

    /// Was the node given this NQN, and not told of its end?
    pub fn holds(&self, node: &str, nqn: &str) -> bool {
        let state = self.state();
        state.given.iter().any(|given| given.node == node && given.nqn == nqn && !given.dead)
    }

    /// What was seen that may never be.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Writes down what may never be.
    pub fn violated(&self, what: String) {
        self.state().violations.push(what);
    }

    /// Host NQNs that are connected, or would be let in now under any NQN that is known.
    pub fn writers(&self) -> BTreeSet<String> {
        self.may_write(&self.state())
    }

    fn may_write(&self, state: &State) -> BTreeSet<String> {
        let mut writers: BTreeSet<String> =
            self.os.connected_hosts(self.slot).into_iter().collect();
        let nqns: BTreeSet<&str> = state.given.iter().map(|given| given.nqn.as_str()).collect();
        let stranger = "nqn.2014-08.org.nvmexpress:uuid:stranger".to_owned();
        for nqn in nqns {
            for host in self.names.iter().chain([&stranger]) {
                if let Ok(connection) = self.os.connect_host(host, nqn, 4420) {
                    connection.disconnect();
                    writers.insert(host.clone());
                }
            }
        }
        writers
    }

    /// Everybody tries and writes once. Runs between any two commands.
    pub fn look(&self) {
        let mut state = self.state();
        let State { given, newest, violations, .. } = &mut *state;
        for given in given.iter_mut() {
            if given.connection.as_ref().is_none_or(|connection| !connection.is_live()) {
                given.connection = self.os.connect_host(&given.host, &given.nqn, 4420).ok();
            }
            let Some(connection) = &given.connection else { continue };
            if connection.write(4096).is_err() {
                continue;
            }
            let (node, nqn, rank) = (given.node, &given.nqn, given.rank());
            if given.dead {
                violations.push(format!("{node} writes under {nqn}, which is over"));
            }
            if rank < *newest {
                violations.push(format!("{node} writes as {rank:?} after {newest:?} has written"));
            }
            *newest = rank.max(*newest);
        }
        let writers = self.may_write(&state);
        if writers.len() > 1 {
            state.violations.push(format!("{writers:?} may all write"));
        }
    }
}
