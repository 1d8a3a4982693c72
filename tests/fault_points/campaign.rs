//! Finds the points of an operation and runs it once for each.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use rds_csi::operations::Error;
use rds_csi::operations::reconcile::Reconciler;
use rds_csi::volume::BackendName;
use rds_sim::routeros::{Quirks, Version};

use crate::act::{Act, Stage};
use crate::api::Api;
use crate::check;
use crate::in_memory::World;
use crate::point::{Fault, Point, Step, Watch, points};
use crate::wire::{DOWNTIME, Wire};

/// How often an operation is tried again before it counts as stuck.
const ROUNDS: usize = 12;
/// How often a pass may find something to do.
const PASSES: usize = 6;

/// An operation on so many volumes at the same time, on a box of this version.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub act: Act,
    pub volumes: usize,
    pub version: Version,
}

/// Who goes on after the fault, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    /// A new controller, which begins with a pass.
    NewController,
    /// Whoever is left; the sidecar tries again first.
    Retry,
}

impl Case {
    pub fn name(self) -> String {
        let times = if self.volumes > 1 { format!("-x{}", self.volumes) } else { String::new() };
        format!("{}{times}@{}", self.act.name(), self.version)
    }

    async fn stage(self) -> (Stage, Arc<Watch>) {
        let mut world = World::with(self.version, Quirks::default()).await;
        let watch = Arc::new(Watch::default());
        put_between(&mut world, &watch);
        let mut stage = Stage::new(self.act, self.volumes, world);
        stage.prepare().await;
        (stage, watch)
    }

    /// What the operation does when nothing goes wrong.
    pub async fn steps(self) -> Vec<Step> {
        let (stage, watch) = self.stage().await;
        watch.start(None);
        for done in stage.run(&stage.slots).await {
            done.unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        }
        watch.stop();
        watch.steps()
    }

    pub async fn points(self) -> Vec<Point> {
        points(&self.name(), &self.steps().await)
    }

    /// Runs the operation for each of its points that is asked for: how many those were, and the
    /// names of those that broke it.
    pub async fn run(self) -> (usize, Vec<String>) {
        let wanted = std::env::var("RDS_CSI_FAULT_POINT").unwrap_or_default();
        let mut points = self.points().await;
        points.retain(|point| point.name.contains(&wanted));
        let mut broken = Vec::new();
        for (number, point) in points.iter().enumerate() {
            let mut held = true;
            for after in self.afters(number) {
                // What went wrong has been printed; the other points are looked at, too.
                held &= AssertUnwindSafe(self.run_point(point, after)).catch_unwind().await.is_ok();
            }
            if !wanted.is_empty() {
                say(&format!("{}: {}", point.name, if held { "held" } else { "BROKEN" }));
            }
            broken.extend((!held).then(|| point.name.clone()));
        }
        (points.len(), broken)
    }

    /// Both ways on from each point where they differ most, else one and the other in turn.
    fn afters(self, number: usize) -> Vec<After> {
        let both = [After::NewController, After::Retry];
        match self.version == Version::V7_24_4 && self.volumes == 1 {
            true => both.into(),
            false => vec![both[number % 2]],
        }
    }

    async fn run_point(self, point: &Point, after: After) {
        let context = format!("{} ({after:?})", point.name);
        let (mut stage, watch) = self.stage().await;
        watch.start(Some(point));
        let lived = tokio::select! {
            biased;
            () = watch.death.cancelled() => false,
            _ = stage.run(&stage.slots) => !watch.is_dying(),
        };
        assert!(watch.has_fired(), "{context}: did not go off");
        assert!(lived || point.fault.kills(), "{context}: died of something else");
        watch.stop();
        let was_cut = stage.world.os.journal().iter().any(is_cut);
        assert_eq!(was_cut, matches!(point.fault, Fault::Cut(..)), "{context}: the power");
        if !lived || after == After::NewController {
            stage.world.restart().await;
        }
        if was_cut {
            stage.wait(DOWNTIME).await;
        }
        recover(&stage, after, &context).await;
        come_to_rest(&stage, &context).await;
        check::at_rest(&stage, &context).await;
        check::afterlife(&stage, &context).await;
    }
}

fn is_cut(entry: &rds_sim::routeros::Entry) -> bool {
    entry.outcome == rds_sim::routeros::Outcome::PowerCut
}

/// Puts what can break between the controller and everything else.
fn put_between(world: &mut World, watch: &Arc<Watch>) {
    let main = BackendName::parse("main").unwrap();
    let backend = world.operations.backends.by_name.get_mut(&main).unwrap();
    backend.rds = Arc::new(Wire::new(world.os.clone(), watch.clone()));
    world.operations.cluster = Arc::new(Api::new(world.cluster.clone(), watch.clone()));
    world.reconciler = Reconciler::new(world.operations.clone());
}

/// The sidecars call again until it is done; passes run meanwhile.
async fn recover(stage: &Stage, after: After, context: &str) {
    let mut left = stage.slots.clone();
    let mut said: Option<Error> = None;
    for round in 0..ROUNDS {
        if round > 0 || after == After::NewController {
            stage.world.pass().await;
        }
        let answers = stage.run(&left).await;
        said = answers.iter().find_map(|answer| answer.clone().err());
        let mut answers = answers.into_iter();
        left.retain(|_| answers.next().is_some_and(|answer| answer.is_err()));
        if left.is_empty() {
            return check::acknowledged(stage, context);
        }
        stage.wait(Duration::from_secs(5)).await;
    }
    panic!("{context}: stuck: {said:?}");
}

/// What the sidecars do next, and passes until there is nothing left to do.
async fn come_to_rest(stage: &Stage, context: &str) {
    for slot in &stage.slots {
        if stage.act.leaves_volume() {
            stage.claim(slot).await;
        } else {
            stage.unclaim(slot).await;
        }
    }
    for _ in 0..PASSES {
        let before = (stage.world.changing_lines(), stage.world.api.writes().len());
        let report = stage.world.pass().await;
        assert!(report.failed.is_empty(), "{context}: {report:?}");
        if before == (stage.world.changing_lines(), stage.world.api.writes().len()) {
            return;
        }
    }
    panic!("{context}: passes find something to do for ever");
}

/// Says something to whoever runs the tests.
#[expect(clippy::disallowed_macros, reason = "a test says what it counted")]
pub fn say(text: &str) {
    println!("{text}");
}
