use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;

use super::*;
use crate::actors::NoMetrics;
use crate::actors::doubles::{Restarted, pass, supervision};
use crate::actors::supervision::{Cause as Why, Faults};
use crate::mandate::Term;
use crate::rds::System;

/// Passes that take a second, and what is asked of them.
#[derive(Default)]
struct Work {
    start: Mutex<Option<Instant>>,
    /// Milliseconds at which each began, and why.
    began: Mutex<Vec<(u64, String)>>,
    running: AtomicUsize,
    together: AtomicBool,
    fail: AtomicUsize,
    again_in: Mutex<Option<Duration>>,
    takes: Mutex<Duration>,
}

#[async_trait]
impl Reconcile for Work {
    async fn pass(&self, causes: Causes) -> Result<PassReport, PassError> {
        struct Running<'a>(&'a AtomicUsize);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        if self.running.fetch_add(1, SeqCst) > 0 {
            self.together.store(true, SeqCst);
        }
        let _running = Running(&self.running);
        let at = self.start.lock().unwrap().unwrap().elapsed().as_millis() as u64;
        // Timers round up to the next millisecond.
        let at = at / 100 * 100;
        self.began.lock().unwrap().push((at, causes.to_string()));
        let takes = *self.takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        if self.fail.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(PassError("cannot".into()));
        }
        let again_in = self.again_in.lock().unwrap().take();
        Ok(PassReport { again_in })
    }
}

struct Subject {
    work: Arc<Work>,
    trigger: TriggerHandle,
    settings: watch::Sender<ReconcileSettings>,
    link: watch::Sender<Link>,
    handles: Handles,
    faults: Faults,
    restarted: Arc<Restarted>,
}

fn down() -> Link {
    Link::Down { since: Instant::now(), next: None, why: "test".into() }
}

fn up(epoch: u64) -> Link {
    Link::Up {
        since: Instant::now(),
        epoch,
        system: System { version: "7.21".into(), uptime: Some(Duration::from_secs(9)) },
    }
}

fn subject() -> Subject {
    subject_under(Mandate::unlimited())
}

fn subject_under(mandate: Mandate) -> Subject {
    let (supervision, faults, restarted) = supervision();
    let work = Arc::new(Work::default());
    *work.start.lock().unwrap() = Some(Instant::now());
    *work.takes.lock().unwrap() = Duration::from_secs(1);
    let (settings, settings_seen) = watch::channel(ReconcileSettings::default());
    let (link, link_seen) = watch::channel(down());
    let trigger = TriggerHandle::new();
    let handles = start(Parts {
        supervision,
        work: work.clone(),
        trigger: trigger.clone(),
        settings: settings_seen,
        links: vec![(BackendName::parse("box").unwrap(), link_seen)],
        mandate,
        metrics: Arc::new(NoMetrics),
    });
    Subject { work, trigger, settings, link, handles, faults, restarted }
}

impl Subject {
    fn began(&self) -> Vec<(u64, String)> {
        assert!(!self.work.together.load(SeqCst), "two passes at once");
        self.work.began.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.began().len()
    }

    fn last(&self) -> Option<&'static str> {
        let last = self.handles.last.borrow();
        last.as_ref().map(|last| last.outcome.label())
    }
}

fn at(milliseconds: u64, why: &str) -> (u64, String) {
    (milliseconds, why.to_owned())
}

#[actix::test]
async fn a_thousand_triggers_during_a_pass_are_exactly_one_more() {
    tokio::time::pause();
    let subject = subject();
    subject.trigger.fire(Cause::Startup);
    pass(100).await;
    for n in 0..1000 {
        subject.trigger.fire(Cause::Node);
        if n % 10 == 0 {
            // Lets the actor handle some of them, so that not all are one message.
            pass(0).await;
        }
    }
    pass(10_000).await;
    assert_eq!(subject.began(), [at(0, "startup"), at(1000, "node")]);
}

#[actix::test]
async fn the_period_counts_from_the_end_of_a_pass() {
    tokio::time::pause();
    let subject = subject();
    pass(700_000).await;
    let expected = [at(300_000, "timer"), at(601_000, "timer")];
    assert_eq!(subject.began(), expected);
    assert_eq!(subject.last(), Some("done"));
}

