//! The order in which a controller starts and stops, as its log shows it.

use rds_csi::sandbox::simulated::{Controller, Doubles, Plan};
use rds_sim::apiserver::{Fault, On, Verb};
use serde_json::Value;

use super::stage::{attached, play, until};

/// What a record says; for the stop of an actor, of which.
fn said(record: &Value) -> String {
    let message = record["msg"].as_str().unwrap_or_default();
    match record["actor"].as_str() {
        Some(actor) if message == "stopping actor" => format!("{message} {actor}"),
        _ => message.to_owned(),
    }
}

/// These were said, in this order, among others.
fn assert_order(records: &[Value], order: &[&str]) {
    let all: Vec<String> = records.iter().map(said).collect();
    let mut rest = all.iter();
    for wanted in order {
        assert!(rest.any(|said| said == wanted), "{wanted:?} is missing or too early:\n{all:#?}");
    }
}

#[test]
fn promise_11_start_and_stop_have_an_order() {
    play(async |stage| {
        let world = stage.world().await;
        let rds = world.doubles.rds.clone();
        attached(&world, "database", "node-a").await;
        stage.records.pass(0, "startup").await;
        assert_order(
            &stage.records.all(),
            &[
                "serving metrics and health",
                "serving csi",
                "starting caches",
                "starting node watcher",
                "starting reconciler",
                "starting connections",
                "caches have synced",
                "pass ended",
            ],
        );
        let from = stage.records.now();
        world.stop().await;
        stage.records.says(from, "stopped").await;
        let stop = &stage.records.all()[from..];
        assert_order(
            stop,
            &[
                "stopping",
                "stopping grpc",
                "stopping actor node watcher",
                "stopping actor reconciler",
                // The supervisor first: whoever would reconnect ends before the sessions do.
                "stopping actor connection",
                "disconnecting",
                "stopping watches",
                "metrics and health no longer served",
                "stopped",
            ],
        );
        let late = ["did not stop in time", "box is connected", "box is not connected"];
        assert!(!stop.iter().any(|record| late.contains(&said(record).as_str())), "{stop:#?}");
        until("every session has ended", async || rds.open_sessions() == 0).await;
    });
}

#[test]
fn promise_11_no_part_waits_for_another_at_the_start() {
    play(async |stage| {
        let plan = Plan::default().quick();
        let doubles = Doubles::start(&plan, stage.scratch.path()).await.unwrap();
        // Neither answers. All is served, and says why it is not ready.
        doubles.rds.set_refusing(true);
        let unread = doubles.api.faults().unreachable(Fault::Refuse);
        let controller = Controller::start(&doubles, stage.log.clone()).await.unwrap();
        assert_eq!(controller.probe().await, Some(false));
        assert_eq!(controller.get("/livez").await.unwrap().code, 200);
        let readyz = controller.get("/readyz").await.unwrap();
        assert_eq!(readyz.code, 503);
        for missing in ["nodes", "volumeattachments", &doubles.box_address().to_string()] {
            assert!(readyz.body.contains(missing), "{missing} is not in {}", readyz.body);
        }
        let refused = controller.sidecars.create("pvc-a", 1 << 30, &[]).await;
        assert_eq!(refused.unwrap_err().0, "Unavailable");
        // The caches do not wait for the box,
        doubles.api.faults().lift(unread);
        let synced = stage.records.says(0, "caches have synced").await;
        stage.records.pass(synced, "startup").await;
        assert_eq!(controller.probe().await, Some(false));
        doubles.rds.set_refusing(false);
        controller.ready().await.unwrap();
        controller.stop().await;

        // and the connection does not wait for the caches.
        let from = stage.records.now();
        let unread = doubles.api.faults().always(On::verb(Verb::List), Fault::Hang);
        let controller = Controller::start(&doubles, stage.log.clone()).await.unwrap();
        stage.records.says(from, "box is connected").await;
        assert_eq!(controller.probe().await, Some(false));
        doubles.api.faults().lift(unread);
        controller.ready().await.unwrap();
        controller.stop().await;
    });
}
