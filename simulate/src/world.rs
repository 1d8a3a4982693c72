//! The world of one seed: the box, the cluster, the hosts, the sidecars, and one controller after
//! the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rds_csi::attachment::export::Hosts as Names;
use rds_csi::attachment::ledger::COPY_ANNOTATION;
use rds_csi::volume::NodeName;
use rds_sim::apiserver::attacher::Attacher;
use rds_sim::apiserver::{self, ApiServer, world as objects};
use rds_sim::routeros::{Quirks, Reboot, RouterOs, Setup, Snapshot, TokioClock, Version};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::bug::{Bug, copy_after_the_box};
use crate::controller::{Controller, DRIVER, IMAGES, NAMESPACE, Parts, SECRET};
use crate::dice::{Dice, derived};
use crate::gate::Gate;
use crate::hosts::Hosts;
use crate::kube::Kube;
use crate::ledger::Ledger;
use crate::line::Line;
use crate::logged::logger;
use crate::network::Network;
use crate::sidecars::{Seat, Sidecars, VOLUMES};
use crate::temper::Temper;
use crate::trace::Trace;

/// The nodes of the cluster.
pub const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
/// 32 bytes, base64.
const KEY: &str = "c2ltdWxhdGVkLWtleS1vZi10aGUtY2x1c3Rlci4uLi4=";

/// What a run is made from.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// Actions of the schedule.
    pub steps: usize,
    /// A bug on purpose.
    pub bug: Option<Bug>,
    /// Keep the driver's log?
    pub log: bool,
    /// Actions shown of a run that failed.
    pub shown: usize,
}

/// The world.
pub struct World {
    /// From what it is made.
    pub plan: Plan,
    /// What happened.
    pub trace: Arc<Trace>,
    /// The box.
    pub rds: RouterOs,
    /// The cluster.
    pub api: ApiServer,
    /// What was promised.
    pub ledger: Arc<Ledger>,
    /// Who writes.
    pub hosts: Arc<Hosts>,
    /// Who asks.
    pub sidecars: Arc<Sidecars>,
    /// The schedule's.
    pub dice: Dice,
    /// What this run is like.
    pub temper: Temper,
    /// Between controllers and box.
    pub network: Arc<Network>,
    /// The latest snapshot of the box.
    pub snapshot: Mutex<Option<Snapshot>>,
    /// When the box was last brought back to an older state.
    rolled_back: Mutex<Option<Instant>>,
    controller: Mutex<Option<Controller>>,
    /// Told when another controller shall start beside the one that is there.
    pub hand_over: Notify,
    _attacher: Attacher,
}

/// The simulation itself failed.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

impl World {
    /// Makes it. Must run within an actix System whose time is paused.
    pub fn make(plan: Plan) -> Result<Arc<Self>, Trouble> {
        rds_csi::volume::chance::seed(derived(plan.seed, "driver"));
        fastrand::seed(derived(plan.seed, "jitter"));
        let trace = Arc::new(Trace::begin());
        let rds = RouterOs::with(Setup {
            version: Version::V7_24_4,
            quirks: Quirks::default(),
            clock: Arc::new(TokioClock::start()),
            seed: derived(plan.seed, "box"),
            exec_latency: Duration::from_millis(60),
            connect_latency: Duration::from_millis(300),
            ..Setup::default()
        });
        rds.exec(&format!("/file/add name={IMAGES} type=directory"));
        rds.mark_saved();
        let api = ApiServer::with(apiserver::Options {
            seed: derived(plan.seed, "cluster"),
            ..apiserver::Options::default()
        });
        furnish(&api)?;
        let ledger = Arc::new(Ledger::default());
        let names = host_names()?;
        let hosts = Hosts::new(rds.clone(), Arc::clone(&ledger), Arc::clone(&trace), names);
        let sidecars = Arc::new(Sidecars {
            seat: Mutex::default(),
            api: api.clone(),
            rds: rds.clone(),
            ledger: Arc::clone(&ledger),
            trace: Arc::clone(&trace),
            dice: Dice::new(plan.seed, "callers"),
            bug: plan.bug,
        });
        let temper = Temper::of(&Dice::new(plan.seed, "temper"));
        let network = Network::new(Dice::new(plan.seed, "network"), temper.held_up);
        rds.change_quirks(|quirks| quirks.interleave = temper.interleave);
        let attacher = Attacher::start(&api, DRIVER, sidecars.clone())
            .map_err(|failure| format!("no attacher: {failure:?}"))?;
        Ok(Arc::new(Self {
            plan,
            trace,
            rds,
            api,
            ledger,
            hosts: Arc::new(hosts),
            sidecars,
            dice: Dice::new(plan.seed, "schedule"),
            network: Arc::new(network),
            temper,
            snapshot: Mutex::default(),
            rolled_back: Mutex::default(),
            controller: Mutex::default(),
            hand_over: Notify::new(),
            _attacher: attacher,
        }))
    }

    /// Starts a controller, and another whenever it has died.
    pub fn keep_a_controller(self: &Arc<Self>) {
        let world = Arc::clone(self);
        actix_rt::spawn(async move {
            loop {
                let gate = match world.start_controller() {
                    Ok(gate) => gate,
                    Err(why) => return world.trace.violated(why.to_string()),
                };
                tokio::select! {
                    biased;
                    () = gate.died() => {
                        world.trace.note(format_args!("the controller dies"));
                        world.sidecars.sit(None);
                        world.take_controller().into_iter().for_each(Controller::kill);
                        sleep(world.network.millis(200, 20_000)).await;
                    }
                    () = world.hand_over.notified() => world.let_linger(world.take_controller()),
                }
            }
        });
    }

