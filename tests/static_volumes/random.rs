//! Random sequences of operations, faults and orders, judged without trusting the box's list of
//! hosts: a name is never exported for one node while another one, whose host was never seen to let
//! go, still waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rds_csi::operations::{Error, Kind};
use rds_sim::apiserver::{Fault as ApiFault, On, Verb, world as objects};
use rds_sim::routeros::{Fault, Quirks, Version};
use serde_json::Value;
use tokio::time::sleep;

use crate::adopted::{attached, old_disk, old_volume};
use crate::in_memory::{LIMITS, World};

const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
const TAINT: &str = "node.kubernetes.io/out-of-service";

/// One thing that happens. The number is a node.
#[derive(Debug, Clone, Copy)]
enum Step {
    Publish(usize),
    Unpublish(usize),
    /// It falls silent, and Kubernetes takes the volume from it.
    Silent(usize),
    ForgetAttachment(usize),
    Pass,
    Wait(u64),
    Ready(usize, bool),
    DeleteNode(usize),
    NodeBack(usize),
    Taint(usize),
    Untaint(usize),
    Box(Fault),
    Api(bool),
    LoseDisk,
    Restart,
    OtherRelease,
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES.len();
    let of = |make: fn(usize) -> Step| (0..NODES.len()).prop_map(make);
    let fault =
        prop_oneof![Just(Fault::DropBefore), Just(Fault::DropAfter), Just(Fault::StallAfter)];
    prop_oneof![
        10 => of(Step::Publish),
        4 => of(Step::Unpublish),
        6 => of(Step::Silent),
        1 => of(Step::ForgetAttachment),
        5 => Just(Step::Pass),
        2 => prop_oneof![Just(2), Just(35), Just(130)].prop_map(Step::Wait),
        5 => (node, any::<bool>()).prop_map(|(n, ready)| Step::Ready(n, ready)),
        1 => of(Step::DeleteNode),
        2 => of(Step::NodeBack),
        1 => of(Step::Taint),
        2 => of(Step::Untaint),
        3 => fault.prop_map(Step::Box),
        2 => any::<bool>().prop_map(Step::Api),
        1 => Just(Step::LoseDisk),
        1 => Just(Step::Restart),
        1 => Just(Step::OtherRelease),
    ]
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// A volume with a record, on a box that goes from below 7.21 to above and back.
    Recorded,
    /// A volume of the first driver, on this box.
    FirstDriver(Version),
}

struct Run {
    world: World,
    story: Story,
    slot: &'static str,
    /// The hosts that may hold a controller, by node: the names under which they connected.
    waiting: BTreeMap<&'static str, BTreeSet<String>>,
    /// How often a node was let in, or had to wait for somebody's word.
    let_in: usize,
    refused: usize,
}

