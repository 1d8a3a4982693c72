//! Random sequences of operations, faults and people: never two writers, and in the end everything
//! agrees and works.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rds_csi::operations::{Expand, Kind};
use rds_sim::apiserver::{Fault as ApiFault, On, Verb, world as objects};
use rds_sim::routeros::{Connection, Fault, Quirks, Snapshot, Version};
use tokio::time::sleep;

use crate::in_memory::{GIB, LIMITS, World, id};

const VOLUMES: [&str; 2] = ["one", "two"];
const NODES: [&str; 2] = ["node-a", "node-b"];

/// One thing that happens. The first number is a volume, the second a node.
#[derive(Debug, Clone, Copy)]
enum Step {
    Publish(usize, usize),
    Unpublish(usize, usize),
    UnpublishAll(usize),
    ForgetAttachment(usize, usize),
    Grow(usize),
    Pass,
    Wait(u64),
    Ready(usize, bool),
    DeleteNode(usize),
    Taint(usize),
    Box(Fault),
    Api(u8),
    Backup,
    Restore,
    LoseDisk(usize),
    Close(usize),
    Open(usize),
    Damage(usize),
    Write,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let volume = 0..VOLUMES.len();
    let node = 0..NODES.len();
    let both = (volume.clone(), node.clone());
    let fault = prop_oneof![
        Just(Fault::DropBefore),
        Just(Fault::DropAfter),
        Just(Fault::StallAfter),
        (0_u32..6).prop_map(|after| Fault::PowerCut { after, downtime: Duration::from_secs(2) }),
    ];
    prop_oneof![
        8 => both.clone().prop_map(|(v, n)| Step::Publish(v, n)),
        5 => both.clone().prop_map(|(v, n)| Step::Unpublish(v, n)),
        1 => volume.clone().prop_map(Step::UnpublishAll),
        1 => both.prop_map(|(v, n)| Step::ForgetAttachment(v, n)),
        1 => volume.clone().prop_map(Step::Grow),
        5 => Just(Step::Pass),
        3 => prop_oneof![Just(2), Just(35), Just(130)].prop_map(Step::Wait),
        3 => (node.clone(), any::<bool>()).prop_map(|(n, ready)| Step::Ready(n, ready)),
        1 => node.clone().prop_map(Step::DeleteNode),
        1 => node.prop_map(Step::Taint),
        4 => fault.prop_map(Step::Box),
        2 => (0_u8..3).prop_map(Step::Api),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
        1 => volume.clone().prop_map(Step::LoseDisk),
        1 => volume.clone().prop_map(Step::Close),
        1 => volume.clone().prop_map(Step::Open),
        1 => volume.prop_map(Step::Damage),
        4 => Just(Step::Write),
        1 => Just(Step::Restart),
    ]
}

/// A host that was let in, and the generation under which.
struct Host {
    slot: &'static str,
    node: &'static str,
    generation: u64,
    connection: Connection,
}

struct Run {
    world: World,
    hosts: Vec<Host>,
    backup: Option<Snapshot>,
    /// The newest generation that wrote, by volume. A box that goes back in time starts anew: for
    /// a moment it is what it was, and nobody outside can close that moment.
    newest: BTreeMap<&'static str, u64>,
}

impl Run {
    async fn new() -> Self {
        let world = World::new().await;
        for slot in VOLUMES {
            world.provision(slot).await;
        }
        world.pass().await;
        Self { world, hosts: Vec::new(), backup: None, newest: BTreeMap::new() }
    }

    async fn take(&mut self, step: Step) {
        let world = &self.world;
        match step {
            Step::Publish(v, n) => self.publish(VOLUMES[v], NODES[n]).await,
            Step::Unpublish(v, n) => {
                if world.unpublish(VOLUMES[v], NODES[n]).await.is_ok() {
                    world.forget_attached(VOLUMES[v], NODES[n]).await;
                }
            }
            Step::UnpublishAll(v) => drop(world.operations.unpublish(id(VOLUMES[v]), None).await),
            Step::ForgetAttachment(v, n) => world.forget_attached(VOLUMES[v], NODES[n]).await,
            Step::Grow(v) => {
                let id = id(VOLUMES[v]);
                let grow = Expand { id, required: 2 * GIB, limit: None, capability: None };
                drop(world.operations.expand(grow).await);
            }
            Step::Pass => drop(world.reconciler.pass().await),
            Step::Wait(seconds) => sleep(Duration::from_secs(seconds)).await,
            Step::Ready(n, ready) => self.ready(NODES[n], ready).await,
            Step::DeleteNode(n) => drop(world.api.delete("nodes", NODES[n])),
            Step::Taint(n) => {
                if world.api.get("nodes", NODES[n]).is_some() {
                    world.taint(NODES[n]).await;
                }
            }
            Step::Box(fault) => world.os.arm_on("nvme-tcp-export=no", fault),
            Step::Api(which) => {
                let faults = [ApiFault::LoseAnswer, ApiFault::Unavailable, ApiFault::Conflict];
                let on = On::verb(Verb::Patch).resource("persistentvolumes");
                world.api.faults().next(1, on, faults[usize::from(which)].clone());
            }
            Step::Backup => self.backup = Some(world.os.snapshot()),
            Step::Restore => {
                if let Some(backup) = &self.backup {
                    world.os.restore(backup, Duration::ZERO);
                    self.newest.clear();
                }
            }
            Step::LoseDisk(v) => drop(world.os.lose_disk(VOLUMES[v])),
            Step::Close(v) => self.set(v, "nvme-tcp-export=no"),
            // Not where it would let everybody in: nobody outside could help that.
            Step::Open(v) if self.has_host_list(v) => self.set(v, "nvme-tcp-export=yes"),
            Step::Open(_) => {}
            Step::Damage(v) => self.set(v, "comment=\"rds1 who was here\""),
            Step::Write => {}
            Step::Restart => self.world.restart().await,
        }
        self.world.settle().await;
        self.look(step);
    }

