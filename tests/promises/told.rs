//! What people and Prometheus are told.

use rds_csi::sandbox::simulated::Simulated;
use rds_csi::sandbox::simulated::doubles::POD;
use rds_csi::sandbox::world::World as _;
use rds_sim::apiserver::ApiServer;
use serde_json::Value;

use super::stage::{attached, metric, play, soon, until};

/// The events of a reason, once there is one.
async fn events(api: &ApiServer, reason: &str) -> Vec<Value> {
    let find = || {
        let mut events = api.list("events");
        events.retain(|event| event["reason"] == reason);
        events
    };
    until(&format!("an event {reason}"), async || !find().is_empty()).await;
    find()
}

/// Is the event one of those that `kubectl describe` shows for this object?
fn is_about(event: &Value, kind: &str, object: &Value) -> bool {
    let (about, own) = (&event["involvedObject"], &object["metadata"]);
    about["kind"] == kind
        && ["name", "namespace", "uid"].iter().all(|key| about[key] == own[key])
        && own["uid"].is_string()
}

/// The box goes away and comes back once.
async fn flap(world: &Simulated) {
    let rds = &world.doubles.rds;
    rds.set_refusing(true);
    rds.drop_connections();
    until("Probe says no", async || world.probe().await == Some(false)).await;
    rds.set_refusing(false);
    until("Probe says yes", async || world.probe().await == Some(true)).await;
}

#[test]
fn promise_9_kubernetes_events() {
    play(async |stage| {
        let world = stage.world().await;
        let api = &world.doubles.api;
        let pod = format!("{}/{POD}", world.doubles.config.driver.namespace);
        let pod = api.get("pods", &pod).unwrap();
        let on_pod = async |reason: &str, is: &str| {
            let events = events(api, reason).await;
            assert_eq!(events.len(), 1, "{events:?}");
            assert!(is_about(&events[0], "Pod", &pod), "{}", events[0]);
            assert_eq!(events[0]["type"], is);
            events[0]["message"].as_str().unwrap().to_owned()
        };
        let told = on_pod("StartupReconciliation", "Normal").await;
        assert!(told.contains("nothing was stale"), "{told}");

        let (volume, _) = attached(&world, "database", "node-a").await;
        // The same again within minutes is no other Event.
        for _ in 0..3 {
            flap(&world).await;
        }
        let address = world.doubles.box_address().to_string();
        let told = on_pod("RDSDisconnected", "Warning").await;
        assert!(told.contains(&address), "{told}");
        let told = on_pod("RDSReconnected", "Normal").await;
        assert!(told.contains(&address), "{told}");

        world.delete_node("node-a").await.unwrap();
        let cleared = events(api, "StaleAttachmentCleared").await;
        let claim = api.get("persistentvolumeclaims", "default/database").unwrap();
        assert_eq!(cleared.len(), 1);
        assert!(is_about(&cleared[0], "PersistentVolumeClaim", &claim), "{}", cleared[0]);
        let told = cleared[0]["message"].as_str().unwrap();
        assert!(told.contains(&world.attachment_of(&volume, "node-a")), "{told}");
        assert!(told.contains("node-a is gone"), "{told}");
        let posted = async |reason: &str| {
            metric(&world.controller, "rds_csi_events_posted_total", &[("reason", reason)]).await
        };
        until("the event is counted", async || posted("StaleAttachmentCleared").await == Some(1.0))
            .await;
        world.stop().await;
    });
}

/// Those of the first driver's names that a controller has.
const NAMES: [&str; 18] = [
    "rds_csi_volume_operations_total",
    "rds_csi_volume_operation_duration_seconds",
    "rds_csi_orphans_cleaned_total",
    "rds_csi_events_posted_total",
    "rds_csi_attachment_attach_total",
    "rds_csi_attachment_detach_total",
    "rds_csi_attachment_conflicts_total",
    "rds_csi_attachment_reconcile_total",
    "rds_csi_attachment_operation_duration_seconds",
    "rds_csi_attachment_grace_period_used_total",
    "rds_csi_attachment_stale_cleared_total",
    "rds_csi_migration_migrations_total",
    "rds_csi_migration_duration_seconds",
    "rds_csi_migration_active_migrations",
    "rds_csi_rds_connection_state",
    "rds_csi_rds_reconnect_total",
    "rds_csi_rds_reconnect_duration_seconds",
    "rds_csi_nvme_connections_active",
];

#[test]
fn promise_10_metrics() {
    play(async |stage| {
        let world = stage.world().await;
        let controller = &world.controller;
        let address = world.doubles.box_address().to_string();
        let count = async |name: &str, labels: &[(&str, &str)]| {
            metric(controller, name, labels).await.unwrap_or_else(|| panic!("no {name} {labels:?}"))
        };
        let state = [("address", address.as_str())];
        assert_eq!(count("rds_csi_rds_connection_state", &state).await, 1.0);
        let success = [("status", "success")];
        let before = count("rds_csi_rds_reconnect_total", &success).await;
        let (volume, _) = attached(&world, "database", "node-a").await;
        let stale = world.attachment_of(&volume, "node-a");

        world.crash_box().await;
        until("a failed attempt", async || {
            count("rds_csi_rds_reconnect_total", &[("status", "failure")]).await >= 1.0
        })
        .await;
        assert_eq!(count("rds_csi_rds_connection_state", &state).await, 0.0);
        world.revive_box().await;
        until("Probe says yes", async || world.probe().await == Some(true)).await;
        assert_eq!(count("rds_csi_rds_connection_state", &state).await, 1.0);
        let reconnects = count("rds_csi_rds_reconnect_total", &success).await;
        assert!(reconnects > before);
        assert!(count("rds_csi_rds_reconnect_duration_seconds_count", &[]).await >= reconnects);
        assert!(count("rds_csi_rds_reconnect_duration_seconds_sum", &[]).await > 0.0);

        world.delete_node("node-a").await.unwrap();
        let gone = world.doubles.api.wait_gone("volumeattachments", &stale);
        soon("cleared", gone).await.unwrap();
        until("the clearing is counted", async || {
            count("rds_csi_attachment_stale_cleared_total", &[]).await == 1.0
        })
        .await;
        for action in ["clear_stale", "node_watcher_trigger"] {
            let counted = count("rds_csi_attachment_reconcile_total", &[("action", action)]).await;
            assert_eq!(counted, 1.0, "{action}");
        }
        let text = controller.get("/metrics").await.unwrap().body;
        for name in NAMES {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not there");
        }
        world.stop().await;
    });
}
