//! What the interpreter, the sessions and the connected hosts ask of the box: each method takes the
//! lock once.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;

use super::super::catalog::Menu;
use super::super::faults::Fault;
use super::super::file;
use super::super::hosts::{Cut, Hosts};
use super::super::moment::{Half, halves};
use super::super::quirks::Quirks;
use super::super::replay::{Recording, Replay, Replayed};
use super::super::row::Row;
use super::super::store::{Context, Counters, Failure, Store};
use super::super::system;
use super::super::user::Rights;
use super::super::value::Value;
use super::{Core, Net, Pace, RouterOs, seconds};

/// What the interpreter asks.
impl RouterOs {
    /// Lines run one after the other unless they interleave.
    pub(crate) async fn take_line(&self, pace: Pace) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        if pace == Pace::Immediate || self.lock().quirks.interleave {
            return None;
        }
        Some(Arc::clone(&self.0.line).lock_owned().await)
    }

    /// Counts one command down; true where the power goes before it.
    pub(crate) fn burns_fuse(&self) -> bool {
        match &mut self.lock().fuse {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    pub(crate) fn interleaving_pause(&self) -> Option<Duration> {
        let mut core = self.lock();
        let on = core.quirks.interleave;
        on.then(|| Duration::from_millis(core.rng.random_range(0..4)))
    }

    pub(crate) fn global(&self, name: &str) -> Value {
        self.lock().globals.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn set_global(&self, name: &str, value: Value) {
        let mut core = self.lock();
        if core.globals.len() < 1024 || core.globals.contains_key(name) {
            core.globals.insert(name.to_owned(), value);
        }
    }

    pub(crate) fn identity(&self) -> String {
        self.lock().store.identity.clone()
    }

    pub(crate) fn set_identity(&self, name: String) {
        self.lock().store.identity = name;
    }

    pub(crate) fn rows(&self, menu: Menu) -> Vec<Arc<Row>> {
        let now = self.0.clock.now();
        let mut core = self.lock();
        if menu == Menu::Disk {
            Self::count(&mut core);
        }
        let Core { store, quirks, shown, booted, .. } = &mut *core;
        let context = self.context(quirks, now);
        let rows = match menu {
            Menu::Disk => return shown.rows(store, context),
            Menu::File => file::rows(store),
            _ => system::rows(store, menu, context, seconds(now.saturating_sub(*booted))),
        };
        rows.into_iter().map(Arc::new).collect()
    }

    /// Changes disks and files; afterwards the hosts that are no longer allowed are cut off.
    pub(crate) fn change<T>(
        &self,
        act: impl FnOnce(&mut Store, Context<'_>, &Hosts) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let now = self.0.clock.now();
        let mut core = self.lock();
        let before = core.outward.is_some().then(|| core.store.clone());
        let Core { store, quirks, hosts, .. } = &mut *core;
        let result = act(store, self.context(quirks, now), hosts);
        hosts.follow(store, self.version(), quirks);
        let real = self.make_real(&mut core, before);
        let result = result.and_then(|value| real.map(|()| value));
        let hook = core.change_hook.clone().filter(|_| !core.is_starting);
        drop(core);
        if let Some(hook) = hook {
            hook();
        }
        result
    }

    /// Like [`RouterOs::change`], and nothing where the power goes within it: `goes_at` is asked at
    /// each half.
    pub(crate) fn change_in_halves<T>(
        &self,
        act: impl FnOnce(&mut Store, Context<'_>, &Hosts) -> Result<T, Failure>,
        mut goes_at: impl FnMut(Half) -> bool,
    ) -> Result<Option<T>, Failure> {
        self.change(|store, context, hosts| {
            let before = store.clone();
            let value = act(store, context, hosts)?;
            let left = halves(&before, store).into_iter().find(|(half, _)| goes_at(*half));
            Ok(match left {
                None => Some(value),
                Some((_, left)) => {
                    *store = left;
                    None
                }
            })
        })
    }

    pub(super) fn context<'a>(&self, quirks: &'a Quirks, now: Duration) -> Context<'a> {
        Context { version: self.version(), quirks, now: seconds(now) }
    }

    /// One sample of `monitor-traffic` per disk; rates are since the sample before.
    pub(crate) fn traffic(&self, disks: &[u32]) -> Vec<Vec<(&'static str, Value)>> {
        let now = self.0.clock.now();
        let mut core = self.lock();
        Self::count(&mut core);
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

/// Users, and a recording instead of a console.
impl RouterOs {
    /// Declares a user of a group. With `policies` (such as `ssh,read,write,test`) the group is
    /// made, or made anew; without, it is one of those that are there. A login name that nobody
    /// declared has every right.
    pub fn declare_user(&self, user: &str, group: &str, policies: Option<&str>) {
        self.lock().store.users.declare(user, group, policies);
    }

    /// What that login may do.
    pub(crate) fn rights(&self, user: &str) -> Rights {
        self.lock().store.users.rights(user)
    }

    /// From now on, sessions are answered from the recording and run nothing.
    pub fn replay(&self, recording: Recording) {
        self.lock().replay = Some(Replay::new(recording));
    }

    /// The recorded answer, where a recording is played.
    pub(crate) fn replayed(&self, line: &str) -> Option<Replayed> {
        self.lock().replay.as_mut().map(|replay| replay.answer(line))
    }
}

/// What the sessions ask.
impl RouterOs {
    pub(crate) fn net(&self) -> watch::Receiver<Net> {
        self.0.net.subscribe()
    }

    pub(crate) fn session_count(&self) -> &Arc<AtomicUsize> {
        &self.0.sessions
    }

    pub(crate) fn latency(&self) -> (Duration, Duration) {
        let core = self.lock();
        (core.exec_latency, core.connect_latency)
    }

    pub(crate) fn take_fault(&self, line: &str) -> Option<Fault> {
        self.lock().faults.take(line)
    }
}

/// What connected hosts do.
impl RouterOs {
    pub(crate) fn host_write(&self, number: u64, bytes: u64) -> Result<(), Cut> {
        self.run_due();
        let mut core = self.lock();
        let Core { hosts, store, .. } = &mut *core;
        hosts.write(store, number, bytes)
    }

    pub(crate) fn host_read(&self, number: u64, bytes: u64) -> Result<(), Cut> {
        self.run_due();
        let mut core = self.lock();
        let Core { hosts, store, .. } = &mut *core;
        hosts.read(store, number, bytes)
    }

    pub(crate) fn host_is_live(&self, number: u64) -> bool {
        self.run_due();
        self.lock().hosts.is_live(number)
    }

    pub(crate) fn host_disconnect(&self, number: u64) {
        self.lock().hosts.end(number);
    }
}