    fn set(&self, volume: usize, change: &str) {
        let slot = VOLUMES[volume];
        self.world.os.exec(&format!("/disk/set [/disk/find where slot={slot}] {change}"));
    }

    fn has_host_list(&self, volume: usize) -> bool {
        let slot = VOLUMES[volume];
        let property = "nvme-tcp-server-allow-host-name";
        self.world.has_disk(slot) && self.world.property(slot, property).starts_with("nqn.")
    }

    async fn ready(&self, node: &str, ready: bool) {
        match self.world.api.get("nodes", node) {
            None => drop(self.world.api.create(objects::node(node).build())),
            Some(_) => {
                let status = if ready { "True" } else { "Unknown" };
                let edit = |object: &mut serde_json::Value| {
                    objects::set_ready(object, status);
                    objects::remove_taint(object, "node.kubernetes.io/out-of-service");
                };
                self.world.api.modify("nodes", node, edit).unwrap();
            }
        }
        self.world.settle().await;
    }

    async fn publish(&mut self, slot: &'static str, node: &'static str) {
        self.world.want_attached(slot, node).await;
        let Ok(context) = self.world.publish(slot, node).await else {
            return;
        };
        if let Ok(connection) = self.world.connect(node, &context["nqn"]) {
            let generation = context["generation"].parse().unwrap();
            self.hosts.push(Host { slot, node, generation, connection });
        }
    }

    /// What must hold at every moment.
    fn look(&mut self, step: Step) {
        for slot in VOLUMES {
            if self.world.has_disk(slot) {
                let writers = self.world.writers(slot);
                assert!(writers.len() <= 1, "after {step:?} {slot} lets in {writers:?}");
                assert!(!writers.contains("stranger"), "after {step:?}: {slot}");
            }
            let connected: BTreeSet<String> =
                self.world.os.connected_hosts(slot).into_iter().collect();
            assert!(connected.len() <= 1, "after {step:?} on {slot}: {connected:?}");
        }
        for host in &self.hosts {
            if host.connection.write(4096).is_err() {
                continue;
            }
            let newest = self.newest.entry(host.slot).or_default();
            assert!(
                host.generation >= *newest,
                "after {step:?} {} writes to {} under generation {}, and {newest} has written",
                host.node,
                host.slot,
                host.generation
            );
            *newest = host.generation;
        }
        self.hosts.retain(|host| host.connection.is_live());
    }

    /// Everything is well again. Passes come to rest, and everything agrees and works.
    async fn come_to_rest(&mut self) {
        self.world.os.disarm();
        self.world.api.faults().lift_all();
        for node in NODES {
            self.ready(node, true).await;
            self.ready(node, true).await;
        }
        sleep(Duration::from_secs(3)).await;
        let mut last = self.world.pass().await;
        for _ in 0..12 {
            self.look(Step::Pass);
            if last.done.is_empty() && last.failed.is_empty() && last.again_in.is_none() {
                break;
            }
            sleep(last.again_in.unwrap_or(LIMITS.grace)).await;
            last = self.world.pass().await;
        }
        assert_eq!(last, Default::default(), "passes do not come to rest");
        for slot in VOLUMES {
            self.world.assert_agreed(slot);
            for node in NODES {
                self.world.unpublish(slot, node).await.unwrap();
                self.world.forget_attached(slot, node).await;
            }
            self.publish(slot, "node-b").await;
            self.look(Step::Write);
            assert_eq!(self.world.writers(slot), BTreeSet::from(["node-b"]));
            self.world.assert_agreed(slot);
        }
    }
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn whatever_happens_there_are_never_two_writers_and_in_the_end_everything_works() {
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let stories = prop::collection::vec(step(), 1..40);
    let told = runner.run(&stories, |steps| {
        paused().block_on(async {
            let mut run = Run::new().await;
            for step in steps {
                run.take(step).await;
            }
            run.come_to_rest().await;
        });
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn two_controllers_whose_lines_interleave_never_both_win() {
    let mut wins = 0;
    for offset in 0..40 {
        paused().block_on(async {
            let quirks = Quirks { interleave: true, ..Quirks::default() };
            let world = World::with(Version::V7_24_4, quirks).await;
            world.os.set_latency(Duration::from_millis(1), Duration::ZERO);
            let other = World::over(world.os.clone(), world.api.clone()).await;
            world.provision("data").await;
            world.pass().await;
            for node in NODES {
                world.want_attached("data", node).await;
            }
            let late = async {
                sleep(Duration::from_micros(offset * 500)).await;
                other.publish("data", "node-b").await
            };
            let (a, b) = tokio::join!(world.publish("data", "node-a"), late);
            assert!(a.is_err() || b.is_err(), "both won at {offset}");
            wins += usize::from(a.is_ok()) + usize::from(b.is_ok());
            for answer in [&a, &b] {
                let kind = answer.as_ref().err().map(|error| error.kind);
                let fine = [
                    None,
                    Some(Kind::Contended),
                    Some(Kind::Precondition),
                    Some(Kind::Unavailable),
                    Some(Kind::Refused),
                ];
                assert!(fine.contains(&kind), "{kind:?}");
            }
            world.pass().await;
            world.pass().await;
            world.assert_agreed("data");
            let writers = world.writers("data");
            assert!(writers.len() <= 1, "{writers:?}");
            for (node, answer) in NODES.into_iter().zip([a, b]) {
                assert!(answer.is_err() || writers.contains(node), "{node} won and is shut out");
            }
        });
    }
    assert!(wins >= 20, "only {wins} of 40 races had a winner");
}
