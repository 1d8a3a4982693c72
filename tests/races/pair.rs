//! Two controllers of one cluster over one box whose lines interleave, one volume, and its hosts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rds_csi::attachment::ledger::{Record, State};
use rds_csi::operations::reconcile::Reconciler;
use rds_csi::operations::{Error, Kind};
use rds_sim::apiserver::{ApiServer, Options, world as objects};
use rds_sim::routeros::{Quirks, RouterOs, Setup, TokioClock};
use tokio::time::sleep;

use crate::flaws::Flaw;
use crate::hosts::Hosts;
use crate::in_memory::{FOLDER, World, id};
use crate::line::{Line, Rewrite};

pub const SLOT: &str = "data";
pub const NODES: [&str; 2] = ["node-a", "node-b"];
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Passes until both controllers find nothing to do.
const PASSES: usize = 24;

/// A box whose console mixes lines, as this seed has it.
pub fn mixing_box(seed: u64) -> RouterOs {
    let quirks = Quirks { interleave: true, ..Quirks::default() };
    let clock = Arc::new(TokioClock::start());
    let os = RouterOs::with(Setup { quirks, clock, seed, ..Setup::default() });
    assert_eq!(os.exec(&format!("/file/add name={FOLDER} type=directory")).text().trim(), "");
    os
}

/// A cluster with its nodes; one seed makes one cluster id.
pub fn cluster(seed: u64) -> ApiServer {
    let api = ApiServer::with(Options { seed, ..Options::default() });
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rds-csi"},
    });
    api.create(namespace).unwrap();
    for name in NODES {
        api.create(objects::node(name).build()).unwrap();
    }
    api
}

/// A controller, over a line of its own.
pub async fn controller(
    os: &RouterOs,
    api: &ApiServer,
    seed: u64,
    rewrite: Option<Rewrite>,
) -> World {
    let mut world = World::over(os.clone(), api.clone()).await;
    connect(&mut world, seed, rewrite);
    world
}

/// Gives a controller a line of its own.
pub fn connect(world: &mut World, seed: u64, rewrite: Option<Rewrite>) {
    let line = Arc::new(Line::new(world.os.clone(), seed, rewrite));
    for backend in world.operations.backends.by_name.values_mut() {
        backend.rds = line.clone();
    }
    world.reconciler = Reconciler::new(world.operations.clone());
}

/// Both controllers, and what they fight about.
pub struct Pair {
    pub one: World,
    pub two: World,
    pub hosts: Arc<Hosts>,
    pub chance: StdRng,
    content: Option<u64>,
}

