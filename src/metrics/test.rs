use std::time::Duration;

use super::*;

fn metrics() -> Metrics {
    Metrics::new(Registry::new()).unwrap()
}

/// Touches every series that appears only when it is used.
fn use_all(metrics: &Metrics) {
    let took = Duration::from_millis(60);
    metrics.rds.link("10.0.0.1:22", true);
    metrics.rds.exec("table", took);
    metrics.rds.drill("main", "outdated", true);
    metrics.rds.queue_depth("main", 3);
    metrics.reconcile.fence("node_gone", "confirmed");
    metrics.reconcile.holds("storm", 2);
    metrics.grpc.request("CreateVolume", "OK", took);
    metrics.events.posted("RDSDisconnected");
    metrics.actors.restarted("reconciler", "panic");
}

#[test]
fn every_promised_name_is_served_with_its_labels() {
    let metrics = metrics();
    use_all(&metrics);
    let text = metrics.encode().unwrap();
    for series in [
        "rds_csi_volume_operations_total{operation=\"create\",status=\"success\"} 0",
        "rds_csi_volume_operation_duration_seconds_count{operation=\"delete\"} 0",
        "rds_csi_orphans_cleaned_total 0",
        "rds_csi_events_posted_total{reason=\"RDSDisconnected\"} 1",
        "rds_csi_attachment_attach_total{status=\"success\"} 0",
        "rds_csi_attachment_detach_total{status=\"failure\"} 0",
        "rds_csi_attachment_conflicts_total 0",
        "rds_csi_attachment_reconcile_total{action=\"clear_stale\"} 0",
        "rds_csi_attachment_reconcile_total{action=\"node_watcher_trigger\"} 0",
        "rds_csi_attachment_operation_duration_seconds_count{operation=\"attach\"} 0",
        "rds_csi_attachment_grace_period_used_total 0",
        "rds_csi_attachment_stale_cleared_total 0",
        "rds_csi_migration_migrations_total{result=\"success\"} 0",
        "rds_csi_migration_duration_seconds_count 0",
        "rds_csi_migration_active_migrations 0",
        "rds_csi_nvme_connections_active 0",
        "rds_csi_nvme_connects_total{status=\"failure\"} 0",
        "rds_csi_nvme_connect_duration_seconds_count 0",
        "rds_csi_mount_operations_total{operation=\"unmount\",status=\"success\"} 0",
        "rds_csi_stale_mounts_detected_total 0",
        "rds_csi_unreadable_notes 0",
        "rds_csi_stale_recoveries_total{status=\"success\"} 0",
        "rds_csi_rds_connection_state{address=\"10.0.0.1:22\"} 1",
        "rds_csi_rds_reconnect_total{status=\"failure\"} 0",
        "rds_csi_rds_reconnect_duration_seconds_count 0",
        "rds_csi_actor_restarts_total{actor=\"reconciler\",cause=\"panic\"} 1",
        "rds_csi_queue_depth{queue=\"main\"} 3",
        "rds_csi_rds_lane_replaced_total 0",
        "rds_csi_drill_state{backend=\"main\",state=\"outdated\"} 1",
        "rds_csi_rds_exec_duration_seconds_bucket{command=\"table\",le=\"0.1\"} 1",
        "rds_csi_rds_job_denied_total{reason=\"queue_full\"} 0",
        "rds_csi_reconcile_pass_duration_seconds_count 0",
        "rds_csi_reconcile_passes_total{cause=\"timer\",result=\"success\"} 0",
        "rds_csi_fences_total{reason=\"node_gone\",result=\"confirmed\"} 1",
        "rds_csi_suspect_nodes 0",
        "rds_csi_leading 0",
        "rds_csi_holds{reason=\"storm\"} 2",
        "rds_csi_config_reload_total{result=\"refused\"} 0",
        "rds_csi_grpc_requests_total{code=\"OK\",method=\"CreateVolume\"} 1",
        "rds_csi_grpc_request_duration_seconds_count{method=\"CreateVolume\"} 1",
        concat!("rds_csi_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|line| line == series), "{series} is missing in\n{text}");
    }
}

#[test]
fn two_controllers_in_one_process_do_not_collide() {
    let (one, other) = (metrics(), metrics());
    one.rds.reconnect_failed();
    assert_eq!((one.rds.reconnects(), other.rds.reconnects()), ((0, 1), (0, 0)));
}

#[test]
fn a_second_set_in_one_registry_is_an_error_and_no_panic() {
    let registry = Registry::new();
    assert!(Metrics::new(registry.clone()).is_ok());
    assert!(Metrics::new(registry).is_err());
}

#[test]
fn a_label_from_outside_cannot_break_the_format() {
    let metrics = metrics();
    metrics.rds.link("a\"} 7\nrds_csi_fake 1", true);
    let text = metrics.encode().unwrap();
    assert!(!text.lines().any(|line| line.starts_with("rds_csi_fake")), "{text}");
}
