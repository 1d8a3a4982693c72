//! The box: one handle, cheap to clone, that every transport and every test shares.
//!
//! It owns the state behind one lock, taken per command and never across a wait. It runs lines
//! ([`RouterOs::exec`] at once, sessions of [`super::console`] with latency and faults), and it is
//! where faults are armed. It knows nothing of SSH.

mod power;

pub use power::Snapshot;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::catalog::Menu;
use super::clock::{Clock, SystemClock};
use super::disk;
use super::eval::{self, Finished};
use super::faults::{Fault, Faults};
use super::file;
use super::hosts::{Connection, Cut, Hosts, Refusal, Write};
use super::journal::{Entry, Journal, Outcome};
use super::parser::{self, Dialect};
use super::pool;
use super::quirks::{ExitStatus, Quirks};
use super::row::Row;
use super::store::{Context, Counters, Disk, Failure, Store};
use super::system;
use super::value::Value;
use super::version::Version;

/// Called with every line before it runs.
type Hook = Arc<dyn Fn(&str) + Send + Sync>;

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
    saved: BTreeMap<u32, Arc<Disk>>,
    quirks: Quirks,
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
}

struct Shared {
    version: Version,
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
        write!(f, "RouterOs({})", self.0.version)
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
            saved: store.disks.clone(),
            store,
            quirks: setup.quirks,
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
        };
        let net = Net {
            refusing: false,
            half_open: false,
            down_until: None,
            cut: CancellationToken::new(),
            frozen: CancellationToken::new(),
        };
        RouterOs(Arc::new(Shared {
            version: setup.version,
            clock: setup.clock,
            core: Mutex::new(core),
            line: Arc::new(tokio::sync::Mutex::new(())),
            net: watch::Sender::new(net),
            sessions: Arc::new(AtomicUsize::new(0)),
        }))
    }

    /// Runs a line at once, as another administrator would: no latency, no faults, session 0.
    pub fn exec(&self, line: &str) -> ExecResult {
        let (result, _) =
            self.run_line(0, line, Pace::Immediate).now_or_never().unwrap_or_default();
        result
    }

    /// The release it runs.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// How it behaves now.
    pub fn quirks(&self) -> Quirks {
        self.lock().quirks.clone()
    }

    /// Changes how it behaves from now on.
    pub fn change_quirks(&self, change: impl FnOnce(&mut Quirks)) {
        change(&mut self.lock().quirks);
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
        let mut core = self.lock();
        let Core { hosts, store, .. } = &mut *core;
        let number = hosts.connect(store, self.0.version, host_nqn, subsystem_nqn, port)?;
        Ok(Connection::new(self.clone(), number))
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

/// What the interpreter asks.
impl RouterOs {
    /// Lines run one after the other unless they interleave.
    pub(super) async fn take_line(&self, pace: Pace) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        if pace == Pace::Immediate || self.lock().quirks.interleave {
            return None;
        }
        Some(Arc::clone(&self.0.line).lock_owned().await)
    }

    /// Counts one command down; true where the power goes before it.
    pub(super) fn burns_fuse(&self) -> bool {
        match &mut self.lock().fuse {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(super) fn interleaving_pause(&self) -> Option<Duration> {
        let mut core = self.lock();
        let on = core.quirks.interleave;
        on.then(|| Duration::from_millis(core.rng.random_range(0..4)))
    }

    pub(super) fn global(&self, name: &str) -> Value {
        self.lock().globals.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn set_global(&self, name: &str, value: Value) {
        let mut core = self.lock();
        if core.globals.len() < 1024 || core.globals.contains_key(name) {
            core.globals.insert(name.to_owned(), value);
        }
    }

    pub(super) fn identity(&self) -> String {
        self.lock().store.identity.clone()
    }

    pub(super) fn set_identity(&self, name: String) {
        self.lock().store.identity = name;
    }

    pub(super) fn rows(&self, menu: Menu) -> Vec<Row> {
        let now = self.0.clock.now();
        let core = self.lock();
        let context = self.context(&core.quirks, now);
        match menu {
            Menu::Disk => disk::rows(&core.store, context),
            Menu::File => file::rows(&core.store),
            _ => {
                let uptime = seconds(now.saturating_sub(core.booted));
                system::rows(&core.store, menu, context, uptime)
            }
        }
    }

    /// Changes disks and files; afterwards the hosts that are no longer allowed are cut off.
    pub(super) fn change<T>(
        &self,
        act: impl FnOnce(&mut Store, Context<'_>, &Hosts) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let now = self.0.clock.now();
        let mut core = self.lock();
        let Core { store, quirks, hosts, .. } = &mut *core;
        let result = act(store, self.context(quirks, now), hosts);
        hosts.follow(store, self.0.version, quirks);
        result
    }

    fn context<'a>(&self, quirks: &'a Quirks, now: Duration) -> Context<'a> {
        Context { version: self.0.version, quirks, now: seconds(now) }
    }

    /// One sample of `monitor-traffic` per disk; rates are since the sample before.
    pub(super) fn traffic(&self, disks: &[u32]) -> Vec<Vec<(&'static str, Value)>> {
        let now = self.0.clock.now();
        let mut core = self.lock();
        let mut samples = Vec::new();
        for id in disks {
            let Some(disk) = core.store.disks.get(id) else {
                continue;
            };
            let (slot, counters) = (disk.text("slot"), disk.counters);
            if core.quirks.no_counters {
                samples.push(vec![("slot", Value::Text(slot))]);
                continue;
            }
            let before = core.samples.insert(*id, (now, counters)).unwrap_or((now, counters));
            samples.push(sample(slot, counters, before.1, now.saturating_sub(before.0)));
        }
        samples
    }
}

fn sample(
    slot: String,
    now: Counters,
    before: Counters,
    passed: Duration,
) -> Vec<(&'static str, Value)> {
    let number = |n: u64| Value::Number(i64::try_from(n).unwrap_or(i64::MAX));
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second =
        |now: u64, before: u64| now.saturating_sub(before).saturating_mul(1000) / millis;
    vec![
        ("slot", Value::Text(slot)),
        ("read-ops", number(now.read_ops)),
        ("read-ops-per-second", number(per_second(now.read_ops, before.read_ops))),
        ("read-bytes", number(now.read_bytes)),
        ("read-rate", number(per_second(now.read_bytes, before.read_bytes).saturating_mul(8))),
        ("write-ops", number(now.write_ops)),
        ("write-ops-per-second", number(per_second(now.write_ops, before.write_ops))),
        ("write-bytes", number(now.write_bytes)),
        ("write-rate", number(per_second(now.write_bytes, before.write_bytes).saturating_mul(8))),
        ("in-flight-ops", number(now.in_flight_ops)),
        ("active-time", number(0)),
        ("wait-time", number(0)),
    ]
}

/// What the sessions ask.
impl RouterOs {
    pub(super) fn net(&self) -> watch::Receiver<Net> {
        self.0.net.subscribe()
    }

    pub(super) fn session_count(&self) -> &Arc<AtomicUsize> {
        &self.0.sessions
    }

    pub(super) fn latency(&self) -> (Duration, Duration) {
        let core = self.lock();
        (core.exec_latency, core.connect_latency)
    }

    pub(super) fn take_fault(&self, line: &str) -> Option<Fault> {
        self.lock().faults.take(line)
    }

    /// Changes how the last line of that session ended.
    pub(super) fn amend(&self, session: u64, outcome: Outcome) {
        self.lock().journal.amend(session, outcome);
    }

    /// Writes down a line that did not run to its end.
    pub(super) fn note(&self, session: u64, line: &str, outcome: Outcome) {
        let (line, output) = (line.to_owned(), String::new());
        let entry = Entry { number: 0, session, line, output, error: None, outcome };
        self.lock().journal.push(entry);
    }

    /// Parses and runs one line; true where the power went meanwhile.
    pub(super) async fn run_line(
        &self,
        session: u64,
        line: &str,
        pace: Pace,
    ) -> (ExecResult, bool) {
        let hook = self.lock().hook.clone();
        if let Some(hook) = hook {
            hook(line);
        }
        let quirks = self.quirks();
        let finished = match self.parse(line, &quirks) {
            Ok(block) => eval::run(self, pace, &block).await,
            Err(text) => Finished { out: String::new(), error: Some(text), power_cut: false },
        };
        let power_cut = finished.power_cut;
        let outcome = if power_cut { Outcome::PowerCut } else { Outcome::Answered };
        let result = answer(&finished, &quirks);
        if session > 0 {
            self.lock().journal.push(Entry {
                number: 0,
                session,
                line: line.to_owned(),
                output: finished.out,
                error: finished.error,
                outcome,
            });
        }
        (result, power_cut)
    }

    fn parse(&self, line: &str, quirks: &Quirks) -> Result<super::syntax::Block, String> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.chars().count() > quirks.max_line {
            return Err(format!("max line length {} exceeded!", quirks.max_line));
        }
        let dialect = Dialect { version: self.0.version, terse_errors: quirks.terse_parse_errors };
        if let Some(at) = line.find(['\r', '\n']) {
            let column = line[..at].chars().count() + 1;
            return Err(format!("syntax error (line 1 column {column})"));
        }
        parser::parse(line, dialect).map_err(|error| error.to_string())
    }
}

/// Output and error as the box sends them.
fn answer(finished: &Finished, quirks: &Quirks) -> ExecResult {
    let mut stdout = finished.out.clone();
    let mut stderr = String::new();
    if let Some(error) = &finished.error {
        let stream = if quirks.errors_on_stderr { &mut stderr } else { &mut stdout };
        stream.push_str(error);
        stream.push('\n');
    }
    let failed = finished.error.is_some();
    let exit_status = match quirks.exit_status {
        ExitStatus::Never => None,
        ExitStatus::OneOnError => Some(u32::from(failed)),
        ExitStatus::AlwaysZero => Some(0),
    };
    let bytes = |text: String| match quirks.crlf {
        true => text.replace('\n', "\r\n").into_bytes(),
        false => text.into_bytes(),
    };
    ExecResult { stdout: bytes(stdout), stderr: bytes(stderr), exit_status }
}

/// What connected hosts do.
impl RouterOs {
    pub(super) fn host_write(&self, number: u64, bytes: u64) -> Result<(), Cut> {
        let mut core = self.lock();
        let Core { hosts, store, .. } = &mut *core;
        hosts.write(store, number, bytes)
    }

    pub(super) fn host_read(&self, number: u64, bytes: u64) -> Result<(), Cut> {
        let mut core = self.lock();
        let Core { hosts, store, .. } = &mut *core;
        hosts.read(store, number, bytes)
    }

    pub(super) fn host_is_live(&self, number: u64) -> bool {
        self.lock().hosts.is_live(number)
    }

    pub(super) fn host_disconnect(&self, number: u64) {
        self.lock().hosts.end(number);
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
