//! The box: one handle, cheap to clone, that every transport and every test shares.
//!
//! It owns the state behind one lock, taken per command and never across a wait. It runs lines
//! ([`RouterOs::exec`] at once, sessions of [`super::console`] with latency and faults), and it is
//! where faults are armed. It knows nothing of SSH.

mod access;
mod line;
mod outward;
mod power;

pub use power::Snapshot;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, SystemClock};
use super::disk;
use super::exports::Target;
use super::faults::Faults;
use super::hosts::{Connection, Hosts, Refusal, Write};
use super::journal::{Entry, Journal};
use super::pool;
use super::quirks::Quirks;
use super::replay::Replay;
use super::store::{Counters, Disk, Store};
use super::user::ADMINISTRATOR;
use super::value::Value;
use super::version::Version;

/// Called with every line before it runs.
type Hook = Arc<dyn Fn(&str) + Send + Sync>;

/// Called after every command that changed disks or files.
type ChangeHook = Arc<dyn Fn() + Send + Sync>;

/// What a new box is like.
#[derive(Clone)]
pub struct Setup {
    /// The RouterOS release.
    pub version: Version,
    /// Unproven facts, one way or the other.
    pub quirks: Quirks,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Seed of everything random.
    pub seed: u64,
    /// Slot and mount point of the pool.
    pub pool: String,
    /// Bytes of the pool.
    pub pool_size: i64,
    /// How long one line takes besides its work. Observed: 50 to 100 ms.
    pub exec_latency: Duration,
    /// How long a login takes. Observed: 200 to 500 ms.
    pub connect_latency: Duration,
}

impl Default for Setup {
    /// 7.24.4, likeliest quirks, a pool `storage-pool` of 7.68 TB, no latency.
    fn default() -> Self {
        Setup {
            version: Version::V7_24_4,
            quirks: Quirks::default(),
            clock: Arc::new(SystemClock),
            seed: 0,
            pool: "storage-pool".to_owned(),
            pool_size: 7_681_574_174_720,
            exec_latency: Duration::ZERO,
            connect_latency: Duration::ZERO,
        }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What came back from one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// Output, with the line ends of the box.
    pub stdout: Vec<u8>,
    /// The error stream; empty unless a switch says otherwise.
    pub stderr: Vec<u8>,
    /// The exit status, where the box sends one.
    pub exit_status: Option<u32>,
}

impl ExecResult {
    /// The output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Whether waiting takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// `:delay` returns at once.
    Immediate,
    /// Waits in tokio's time.
    Tokio,
}

/// What can be reached over the network.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    /// Connections are refused.
    pub refusing: bool,
    /// Nothing is read or written.
    pub half_open: bool,
    /// Off until then.
    pub down_until: Option<tokio::time::Instant>,
    /// Cancelled when every connection is cut.
    pub cut: CancellationToken,
    /// Cancelled when every connection freezes.
    pub frozen: CancellationToken,
}

struct Core {
    store: Store,
    saved: Snapshot,
    quirks: Arc<Quirks>,
    /// Disks as they were shown last.
    shown: disk::Shown,
    hosts: Hosts,
    faults: Faults,
    journal: Journal,
    globals: HashMap<String, Value>,
    samples: HashMap<u32, (Duration, Counters)>,
    rng: StdRng,
    fuse: Option<u32>,
    booted: Duration,
    exec_latency: Duration,
    connect_latency: Duration,
    hook: Option<Hook>,
    change_hook: Option<ChangeHook>,
    /// When what starts with the box is due, where it has not run yet.
    startup_at: Option<Duration>,
    /// That runs, before anybody can look.
    is_starting: bool,
    replay: Option<Replay>,
    target: Target,
    outward: Option<outward::Outward>,
}

struct Shared {
    version: Mutex<Version>,
    clock: Arc<dyn Clock>,
    core: Mutex<Core>,
    line: Arc<tokio::sync::Mutex<()>>,
    net: watch::Sender<Net>,
    sessions: Arc<AtomicUsize>,
}

/// A simulated box.
#[derive(Clone)]
pub struct RouterOs(Arc<Shared>);

impl fmt::Debug for RouterOs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouterOs({})", self.version())
    }
}

impl RouterOs {
    /// A box of that version and those quirks, else as [`Setup::default`].
    pub fn new(version: Version, quirks: Quirks) -> Self {
        Self::with(Setup { version, quirks, ..Setup::default() })
    }

