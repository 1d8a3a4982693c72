//! Neither the box nor the API server is needed to start, and for however long one of them is away,
//! the controller says what is missing, answers at once, and goes on by itself.
//!
//! How long an outage lasts makes no difference once every wait has reached its longest form: from
//! then on the same attempt follows the same pause. The tests stay down until that has happened
//! several times.

use std::time::Duration;

use rds_sim::apiserver::Fault;
use rds_sim::routeros::Reboot;
use serde_json::Value;
use tokio::time::Instant;
use tonic::Code;

use crate::csi::Csi;
use crate::daemon::Daemon;
use crate::surroundings::Surroundings;

/// Far below every deadline on the way (`request_deadline` is 20 s here).
const AT_ONCE: Duration = Duration::from_secs(5);

async fn around() -> Surroundings {
    let mut around = Surroundings::start(&["main"]).await;
    // Else a call that waits for the API server would pass for one that is answered at once.
    around.request_deadline = "20s".into();
    around
}

/// Every call is refused at once as UNAVAILABLE, with a message that holds `why`.
async fn answers_at_once(csi: &Csi, why: &str) {
    let begun = Instant::now();
    let refusals = [
        csi.create("pvc-1", &[]).await.err(),
        csi.delete("pvc-1").await.err(),
        csi.publish("pvc-1", "node-a").await.err(),
        csi.unpublish("pvc-1", "node-a").await.err(),
        csi.list().await.err(),
    ];
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    for refusal in refusals {
        let refusal = refusal.unwrap();
        assert_eq!(refusal.code(), Code::Unavailable, "{refusal:?}");
        assert!(refusal.message().contains(why), "{why:?} is not in {refusal:?}");
    }
}

/// Alive, not ready, and these are among the reasons.
async fn is_missing(daemon: &Daemon, csi: &Csi, missing: &[&str]) {
    let body = daemon.ready(false).await;
    for part in missing {
        let told = |reason: &Value| reason.as_str().unwrap().contains(part);
        assert!(body["reasons"].as_array().unwrap().iter().any(told), "{part:?} is not in {body}");
    }
    assert!(!csi.probe().await);
    assert_eq!(daemon.get("/livez").await.0, 200);
}

/// So many attempts were made at the longest pause, which is 400 ms here.
async fn attempts_at_the_longest_pause(daemon: &Daemon, count: usize) {
    let longest = |record: &Value| {
        let pause = record["next_attempt_in"].as_str().unwrap();
        pause.strip_suffix("ms").is_some_and(|ms| ms.parse::<f64>().unwrap() > 300.0)
    };
    for _ in 0..count {
        let before = daemon.said("box is not connected").len();
        let more = |_: &Value| daemon.said("box is not connected").len() > before;
        let record = daemon.logged("box is not connected", more).await;
        assert!(record["next_attempt_in"].is_string());
    }
    let all = daemon.said("box is not connected");
    assert!(all.iter().filter(|record| longest(record)).count() + 3 >= count, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_the_box_and_finds_it_later() {
    let around = around().await;
    around.main().rds.power_off();
    let (daemon, csi) = (around.daemon(), around.csi().await);
    daemon.logged("caches have synced", |_| true).await;
    let address = around.main().address();
    is_missing(&daemon, &csi, &[&format!("main at {address} is not connected")]).await;
    attempts_at_the_longest_pause(&daemon, 6).await;
    answers_at_once(&csi, &format!("{address} is not connected")).await;
    around.main().rds.power_on(Reboot::KeepEverything);
    daemon.ready(true).await;
    around.provision(&csi, "pvc-1", &[]).await;
    assert_eq!(daemon.metric("rds_csi_actor_restarts_total", "").await, 0.0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_the_api_server_and_finds_it_later() {
    for fault in [Fault::Refuse, Fault::Hang] {
        let around = around().await;
        let down = around.api.faults().unreachable(fault);
        let (daemon, csi) = (around.daemon(), around.csi().await);
        daemon.logged("box is connected", |_| true).await;
        is_missing(&daemon, &csi, &["not synced with the API server: nodes"]).await;
        answers_at_once(&csi, "not synced with the API server").await;
        around.api.faults().lift(down);
        daemon.ready(true).await;
        around.provision(&csi, "pvc-1", &[]).await;
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_both_and_each_that_returns_is_taken_off_the_list() {
    let around = around().await;
    around.main().rds.power_off();
    let down = around.api.faults().unreachable(Fault::Refuse);
    let (daemon, csi) = (around.daemon(), around.csi().await);
    let no_box = format!("main at {} is not connected", around.main().address());
    let no_api = "not synced with the API server: nodes";
    is_missing(&daemon, &csi, &[&no_box, no_api]).await;
    attempts_at_the_longest_pause(&daemon, 20).await;
    is_missing(&daemon, &csi, &[&no_box, no_api]).await;
    answers_at_once(&csi, "not synced with the API server").await;
    around.main().rds.power_on(Reboot::KeepEverything);
    daemon.logged("box is connected", |_| true).await;
    let body = is_missing_but(&daemon, &no_box).await;
    assert!(body.contains(no_api), "{body}");
    around.api.faults().lift(down);
    daemon.ready(true).await;
    around.provision(&csi, "pvc-1", &[]).await;
    daemon.stop().await;
}

/// The body of `/readyz`, in which this is missing no more.
async fn is_missing_but(daemon: &Daemon, not: &str) -> String {
    let body = daemon.ready(false).await["reasons"].to_string();
    assert!(!body.contains(not), "{body}");
    body
}