#[actix::test]
async fn a_shorter_period_holds_at_once() {
    tokio::time::pause();
    let subject = subject();
    pass(10_000).await;
    let settings =
        ReconcileSettings { interval: Duration::from_secs(20), ..ReconcileSettings::default() };
    subject.settings.send(settings).unwrap();
    pass(35_000).await;
    assert_eq!(subject.began(), [at(20_000, "timer"), at(41_000, "timer")]);
}

#[actix::test]
async fn a_pass_is_repeated_when_it_asks_for_it_and_no_sooner_than_once() {
    tokio::time::pause();
    let subject = subject();
    *subject.work.again_in.lock().unwrap() = Some(Duration::from_secs(10));
    subject.trigger.fire(Cause::Operator);
    pass(60_000).await;
    assert_eq!(subject.began(), [at(0, "operator"), at(11_000, "again")]);
}

#[actix::test]
async fn a_failed_pass_is_repeated_after_5_10_20_seconds() {
    tokio::time::pause();
    let subject = subject();
    subject.work.fail.store(3, SeqCst);
    subject.trigger.fire(Cause::Startup);
    pass(5_000).await;
    assert_eq!(subject.last(), Some("failed"));
    pass(60_000).await;
    let times: Vec<u64> = subject.began().iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 6_000, 17_000, 38_000]);
    assert_eq!(subject.last(), Some("done"));
}

#[actix::test]
async fn a_pass_without_end_is_abandoned_at_its_deadline() {
    tokio::time::pause();
    let subject = subject();
    *subject.work.takes.lock().unwrap() = Duration::from_secs(100_000);
    subject.trigger.fire(Cause::Startup);
    pass(119_000).await;
    *subject.work.takes.lock().unwrap() = Duration::from_secs(1);
    assert_eq!(subject.last(), None);
    pass(10_000).await;
    assert_eq!(subject.began()[1], at(125_000, "again"));
    assert_eq!(subject.last(), Some("done"));
}

#[actix::test]
async fn a_box_that_comes_up_is_a_trigger_and_one_that_goes_down_is_none() {
    tokio::time::pause();
    let subject = subject();
    pass(10_000).await;
    assert_eq!(subject.count(), 0);
    subject.link.send_replace(up(1));
    pass(10_000).await;
    subject.link.send_replace(down());
    pass(10_000).await;
    subject.link.send_replace(up(2));
    pass(10_000).await;
    // The box has restarted under a connection that stayed.
    subject.link.send_replace(up(3));
    pass(10_000).await;
    subject.link.send_replace(up(3));
    pass(10_000).await;
    let expected = [10_000, 30_000, 40_000].map(|time| at(time, "reconnected"));
    assert_eq!(subject.began(), expected);
}

#[actix::test]
async fn shutdown_lets_a_pass_finish_that_does_so_in_time() {
    tokio::time::pause();
    let subject = subject();
    subject.trigger.fire(Cause::Startup);
    pass(400).await;
    let before = Instant::now();
    let within = Duration::from_secs(5);
    subject.handles.shutdown.send(Shutdown { within }).await.unwrap();
    assert_eq!(before.elapsed().as_millis() / 10, 60);
    assert_eq!(subject.last(), Some("done"));
    subject.trigger.fire(Cause::Node);
    subject.link.send_replace(up(1));
    pass(1_000_000).await;
    assert_eq!(subject.count(), 1);
}

#[actix::test]
async fn shutdown_abandons_a_pass_that_takes_too_long() {
    tokio::time::pause();
    let subject = subject();
    *subject.work.takes.lock().unwrap() = Duration::from_secs(60);
    subject.trigger.fire(Cause::Startup);
    pass(400).await;
    subject.trigger.fire(Cause::Node);
    let before = Instant::now();
    let within = Duration::from_secs(5);
    subject.handles.shutdown.send(Shutdown { within }).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 5);
    assert_eq!(subject.last(), Some("abandoned"));
    pass(1_000_000).await;
    assert_eq!(subject.work.running.load(SeqCst), 0);
    assert_eq!(subject.count(), 1);
    // Nothing runs: answers at once.
    let before = Instant::now();
    subject.handles.shutdown.send(Shutdown { within }).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 0);
}