    /// A box as described.
    pub fn with(setup: Setup) -> Self {
        let now = setup.clock.now();
        let mut store = Store::default();
        store.identity = "MikroTik".to_owned();
        pool::furnish(&mut store, &setup.pool, setup.pool_size, seconds(now));
        let core = Core {
            saved: Snapshot::of(&store),
            store,
            quirks: Arc::new(setup.quirks),
            shown: disk::Shown::default(),
            hosts: Hosts::default(),
            faults: Faults::default(),
            journal: Journal::default(),
            globals: HashMap::new(),
            samples: HashMap::new(),
            rng: StdRng::seed_from_u64(setup.seed),
            fuse: None,
            booted: now,
            exec_latency: setup.exec_latency,
            connect_latency: setup.connect_latency,
            hook: None,
            change_hook: None,
            startup_at: None,
            is_starting: false,
            replay: None,
            target: Target::Serving,
            outward: None,
        };
        let net = Net {
            refusing: false,
            half_open: false,
            down_until: None,
            cut: CancellationToken::new(),
            frozen: CancellationToken::new(),
        };
        RouterOs(Arc::new(Shared {
            version: Mutex::new(setup.version),
            clock: setup.clock,
            core: Mutex::new(core),
            line: Arc::new(tokio::sync::Mutex::new(())),
            net: watch::Sender::new(net),
            sessions: Arc::new(AtomicUsize::new(0)),
        }))
    }

    /// Runs a line at once, as another administrator would: no latency, no faults, session 0.
    pub fn exec(&self, line: &str) -> ExecResult {
        let (result, _) = self
            .run_line(0, ADMINISTRATOR, line, Pace::Immediate, None)
            .now_or_never()
            .unwrap_or_default();
        result
    }

    /// The release it runs.
    pub fn version(&self) -> Version {
        *self.0.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it behaves now.
    pub fn quirks(&self) -> Arc<Quirks> {
        Arc::clone(&self.lock().quirks)
    }

    /// Changes how it behaves from now on.
    pub fn change_quirks(&self, change: impl FnOnce(&mut Quirks)) {
        let mut core = self.lock();
        change(Arc::make_mut(&mut core.quirks));
        core.shown = disk::Shown::default();
    }

    /// Sets how long one line and one login take.
    pub fn set_latency(&self, exec: Duration, connect: Duration) {
        let mut core = self.lock();
        (core.exec_latency, core.connect_latency) = (exec, connect);
    }

    /// The last lines that reached it.
    pub fn journal(&self) -> Vec<Entry> {
        self.lock().journal.entries()
    }

    /// How many lines ever reached it.
    pub fn exec_count(&self) -> u64 {
        self.lock().journal.total()
    }

    /// Calls `hook` with every line before it runs. The hook must not use the box.
    pub fn on_exec(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        self.lock().hook = Some(Arc::new(hook));
    }

    /// Calls `hook` after every command that changed disks or files, before any other command runs:
    /// the moments between two commands, of one line or of several that interleave. Not after those
    /// with which the box starts: nobody is connected yet. The hook may look at the box and play
    /// hosts; it must change nothing itself.
    pub fn on_change(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.lock().change_hook = Some(Arc::new(hook));
    }

    /// Connects an NVMe/TCP host.
    pub fn connect_host(
        &self,
        host_nqn: &str,
        subsystem_nqn: &str,
        port: u16,
    ) -> Result<Connection, Refusal> {
        if self.is_down() {
            return Err(Refusal::NoListener);
        }
        self.run_due();
        let mut core = self.lock();
        match core.target {
            Target::Serving => {}
            Target::Bare => return Err(Refusal::InvalidSubsystem),
            Target::Closed => return Err(Refusal::NoListener),
        }
        let Core { hosts, store, .. } = &mut *core;
        let number = hosts.connect(store, self.version(), host_nqn, subsystem_nqn, port)?;
        Ok(Connection::new(self.clone(), number))
    }

    /// The NQNs under which something is exported on that port; none while the box is off.
    pub fn exported(&self, port: u16) -> BTreeSet<String> {
        if self.is_down() {
            return BTreeSet::new();
        }
        let core = self.lock();
        if core.target != Target::Serving {
            return BTreeSet::new();
        }
        let on_port = |disk: &&Arc<Disk>| disk.exported() && disk.port() == i64::from(port);
        let version = self.version();
        core.store.disks.values().filter(on_port).map(|disk| disk.nqn(version)).collect()
    }

    /// Everything that hosts wrote, oldest first.
    pub fn writes(&self) -> Vec<Write> {
        self.lock().hosts.writes().to_vec()
    }

    /// Host NQNs connected to the disk in that slot.
    pub fn connected_hosts(&self, slot: &str) -> Vec<String> {
        let core = self.lock();
        core.store.slot(slot).map(|(id, _)| core.hosts.of_disk(id)).unwrap_or_default()
    }

    /// Moves the counters of a disk by hand; says whether the slot exists.
    pub fn set_counters(&self, slot: &str, change: impl FnOnce(&mut Counters)) -> bool {
        let mut core = self.lock();
        let Some(id) = core.store.slot(slot).map(|(id, _)| id) else {
            return false;
        };
        match core.store.disk_mut(id) {
            Some(disk) => {
                change(&mut disk.counters);
                true
            }
            None => false,
        }
    }

    /// Names the present content of a file: another number means other data.
    pub fn content_of(&self, file: &str) -> Option<u64> {
        self.lock().store.file(file).map(|(_, file)| file.content)
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
