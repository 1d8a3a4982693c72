use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::time::Instant;

use super::*;
use crate::actors::doubles::{Restarted, pass, supervision};
use crate::actors::supervision::Faults;
use crate::rds::System;

#[derive(Default)]
struct Gauge(Mutex<Vec<(String, bool)>>);

impl ProbeMetrics for Gauge {
    fn connection_state(&self, address: &str, up: bool) {
        self.0.lock().unwrap().push((address.to_owned(), up));
    }
}

struct Subject {
    links: Vec<watch::Sender<Link>>,
    fallback: Arc<AtomicBool>,
    synced: Arc<AtomicBool>,
    gauge: Arc<Gauge>,
    handles: Handles,
    faults: Faults,
    restarted: Arc<Restarted>,
}

fn down(why: &str) -> Link {
    Link::Down { since: Instant::now(), next: None, why: why.into() }
}

fn up() -> Link {
    Link::Up {
        since: Instant::now(),
        epoch: 1,
        system: System { version: "7.21".into(), uptime: Some(Duration::from_secs(9)) },
    }
}

fn subject(boxes: usize) -> Subject {
    let (supervision, faults, restarted) = supervision();
    let fallback = Arc::new(AtomicBool::new(false));
    let synced = Arc::new(AtomicBool::new(true));
    let gauge = Arc::new(Gauge::default());
    let (mut links, mut sources) = (Vec::new(), Vec::new());
    for n in 0..boxes {
        let (link, seen) = watch::channel(down("test"));
        links.push(link);
        let fallback = fallback.clone();
        sources.push(LinkSource {
            backend: BackendName::parse(&format!("box{n}")).unwrap(),
            address: format!("10.0.0.{n}:22"),
            supervisor: Some(seen),
            fallback: Arc::new(move || fallback.load(SeqCst)),
        });
    }
    let caches = synced.clone();
    let condition: Condition =
        Arc::new(move || (!caches.load(SeqCst)).then(|| "caches have not synced: nodes".into()));
    let handles = start(Parts {
        supervision,
        links: sources,
        conditions: vec![condition],
        metrics: gauge.clone(),
    });
    Subject { links, fallback, synced, gauge, handles, faults, restarted }
}

impl Subject {
    async fn ready(&self) -> bool {
        let readiness = self.handles.probe.readiness().await;
        assert!(readiness.ready || !readiness.reasons.is_empty());
        readiness.ready
    }
}

#[actix::test]
async fn not_ready_while_the_only_box_is_down_and_the_reason_names_it() {
    let subject = subject(1);
    let readiness = subject.handles.probe.readiness().await;
    let reason = "box0 at 10.0.0.0:22 is not connected (test)";
    assert_eq!(readiness.reasons, [reason]);
    assert!(!readiness.ready);
    subject.links[0].send_replace(up());
    assert!(subject.ready().await);
    subject.links[0].send_replace(down("again"));
    assert!(!subject.ready().await);
    let address = "10.0.0.0:22".to_owned();
    let expected = [false, true, false].map(|up| (address.clone(), up));
    assert_eq!(*subject.gauge.0.lock().unwrap(), expected);
}

#[actix::test]
async fn one_box_of_two_is_enough_and_the_other_is_named() {
    let subject = subject(2);
    assert!(!subject.ready().await);
    subject.links[1].send_replace(up());
    let readiness = subject.handles.probe.readiness().await;
    assert!(readiness.ready);
    assert_eq!(readiness.reasons.len(), 1);
    assert!(readiness.reasons[0].starts_with("box0"));
}

#[actix::test]
async fn without_any_box_only_the_conditions_count() {
    let subject = subject(0);
    assert!(subject.ready().await);
    subject.synced.store(false, SeqCst);
    assert!(!subject.ready().await);
}

#[actix::test]
async fn caches_that_have_not_synced_are_a_reason() {
    let subject = subject(1);
    subject.links[0].send_replace(up());
    subject.synced.store(false, SeqCst);
    let readiness = subject.handles.probe.readiness().await;
    assert!(!readiness.ready);
    assert_eq!(readiness.reasons, ["caches have not synced: nodes"]);
}

#[actix::test]
async fn without_a_supervisor_the_session_itself_is_asked() {
    let mut subject = subject(1);
    subject.links[0].send_replace(up());
    subject.links.clear();
    assert!(!subject.ready().await);
    subject.fallback.store(true, SeqCst);
    assert!(subject.ready().await);
}

#[actix::test]
async fn a_panic_is_an_answer_and_a_restart() {
    tokio::time::pause();
    for entry in [Entry::Handler, Entry::Started] {
        let subject = subject(1);
        subject.links[0].send_replace(up());
        assert!(subject.ready().await);
        subject.faults.arm(entry, 1);
        subject.faults.arm(Entry::Handler, 1);
        let asked = (0..20).map(|_| subject.handles.probe.readiness());
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().all(|answer| !answer.ready));
        pass(4_000).await;
        assert!(subject.ready().await);
        assert!(!subject.faults.is_armed(entry), "{entry:?} was not passed");
        let expected = match entry {
            Entry::Started => vec!["panic_handler", "panic_started"],
            _ => vec!["panic_handler"],
        };
        assert_eq!(subject.restarted.causes(), expected);
        assert!((subject.handles.alive)());
    }
}
