//! What becomes of volumes whose node is gone, and what of a node is a reason to look.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use rds_csi::actors::NoMetrics;
use rds_csi::actors::node_watcher;
use rds_csi::actors::supervision::{Faults, Supervision};
use rds_csi::actors::trigger::{Cause, TriggerHandle};
use rds_csi::cluster::{Node, NodeChange};
use rds_csi::sandbox::simulated::Simulated;
use rds_csi::sandbox::world::World as _;
use rds_csi::volume::NodeName;
use rds_sim::apiserver::{Fault, On, Verb, world as objects};
use serde_json::Value;
use tokio::time::Instant;

use super::stage::{attached, is_exported, metric, play, soon, until};

#[test]
fn promise_2_stale_attachments_are_cleared_by_themselves() {
    play(async |stage| {
        let world = stage.world().await;
        let (api, rds) = (&world.doubles.api, &world.doubles.rds);
        let (volume, context) = attached(&world, "database", "node-a").await;
        let stale = world.attachment_of(&volume, "node-a");
        assert!(is_exported(rds, &volume.name));
        api.forget_requests();
        let from = stage.records.now();
        let deleted = Instant::now();
        world.delete_node("node-a").await.unwrap();
        soon("the VolumeAttachment is gone", api.wait_gone("volumeattachments", &stale))
            .await
            .unwrap();

        assert!(deleted.elapsed() >= world.doubles.config.reconcile.grace, "no grace was given");
        assert!(!is_exported(rds, &volume.name));
        let fenced = stage.records.says(from, "volume fenced").await;
        let cleared = stage.records.says(from, "stale attachment cleared").await;
        assert!(fenced < cleared, "nothing is released before it is fenced");
        // Deleted, with preconditions; whatever finalizers it had were left to their owners.
        let writes = api.writes();
        let writes: Vec<_> =
            writes.iter().filter(|w| w.resource.starts_with("volumeattachments")).collect();
        assert_eq!(writes.len(), 1, "{writes:?}");
        assert_eq!((writes[0].verb, writes[0].name.as_str()), (Verb::Delete, stale.as_str()));
        let conditions = &writes[0].body["preconditions"];
        assert!(conditions["uid"].is_string() && conditions["resourceVersion"].is_string());

        let moved =
            world.attach(&volume, "node-b", Duration::from_secs(30)).await.unwrap().unwrap();
        world.connect_and_write("node-b", &moved).await.unwrap();
        assert!(world.connect_and_write("node-a", &context).await.is_err());
        world.stop().await;
    });
}

async fn triggers(world: &Simulated) -> f64 {
    let labels = [("action", "node_watcher_trigger")];
    metric(&world.controller, "rds_csi_attachment_reconcile_total", &labels).await.unwrap()
}

/// Does something to a node; a pass must follow, and the trigger be counted once.
async fn must_trigger(world: &Simulated, records: &super::records::Records, change: impl FnOnce()) {
    let (before, from, start) = (triggers(world).await, records.now(), Instant::now());
    change();
    records.pass(from, "node").await;
    assert!(start.elapsed() < Duration::from_secs(10), "not within seconds");
    assert_eq!(triggers(world).await, before + 1.0);
}

fn transition(record: &Value) -> Option<(String, String)> {
    let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
    (record["msg"] == "node changed").then(|| (text("node"), text("transition")))
}

