//! A box that is lost, and a box that comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rds_csi::actors::rds_connection::ConnectionSettings;
use rds_csi::rds::{Command, Failure, Rds as _};
use rds_csi::sandbox::simulated::{Controller, Doubles, Plan};
use rds_csi::sandbox::world::World as _;
use rds_sim::routeros::{Quirks, RouterOs, Setup, TokioClock};
use tokio::time::{Instant, sleep, timeout};

use super::in_memory::Connection;
use super::stage::{attached, metric, play, soon, until};

/// A box whose logins take a millisecond.
fn rds(quirks: Quirks) -> RouterOs {
    RouterOs::with(Setup {
        quirks,
        clock: Arc::new(TokioClock::start()),
        connect_latency: Duration::from_millis(1),
        ..Setup::default()
    })
}

fn whole(seconds: &[f64]) -> Vec<u64> {
    seconds.iter().map(|at| at.round() as u64).collect()
}

#[actix::test]
async fn promise_6_a_lost_rds_is_reconnected_for_ever() {
    tokio::time::pause();
    let os = rds(Quirks::default());
    os.set_refusing(true);
    let mut settings = ConnectionSettings::default();
    assert_eq!(settings.backoff.jitter, 0.1, "several controllers must not storm a box");
    settings.backoff.jitter = 0.0;
    let connection = Connection::start(&os, settings);
    sleep(Duration::from_secs(1_000_000)).await;
    let attempts = connection.attempts();
    assert_eq!(whole(&attempts[..8]), [0, 1, 3, 7, 15, 31, 47, 63]);
    assert!(attempts.len() > 60_000, "it gave up after {}", attempts.len());
    // Meanwhile nobody waits.
    let asked = Instant::now();
    let answer = connection.handles.rds.execute(Command::Table, None).await;
    assert!(matches!(answer, Err(Failure::NotConnected { .. })), "{answer:?}");
    assert_eq!(asked.elapsed(), Duration::ZERO);
    os.set_refusing(false);
    sleep(Duration::from_secs(17)).await;
    assert!(connection.is_up());
}

#[actix::test]
async fn promise_6_waits_differ_by_a_tenth() {
    tokio::time::pause();
    let os = rds(Quirks::default());
    os.set_refusing(true);
    let connection = Connection::start(&os, ConnectionSettings::default());
    sleep(Duration::from_secs(600)).await;
    let attempts = connection.attempts();
    let waits: Vec<f64> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let nominal = [1.0, 2.0, 4.0, 8.0].into_iter().chain(std::iter::repeat(16.0));
    let off: Vec<f64> = waits.iter().zip(nominal).map(|(wait, nominal)| wait / nominal).collect();
    assert!(off.iter().all(|off| (0.89..1.11).contains(off)), "{off:?}");
    // The longest, too: that is where a box is found by all who wait for it.
    let differ = off[6..].iter().filter(|off| (*off - 1.0).abs() > 0.001).count();
    assert!(differ > 5, "{off:?}");
}

#[actix::test]
async fn promise_6_the_box_is_polled_every_five_seconds() {
    tokio::time::pause();
    let os = rds(Quirks::default());
    let polls = Arc::<Mutex<Vec<Instant>>>::default();
    let seen = polls.clone();
    os.on_exec(move |_| seen.lock().unwrap().push(Instant::now()));
    let connection = Connection::start(&os, ConnectionSettings::default());
    sleep(Duration::from_secs(101)).await;
    assert!(connection.is_up());
    let polls = polls.lock().unwrap();
    assert_eq!(polls.len(), 21);
    for pair in polls.windows(2) {
        assert_eq!((pair[1] - pair[0]).as_millis() / 100, 50);
    }
}

