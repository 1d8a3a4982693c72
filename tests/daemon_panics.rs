//! A panic in every entry of every actor while requests run: each request is answered or fails
//! cleanly, the actor is back within its backoff, and the metric counts it.
//!
//! The probe has no timer, no stream and spawns nothing. The node watcher's timer waits for a stream
//! that has ended, which that of the whole controller never does, and its only message is the stop.

#![cfg(feature = "sandbox")]
#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rds_csi::actors::supervision::{self, Entry};
use rds_csi::app::Faults;
use rds_csi::process::system;
use rds_csi::sandbox::sidecars::Sidecars;
use rds_csi::sandbox::simulated::{Plan, Simulated};
use rds_csi::sandbox::world::{Provisioned, World as _};
use rds_sim::apiserver::world as objects;
use rds_sim::routeros::Reboot;
use slog::{Discard, Logger, o};
use tokio::time::{Instant, timeout};

/// Far above what anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// The second restart of an actor waits 2 s; a loaded machine adds to it.
const BACKOFF: Duration = Duration::from_secs(2 + 10);

struct Rig {
    world: Simulated,
    faults: Faults,
    volume: Provisioned,
    _scratch: tempfile::TempDir,
}

/// Requests without a pause, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(sidecars: &Sidecars, handle: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..3).map(|kind| {
            let (stop, answered) = (stop.clone(), answered.clone());
            let (sidecars, handle) = (sidecars.clone(), handle.to_owned());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = async {
                        match kind {
                            0 => sidecars.create("pvc-load", 1 << 20, &[]).await.map(drop),
                            1 => sidecars.publish(&handle, "node-a").await.map(drop),
                            _ => {
                                assert!(sidecars.probe().await.is_some(), "Probe failed");
                                Ok(())
                            }
                        }
                    };
                    let answer = timeout(PATIENCE, answer).await.expect("a request hangs");
                    if let Err((code, text)) = answer {
                        let clean = ["Unavailable", "Aborted", "DeadlineExceeded"];
                        assert!(clean.contains(&code.as_str()), "{code}: {text}");
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Self { tasks: tasks.collect(), stop, answered }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        assert!(self.answered.load(Ordering::Relaxed) > 10);
    }
}

impl Rig {
    async fn start() -> Self {
        let faults = Faults {
            probe: supervision::Faults::armable(),
            node_watcher: supervision::Faults::armable(),
            reconciler: supervision::Faults::armable(),
            rds_connection: supervision::Faults::armable(),
        };
        let plan = Plan { faults: faults.clone(), ..Plan::default().quick() };
        let scratch = tempfile::tempdir().unwrap();
        let log = Logger::root(Discard, o!());
        let world = Simulated::start(plan, scratch.path(), log).await.unwrap();
        let volume = world.provision("data", 1 << 30).await.unwrap();
        assert!(world.attach(&volume, "node-a", PATIENCE).await.unwrap().is_some());
        Self { world, faults, volume, _scratch: scratch }
    }

    fn faults_of(&self, actor: &str) -> &supervision::Faults {
        match actor {
            "probe" => &self.faults.probe,
            "node_watcher" => &self.faults.node_watcher,
            "reconciler" => &self.faults.reconciler,
            "rds_connection" => &self.faults.rds_connection,
            _ => panic!("no actor {actor}"),
        }
    }

    async fn restarts(&self, actor: &str, cause: &str) -> f64 {
        let labels = [("actor", actor), ("cause", cause)];
        self.world.metric("rds_csi_actor_restarts_total", &labels).await.unwrap_or(0.0)
    }