#[test]
fn promise_3_nodes_that_are_lost_start_a_pass_and_others_do_not() {
    play(async |stage| {
        let world = stage.world().await;
        let api = &world.doubles.api;
        for name in ["node-d", "node-e"] {
            // New nodes, Ready or not, are no reason.
            api.create(objects::node(name).ready("False").build()).unwrap();
        }
        attached(&world, "database", "node-a").await;
        // NotReady to NotReady, NotReady to Ready, Ready to Ready.
        api.modify("nodes", "node-d", |node| objects::set_ready(node, "Unknown")).unwrap();
        api.modify("nodes", "node-e", |node| objects::set_ready(node, "True")).unwrap();
        api.modify("nodes", "node-b", |node| node["metadata"]["labels"]["x"] = "y".into()).unwrap();
        assert_eq!(triggers(&world).await, 0.0);

        // The watch is in order: had one of those been a reason, it would be counted by now.
        let records = &stage.records;
        must_trigger(&world, records, || {
            api.modify("nodes", "node-a", |node| objects::set_ready(node, "False")).unwrap();
        })
        .await;
        must_trigger(&world, records, || {
            api.modify("nodes", "node-e", |node| {
                objects::set_taint(node, "node.kubernetes.io/out-of-service", "NoExecute");
            })
            .unwrap();
        })
        .await;
        must_trigger(&world, records, || api.delete("nodes", "node-d").unwrap()).await;

        // A deletion that no watch shows: it falls into a gap, and the history expires.
        let (before, from) = (triggers(&world).await, records.now());
        let nodes = On::everything().resource("nodes");
        let gap = api.faults().always(nodes, Fault::Refuse);
        records.find(from, "the watch fails", |record| record["resource"] == "nodes").await;
        api.delete("nodes", "node-e").unwrap();
        api.expire_history();
        assert_eq!(triggers(&world).await, before);
        api.faults().lift(gap);
        records.pass(from, "node").await;
        assert_eq!(triggers(&world).await, before + 1.0);

        let seen: Vec<_> = records.all().iter().filter_map(transition).collect();
        let seen: Vec<_> = seen.iter().map(|(node, how)| (node.as_str(), how.as_str())).collect();
        let expected = [
            ("node-a", "not ready"),
            ("node-e", "out of service"),
            ("node-d", "deleted"),
            ("node-e", "vanished"),
        ];
        assert_eq!(seen, expected);
        world.stop().await;
    });
}

#[test]
fn promise_3_a_node_that_is_not_ready_is_suspect_and_its_volumes_are_left_alone() {
    play(async |stage| {
        let world = stage.world().await;
        let api = &world.doubles.api;
        let (volume, context) = attached(&world, "database", "node-a").await;
        let suspects =
            async || metric(&world.controller, "rds_csi_suspect_nodes", &[]).await.unwrap();
        assert_eq!(suspects().await, 0.0);
        let from = stage.records.now();
        api.modify("nodes", "node-a", |node| objects::set_ready(node, "Unknown")).unwrap();
        stage.records.pass(from, "node").await;
        assert_eq!(suspects().await, 1.0);
        until("an event on the node", async || {
            api.list("events").iter().any(|event| {
                let about = &event["involvedObject"];
                let note = event["message"].as_str().unwrap_or_default();
                event["reason"] == "NodeSuspect"
                    && (&about["kind"], &about["name"]) == (&"Node".into(), &"node-a".into())
                    && note.contains("1 volumes")
            })
        })
        .await;
        assert!(is_exported(&world.doubles.rds, &volume.name));
        world.write_on("node-a", &context).await.unwrap();
        assert!(world.has_attachment(&volume, "node-a").await);
        world.stop().await;
    });
}

#[actix::test]
async fn promise_3_a_missing_metrics_registry_never_panics() {
    tokio::time::pause();
    let node = |ready| Node {
        name: NodeName::parse("node-a").unwrap(),
        uid: "1".into(),
        ready,
        out_of_service: false,
        address: None,
    };
    let trigger = TriggerHandle::new();
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let faults = Faults::default();
    let handles = node_watcher::start(node_watcher::Parts {
        supervision: Supervision { log, metrics: Arc::new(NoMetrics), faults },
        changes: Arc::new(move || {
            let lost = [NodeChange::All(vec![node(true)]), NodeChange::Applied(node(false))];
            futures::stream::iter(lost).chain(futures::stream::pending()).boxed()
        }),
        trigger: trigger.clone(),
        metrics: Arc::new(NoMetrics),
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let causes = trigger.pending().take();
    assert!(causes.contains(Cause::Node), "{causes}");
    // A restarted actor would have fired for that as well.
    assert!(!causes.contains(Cause::Restart) && (handles.alive)());
}
