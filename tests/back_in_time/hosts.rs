//! The hosts: each retries its NQN after every change of the box, for ever, as a Linux host does
//! that lost its connection, and writes as soon as it is in.

use std::sync::{Arc, Mutex};

use rds_sim::routeros::{Connection, RouterOs};

use crate::in_memory::World;

struct Host {
    node: &'static str,
    host_nqn: String,
    nqn: String,
    /// It was shut out, or has left: it must never be let in again.
    is_outsider: bool,
    connection: Option<Connection>,
    /// How often it was let in.
    times: usize,
    /// It was refused once since the box went back.
    was_refused: bool,
}

impl Host {
    fn is_in(&self) -> bool {
        self.connection.is_some()
    }
}

#[derive(Default)]
struct Watch {
    hosts: Vec<Host>,
    /// The box has gone back.
    is_on: bool,
    /// Nothing may be open, not even before the driver has looked.
    is_strict: bool,
    /// A line that changes the volume was sent.
    has_changed: bool,
    line: String,
    was_open: bool,
    broken: Vec<String>,
}

/// All of them, and what they saw.
#[derive(Clone)]
pub struct Hosts {
    os: RouterOs,
    watch: Arc<Mutex<Watch>>,
}

impl Hosts {
    /// None yet; from now on they try after every command that changes something.
    pub fn new(os: &RouterOs) -> Self {
        let hosts = Self { os: os.clone(), watch: Arc::default() };
        let (trying, listening) = (hosts.clone(), hosts.clone());
        os.on_change(move || trying.try_all());
        os.on_exec(move |line| listening.hear(line));
        hosts
    }

    /// A node that holds a volume under this NQN.
    pub fn holder(&self, world: &World, node: &'static str, nqn: &str) {
        self.add(world, node, nqn, false);
    }

    /// A node that must not be let in any more.
    pub fn outsider(&self, world: &World, node: &'static str, nqn: &str) {
        self.add(world, node, nqn, true);
    }

    fn add(&self, world: &World, node: &'static str, nqn: &str, is_outsider: bool) {
        self.watch.lock().unwrap().hosts.push(Host {
            node,
            host_nqn: world.host_nqn(node),
            nqn: nqn.to_owned(),
            is_outsider,
            connection: None,
            times: 0,
            was_refused: false,
        });
        self.try_all();
    }

    /// From now on the box has gone back. Where it is `strict`, no outsider may be let in at all;
    /// else until the driver's first line that changes the volume.
    pub fn begin(&self, strict: bool) {
        let mut watch = self.watch.lock().unwrap();
        assert!(watch.hosts.iter().all(|host| host.is_in() != host.is_outsider), "before");
        (watch.is_on, watch.is_strict) = (true, strict);
        for host in &mut watch.hosts {
            host.times = 0;
        }
    }

    /// Everybody tries once, and writes if he is in.
    pub fn try_all(&self) {
        let mut watch = self.watch.lock().unwrap();
        let (is_on, is_strict, line) = (watch.is_on, watch.is_strict, watch.line.clone());
        let mut broken = Vec::new();
        for host in &mut watch.hosts {
            if host.connection.as_ref().is_some_and(|connection| connection.write(4096).is_err()) {
                host.connection = None;
            }
            if host.connection.is_none() {
                let entered = self.os.connect_host(&host.host_nqn, &host.nqn, 4420).ok();
                host.times += usize::from(entered.is_some());
                host.connection = entered.filter(|connection| connection.write(4096).is_ok());
            }
            if !is_on || !host.is_outsider {
                continue;
            }
            if host.is_in() && (is_strict || host.was_refused) {
                broken.push(format!("{} was let in again, after {line}", host.node));
            }
            host.was_refused |= !host.is_in();
        }
        watch.was_open |= is_on && watch.outsider_is_in();
        watch.broken.extend(broken);
    }

    /// A line begins: the one before has ended.
    fn hear(&self, line: &str) {
        let mut watch = self.watch.lock().unwrap();
        if !watch.is_on {
            return;
        }
        if watch.has_changed && watch.outsider_is_in() {
            let line = watch.line.clone();
            watch.broken.push(format!("the driver's first change left an outsider in: {line}"));
        }
        let changes = ["/disk/set", "/disk/add", "/disk/remove"];
        let is_about = line.contains("\"data\"");
        watch.has_changed |= is_about && changes.iter().any(|change| line.contains(change));
        watch.line = line.to_owned();
    }

    /// Was an outsider let in, before the driver's first change?
    pub fn was_open(&self) -> bool {
        self.watch.lock().unwrap().was_open
    }

    /// Has every holder what is his?
    pub fn holders_are_in(&self) -> bool {
        self.try_all();
        self.watch.lock().unwrap().hosts.iter().all(|host| host.is_in() || host.is_outsider)
    }

    /// Is nobody connected to anything?
    pub fn all_are_out(&self) -> bool {
        self.watch.lock().unwrap().hosts.iter().all(|host| !host.is_in())
    }

    /// Every holder is in, no outsider is, and none was at a moment when he must not.
    pub fn assert_well(&self, context: &str) {
        self.try_all();
        let watch = self.watch.lock().unwrap();
        assert_eq!(watch.broken, [] as [String; 0], "{context}");
        for host in &watch.hosts {
            assert_eq!(host.is_in(), !host.is_outsider, "{context}: {} {}", host.node, host.nqn);
        }
    }

    /// How often holders had to connect anew since the box went back.
    pub fn reconnects(&self) -> usize {
        let watch = self.watch.lock().unwrap();
        watch.hosts.iter().filter(|host| !host.is_outsider).map(|host| host.times).sum()
    }
}

impl Watch {
    fn outsider_is_in(&self) -> bool {
        self.hosts.iter().any(|host| host.is_outsider && host.is_in())
    }
}
