//! NVMe hosts of all nodes that never give up: each connects to whatever it knows, again and again,
//! and writes while it is let in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rds_sim::routeros::{Connection, RouterOs};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::in_memory::World;

pub const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
/// How often hosts try while something is going on, and while nothing is.
const BUSY: Duration = Duration::from_millis(7);
const IDLE: Duration = Duration::from_secs(1);

/// A volume that hosts try to use.
#[derive(Debug, Clone)]
pub struct Target {
    pub slot: String,
    /// How many hosts may be connected at a time. Where it is one, all hosts try every NQN that
    /// the box ever showed; else each tries what it was told.
    pub writers_max: usize,
}

pub struct Hosts {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Host NQN by node.
    hosts: BTreeMap<&'static str, String>,
    targets: Vec<Target>,
    /// NQNs that a node knows, by slot and node.
    known: BTreeMap<(String, &'static str), BTreeSet<String>>,
    live: BTreeMap<(String, &'static str), Connection>,
    /// Connected, but not writing.
    silent: BTreeSet<&'static str>,
    /// How many lines the box had run when NQNs were looked up last.
    learned_at: u64,
    is_idle: bool,
    violations: Vec<String>,
}

impl Hosts {
    pub fn start(world: &World, targets: &[Target]) -> Self {
        let hosts = NODES.map(|node| (node, world.host_nqn(node))).into();
        let state = State { hosts, targets: targets.to_vec(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (os, shared) = (world.os.clone(), state.clone());
        let task = tokio::spawn(async move {
            loop {
                let pause = shared.lock().unwrap().round(&os);
                sleep(pause).await;
            }
        });
        Self { state, task }
    }

    /// This node was told to connect to that NQN.
    pub fn tell(&self, slot: &str, node: &'static str, nqn: &str) {
        let mut state = self.state();
        state.known.entry((slot.to_owned(), node)).or_default().insert(nqn.to_owned());
    }

    /// The node stops writing, and stays connected where it is let in.
    pub fn fall_silent(&self, node: &'static str) {
        self.state().silent.insert(node);
    }

    /// Nothing is going on for a while: hosts try less often.
    pub fn idle(&self, is_idle: bool) {
        self.state().is_idle = is_idle;
    }

    /// All nodes write again; what they have been holding back goes out at once.
    pub fn wake_all(&self, os: &RouterOs) {
        let mut state = self.state();
        state.silent.clear();
        for _ in 0..2 {
            state.round(os);
        }
    }

    pub fn is_connected(&self, slot: &str, node: &'static str) -> bool {
        let state = self.state();
        state.live.get(&(slot.to_owned(), node)).is_some_and(Connection::is_live)
    }

    /// What was never to happen, and did.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    /// Every host tries once; the time until it does again.
    fn round(&mut self, os: &RouterOs) -> Duration {
        let lines = os.exec_count();
        let is_new = std::mem::replace(&mut self.learned_at, lines) != lines;
        for target in self.targets.clone() {
            if target.writers_max == 1 && is_new {
                self.learn(os, &target.slot);
            }
            for node in NODES {
                self.use_it(os, &target.slot, node);
            }
            let connected: BTreeSet<String> =
                os.connected_hosts(&target.slot).into_iter().collect();
            if connected.len() > target.writers_max {
                self.violations.push(format!("{} is open to {connected:?}", target.slot));
            }
        }
        if self.is_idle { IDLE } else { BUSY }
    }

    fn learn(&mut self, os: &RouterOs, slot: &str) {
        let line = format!(
            ":foreach d in=[/disk/find where slot=\"{slot}\"] do={{ \
             :put [/disk/get $d nvme-tcp-server-nqn] }}"
        );
        let nqn = os.exec(&line).text().trim().to_owned();
        if !nqn.is_empty() {
            for node in NODES {
                self.known.entry((slot.to_owned(), node)).or_default().insert(nqn.clone());
            }
        }
    }

    fn use_it(&mut self, os: &RouterOs, slot: &str, node: &'static str) {
        let key = (slot.to_owned(), node);
        if !self.live.get(&key).is_some_and(Connection::is_live) {
            self.live.remove(&key);
            let known = self.known.get(&key).into_iter().flatten();
            let mut attempts = known.map(|nqn| os.connect_host(&self.hosts[node], nqn, 4420));
            if let Some(connection) = attempts.find_map(Result::ok) {
                self.live.insert(key.clone(), connection);
            }
        }
        if let Some(connection) = self.live.get(&key)
            && !self.silent.contains(node)
        {
            // It may be cut off at any time.
            let _ = connection.write(4096);
        }
    }
}

/// In which order hosts wrote to an image, each turn once.
pub fn turns(os: &RouterOs, image: &str) -> Vec<String> {
    let writes = os.writes();
    let mut turns: Vec<String> = writes
        .into_iter()
        .filter(|write| write.image == image)
        .map(|write| write.host_nqn)
        .collect();
    turns.dedup();
    turns
}
