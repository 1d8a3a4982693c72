//! The hosts: each connects with every NQN that it was ever given, tries for ever and writes
//! wherever it is let in. And the look that may never see two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rds_sim::routeros::{Connection, RouterOs};

use crate::controller::{IMAGES, PORT};
use crate::ledger::{Given, Known, Ledger, Stage};
use crate::trace::Trace;

/// Node and NQN of a connection. The NQN names the volume.
type Key = (String, String);

/// All hosts.
pub struct Hosts {
    rds: RouterOs,
    ledger: Arc<Ledger>,
    trace: Arc<Trace>,
    /// Node and host NQN.
    names: Vec<(String, String)>,
    /// Is the port of the storage network up? It is down while a box that was restored has not
    /// been put right: the seconds between cannot be closed by a driver.
    port_is_up: AtomicBool,
    off: Mutex<BTreeSet<String>>,
    live: Mutex<BTreeMap<Key, Connection>>,
}

impl Hosts {
    /// Hosts by node and host NQN.
    pub fn new(
        rds: RouterOs,
        ledger: Arc<Ledger>,
        trace: Arc<Trace>,
        names: Vec<(String, String)>,
    ) -> Self {
        let (off, live) = (Mutex::default(), Mutex::default());
        Self { rds, ledger, trace, names, port_is_up: AtomicBool::new(true), off, live }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<Key, Connection>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn off(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the storage network down, or up again.
    pub fn set_port(&self, up: bool) {
        self.port_is_up.store(up, Ordering::Relaxed);
    }

    /// Is the storage network up?
    pub fn port_is_up(&self) -> bool {
        self.port_is_up.load(Ordering::Relaxed)
    }

    /// The machine loses its power: its connections end, and it makes none.
    pub fn power_off(&self, node: &str) {
        self.off().insert(node.to_owned());
        let mut live = self.live();
        let theirs: Vec<Key> = live.keys().filter(|key| key.0 == node).cloned().collect();
        for connection in theirs.iter().filter_map(|key| live.remove(key)) {
            connection.disconnect();
        }
    }

    /// It gets power again.
    pub fn power_on(&self, node: &str) {
        self.off().remove(node);
    }

    /// Can this host connect so and write?
    pub fn can_write(&self, host: &str, nqn: &str) -> Result<(), String> {
        if !self.port_is_up() {
            return Err("the storage network is down".into());
        }
        let connection =
            self.rds.connect_host(host, nqn, PORT).map_err(|refusal| refusal.to_string())?;
        let written = connection.write(4096).map_err(|cut| cut.to_string());
        connection.disconnect();
        written
    }

    /// Every host tries and writes once.
    pub fn tick(&self) {
        if !self.port_is_up() {
            return;
        }
        let off = self.off().clone();
        let exported = self.rds.exported(PORT);
        let mut live = self.live();
        live.retain(|_, connection| connection.is_live());
        for (name, known) in self.ledger.all().iter_mut() {
            let Known { given, written, .. } = known;
            for given in given.iter().filter(|given| !off.contains(&given.node)) {
                let key = (given.node.clone(), given.nqn.clone());
                // What is exported nowhere lets nobody in; that is not tried again and again.
                if !live.contains_key(&key) && exported.contains(&given.nqn) {
                    let made = self.rds.connect_host(&given.host, &given.nqn, PORT);
                    live.extend(made.ok().map(|connection| (key.clone(), connection)));
                }
                if live.get(&key).is_some_and(|connection| connection.write(4096).is_ok()) {
                    self.check_write(name, written, given);
                }
            }
        }
    }

    fn check_write(&self, name: &str, written: &mut u64, given: &Given) {
        if given.dead {
            self.trace
                .violated(format!("{} wrote to {name} with the dead {}", given.node, given.nqn));
        }
        if given.generation < *written {
            self.trace.violated(format!(
                "a write of {} to {name} under generation {} follows one under {written}",
                given.node, given.generation
            ));
        }
        *written = given.generation.max(*written);
    }

    /// The invariants that must hold at every moment.
    pub fn look(&self) {
        if !self.port_is_up() {
            return;
        }
        let exported = self.rds.exported(PORT);
        for (name, known) in self.ledger.all().iter().filter(|(_, k)| k.stage != Stage::Gone) {
            self.look_at(name, known, &exported);
        }
    }

    fn is_connected(&self, given: &Given) -> bool {
        let live = self.live();
        let of_it =
            |((node, nqn), _): &(&Key, &Connection)| *node == given.node && *nqn == given.nqn;
        live.iter().find(of_it).is_some_and(|(_, connection)| connection.is_live())
    }

    fn look_at(&self, name: &str, known: &Known, exported: &BTreeSet<String>) {
        let mut may_write: BTreeSet<String> = self.rds.connected_hosts(name).into_iter().collect();
        let mut tried = BTreeSet::new();
        for given in &known.given {
            if given.dead && self.is_connected(given) {
                let (node, nqn) = (&given.node, &given.nqn);
                self.trace.violated(format!("{node} is connected to {name} with the dead {nqn}"));
            }
            if !exported.contains(&given.nqn) || !tried.insert(&given.nqn) {
                continue;
            }
            for (node, host) in &self.names {
                let Ok(connection) = self.rds.connect_host(host, &given.nqn, PORT) else {
                    continue;
                };
                connection.disconnect();
                may_write.insert(host.clone());
                if given.dead {
                    let nqn = &given.nqn;
                    self.trace.violated(format!("{node} is let in to {name} with the dead {nqn}"));
                }
            }
        }
        if !known.multi && may_write.len() > 1 {
            self.trace.violated(format!("{may_write:?} may all write to {name}"));
        }
        if known.stage == Stage::There {
            let content = self.rds.content_of(&format!("{IMAGES}/{name}.img"));
            if content != known.content {
                let was = known.content;
                self.trace.violated(format!("the image of {name} held {was:?}, now {content:?}"));
            }
        }
    }
}