    /// Everything that can lead into an actor happens. What the timers wait for is that nothing
    /// does.
    async fn stir(&self, round: u64, entry: Entry) {
        if entry != Entry::Timer {
            let ready = if round.is_multiple_of(2) { "False" } else { "True" };
            let change = |node: &mut _| objects::set_ready(node, ready);
            self.world.doubles.api.modify("nodes", "node-b", change).unwrap();
        }
        // An interval that changes; at 1 s its timer fires, too.
        let interval = Duration::from_millis(1000 + round % 10);
        self.world.controller.reconfigure(|config| config.reconcile.interval = interval);
        if round % 100 == 20 {
            self.world.doubles.rds.reboot(Reboot::KeepEverything, Duration::from_millis(500));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Lets `entry` of `actor` panic once; where that entry only follows a restart, `first` panics
    /// before.
    async fn panics(&self, actor: &str, first: Option<Entry>, entry: Entry) {
        let cause = format!("panic_{}", entry.label());
        assert_eq!(self.restarts(actor, &cause).await, 0.0);
        let faults = self.faults_of(actor);
        faults.arm(entry, 1);
        if let Some(first) = first {
            faults.arm(first, 1);
        }
        let mut round = 0;
        let counted = async {
            while self.restarts(actor, &cause).await < 1.0 {
                round += 1;
                self.stir(round, entry).await;
            }
        };
        let counted = timeout(PATIENCE, counted).await;
        assert!(counted.is_ok(), "{actor} does not panic in {}", entry.label());
    }

    /// Is all as before?
    async fn recovers(&self, since: Instant) {
        let ready = async {
            while self.world.probe().await != Some(true) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(BACKOFF, ready).await.expect("not ready again");
        // Each actor does its work: a volume, its attachment, and a pass that a node's loss starts.
        let volume = self.world.provision("after", 1 << 30).await.unwrap();
        assert!(self.world.attach(&volume, "node-a", PATIENCE).await.unwrap().is_some());
        self.world.delete_node("node-a").await.unwrap();
        for volume in [&volume, &self.volume] {
            let attachment = format!("csi-{}-node-a", volume.name);
            let gone = self.world.doubles.api.wait_gone("volumeattachments", &attachment);
            timeout(PATIENCE, gone).await.expect("the reconciler is not back").unwrap();
        }
        assert_eq!(self.world.second_writers().await, 0);
        assert!(since.elapsed() < PATIENCE * 2);
    }
}

/// What panics: the actor, the entry that leads to a restart, where one must, and the entry.
type Case = (&'static str, Option<Entry>);

fn panic_in(entry: Entry, actors: &'static [Case]) {
    let system = system(&Logger::root(Discard, o!())).unwrap();
    system.block_on(async {
        let rig = Rig::start().await;
        let load = Load::start(&rig.world.controller.sidecars, &rig.volume.handle);
        let begun = Instant::now();
        for (actor, first) in actors {
            rig.panics(actor, *first, entry).await;
        }
        load.end().await;
        rig.recovers(begun).await;
        // The stop is the node watcher's only message.
        rig.faults.node_watcher.arm(Entry::Handler, 1);
        timeout(PATIENCE, rig.world.stop()).await.expect("it does not stop");
        assert!(!rig.faults.node_watcher.is_armed(Entry::Handler));
    });
}

#[test]
fn in_a_handler() {
    panic_in(Entry::Handler, &[("probe", None), ("reconciler", None), ("rds_connection", None)]);
}

#[test]
fn in_the_first_work_after_a_restart() {
    panic_in(
        Entry::Started,
        &[
            ("probe", Some(Entry::Handler)),
            ("node_watcher", Some(Entry::Stream)),
            ("reconciler", Some(Entry::Handler)),
            ("rds_connection", Some(Entry::Handler)),
        ],
    );
}

#[test]
fn in_a_timer() {
    panic_in(Entry::Timer, &[("reconciler", None), ("rds_connection", None)]);
}

#[test]
fn in_an_item_of_a_stream() {
    panic_in(
        Entry::Stream,
        &[("node_watcher", None), ("reconciler", None), ("rds_connection", None)],
    );
}

#[test]
fn in_spawned_work() {
    panic_in(
        Entry::Future,
        &[("node_watcher", Some(Entry::Stream)), ("reconciler", None), ("rds_connection", None)],
    );
}
