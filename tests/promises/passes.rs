//! When passes run: at the start, once for many triggers, and every five minutes all the same.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::actors::reconciler::{
    self, PassError, PassReport, Reconcile, ReconcileMetrics, ReconcileSettings,
};
use rds_csi::actors::supervision::{Faults, Supervision};
use rds_csi::actors::trigger::{Cause, Causes, TriggerHandle};
use rds_csi::actors::{NoMetrics, Shutdown};
use rds_csi::sandbox::simulated::{Controller, Plan};
use rds_sim::apiserver::{Fault, On, Verb, world as objects};
use tokio::sync::watch;

use super::records::{Records, is_pass};
use super::stage::{attached, logging, metric, play, soon, until};

#[test]
fn promise_1_on_start_the_controller_finds_stale_attachments() {
    play(async |stage| {
        let world = stage.world().await;
        let (volume, _) = attached(&world, "database", "node-a").await;
        let stale = world.attachment_of(&volume, "node-a");
        let doubles = world.stop().await;
        doubles.api.delete("nodes", "node-a").unwrap();

        // The box is there long before the caches have synced, so its coming is not the reason.
        let from = stage.records.now();
        let unread = doubles.api.faults().always(On::verb(Verb::List), Fault::Hang);
        let controller = Controller::start(&doubles, stage.log.clone()).await.unwrap();
        stage.records.says(from, "box is connected").await;
        doubles.api.faults().lift(unread);

        let synced = stage.records.says(from, "caches have synced").await;
        let first = stage.records.pass(from, "startup").await;
        assert!(synced < first, "the startup trigger waits for the caches");
        let before = &stage.records.all()[from..first];
        assert!(!before.iter().any(|record| record["msg"] == "pass ended"), "it was not the first");
        until("the first pass says what it found", async || {
            let events = doubles.api.list("events");
            events.iter().any(|event| {
                let message = event["message"].as_str().unwrap_or_default();
                event["reason"] == "StartupReconciliation" && message.ends_with("1 waiting")
            })
        })
        .await;
        soon("cleared", doubles.api.wait_gone("volumeattachments", &stale)).await.unwrap();

        // Nothing but the startup trigger, and what that pass asked for, led there.
        let passes = stage.records.all();
        let passes = passes[first + 1..].iter().filter(|record| record["msg"] == "pass ended");
        for pass in passes {
            assert!(is_pass(pass, "again"), "{pass}");
        }
        let labels = [("action", "node_watcher_trigger")];
        let watcher = metric(&controller, "rds_csi_attachment_reconcile_total", &labels).await;
        assert_eq!(watcher, Some(0.0));
        controller.stop().await;
    });
}

/// Passes that take a second and are counted.
#[derive(Default)]
struct Counted {
    causes: Mutex<Vec<String>>,
    running: AtomicUsize,
    together: AtomicUsize,
}

#[async_trait]
impl Reconcile for Counted {
    async fn pass(&self, causes: Causes) -> Result<PassReport, PassError> {
        let together = self.running.fetch_add(1, SeqCst) + 1;
        self.together.fetch_max(together, SeqCst);
        self.causes.lock().unwrap().push(causes.to_string());
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.running.fetch_sub(1, SeqCst);
        Ok(PassReport::default())
    }
}

impl Counted {
    fn causes(&self) -> Vec<String> {
        self.causes.lock().unwrap().clone()
    }
}

async fn pass_time(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[actix::test]
async fn promise_4_triggers_are_deduplicated() {
    tokio::time::pause();
    let records = Records::default();
    let logging = logging(&records);
    let work = Arc::new(Counted::default());
    let trigger = TriggerHandle::new();
    // Before the start they are harmless, and one pass.
    for _ in 0..1000 {
        trigger.fire(Cause::Node);
    }
    let metrics: Arc<dyn ReconcileMetrics> = Arc::new(NoMetrics);
    let (_settings, settings) = watch::channel(ReconcileSettings::default());
    let reconciler = reconciler::start(reconciler::Parts {
        supervision: Supervision {
            log: logging.log.clone(),
            metrics: Arc::new(NoMetrics),
            faults: Faults::default(),
        },
        work: work.clone(),
        trigger: trigger.clone(),
        settings,
        links: Vec::new(),
        mandate: rds_csi::mandate::Mandate::unlimited(),
        metrics,
    });
    pass_time(500).await;
    assert_eq!(work.causes(), ["node"]);
    // While it runs: one more, however many of them the reconciler has seen one by one.
    for n in 0..1000 {
        trigger.fire(Cause::Operator);
        if n % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    pass_time(10_000).await;
    assert_eq!(work.causes(), ["node", "operator"]);
    // The period, and then the end, after which they are harmless again.
    pass_time(300_000).await;
    assert_eq!(work.causes(), ["node", "operator", "timer"]);
    let within = Duration::from_secs(5);
    reconciler.shutdown.send(Shutdown { within }).await.unwrap();
    for _ in 0..1000 {
        trigger.fire(Cause::Node);
    }
    pass_time(1_000_000).await;
    drop(reconciler);
    trigger.fire(Cause::Node);
    pass_time(1_000).await;
    assert_eq!(work.causes().len(), 3);
    assert_eq!(work.together.load(SeqCst), 1, "never two at once");
    // Waits for the last record.
    drop(logging);
    let by: Vec<_> = records
        .all()
        .iter()
        .filter(|record| record["msg"] == "pass ended")
        .map(|record| record["by"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(by, ["trigger", "trigger", "timer"]);
}

#[test]
fn promise_5_the_periodic_pass_goes_on_beside_the_events() {
    play(async |stage| {
        let world =
            stage.world_with(Plan::default().quick().with("reconcile.interval", "1s")).await;
        let timed = async || {
            let labels = [("cause", "timer"), ("result", "success")];
            metric(&world.controller, "rds_csi_reconcile_passes_total", &labels).await.unwrap()
        };
        until("two passes without any event", async || timed().await >= 2.0).await;
        let from = stage.records.now();
        world
            .doubles
            .api
            .modify("nodes", "node-b", |node| objects::set_ready(node, "False"))
            .unwrap();
        stage.records.pass(from, "node").await;
        let so_far = timed().await;
        until("one more after an event", async || timed().await > so_far).await;
        world.stop().await;
    });
}

#[test]
fn promise_5_the_period_is_five_minutes_where_nothing_else_is_said() {
    play(async |stage| {
        let world = stage.world().await;
        assert_eq!(world.doubles.config.reconcile.interval, Duration::from_secs(300));
        world.stop().await;
    });
}