impl Pair {
    pub async fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let os = mixing_box(seed);
        let api = cluster(1);
        let rewrite = flaw.and_then(Flaw::rewrite);
        let one = controller(&os, &api, 2 * seed, rewrite).await;
        let two = controller(&os, &api, 2 * seed + 1, rewrite).await;
        let names = NODES.map(|node| one.host_nqn(node)).into();
        let hosts = Arc::new(Hosts::new(os.clone(), SLOT, names));
        let seen = Arc::downgrade(&hosts);
        os.on_change(move || {
            if let Some(hosts) = seen.upgrade() {
                hosts.look();
            }
        });
        let chance = StdRng::seed_from_u64(seed);
        let mut pair = Self { one, two, hosts, chance, content: None };
        pair.make().await;
        pair
    }

    /// The volume, detached, with VolumeAttachments for all nodes.
    async fn make(&mut self) {
        self.one.provision(SLOT).await;
        for node in NODES {
            self.one.want_attached(SLOT, node).await;
        }
        self.content = self.image();
        self.come_to_rest().await;
    }

    pub fn image(&self) -> Option<u64> {
        self.one.os.content_of(&format!("{FOLDER}/{SLOT}.img"))
    }

    /// Is its image there, with its data?
    pub fn has_data(&self) -> bool {
        self.content.is_some() && self.image() == self.content
    }

    /// The record in the copy.
    pub fn copied(&self) -> Option<Record> {
        self.one.copy(SLOT).map(|copy| Record::parse(&copy.record).unwrap())
    }

    /// The NQN under which the copy has it attached.
    pub fn current(&self) -> Option<String> {
        let copied = self.copied().filter(|record| record.state == State::Attached)?;
        let base = "nqn.2000-02.com.mikrotik";
        Some(copied.nqn(base, &id(SLOT).slot).unwrap().to_string())
    }

    /// The nodes that hold it by the copy.
    pub fn holders(&self) -> Vec<String> {
        match (self.current(), self.one.copy(SLOT)) {
            (Some(_), Some(copy)) => copy.nodes.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    /// Both controllers pass, in turn, until neither finds anything to do. What they say where
    /// they do not come to rest is the answer.
    pub async fn come_to_rest(&self) -> Option<String> {
        let mut quiet = 0;
        let mut last = String::new();
        for turn in 0..PASSES {
            let world = if turn % 2 == 0 { &self.one } else { &self.two };
            world.settle().await;
            let report = world.reconciler.pass().await.unwrap();
            self.hosts.look();
            let is_quiet = report.done.is_empty() && report.failed.is_empty();
            quiet = if is_quiet && report.again_in.is_none() { quiet + 1 } else { 0 };
            if quiet == 2 {
                return None;
            }
            last = format!("{report:?}");
            sleep(report.again_in.unwrap_or(Duration::from_millis(1))).await;
        }
        Some(last)
    }

    /// Everything is well again: nodes Ready and without taints.
    pub async fn heal(&self) {
        for node in NODES {
            let edit = |object: &mut serde_json::Value| {
                objects::set_ready(object, "True");
                objects::remove_taint(object, OUT_OF_SERVICE);
            };
            self.one.api.modify("nodes", node, edit).unwrap();
        }
        self.one.settle().await;
    }

    /// Publishes as the external-attacher does, until it is answered well; gives the context on.
    pub async fn attach(&self, node: &'static str) -> Result<(), Error> {
        let mut answer = Ok(BTreeMap::new());
        for _ in 0..8 {
            answer = self.one.publish(SLOT, node).await;
            match &answer {
                Ok(context) => {
                    self.hosts.give(node, context);
                    return Ok(());
                }
                Err(error) if error.kind == Kind::Precondition => break,
                Err(_) => drop(self.come_to_rest().await),
            }
        }
        answer.map(|_| ())
    }

    /// Everybody lets go, with new VolumeAttachments afterwards.
    pub async fn detach_all(&self) -> Result<(), Error> {
        for node in NODES {
            let ranks = self.hosts.ranks(node);
            let mut answer = Ok(());
            for _ in 0..8 {
                answer = self.one.unpublish(SLOT, node).await;
                if answer.is_ok() {
                    break;
                }
                self.come_to_rest().await;
            }
            answer?;
            self.hosts.end(node, &ranks);
            self.one.forget_attached(SLOT, node).await;
        }
        for node in NODES {
            self.one.want_attached(SLOT, node).await;
        }
        Ok(())
    }

    /// The volume is deleted, PV and all, and made again under the same name.
    pub async fn next_life(&mut self) -> Result<(), Error> {
        let mut answer = Ok(());
        for _ in 0..8 {
            answer = self.one.operations.delete(id(SLOT)).await;
            if answer.is_ok() {
                break;
            }
            self.come_to_rest().await;
        }
        answer?;
        self.is_gone().await;
        Ok(())
    }

    /// DeleteVolume was answered well: its objects go, and it is made again under the same name.
    pub async fn is_gone(&mut self) {
        for node in NODES {
            self.one.forget_attached(SLOT, node).await;
        }
        let unlock =
            |pv: &mut serde_json::Value| pv["metadata"]["finalizers"] = serde_json::json!([]);
        self.one.api.modify("persistentvolumes", SLOT, unlock).unwrap();
        self.one.api.delete("persistentvolumes", SLOT).unwrap();
        self.hosts.next_life();
        self.one.settle().await;
        self.make().await;
    }
}
