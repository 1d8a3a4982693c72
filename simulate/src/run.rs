//! One seed from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::sidecars::{ATTACHMENTS, parties};
use crate::world::{NODES, Plan, Trouble, World};

/// How long everything may take to come right after the last fault.
const COME_RIGHT: Duration = Duration::from_secs(45 * 60);

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its seed.
    pub seed: u64,
    /// Steps that were done.
    pub steps: usize,
    /// Time that has passed in it.
    pub simulated: Duration,
    /// Hash of its trace.
    pub hash: u64,
    /// The invariant that did not hold.
    pub violation: Option<String>,
    /// The last actions, where an invariant did not hold or the log is wanted.
    pub tail: Vec<String>,
}

/// Runs one seed on this thread, which must not have run anything else.
pub fn run(plan: Plan) -> Result<Ended, Trouble> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    // In which order those wake who wait for one `watch`, and which branch of a `select!` is
    // looked at first, is left to tokio's own generator.
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&plan.seed.to_be_bytes()));
    let once = std::cell::RefCell::new(Some(builder.build()?));
    let system = actix::System::with_tokio_rt(move || {
        #[expect(clippy::expect_used, reason = "called once, on this thread")]
        once.borrow_mut().take().expect("called once")
    });
    system.block_on(simulate(plan))
}

async fn simulate(plan: Plan) -> Result<Ended, Trouble> {
    let began = Instant::now();
    let world = World::make(plan)?;
    world.keep_a_controller();
    let resync = Arc::clone(&world);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            resync.sidecars.resync().await;
        }
    });
    world.pass_time(Duration::from_secs(2)).await;
    let mut steps = 0;
    while steps < plan.steps && world.trace.violation().is_none() {
        let what = world.act(steps);
        world.trace.action(steps, &what);
        steps += 1;
        world.hosts.look();
        world.pass_time(world.temper.pause(&world.dice)).await;
    }
    if world.trace.violation().is_none() {
        come_right(&world).await;
    }
    let violation = world.trace.violation();
    Ok(Ended {
        seed: plan.seed,
        steps,
        simulated: began.elapsed(),
        hash: world.trace.hash(),
        tail: match violation.is_some() || plan.log {
            true => world.trace.tail(plan.shown),
            false => Vec::new(),
        },
        violation,
    })
}

/// Faults end, nodes come back or stay away for good; then all must come right.
async fn come_right(world: &Arc<World>) {
    world.trace.note(format_args!("faults end"));
    world.end_faults();
    for node in NODES {
        if world.api.get("nodes", node).is_some() || world.dice.percent(50) {
            world.bring_back(node);
        } else {
            world.hosts.power_off(node);
        }
    }
    let end = Instant::now() + COME_RIGHT;
    let mut wrong = Vec::new();
    while Instant::now() < end && world.trace.violation().is_none() {
        world.pass_time(Duration::from_secs(20)).await;
        forget_pending(world);
        restart_pods(world);
        wrong = world.unsettled();
        match world.sidecars.seat() {
            None => wrong.push("no controller".into()),
            Some(seat) => wrong.extend(seat.probe.readiness().await.reasons),
        }
        if wrong.is_empty() {
            return;
        }
    }
    let (wrong, after) = (wrong.join("; "), COME_RIGHT.as_secs() / 60);
    world.trace.violated(format!("after {after} min without faults: {wrong}"));
}

/// Kubernetes takes back what it wanted on a node that is gone and never got, or of a volume that
/// is gone.
fn forget_pending(world: &World) {
    for va in world.api.list(ATTACHMENTS) {
        let Some((volume, node)) = parties(&va) else { continue };
        let is_gone = world.api.get("nodes", &node).is_none();
        let is_deleted = world.api.get("persistentvolumes", &volume).is_none();
        if (is_gone && va["status"]["attached"] != true) || is_deleted {
            let _ = world.api.delete(ATTACHMENTS, va["metadata"]["name"].as_str().unwrap_or(""));
        }
    }
}

/// Pods whose volume was fenced from their node are restarted: only that brings their mounts back.
fn restart_pods(world: &World) {
    for va in world.api.list(ATTACHMENTS) {
        let Some((volume, _)) = parties(&va) else { continue };
        let uid = va["metadata"]["uid"].as_str().unwrap_or("none");
        let is_fenced = world.copy(&volume)["fencedFrom"].to_string().contains(uid);
        if is_fenced && va["status"]["attached"] == true {
            let _ = world.api.delete(ATTACHMENTS, va["metadata"]["name"].as_str().unwrap_or(""));
        }
    }
}