#[actix::test]
async fn promise_6_the_old_session_is_closed_first() {
    tokio::time::pause();
    // A box that would refuse a second session.
    let os = rds(Quirks { max_sessions: 1, ..Quirks::default() });
    let connection = Connection::start(&os, ConnectionSettings::default());
    sleep(Duration::from_secs(1)).await;
    assert!(connection.is_up());
    // The session that is open now stays silent for ever; the box is there.
    os.set_half_open(true);
    os.set_half_open(false);
    let mut link = connection.handles.link.clone();
    link.mark_unchanged();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(connection.attempts().len(), 2);
    assert!(connection.is_up());
    assert!(!link.has_changed().unwrap(), "a second session was refused");
    assert_eq!(os.open_sessions(), 1);
}

#[test]
fn promise_6_callers_fail_fast_and_a_half_open_link_is_replaced() {
    play(async |stage| {
        let world = stage.world().await;
        let (volume, context) = attached(&world, "database", "node-a").await;
        world.crash_box().await;
        until("Probe says no", async || world.probe().await == Some(false)).await;
        for attempts in [1.0, 2.0, 3.0] {
            let refused = timeout(Duration::from_secs(1), world.publish(&volume, "node-a")).await;
            let (code, text) = refused.expect("it waited").unwrap_err();
            assert_eq!(code, "Unavailable", "{text}");
            let address = world.doubles.box_address().to_string();
            assert!(text.contains(&address) && text.contains("next attempt in"), "{text}");
            until("one more attempt", async || {
                let failure = [("status", "failure")];
                let failed = metric(&world.controller, "rds_csi_rds_reconnect_total", &failure);
                failed.await >= Some(attempts)
            })
            .await;
        }
        world.revive_box().await;
        until("Probe says yes", async || world.probe().await == Some(true)).await;
        assert_eq!(world.publish(&volume, "node-a").await.as_ref(), Ok(&context));
        world.stop().await;
    });
}

#[test]
fn promise_6_also_for_a_box_that_was_down_at_the_start() {
    play(async |stage| {
        let plan = Plan::default().quick();
        let doubles = Doubles::start(&plan, stage.scratch.path()).await.unwrap();
        doubles.rds.set_refusing(true);
        let controller = Controller::start(&doubles, stage.log.clone()).await.unwrap();
        until("attempts are counted", async || {
            let failure = [("status", "failure")];
            metric(&controller, "rds_csi_rds_reconnect_total", &failure).await >= Some(3.0)
        })
        .await;
        assert_eq!(controller.probe().await, Some(false));
        assert_eq!(controller.get("/livez").await.unwrap().code, 200);
        let readyz = controller.get("/readyz").await.unwrap();
        assert_eq!(readyz.code, 503);
        assert!(readyz.body.contains(&doubles.box_address().to_string()), "{}", readyz.body);
        doubles.rds.set_refusing(false);
        controller.ready().await.unwrap();
        controller.sidecars.create("pvc-a", 1 << 30, &[]).await.unwrap();
        controller.stop().await;
    });
}

#[test]
fn promise_8_after_a_reconnect_a_pass_runs() {
    play(async |stage| {
        let world = stage.world().await;
        let api = &world.doubles.api;
        let (volume, _) = attached(&world, "database", "node-a").await;
        let stale = world.attachment_of(&volume, "node-a");
        world.crash_box().await;
        until("Probe says no", async || world.probe().await == Some(false)).await;
        // The pass that this starts can do nothing without the box.
        let from = stage.records.now();
        world.delete_node("node-a").await.unwrap();
        let blind = stage.records.pass(from, "node").await;
        world.revive_box().await;
        let back = stage.records.says(from, "box is connected").await;
        let pass = stage.records.pass(from, "reconnected").await;
        assert!(blind < back && back < pass);
        soon("cleared", api.wait_gone("volumeattachments", &stale)).await.unwrap();
        let records = stage.records.all();
        let between = records[blind + 1..pass].iter();
        assert_eq!(between.filter(|record| record["msg"] == "pass ended").count(), 0);
        let cleared = stage.records.says(from, "stale attachment cleared").await;
        assert!(pass < cleared);
        world.stop().await;
    });
}
