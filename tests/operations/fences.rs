//! Passes that shut nodes out: Node objects that are gone, the out-of-service taint, storms.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::attachment::ledger::State;
use rds_csi::operations::{Happened, Kind};
use rds_sim::apiserver::Verb;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::in_memory::{LIMITS, World, id, node, shared_block};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn done(report: &rds_csi::operations::reconcile::PassReport) -> Vec<(&'static str, usize)> {
    report.done.iter().map(|(word, count)| (*word, *count)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_fenced_after_the_grace_and_its_attachment_deleted() {
    let world = World::new().await;
    world.provision("data").await;
    let name = world.want_attached("data", "node-a").await;
    let context = world.publish("data", "node-a").await.unwrap();
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    world.delete_node("node-a").await;
    let report = world.pass().await;
    assert_eq!((done(&report), report.again_in), (vec![("waiting", 1)], Some(LIMITS.grace)));
    sleep(LIMITS.grace - seconds(1)).await;
    assert_eq!(done(&world.pass().await), [("waiting", 1)]);
    assert!(connection.is_live(), "fenced within the grace");
    sleep(seconds(1)).await;
    world.api.forget_requests();
    let report = world.pass().await;
    assert_eq!(done(&report), [("fence", 1)], "{report:?}");
    assert!(!connection.is_live());
    assert_eq!(world.writers("data"), BTreeSet::new());
    assert_eq!(world.record("data").state, State::Fenced);
    world.assert_agreed("data");
    let writes = world.api.writes();
    let deletes: Vec<_> = writes.iter().filter(|write| write.verb == Verb::Delete).collect();
    assert_eq!(deletes.len(), 1);
    assert_eq!(deletes[0].name, name);
    let preconditions = &deletes[0].body["preconditions"];
    assert!(preconditions["uid"].is_string() && preconditions["resourceVersion"].is_string());
    // The external-attacher's finalizer holds it until it has unpublished.
    let left = world.api.get("volumeattachments", &name).unwrap();
    assert!(!left["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(left["metadata"]["finalizers"].as_array().map(Vec::len), Some(1));
    let lines = world.changing_lines();
    world.detach("data", "node-a").await;
    assert_eq!(world.changing_lines(), lines, "already fenced");
    world.attach("data", "node-b").await;
    assert_eq!(world.told.count(|what| *what == Happened::StaleCleared), 1);
    assert_eq!(world.events("StaleAttachmentCleared").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_finalizer_is_left_alone_and_the_delete_is_not_repeated() {
    let world = World::new().await;
    world.provision("data").await;
    let name = world.want_attached("data", "node-a").await;
    let lock = |va: &mut Value| va["metadata"]["finalizers"] = json!(["example.com/mine"]);
    world.api.modify("volumeattachments", &name, lock).unwrap();
    world.publish("data", "node-a").await.unwrap();
    world.delete_node("node-a").await;
    world.pass().await;
    sleep(LIMITS.grace).await;
    world.api.forget_requests();
    assert_eq!(done(&world.pass().await), [("fence", 1)]);
    for _ in 0..3 {
        let report = world.pass().await;
        assert_eq!((done(&report), report.again_in), (vec![("report", 1)], None));
    }
    assert_eq!(world.api.count(Verb::Delete, "volumeattachments"), 1);
    let left = world.api.get("volumeattachments", &name).unwrap();
    assert_eq!(left["metadata"]["finalizers"], json!(["example.com/mine"]));
}

#[tokio::test(start_paused = true)]
async fn counters_that_move_hold_the_fence_and_it_is_looked_at_again() {
    let world = World::new().await;
    for slot in ["data", "log"] {
        world.provision(slot).await;
        world.attach(slot, "node-a").await;
    }
    world.delete_node("node-a").await;
    world.pass().await;
    sleep(LIMITS.grace).await;
    // One volume of the node is written; that speaks for the whole node.
    let busy = async {
        for _ in 0..20 {
            world.os.set_counters("log", |counters| counters.write_ops += 1);
            sleep(Duration::from_millis(300)).await;
        }
    };
    let (report, ()) = tokio::join!(world.pass(), busy);
    assert_eq!(done(&report), [("hold", 2)], "{report:?}");
    assert!(report.again_in.is_some_and(|time| time <= seconds(10)), "{report:?}");
    assert_eq!(world.record("data").state, State::Attached);
    assert_eq!(world.told.count(|what| *what == Happened::Held(2)), 1);
    assert!(world.events("RecoveryHeld").await > 0);
    assert_eq!(done(&world.pass().await), [("fence", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_while_counters_are_read_is_not_fenced() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    world.delete_node("node-a").await;
    world.pass().await;
    sleep(LIMITS.grace).await;
    let back = async {
        sleep(seconds(1)).await;
        let node = rds_sim::apiserver::world::node("node-a").build();
        world.api.create(node).unwrap();
    };
    let (report, ()) = tokio::join!(world.pass(), back);
    assert_eq!(done(&report), [], "{report:?}");
    assert!(connection.is_live());
}

#[tokio::test(start_paused = true)]
async fn a_grace_time_goes_on_while_the_box_is_away() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.delete_node("node-a").await;
    world.pass().await;
    world.os.set_refusing(true);
    sleep(LIMITS.grace / 2).await;
    let report = world.pass().await;
    assert_eq!(report.blind.len(), 1);
    sleep(LIMITS.grace / 2).await;
    world.os.set_refusing(false);
    assert_eq!(done(&world.pass().await), [("fence", 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_attachment_that_is_gone_is_fenced_after_the_grace() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.forget_attached("data", "node-a").await;
    assert_eq!(done(&world.pass().await), [("waiting", 1)]);
    sleep(LIMITS.grace).await;
    assert_eq!(done(&world.pass().await), [("fence", 1)]);
    assert_eq!(world.writers("data"), BTreeSet::new());
    // Nobody has to be waited for: the old attachment is gone.
    world.attach("data", "node-a").await;
}

#[tokio::test(start_paused = true)]
async fn several_nodes_at_once_are_held_and_later_let_go_one_by_one() {
    let world = World::new().await;
    for (slot, to) in [("one", "node-a"), ("two", "node-b"), ("three", "node-c")] {
        world.provision(slot).await;
        world.attach(slot, to).await;
    }
    world.delete_node("node-a").await;
    world.delete_node("node-b").await;
    world.pass().await;
    sleep(LIMITS.grace).await;
    let report = world.pass().await;
    assert_eq!(done(&report), [("storm_hold", 2)], "{report:?}");
    assert!(world.events("RecoveryHeld").await > 0);
    assert_eq!(world.writers("one"), BTreeSet::from(["node-a"]));
    // Later, a first one; a minute after that, the other.
    sleep(LIMITS.storm.window).await;
    let report = world.pass().await;
    assert_eq!(done(&report), [("fence", 1), ("storm_hold", 1)], "{report:?}");
    world.detach("one", "node-a").await;
    sleep(seconds(30)).await;
    assert_eq!(done(&world.pass().await), [("storm_hold", 1)]);
    sleep(seconds(31)).await;
    assert_eq!(done(&world.pass().await), [("fence", 1)]);
    let fenced = ["one", "two"].map(|slot| world.record(slot).state);
    assert_eq!(fenced, [State::Fenced; 2]);
    assert_eq!(world.record("three").state, State::Attached);
}

#[tokio::test(start_paused = true)]
async fn the_out_of_service_taint_is_an_order_and_kubernetes_releases() {
    let world = World::new().await;
    world.provision("data").await;
    let name = world.want_attached("data", "node-a").await;
    let context = world.publish("data", "node-a").await.unwrap();
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    world.taint("node-a").await;
    assert_eq!(done(&world.pass().await), [("fence", 1)], "at once");
    assert!(!connection.is_live());
    let left = world.api.get("volumeattachments", &name).unwrap();
    assert!(left["metadata"]["deletionTimestamp"].is_null(), "left to Kubernetes");
    assert_eq!(world.publish("data", "node-a").await.unwrap_err().kind, Kind::Precondition);
    assert_eq!(done(&world.pass().await), [], "once is enough");
    world.detach("data", "node-a").await;
    assert_eq!(world.publish("data", "node-a").await.unwrap_err().kind, Kind::Precondition);
    world.attach("data", "node-b").await;
    world.assert_agreed("data");
}

#[tokio::test(start_paused = true)]
async fn the_taint_on_one_of_two_fences_both() {
    let world = World::new().await;
    world.provision("data").await;
    for to in ["node-a", "node-b"] {
        world.want_attached("data", to).await;
        world.publish_as("data", to, shared_block()).await.unwrap();
    }
    world.taint("node-a").await;
    assert_eq!(done(&world.pass().await), [("fence", 1)]);
    assert_eq!(world.writers("data"), BTreeSet::new());
    let shut_out = world.copy("data").unwrap().fenced_from;
    let names: BTreeSet<_> = shut_out.into_iter().map(|entry| entry.node).collect();
    assert_eq!(names, BTreeSet::from([node("node-a"), node("node-b")]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_only_not_ready_is_told_of_and_nothing_more() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    world.ready("node-a", "Unknown").await;
    let (lines, execs) = (world.changing_lines(), world.execs());
    assert_eq!(done(&world.pass().await), []);
    assert_eq!(world.execs() - execs, 1);
    sleep(seconds(3600)).await;
    assert_eq!(done(&world.pass().await), []);
    assert_eq!(world.changing_lines(), lines);
    assert!(connection.is_live());
    assert_eq!(world.told.count(|what| *what == Happened::SuspectNodes(1)), 2);
    assert!(world.events("NodeSuspect").await > 0);
}

#[tokio::test(start_paused = true)]
async fn a_box_without_counters_is_given_the_drain_time() {
    let mut quirks = rds_sim::routeros::Quirks::default();
    assert!(quirks.turn_on("no-counters"));
    let world = World::with(rds_sim::routeros::Version::V7_24_4, quirks).await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.ready("node-a", "Unknown").await;
    let begun = tokio::time::Instant::now();
    world.operations.unpublish(id("data"), Some(node("node-a"))).await.unwrap();
    let took = begun.elapsed();
    assert!(took >= LIMITS.drain && took < LIMITS.drain + seconds(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_interrupted_is_finished_by_a_later_pass() {
    let world = World::new().await;
    world.provision("data").await;
    let name = world.want_attached("data", "node-a").await;
    world.publish("data", "node-a").await.unwrap();
    world.delete_node("node-a").await;
    world.pass().await;
    sleep(LIMITS.grace).await;
    let delete = rds_sim::apiserver::On::verb(Verb::Delete).resource("volumeattachments");
    world.api.faults().next(1, delete, rds_sim::apiserver::Fault::Unavailable);
    let report = world.pass().await;
    assert_eq!(report.failed.len(), 1);
    assert!(report.again_in.is_some_and(|time| time <= seconds(10)));
    assert_eq!(world.record("data").state, State::Fenced);
    // Also by another controller that knows nothing of the first.
    let other = World::over(world.os.clone(), world.api.clone()).await;
    assert_eq!(done(&other.pass().await), [("release", 1)]);
    let left = world.api.get("volumeattachments", &name).unwrap();
    assert!(!left["metadata"]["deletionTimestamp"].is_null());
}
