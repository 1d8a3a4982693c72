//! What Probe, readiness and liveness say while the box is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rds_csi::actors::NoMetrics;
use rds_csi::actors::probe::{self, LinkSource};
use rds_csi::actors::supervision::{Faults, Supervision};
use rds_csi::sandbox::world::World as _;
use rds_csi::volume::BackendName;

use super::stage::{metric, play, until};

#[test]
fn promise_7_probe_tells_the_truth() {
    play(async |stage| {
        let world = stage.world().await;
        let (controller, address) = (&world.controller, world.doubles.box_address().to_string());
        let gauge = async || {
            let labels = [("address", address.as_str())];
            metric(controller, "rds_csi_rds_connection_state", &labels).await.unwrap()
        };
        let code = async |path| controller.get(path).await.unwrap().code;
        // Somebody else has set the gauge: every call sets it right.
        controller.metrics.rds.link(&address, false);
        assert_eq!(gauge().await, 0.0);
        assert_eq!(controller.probe().await, Some(true));
        assert_eq!(gauge().await, 1.0);
        assert_eq!((code("/readyz").await, code("/livez").await), (200, 200));

        world.crash_box().await;
        until("Probe says no", async || controller.probe().await == Some(false)).await;
        controller.metrics.rds.link(&address, true);
        assert_eq!(controller.probe().await, Some(false));
        assert_eq!(gauge().await, 0.0);
        // The pod is not ready, and nothing restarts it.
        let readyz = controller.get("/readyz").await.unwrap();
        assert_eq!((readyz.code, code("/livez").await), (503, 200));
        assert!(readyz.body.contains(&address), "{}", readyz.body);

        world.revive_box().await;
        until("Probe says yes", async || controller.probe().await == Some(true)).await;
        assert_eq!(gauge().await, 1.0);
        assert_eq!((code("/readyz").await, code("/livez").await), (200, 200));
        let restarts = metric(controller, "rds_csi_actor_restarts_total", &[]).await;
        assert!(restarts.unwrap_or(0.0) == 0.0, "{restarts:?}");
        world.stop().await;
    });
}

#[actix::test]
async fn promise_7_without_supervisor_the_session_is_asked_and_without_metrics_nothing_panics() {
    let is_up = Arc::new(AtomicBool::new(true));
    let session = is_up.clone();
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let faults = Faults::default();
    let handles = probe::start(probe::Parts {
        supervision: Supervision { log, metrics: Arc::new(NoMetrics), faults },
        links: vec![LinkSource {
            backend: BackendName::parse("main").unwrap(),
            address: "192.0.2.1:22".into(),
            supervisor: None,
            fallback: Arc::new(move || session.load(SeqCst)),
        }],
        conditions: Vec::new(),
        metrics: Arc::new(NoMetrics),
    });
    assert!(handles.probe.readiness().await.ready);
    is_up.store(false, SeqCst);
    let readiness = handles.probe.readiness().await;
    assert!(!readiness.ready);
    assert!(readiness.reasons[0].contains("192.0.2.1:22"), "{:?}", readiness.reasons);
    assert!((handles.alive)());
}
