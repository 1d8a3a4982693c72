//! What happens to the world, action by action, as the dice fall.

use std::sync::Arc;
use std::time::Duration;

use rds_sim::apiserver::{Fault as ApiFault, On, Verb, world as objects};
use rds_sim::routeros::{Fault, Reboot};
use tokio::time::sleep;

use crate::controller::DRIVER;
use crate::ledger::Stage;
use crate::sidecars::{ATTACHMENTS, parties};
use crate::temper::Kind;
use crate::world::{NODES, World};

/// The taint of an operator who knows that a node is dead.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

impl World {
    /// Does one thing and says what.
    pub fn act(self: &Arc<Self>, step: usize) -> String {
        match self.temper.next(&self.dice) {
            Kind::Provision => self.provision(step),
            Kind::Attach => self.attach(),
            Kind::Detach => self.detach(),
            Kind::Delete => self.delete(),
            Kind::Expand => self.expand(),
            Kind::Repeat => self.repeat(),
            Kind::Meddle => self.meddle(),
            Kind::Pass => {
                self.trigger();
                "a pass is asked for".into()
            }
            Kind::Collide => self.collide(),
            Kind::FaultOfTheBox => self.fault_of_the_box(),
            Kind::FaultOfTheApi => self.fault_of_the_api(),
            Kind::Node => self.fate_of_a_node(),
            Kind::Crash => self.crash(),
            Kind::TroubleOfTheBox => self.trouble_of_the_box(),
        }
    }

    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(work);
    }

    fn volume(&self) -> Option<String> {
        self.dice.pick(&self.ledger.at(Stage::There)).cloned()
    }

    fn node(&self) -> &'static str {
        NODES[self.dice.below(self.temper.nodes.min(NODES.len()))]
    }

    fn provision(self: &Arc<Self>, step: usize) -> String {
        let alive = self.ledger.all().values().filter(|known| known.stage != Stage::Gone).count();
        if alive >= self.temper.volumes {
            return "nothing".into();
        }
        let (name, multi) = (format!("pvc-{step}"), self.dice.percent(20));
        let bytes = (1 + self.dice.below(3) as u64) << 30;
        let (sidecars, made) = (Arc::clone(&self.sidecars), name.clone());
        self.spawn(async move { sidecars.provision(made, bytes, multi).await });
        format!("provision {name}, {bytes} bytes, shared: {multi}")
    }

    fn attach(&self) -> String {
        let Some(volume) = self.volume() else { return "nothing".into() };
        let node = self.node();
        let holders = self.api.list(ATTACHMENTS);
        let held = holders.iter().any(|va| parties(va).is_some_and(|(held, _)| held == volume));
        let multi = self.ledger.with(&volume, |known| known.multi).unwrap_or(false);
        if held && !multi && self.dice.percent(70) {
            return "nothing".into();
        }
        self.attach_to(&volume, node)
    }

    fn attach_to(&self, volume: &str, node: &str) -> String {
        let is_there = self.ledger.with(volume, |known| known.stage) == Some(Stage::There);
        if !is_there || self.api.get("nodes", node).is_none() {
            return "nothing".into();
        }
        let name = format!("csi-{volume}-{node}");
        let made = self.api.create(objects::attachment(&name, DRIVER, node, volume)).is_ok();
        format!("attach {volume} to {node}: {made}")
    }

    fn detach(&self) -> String {
        let all = self.api.list(ATTACHMENTS);
        let Some(name) = self.dice.pick(&all).and_then(|va| va["metadata"]["name"].as_str()) else {
            return "nothing".into();
        };
        // Going already is no error.
        let _ = self.api.delete(ATTACHMENTS, name);
        format!("detach {name}")
    }

    fn delete(self: &Arc<Self>) -> String {
        let Some(volume) = self.volume() else { return "nothing".into() };
        for va in self.api.list(ATTACHMENTS) {
            let (of, name) = (parties(&va), va["metadata"]["name"].as_str().unwrap_or_default());
            if of.is_some_and(|(of, _)| of == volume) {
                let _ = self.api.delete(ATTACHMENTS, name);
            }
        }
        self.ledger.with(&volume, |known| known.stage = Stage::Going);
        let (sidecars, name) = (Arc::clone(&self.sidecars), volume.clone());
        self.spawn(async move { sidecars.delete(name).await });
        format!("delete {volume}")
    }

    fn expand(self: &Arc<Self>) -> String {
        let Some(volume) = self.volume() else { return "nothing".into() };
        self.grow(volume)
    }

    fn grow(self: &Arc<Self>, volume: String) -> String {
        let bytes = self.ledger.with(&volume, |known| known.bytes).unwrap_or(0) + (1 << 30);
        let (sidecars, name) = (Arc::clone(&self.sidecars), volume.clone());
        self.spawn(async move { sidecars.expand(name, bytes).await });
        format!("expand {volume} to {bytes}")
    }

    /// What sidecars repeat although nobody needs it.
    fn repeat(self: &Arc<Self>) -> String {
        let attached: Vec<_> = self.api.list(ATTACHMENTS);
        let sidecars = Arc::clone(&self.sidecars);
        if let Some(va) = self.dice.pick(&attached).filter(|va| va["status"]["attached"] == true) {
            let (va, name) = (va.clone(), va["metadata"]["name"].to_string());
            self.spawn(async move { sidecars.publish_again(&va).await });
            return format!("publish {name} again");
        }
        let Some(volume) = self.volume() else { return "nothing".into() };
        let is_held = |va: &serde_json::Value| parties(va).is_some_and(|(of, _)| of == volume);
        if attached.iter().any(is_held) {
            return "nothing".into();
        }
        let node = self.dice.percent(50).then(|| self.node());
        let what = format!("unpublish {volume} from {node:?} once more");
        self.spawn(async move {
            // Its answer changes nothing.
            let _ = sidecars.unpublish(&volume, node).await;
        });
        what
    }

    /// Something goes wrong with one line.
    fn fault_of_the_box(&self) -> String {
        let downtime = self.dice.millis(0, 40_000);
        let fault = match self.dice.below(12) {
            0 | 1 => Fault::DropBefore,
            2..=4 => Fault::DropAfter,
            5 => Fault::Stall,
            6 | 7 => Fault::StallAfter,
            8 => Fault::Slow(self.dice.millis(100, 45_000)),
            _ => {
                let after = u32::try_from(self.dice.below(7)).unwrap_or(0);
                Fault::PowerCut { after, downtime }
            }
        };
        let lines = [":onerror", "nvme-tcp-export=yes", "/disk/remove", "/disk/add", "s=detached"];
        let on = lines[self.dice.below(lines.len())];
        self.rds.arm_on(on, fault);
        format!("{fault:?} on {on}")
    }

    /// Something goes wrong with the box.
    fn trouble_of_the_box(self: &Arc<Self>) -> String {
        let time = self.dice.millis(100, 60_000);
        let rds = self.rds.clone();
        match self.dice.below(11) {
            0 => {
                rds.set_half_open(true);
                self.spawn(async move {
                    sleep(time).await;
                    rds.set_half_open(false);
                });
                format!("the box is half-open for {time:?}")
            }
            1 => {
                rds.set_refusing(true);
                self.spawn(async move {
                    sleep(time).await;
                    rds.set_refusing(false);
                });
                format!("the box refuses connections for {time:?}")
            }
            2 => {
                rds.drop_connections();
                "connections are cut".into()
            }
            3 => {
                rds.reboot(Reboot::KeepEverything, time);
                format!("the box restarts within {time:?}")
            }
            4 => {
                self.roll_back(|rds| rds.reboot(Reboot::LoseUnsaved, time));
                "the box restarts without what was not saved".into()
            }
            5 | 6 => {
                rds.mark_saved();
                "the box saves its configuration".into()
            }
            7 => {
                *self.snapshot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                    Some(rds.snapshot());
                "a snapshot of the box".into()
            }
            8 => self.restore(time),
            9 => {
                let Some(volume) = self.volume() else { return "nothing".into() };
                format!("the box loses {volume}: {}", rds.lose_disk(&volume))
            }
            _ => {
                rds.change_quirks(|quirks| quirks.interleave = !quirks.interleave);
                "lines interleave, or no longer".into()
            }
        }
    }

    /// A person changes an export by hand.
    fn meddle(&self) -> String {
        let attached = self.api.list(ATTACHMENTS);
        let attached = self.dice.pick(&attached).and_then(parties).map(|(volume, _)| volume);
        let Some(volume) = attached.or_else(|| self.volume()) else { return "nothing".into() };
        self.meddle_with(&volume)
    }

    fn meddle_with(&self, volume: &str) -> String {
        let change = match self.dice.below(3) {
            0 => "nvme-tcp-server-port=4421",
            1 => "nvme-tcp-server-allow-host-name=\"nqn.2014-08.org.nvmexpress:nobody\"",
            _ => "nvme-tcp-export=no",
        };
        self.rds.exec(&format!("/disk/set [/disk/find where slot=\"{volume}\"] {change}"));
        format!("a person sets {change} on {volume}")
    }

    /// Lines about one volume meet at the box, mostly while one controller replaces another.
    fn collide(self: &Arc<Self>) -> String {
        let attached = self.api.list(ATTACHMENTS);
        let Some((volume, _)) = self.dice.pick(&attached).and_then(parties) else {
            return "nothing".into();
        };
        let longest = self.dice.millis(1_000, 40_000);
        self.network.hold_up(&volume, longest, 1 + self.dice.below(3));
        let first = self.touch(&volume);
        let (soon, later) = (self.dice.millis(0, 2_000), self.dice.millis(0, 8_000));
        let (world, of, replaced) = (Arc::clone(self), volume.clone(), self.dice.percent(70));
        self.spawn(async move {
            sleep(soon).await;
            if replaced {
                let how = world.replace();
                world.trace.note(format_args!("meanwhile: {how}"));
            }
            sleep(later).await;
            let second = world.touch(&of);
            world.trace.note(format_args!("meanwhile: {second}"));
        });
        format!("lines about {volume} meet within {longest:?}: {first}")
    }

    /// Somebody does something about this volume.
    fn touch(self: &Arc<Self>, volume: &str) -> String {
        let attached = self.api.list(ATTACHMENTS);
        let mut of_it =
            attached.iter().filter(|va| parties(va).is_some_and(|(of, _)| of == volume));
        let held = of_it.next();
        match (self.dice.below(8), held) {
            (0 | 1, _) => {
                let what = self.meddle_with(volume);
                self.trigger();
                what
            }
            (2, _) => {
                let is_lost = self.rds.lose_disk(volume);
                self.trigger();
                format!("the box loses {volume}: {is_lost}")
            }
            (3..=5, Some(va)) => {
                let name = va["metadata"]["name"].as_str().unwrap_or_default();
                // Going already is no error.
                let _ = self.api.delete(ATTACHMENTS, name);
                format!("detach {name}")
            }
            (6, Some(va)) if va["status"]["attached"] == true => {
                let (sidecars, va) = (Arc::clone(&self.sidecars), va.clone());
                let what = format!("publish {volume} again");
                self.spawn(async move { sidecars.publish_again(&va).await });
                what
            }
            (7, _) if self.ledger.at(Stage::There).iter().any(|there| there == volume) => {
                self.grow(volume.to_owned())
            }
            _ => self.attach_to(volume, self.node()),
        }
    }

    /// One controller takes the place of another, which may go on for a while.
    fn replace(&self) -> String {
        if self.dice.percent(60) {
            self.hand_over.notify_one();
            return "another controller takes over".into();
        }
        if let Some(seat) = self.sidecars.seat() {
            seat.gate.kill();
        }
        "the controller is killed".into()
    }

    fn restore(&self, downtime: Duration) -> String {
        let snapshot =
            self.snapshot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(snapshot) = snapshot else { return "nothing".into() };
        self.roll_back(|rds| rds.restore(&snapshot, downtime));
        "the box is restored from the snapshot".into()
    }

    fn fault_of_the_api(self: &Arc<Self>) -> String {
        let calls = u32::try_from(1 + self.dice.below(3)).unwrap_or(1);
        let fault = match self.dice.below(6) {
            0 => ApiFault::Refuse,
            1 => ApiFault::Hang,
            2 => ApiFault::Unavailable,
            3 => ApiFault::Conflict,
            4 => ApiFault::LoseAnswer,
            _ => ApiFault::Delay(self.dice.millis(10, 12_000)),
        };
        match self.dice.below(8) {
            0 => {
                self.api.close_watches();
                "watches are closed".into()
            }
            1 => {
                self.api.expire_history();
                "the history is forgotten".into()
            }
            2 | 3 => {
                let time = self.dice.millis(100, 90_000);
                let id = self.api.faults().unreachable(fault.clone());
                let api = self.api.clone();
                self.spawn(async move {
                    sleep(time).await;
                    api.faults().lift(id);
                });
                format!("{fault:?} for {time:?}")
            }
            nth => {
                let on = match nth {
                    4 => On::writes(),
                    5 => On::verb(Verb::Delete),
                    6 => On::writes().resource("configmaps"),
                    _ => On::writes().resource("persistentvolumes"),
                };
                let what = format!("{fault:?} for the next {calls} of {on:?}");
                let id = self.api.faults().next(calls, on, fault);
                let api = self.api.clone();
                self.spawn(async move {
                    // One that hangs is not used up.
                    sleep(Duration::from_secs(60)).await;
                    api.faults().lift(id);
                });
                what
            }
        }
    }

    /// Kubernetes takes the volumes of a node that is out of service from it, after a while.
    fn force_detach(self: &Arc<Self>, node: &'static str) {
        let (api, after) = (self.api.clone(), self.dice.millis(1_000, 40_000));
        self.spawn(async move {
            sleep(after).await;
            for va in api.list(ATTACHMENTS) {
                let name = va["metadata"]["name"].as_str().unwrap_or_default();
                if parties(&va).is_some_and(|(_, on)| on == node) {
                    let _ = api.delete(ATTACHMENTS, name);
                }
            }
        });
    }

    fn fate_of_a_node(self: &Arc<Self>) -> String {
        let node = self.node();
        let modify = |edit: &dyn Fn(&mut serde_json::Value)| {
            self.api.modify("nodes", node, |object| edit(object)).is_ok()
        };
        let done = match self.dice.below(9) {
            0 | 1 => {
                modify(&|object| objects::set_ready(object, "Unknown"));
                "is NotReady"
            }
            2 => {
                self.hosts.power_off(node);
                modify(&|object| objects::set_ready(object, "Unknown"));
                "is NotReady and without power"
            }
            3 | 4 => {
                let off = self.dice.percent(70);
                if off {
                    self.hosts.power_off(node);
                }
                let _ = self.api.delete("nodes", node);
                if off { "is deleted and without power" } else { "is deleted" }
            }
            5 => {
                modify(&|object| objects::set_taint(object, OUT_OF_SERVICE, "NoExecute"));
                if self.dice.percent(60) {
                    self.force_detach(node);
                }
                "is out of service"
            }
            _ => {
                self.bring_back(node);
                "is back"
            }
        };
        format!("{node} {done}")
    }

    /// The node is there, Ready and without a taint.
    pub fn bring_back(&self, node: &str) {
        self.hosts.power_on(node);
        // It is there already, mostly.
        let _ = self.api.create(objects::node(node).ready("True").build());
        let _ = self.api.modify("nodes", node, |object| {
            objects::set_ready(object, "True");
            objects::remove_taint(object, OUT_OF_SERVICE);
        });
    }

    fn crash(&self) -> String {
        let Some(seat) = self.sidecars.seat() else { return "nothing".into() };
        if self.dice.percent(30) {
            self.hand_over.notify_one();
            return "another controller takes over".into();
        }
        if self.dice.percent(30) {
            seat.gate.kill();
            return "the controller is killed".into();
        }
        let passages = u32::try_from(self.dice.below(40)).unwrap_or(0);
        seat.gate.kill_after(passages);
        format!("the controller will be killed after {passages} passages")
    }
}
