//! Faults of the whole box: power, network, lost configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::automation::Automation;
use super::super::faults::{Fault, Reboot};
use super::super::pool;
use super::super::store::{Counters, Disk, Store};
use super::super::value::Value;
use super::super::version::Version;
use super::{Core, RouterOs};

/// The configuration of disks, scripts and schedulers at one moment. Images are not in it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    disks: BTreeMap<u32, Arc<Disk>>,
    automation: Automation,
}

impl Snapshot {
    pub(super) fn of(store: &Store) -> Self {
        Snapshot { disks: store.disks.clone(), automation: store.automation.clone() }
    }

    fn put_into(&self, store: &mut Store) {
        store.disks = self.disks.clone();
        store.automation = self.automation.clone();
    }
}

impl RouterOs {
    /// Arms a fault for the next line of any session.
    pub fn arm(&self, fault: Fault) {
        self.lock().faults.arm(fault, None);
    }

    /// Arms a fault for the next line that contains `part`.
    pub fn arm_on(&self, part: &str, fault: Fault) {
        self.lock().faults.arm(fault, Some(part));
    }

    /// Forgets armed faults that have not gone off.
    pub fn disarm(&self) {
        self.lock().faults.clear();
    }

    /// How many armed faults have not gone off yet.
    pub fn armed(&self) -> usize {
        self.lock().faults.pending()
    }

    /// While on, nothing is read or written on any connection, none is closed, and new ones hang.
    /// Connections that froze stay frozen after it is off again.
    pub fn set_half_open(&self, on: bool) {
        self.0.net.send_modify(|net| {
            net.half_open = on;
            if on {
                net.frozen.cancel();
            } else {
                net.frozen = CancellationToken::new();
            }
        });
    }

    /// While on, new connections are refused. Open ones stay.
    pub fn set_refusing(&self, on: bool) {
        self.0.net.send_modify(|net| net.refusing = on);
    }

    /// Cuts every management connection. Hosts stay.
    pub fn drop_connections(&self) {
        self.0.net.send_modify(|net| {
            std::mem::take(&mut net.cut).cancel();
        });
    }

    /// The power goes: everything is cut until [`RouterOs::power_on`].
    pub fn power_off(&self) {
        self.go_down(Duration::from_secs(100 * 365 * 86_400), Reboot::KeepEverything);
    }

    /// The power comes back, with what was saved.
    pub fn power_on(&self, what: Reboot) {
        self.go_down(Duration::ZERO, what);
    }

    /// Everything is cut; after the downtime the box is back with a new uptime.
    pub fn reboot(&self, what: Reboot, downtime: Duration) {
        self.go_down(downtime, what);
    }

    /// Everything is cut; after the downtime the box runs another release, with the configuration
    /// that it had. What the release does not know is kept and means nothing to it.
    pub fn install(&self, version: Version, downtime: Duration) {
        *self.0.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
        self.go_down(downtime, Reboot::KeepEverything);
    }

    pub(crate) fn is_down(&self) -> bool {
        let until = self.0.net.borrow().down_until;
        until.is_some_and(|until| tokio::time::Instant::now() < until)
    }

    fn go_down(&self, downtime: Duration, what: Reboot) {
        {
            let mut core = self.lock();
            let back = self.0.clock.now() + downtime;
            if what == Reboot::LoseUnsaved {
                let Core { saved, store, .. } = &mut *core;
                saved.put_into(store);
            }
            core.boot(back);
        }
        let until = tokio::time::Instant::now() + downtime;
        // Off, whatever comes after: also the shortest reboot cuts every host off.
        let _ = self.turn_outward(&mut self.lock(), true);
        self.0.net.send_modify(|net| {
            net.down_until = (!downtime.is_zero()).then_some(until);
            std::mem::take(&mut net.cut).cancel();
        });
    }

    /// Remembers the configuration as saved: what a reboot with [`Reboot::LoseUnsaved`] comes back
    /// to.
    pub fn mark_saved(&self) {
        let mut core = self.lock();
        core.saved = Snapshot::of(&core.store);
    }

    /// The configuration as it is.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.lock().store)
    }

    /// Brings back the configuration of a snapshot, as restoring a backup does: the box restarts.
    /// Files stay as they are.
    pub fn restore(&self, snapshot: &Snapshot, downtime: Duration) {
        snapshot.put_into(&mut self.lock().store);
        self.go_down(downtime, Reboot::KeepEverything);
    }

    /// Brings back one disk item as it was, while the box runs; says whether the snapshot has it.
    /// Whatever has its slot now is replaced.
    pub fn restore_disk(&self, snapshot: &Snapshot, slot: &str) -> bool {
        let found = snapshot.disks.iter().find(|(_, disk)| disk.text("slot") == slot);
        let Some((id, disk)) = found else { return false };
        let put = self.change(|store, _, _| {
            store.disks.retain(|_, disk| disk.text("slot") != slot);
            store.disks.insert(*id, Arc::clone(disk));
            Ok(())
        });
        put.is_ok()
    }

    /// Loses every disk item of type `file`, every script and every scheduler, as a configuration
    /// reset does. Files stay.
    pub fn reset_configuration(&self, downtime: Duration) {
        {
            let mut core = self.lock();
            core.store.disks.retain(|_, disk| disk.text("type") != "file");
            core.store.automation = Automation::default();
        }
        self.go_down(downtime, Reboot::KeepEverything);
    }

    /// One disk item vanishes, as if somebody removed it; says whether it was there.
    pub fn lose_disk(&self, slot: &str) -> bool {
        let found = self.lock().store.slot(slot).map(|(id, _)| id);
        let Some(id) = found else { return false };
        let gone = self.change(|store, _, _| Ok(store.disks.remove(&id).is_some()));
        gone.unwrap_or(false)
    }

    /// Leaves so many bytes free in the pool; says whether there is a pool of that name.
    pub fn fill_pool(&self, pool: &str, free: i64) -> bool {
        let now = self.0.clock.now();
        let mut core = self.lock();
        let Core { store, quirks, .. } = &mut *core;
        let Some(id) = store.slot(pool).map(|(id, _)| id) else {
            return false;
        };
        if let Some(disk) = store.disk_mut(id) {
            disk.properties.remove("sim-lost");
        }
        let Some(disk) = store.disks.get(&id).cloned() else {
            return false;
        };
        let lost = pool::free(store, &disk, self.context(quirks, now)) - free;
        if let Some(disk) = store.disk_mut(id) {
            disk.properties.insert("sim-lost", Value::Number(lost.max(0)));
        }
        true
    }

    /// Burns down to a power cut: so many commands of menus still run.
    pub(crate) fn light_fuse(&self, commands: Option<u32>) {
        self.lock().fuse = commands;
    }
}

impl Core {
    /// Starts anew: counters, variables and hosts are gone, configuration and files are not.
    fn boot(&mut self, at: Duration) {
        self.booted = at;
        self.startup_at = Some(at + self.quirks.startup_delay);
        self.fuse = None;
        self.globals.clear();
        self.samples.clear();
        self.hosts.cut_all();
        let ids: Vec<u32> = self.store.disks.keys().copied().collect();
        for id in ids {
            if let Some(disk) = self.store.disk_mut(id) {
                disk.counters = Counters::default();
            }
        }
        if self.quirks.reboot_renumbers {
            self.store.renumber();
        }
    }
}