impl Run {
    async fn new(story: Story) -> Self {
        let (version, slot) = match story {
            Story::Recorded => (Version::V7_20_8, "data"),
            Story::FirstDriver(version) => (version, "old"),
        };
        let world = World::with(version, Quirks::default()).await;
        match story {
            Story::Recorded => drop(world.provision(slot).await),
            Story::FirstDriver(_) => {
                old_disk(&world, slot);
                old_volume(&world, slot, &[]).await;
            }
        }
        Self { world, story, slot, waiting: BTreeMap::new(), let_in: 0, refused: 0 }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Publish(n) => self.publish(NODES[n]).await,
            Step::Unpublish(n) => self.unpublish(NODES[n]).await,
            Step::Silent(n) => {
                self.ready(NODES[n], false).await;
                self.world.settle().await;
                self.unpublish(NODES[n]).await;
            }
            Step::ForgetAttachment(n) => self.world.forget_attached(self.slot, NODES[n]).await,
            Step::Pass => drop(self.world.reconciler.pass().await),
            Step::Wait(seconds) => sleep(Duration::from_secs(seconds)).await,
            Step::Ready(n, ready) => self.ready(NODES[n], ready).await,
            Step::DeleteNode(n) => {
                // An operator deletes only what is off.
                let _ = self.world.api.delete("nodes", NODES[n]);
                self.waiting.remove(NODES[n]);
            }
            Step::NodeBack(n) => drop(self.world.api.create(objects::node(NODES[n]).build())),
            Step::Taint(n) => {
                let set = |node: &mut Value| objects::set_taint(node, TAINT, "NoExecute");
                if self.world.api.modify("nodes", NODES[n], set).is_ok() {
                    self.waiting.remove(NODES[n]);
                }
            }
            Step::Untaint(n) => {
                let unset = |node: &mut Value| objects::remove_taint(node, TAINT);
                let _ = self.world.api.modify("nodes", NODES[n], unset);
            }
            Step::Box(fault) => self.world.os.arm(fault),
            Step::Api(lost) => {
                let fault = if lost { ApiFault::LoseAnswer } else { ApiFault::Unavailable };
                let patch = On::verb(Verb::Patch).resource("persistentvolumes");
                self.world.api.faults().next(1, patch, fault);
            }
            Step::LoseDisk if self.story == Story::Recorded => {
                _ = self.world.os.lose_disk(self.slot)
            }
            Step::OtherRelease if self.story == Story::Recorded => self.other_release().await,
            Step::LoseDisk | Step::OtherRelease => {}
            Step::Restart => self.world.restart().await,
        }
        self.world.settle().await;
        self.check(&format!("{step:?}"));
    }

    /// The node gets a controller as soon as it was told a name.
    async fn publish(&mut self, to: &'static str) {
        if self.world.api.get("nodes", to).is_none() {
            return;
        }
        let is_new = self.world.attachment(self.slot, to).is_none();
        let name = self.world.want_attached(self.slot, to).await;
        if is_new {
            attached(&self.world, &name, false).await;
        }
        match self.world.publish(self.slot, to).await {
            Ok(context) => {
                attached(&self.world, &name, true).await;
                self.waiting.entry(to).or_default().insert(context["nqn"].clone());
                self.let_in += 1;
            }
            Err(error) => self.waits(&error),
        }
    }

    /// kubelet of a node that is Ready lets go before Kubernetes detaches.
    async fn unpublish(&mut self, from: &'static str) {
        let node = self.world.api.get("nodes", from);
        let is_ready = node.is_some_and(|node| {
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        });
        if is_ready {
            self.waiting.remove(from);
        }
        match self.world.unpublish(self.slot, from).await {
            Ok(()) => self.world.forget_attached(self.slot, from).await,
            Err(error) => self.waits(&error),
        }
    }

    fn waits(&mut self, error: &Error) {
        let is_silent = error.message.contains("silent");
        self.refused += usize::from(error.kind == Kind::Precondition && is_silent);
    }

    async fn ready(&self, node: &str, ready: bool) {
        let status = if ready { "True" } else { "Unknown" };
        let set = |node: &mut Value| objects::set_ready(node, status);
        let _ = self.world.api.modify("nodes", node, set);
    }

    /// The seconds until the first pass cannot be closed from outside, so it runs at once.
    async fn other_release(&mut self) {
        let is_old = self.world.os.version() == Version::V7_20_8;
        let next = if is_old { Version::V7_21_5 } else { Version::V7_20_8 };
        self.world.os.disarm();
        self.world.api.faults().lift_all();
        self.world.os.install(next, Duration::from_secs(20));
        sleep(Duration::from_secs(21)).await;
        for _ in 0..3 {
            self.world.pass().await;
        }
    }

    fn check(&self, step: &str) {
        if !self.world.has_disk(self.slot) || !self.world.is_exported(self.slot) {
            return;
        }
        let name = match self.world.os.version() {
            Version::V7_20_8 => self.slot.to_owned(),
            _ => self.world.property(self.slot, "nvme-tcp-server-nqn"),
        };
        let allowed = self.world.property(self.slot, "nvme-tcp-server-allow-host-name");
        for (node, names) in &self.waiting {
            let is_let_in = allowed == self.world.host_nqn(node);
            assert!(
                is_let_in || !names.contains(&name),
                "after {step}: {name} is exported for another, and {node} waits for it"
            );
        }
    }

    /// All nodes are well again or new ones, and somebody gets the volume.
    async fn come_to_rest(mut self) -> (usize, usize) {
        self.world.os.disarm();
        self.world.api.faults().lift_all();
        for (n, node) in NODES.into_iter().enumerate() {
            self.take(Step::DeleteNode(n)).await;
            self.world.forget_attached(self.slot, node).await;
        }
        for _ in 0..3 {
            let _ = self.world.reconciler.pass().await;
            sleep(LIMITS.grace).await;
        }
        for node in NODES {
            // The external-attacher detaches what it no longer wants.
            self.world.unpublish(self.slot, node).await.unwrap();
        }
        self.take(Step::NodeBack(0)).await;
        let before = self.let_in;
        self.take(Step::Publish(0)).await;
        assert_eq!(self.let_in, before + 1, "the volume is lost to everybody");
        assert_eq!(self.world.writers(self.slot), BTreeSet::from([NODES[0]]));
        (self.let_in, self.refused)
    }
}

fn tell(story: Story, cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let sums = std::cell::Cell::new((0, 0));
    let told = runner.run(&prop::collection::vec(step(), 1..50), |steps| {
        let paused = tokio::runtime::Builder::new_current_thread();
        let runtime = { paused }.enable_all().start_paused(true).build().unwrap();
        let (more_in, more_refused) = runtime.block_on(async {
            let mut run = Run::new(story).await;
            for step in steps {
                run.take(step).await;
            }
            run.come_to_rest().await
        });
        let (let_in, refused) = sums.get();
        sums.set((let_in + more_in, refused + more_refused));
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{story:?}: {error}"));
    let (let_in, refused) = sums.get();
    assert!(let_in > 25 && refused > 8, "{story:?}: let in {let_in}, made to wait {refused}");
}

#[test]
fn no_name_is_exported_for_which_a_silent_host_waits_on_boxes_that_change_their_release() {
    tell(Story::Recorded, 60);
}

#[test]
fn no_name_is_exported_for_which_a_silent_host_of_a_first_drivers_volume_waits() {
    for version in [Version::V7_20_8, Version::V7_24_4] {
        tell(Story::FirstDriver(version), 25);
    }
}