    fn take_controller(&self) -> Option<Controller> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A controller that is being replaced goes on for a while beside the new one, as in a rolling
    /// update, and ends in the middle of whatever it does.
    fn let_linger(self: &Arc<Self>, old: Option<Controller>) {
        let (world, time) = (Arc::clone(self), self.network.millis(100, 90_000));
        tokio::spawn(async move {
            let Some(old) = old else { return };
            tokio::select! {
                biased;
                () = old.gate.died() => {}
                () = sleep(time) => {}
            }
            world.trace.note(format_args!("the old controller ends"));
            old.kill();
        });
    }

    fn start_controller(&self) -> Result<Arc<Gate>, Trouble> {
        self.trace.note(format_args!("a controller starts"));
        let gate = Arc::new(Gate::default());
        let hosts = Arc::clone(&self.hosts);
        let controller = Controller::start(Parts {
            line: Arc::new(Line {
                rds: self.rds.clone(),
                gate: Arc::clone(&gate),
                network: Arc::clone(&self.network),
                bug: self.plan.bug,
                trace: Arc::clone(&self.trace),
                changed: Arc::new(move || {
                    hosts.look();
                    hosts.tick();
                }),
            }),
            kube: Kube {
                inner: self.api.service(),
                gate: Arc::clone(&gate),
                trace: Arc::clone(&self.trace),
                bug: self.plan.bug,
            },
            log: logger(&self.trace, self.plan.log),
        })?;
        self.sidecars.sit(Some(Seat::of(&controller)));
        *self.controller.lock().unwrap_or_else(PoisonError::into_inner) = Some(controller);
        Ok(gate)
    }

    /// Asks the controller that lives now for a pass.
    pub fn trigger(&self) {
        if let Some(now) = &*self.controller.lock().unwrap_or_else(PoisonError::into_inner) {
            now.trigger.fire(rds_csi::actors::trigger::Cause::Operator);
        }
    }

    /// The box comes back in an older state. As the documentation asks, the storage port is down
    /// until a pass has put it right.
    pub fn roll_back(&self, back: impl FnOnce(&RouterOs)) {
        self.hosts.set_port(false);
        back(&self.rds);
        if self.plan.bug == Some(Bug::GenerationFromTheBoxAlone) {
            self.believe_the_box();
        }
        *self.rolled_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn believe_the_box(&self) {
        for pv in self.api.list(VOLUMES) {
            let Some(name) = pv["metadata"]["name"].as_str() else { continue };
            let copy = pv["metadata"]["annotations"][COPY_ANNOTATION].as_str().unwrap_or_default();
            let Some(believed) = copy_after_the_box(copy, &self.disk(name, "comment")) else {
                continue;
            };
            let believed = serde_json::Value::from(believed);
            // A volume that goes meanwhile needs no copy.
            let _ = self.api.modify(VOLUMES, name, |pv| {
                pv["metadata"]["annotations"][COPY_ANNOTATION] = believed.clone();
            });
        }
    }

    /// Opens the storage port once a pass that began after the box was rolled back has seen and
    /// mended everything.
    pub fn open_port(&self) {
        let mut rolled_back = self.rolled_back.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = *rolled_back else { return };
        let controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(passed) = controller.as_ref().and_then(Controller::passed) else { return };
        let is_good = passed.report.blind.is_empty() && passed.report.failed.is_empty();
        if passed.began > at + Duration::from_secs(60) && is_good {
            self.trace.note(format_args!("the storage port is up again"));
            *rolled_back = None;
            self.hosts.set_port(true);
        }
    }

    /// Time passes: hosts try and write, whatever is going on.
    pub async fn pass_time(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() && self.trace.violation().is_none() {
            let next = left.min(Duration::from_secs(7));
            sleep(next).await;
            left -= next;
            self.hosts.look();
            self.hosts.tick();
            self.open_port();
        }
    }

    /// What cannot go on for ever ends: every fault is lifted, and the box is on.
    pub fn end_faults(&self) {
        self.api.faults().lift_all();
        self.rds.disarm();
        self.network.calm();
        self.rds.set_refusing(false);
        self.rds.set_half_open(false);
        self.rds.set_latency(Duration::from_millis(60), Duration::from_millis(300));
        self.rds.change_quirks(|quirks| quirks.interleave = false);
        self.rds.power_on(Reboot::KeepEverything);
    }
}

/// What the cluster has before anything happens.
fn furnish(api: &ApiServer) -> Result<(), Trouble> {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"namespace": NAMESPACE, "name": SECRET}, "data": {"key": KEY},
    });
    let nodes = NODES.iter().map(|node| objects::node(node).ready("True").build());
    for object in [namespace, secret].into_iter().chain(nodes) {
        api.create(object).map_err(|failure| format!("{failure:?}"))?;
    }
    Ok(())
}

/// Nodes and their host NQNs.
fn host_names() -> Result<Vec<(String, String)>, Trouble> {
    let names = Names::new(b"simulated-key-of-the-cluster....".as_slice().into());
    let mut hosts = Vec::new();
    for node in NODES {
        let host = names.host(&NodeName::parse(node)?)?;
        hosts.push((node.to_owned(), host.nqn.to_string()));
    }
    Ok(hosts)
}
