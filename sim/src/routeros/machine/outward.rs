//! The box makes real what it exports, where somebody gave it the means.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::exports::{Exports, Outside, Target};
use super::super::store::{Failure, Store};
use super::{Core, RouterOs};

/// Who makes it real, and what is there now.
pub(super) struct Outward {
    exports: Arc<dyn Exports>,
    keep: BTreeSet<u16>,
    seen: Outside,
}

impl fmt::Debug for Outward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outward").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl RouterOs {
    /// From now on `exports` makes real what hosts can see. The ports in `keep` are open as long as
    /// the box is on; others while something is exported there. [`RouterOs::keep_power`] must run,
    /// or nothing is exported again after a reboot.
    ///
    /// # Errors
    /// When what is there now cannot be made real.
    pub fn export_to(&self, exports: Arc<dyn Exports>, keep: BTreeSet<u16>) -> Result<(), String> {
        let down = self.is_down();
        let mut core = self.lock();
        core.outward = Some(Outward { exports, keep, seen: Outside::default() });
        self.turn_outward(&mut core, down)
    }

    /// How it answers hosts from now on. Where it does not serve, whoever is connected is cut off.
    ///
    /// # Errors
    /// When it cannot be made real.
    pub fn set_target(&self, target: Target) -> Result<(), String> {
        let down = self.is_down();
        let mut core = self.lock();
        core.target = target;
        if target != Target::Serving {
            core.hosts.cut_all();
        }
        self.turn_outward(&mut core, down)
    }

    /// What hosts can see now.
    pub fn outside(&self) -> Outside {
        let down = self.is_down();
        let core = self.lock();
        let seen = core.outward.as_ref().map(|outward| outward.seen.clone()).unwrap_or_default();
        self.wanted(&core, &seen, down)
    }

    /// Exports again, when the box is back, what it exports; runs for ever.
    pub async fn keep_power(self) {
        let mut net = self.net();
        loop {
            let until = net.borrow_and_update().down_until;
            if let Some(until) = until.filter(|until| *until > tokio::time::Instant::now()) {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    changed = net.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                }
            }
            let _ = self.turn_on();
            let late = self.quirks().startup_delay;
            if late > Duration::ZERO {
                tokio::time::sleep(late).await;
                self.run_due();
            }
            if net.changed().await.is_err() {
                return;
            }
        }
    }

    fn turn_on(&self) -> Result<(), String> {
        let down = self.is_down();
        {
            let mut core = self.lock();
            self.turn_outward(&mut core, down)?;
        }
        self.run_due();
        Ok(())
    }

    fn wanted(&self, core: &Core, seen: &Outside, down: bool) -> Outside {
        let none = BTreeSet::new();
        let keep = core.outward.as_ref().map_or(&none, |outward| &outward.keep);
        let state = (&core.store, self.version(), &*core.quirks);
        let wanted = Outside::of(state, core.target, keep, seen);
        if down { wanted.off() } else { wanted }
    }

    /// Makes real what is wanted now.
    pub(super) fn turn_outward(&self, core: &mut Core, down: bool) -> Result<(), String> {
        let Some(outward) = &core.outward else { return Ok(()) };
        let wanted = self.wanted(core, &outward.seen, down);
        outward.exports.follow(&wanted)?;
        if let Some(outward) = &mut core.outward {
            outward.seen = wanted;
        }
        Ok(())
    }

    /// Makes a change real, or takes it back and fails with what could not be done.
    pub(super) fn make_real(&self, core: &mut Core, before: Option<Store>) -> Result<(), Failure> {
        let (Some(before), down) = (before, self.is_down()) else { return Ok(()) };
        let Err(why) = self.turn_outward(core, down) else { return Ok(()) };
        core.store = before;
        // What this cannot do either, the next change tries again.
        let _ = self.turn_outward(core, down);
        Err(Failure(format!("failure: {why}")))
    }

    /// Reads what was counted outside.
    pub(super) fn count(core: &mut Core) {
        let Core { outward: Some(outward), store, .. } = core else { return };
        let ids: Vec<u32> = store.disks.keys().copied().collect();
        for id in ids {
            let Some(counted) = outward.exports.counters(id) else { continue };
            if store.disks.get(&id).is_some_and(|disk| disk.counters == counted) {
                continue;
            }
            if let Some(disk) = store.disk_mut(id) {
                disk.counters = counted;
            }
        }
    }
}
