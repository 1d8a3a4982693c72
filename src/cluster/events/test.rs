use super::*;
use crate::cluster::About;
use crate::cluster::mock::Mock;
use http::Method;
use std::sync::atomic::AtomicUsize;

const EVENTS: &str = "/api/v1/namespaces/default/events";

struct Rig {
    poster: Arc<Poster>,
    mock: Mock,
    posted: Arc<AtomicUsize>,
    bounds: watch::Sender<Bounds>,
}

fn rig(bounds: Bounds) -> Rig {
    let (client, mock) = Mock::new();
    let posted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&posted);
    let writer = Writer {
        requests: Requests::new(client, Duration::from_secs(10)),
        author: Author { driver: "d".into(), namespace: "storage".into(), pod: None },
        nodes: Arc::new(Cache::new("nodes")),
        volumes: Arc::new(Cache::new("persistentvolumes")),
        posted: Arc::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        }),
        log: Logger::root(slog::Discard, slog::o!()),
    };
    let (bounds, follow) = watch::channel(bounds);
    let poster = Arc::new(Poster::new(follow, writer));
    tokio::spawn(Arc::clone(&poster).run());
    Rig { poster, mock, posted, bounds }
}

impl Rig {
    fn post(&self, reason: Reason, note: &str) {
        self.poster.post(Notice { reason, about: About::Driver, note: note.into() });
    }

    fn posted(&self) -> usize {
        self.posted.load(Ordering::Relaxed)
    }

    /// Lets the poster take in what has come.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_notice_becomes_an_event_with_its_reason_type_and_words() {
    let mut rig = rig(Bounds::default());
    rig.post(Reason::RDSDisconnected, "box a is gone");
    let call = rig.mock.expect(Method::POST, EVENTS).await;
    let event = call.body.clone();
    assert_eq!(event["reason"], "RDSDisconnected");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["message"], "box a is gone");
    assert_eq!(event["count"], 1);
    assert_eq!(event["source"]["component"], "d");
    assert_eq!(event["involvedObject"]["kind"], "Namespace");
    assert!(event["firstTimestamp"].is_string());
    assert_eq!(rig.posted(), 0, "counted before it was written");
    call.ok(event);
    rig.settle().await;
    assert_eq!(rig.posted(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_again_raises_the_count_once_when_the_window_ends() {
    let mut rig = rig(Bounds::default());
    let begun = Instant::now();
    for number in 1..=4 {
        rig.post(Reason::RDSDisconnected, &format!("{number}"));
    }
    let call = rig.mock.expect(Method::POST, EVENTS).await;
    let name = call.body["metadata"]["name"].as_str().unwrap().to_owned();
    let event = call.body.clone();
    call.ok(event.clone());
    let call = rig.mock.expect(Method::PATCH, &format!("{EVENTS}/{name}")).await;
    assert_eq!(begun.elapsed().as_secs(), Bounds::default().window.as_secs());
    assert_eq!(call.body["count"], 4);
    assert_eq!(call.body["message"], "4");
    assert!(call.body["lastTimestamp"].is_string());
    call.ok(event);
    rig.settle().await;
    assert_eq!(rig.posted(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_flaps_while_the_api_server_answers_are_a_few_writes() {
    let mut rig = rig(Bounds::default());
    let poster = Arc::clone(&rig.poster);
    let flaps = tokio::spawn(async move {
        for _ in 0..1000 {
            for reason in [Reason::RDSDisconnected, Reason::RDSReconnected] {
                poster.post(Notice { reason, about: About::Driver, note: "flap".into() });
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let begun = Instant::now();
    let mut writes = 0;
    while begun.elapsed() < Duration::from_secs(2000) {
        let Ok(call) = tokio::time::timeout(Duration::from_secs(700), rig.mock.next()).await else {
            break;
        };
        let body = call.body.clone();
        call.ok(body);
        writes += 1;
    }
    flaps.await.unwrap();
    // Two new Events, then one update of each per 300 s.
    assert_eq!(writes, 2 + 2 * 4);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_has_been_deleted_is_posted_anew_with_the_count() {
    let mut rig = rig(Bounds::default());
    rig.post(Reason::RDSDisconnected, "1");
    let call = rig.mock.expect(Method::POST, EVENTS).await;
    let event = call.body.clone();
    call.ok(event);
    rig.post(Reason::RDSDisconnected, "2");
    rig.mock.next().await.fail(404, "NotFound");
    let call = rig.mock.expect(Method::POST, EVENTS).await;
    assert_eq!(call.body["count"], 2);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_tried_three_times_and_then_the_notice_is_given_up() {
    let mut rig = rig(Bounds::default());
    let begun = Instant::now();
    rig.post(Reason::RDSDisconnected, "1");
    let mut asked = Vec::new();
    for _ in 0..3 {
        let call = rig.mock.expect(Method::POST, EVENTS).await;
        asked.push(begun.elapsed().as_secs());
        call.fail(503, "ServiceUnavailable");
    }
    assert_eq!(asked, [0, 1, 5]);
    rig.settle().await;
    assert!(rig.mock.is_idle());
    assert_eq!(rig.posted(), 0);
    // It was forgotten, so that the next is posted at once.
    rig.post(Reason::RDSDisconnected, "2");
    let call = rig.mock.expect(Method::POST, EVENTS).await;
    assert_eq!(call.body["message"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_not_tried_again() {
    let mut rig = rig(Bounds::default());
    rig.post(Reason::RDSDisconnected, "1");
    rig.mock.next().await.fail(403, "Forbidden");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(rig.mock.is_idle());
}

#[tokio::test(start_paused = true)]
async fn posting_never_waits_and_what_finds_no_room_is_counted() {
    let bounds = Bounds { queue: 3, ..Bounds::default() };
    let rig = rig(bounds);
    for number in 0..10 {
        rig.post(Reason::RDSDisconnected, &format!("{number}"));
    }
    assert_eq!(rig.poster.dropped.load(Ordering::Relaxed), 7);
}

#[tokio::test(start_paused = true)]
async fn new_bounds_apply_to_the_series_that_are_known() {
    let mut rig = rig(Bounds::default());
    let begun = Instant::now();
    rig.post(Reason::RDSDisconnected, "1");
    let call = rig.mock.expect(Method::POST, EVENTS).await;
    let event = call.body.clone();
    call.ok(event);
    rig.post(Reason::RDSDisconnected, "2");
    rig.settle().await;
    let window = Duration::from_secs(20);
    rig.bounds.send_modify(|bounds| bounds.window = window);
    let call = rig.mock.next().await;
    assert_eq!(call.method, Method::PATCH);
    assert_eq!(begun.elapsed().as_secs(), window.as_secs());
    assert_eq!(call.body["count"], 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_bounds_stay_when_nobody_can_change_them_any_more() {
    let mut rig = rig(Bounds::default());
    drop(rig.bounds);
    rig.poster.post(Notice {
        reason: Reason::RDSDisconnected,
        about: About::Driver,
        note: "1".into(),
    });
    rig.mock.expect(Method::POST, EVENTS).await.fail(403, "Forbidden");
}