#[actix::test]
async fn a_panic_in_any_entry_loses_no_trigger() {
    tokio::time::pause();
    for entry in Entry::ALL {
        let subject = subject();
        subject.trigger.fire(Cause::Startup);
        pass(100).await;
        subject.faults.arm(entry, 1);
        // Each entry is passed: a message, a stream, the end of the pass, the timer, the restart.
        match entry {
            Entry::Handler => subject.trigger.fire(Cause::Node),
            Entry::Stream => {
                subject.link.send_replace(up(1));
            }
            Entry::Future => {
                pass(100).await;
                assert_eq!(subject.count(), 1, "the next pass panics");
                subject.trigger.fire(Cause::Node);
            }
            Entry::Timer => pass(301_000).await,
            Entry::Started => {
                subject.faults.arm(Entry::Handler, 1);
                subject.trigger.fire(Cause::Node);
            }
        }
        let before = subject.count();
        subject.trigger.fire(Cause::Operator);
        pass(10_000).await;
        assert!(!subject.faults.is_armed(entry), "{entry:?} was not passed");
        let passes = subject.began();
        assert!(passes.len() > before, "{entry:?}: no pass after the panic");
        assert!(passes.iter().any(|(_, why)| why.contains("restart")), "{entry:?}: {passes:?}");
        let mut expected = vec![Why::Panic(entry).label()];
        if entry == Entry::Started {
            expected.insert(0, "panic_handler");
        }
        assert_eq!(subject.restarted.causes(), expected);
        assert!((subject.handles.alive)());
        assert_eq!(subject.last(), Some("done"), "{entry:?}");
        let before = subject.count();
        subject.trigger.fire(Cause::Node);
        pass(10_000).await;
        assert_eq!(subject.count(), before + 1, "{entry:?}: deaf afterwards");
    }
}

fn mandate(term: Term) -> (watch::Sender<Term>, Mandate) {
    let (give, term) = watch::channel(term);
    (give, Mandate::following(term))
}

#[actix::test]
async fn without_a_mandate_causes_gather_and_whoever_gets_it_passes_once() {
    tokio::time::pause();
    let (give, mandate) = mandate(Term::None);
    let subject = subject_under(mandate);
    subject.trigger.fire(Cause::Startup);
    subject.trigger.fire(Cause::Node);
    subject.link.send_replace(up(1));
    pass(3_600_000).await;
    assert_eq!(subject.began(), [], "not even for the period");
    give.send_replace(Term::Unlimited);
    pass(10_000).await;
    let causes = "startup,node,reconnected,leading";
    assert_eq!(subject.began(), [(3_600_000, causes.into())]);
}

#[actix::test]
async fn a_lost_mandate_ends_the_pass_and_none_follows_until_it_is_back() {
    tokio::time::pause();
    let end = Instant::now() + Duration::from_millis(500);
    let (give, mandate) = mandate(Term::Until(end));
    let subject = subject_under(mandate);
    subject.trigger.fire(Cause::Startup);
    pass(100).await;
    assert_eq!(subject.work.running.load(SeqCst), 1);
    // One more is due when the mandate ends.
    subject.trigger.fire(Cause::Node);
    pass(500).await;
    assert_eq!(subject.work.running.load(SeqCst), 0, "dropped at the end of the term");
    let last = subject.handles.last.borrow().clone();
    assert_eq!(last.map(|last| last.outcome), Some(Outcome::Abandoned));
    subject.trigger.fire(Cause::Operator);
    pass(3_600_000).await;
    assert_eq!(subject.began().len(), 1);
    give.send_replace(Term::Unlimited);
    pass(10_000).await;
    let began = subject.began();
    assert_eq!(began.len(), 2, "{began:?}");
    assert_eq!(began[1].1, "node,operator,leading");
}
