use super::*;
use crate::cluster::mock::{Mock, Watch};
use crate::cluster::request::Requests;
use crate::cluster::{Node, nodes};
use crate::volume::NodeName;
use http::Method;
use serde_json::{Value, json};

const NODES: &str = "/api/v1/nodes";

fn silent() -> Logger {
    Logger::root(slog::Discard, slog::o!())
}

fn node(name: &str, ready: bool, version: u64) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string()},
        "status": {"conditions": [{"type": "Ready", "status": status}]},
    })
}

fn list(version: u64, items: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "NodeList",
        "metadata": {"resourceVersion": version.to_string()}, "items": items})
}

struct Rig {
    mock: Mock,
    cache: Arc<Cache<Node>>,
    changes: futures::stream::BoxStream<'static, Change<Node>>,
}

fn rig() -> Rig {
    let (client, mock) = Mock::new();
    let cache = Arc::new(Cache::new("nodes"));
    let requests = Requests::new(client, Duration::from_secs(10));
    tokio::spawn(fill(requests, Arc::clone(&cache), nodes::convert, silent()));
    let changes = Arc::clone(&cache).subscribe().boxed();
    Rig { mock, cache, changes }
}

impl Rig {
    async fn change(&mut self) -> Change<Node> {
        let next = tokio::time::timeout(Duration::from_secs(300), self.changes.next());
        next.await.expect("no change").expect("never ends")
    }

    /// Answers the list, then the watch.
    async fn list_and_watch(&mut self, version: u64, items: Value) -> Watch {
        let call = self.mock.expect(Method::GET, NODES).await;
        assert!(!call.uri.contains("watch=true"), "{}", call.uri);
        call.ok(list(version, items));
        let call = self.mock.expect(Method::GET, NODES).await;
        let from = format!("resourceVersion={version}");
        for part in ["watch=true", "allowWatchBookmarks=true", &from] {
            assert!(call.uri.contains(part), "{part} is missing in {}", call.uri);
        }
        call.watch()
    }

    fn names(&self) -> Vec<String> {
        self.cache.all().keys().map(NodeName::to_string).collect()
    }
}

fn names(change: &Change<Node>) -> Vec<&str> {
    match change {
        Change::All(nodes) => nodes.iter().map(|node| node.name.as_str()).collect(),
        other => panic!("{other:?} instead of all"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_synced_when_the_list_is_complete_and_not_before() {
    let mut rig = rig();
    let call = rig.mock.expect(Method::GET, NODES).await;
    let mut first = list(10, json!([node("a", true, 1)]));
    first["metadata"]["continue"] = json!("more");
    call.ok(first);
    let call = rig.mock.expect(Method::GET, NODES).await;
    assert!(call.uri.contains("continue=more"), "{}", call.uri);
    assert!(!rig.cache.is_synced());
    assert!(rig.names().is_empty());
    call.ok(list(10, json!([node("b", true, 2)])));
    rig.cache.synced().await;
    assert_eq!(rig.names(), ["a", "b"]);
    assert_eq!(names(&rig.change().await), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn changes_are_in_the_cache_before_they_are_passed_on() {
    let mut rig = rig();
    let watch = rig.list_and_watch(10, json!([node("a", true, 1)])).await;
    rig.change().await;
    watch.send("MODIFIED", node("a", false, 11));
    watch.send("ADDED", node("b", true, 12));
    watch.send("DELETED", node("a", false, 13));
    let Change::Applied(a) = rig.change().await else {
        panic!("no change of a");
    };
    assert!(!a.ready);
    let b = rig.change().await;
    assert!(matches!(&b, Change::Applied(b) if b.name.as_str() == "b"), "{b:?}");
    let gone = rig.change().await;
    assert!(matches!(&gone, Change::Deleted(a) if a.as_str() == "a"), "{gone:?}");
    assert_eq!(rig.names(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_changes_nothing_of_ours_is_no_change() {
    let mut rig = rig();
    let watch = rig.list_and_watch(10, json!([node("a", true, 1)])).await;
    rig.change().await;
    watch.send("MODIFIED", node("a", true, 11));
    watch.send("MODIFIED", node("a", false, 12));
    let Change::Applied(a) = rig.change().await else {
        panic!("no change of a");
    };
    assert!(!a.ready, "the heartbeat was passed on");
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_lists_again_and_a_node_that_vanished_meanwhile_is_gone() {
    let mut rig = rig();
    let watch = rig.list_and_watch(10, json!([node("a", true, 1), node("b", true, 2)])).await;
    assert_eq!(names(&rig.change().await), ["a", "b"]);
    watch.send(
        "ERROR",
        json!({"kind": "Status", "status": "Failure", "message": "too old",
            "reason": "Expired", "code": 410}),
    );
    assert!(matches!(rig.change().await, Change::Failed(_)));
    let _watch = rig.list_and_watch(50, json!([node("b", true, 2)])).await;
    assert_eq!(names(&rig.change().await), ["b"]);
    assert_eq!(rig.names(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_request_that_is_itself_answered_with_410_lists_again() {
    let mut rig = rig();
    let call = rig.mock.expect(Method::GET, NODES).await;
    call.ok(list(10, json!([])));
    let call = rig.mock.expect(Method::GET, NODES).await;
    call.fail(410, "Expired");
    let _watch = rig.list_and_watch(60, json!([node("a", true, 1)])).await;
    assert_eq!(rig.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_is_where_the_next_watch_begins() {
    let mut rig = rig();
    let watch = rig.list_and_watch(10, json!([])).await;
    watch.send(
        "BOOKMARK",
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"resourceVersion": "77"}}),
    );
    drop(watch);
    let call = rig.mock.expect(Method::GET, NODES).await;
    assert!(call.uri.contains("resourceVersion=77"), "{}", call.uri);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_asked_with_backoff_and_the_old_view_stays() {
    let mut rig = rig();
    let watch = rig.list_and_watch(10, json!([node("a", true, 1)])).await;
    rig.change().await;
    drop(watch);
    let begun = tokio::time::Instant::now();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_secs(60) {
        rig.mock.next().await.fail(503, "ServiceUnavailable");
        asked += 1;
    }
    assert!((6..20).contains(&asked), "asked {asked} times in a minute");
    assert_eq!(rig.names(), ["a"]);
    assert!(matches!(rig.change().await, Change::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_was_never_there_is_asked_with_backoff_too() {
    let mut rig = rig();
    let begun = tokio::time::Instant::now();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_secs(300) {
        rig.mock.next().await.fail(503, "ServiceUnavailable");
        asked += 1;
    }
    assert!((30..65).contains(&asked), "asked {asked} times in five minutes");
    assert!(!rig.cache.is_synced());
}

#[tokio::test(start_paused = true)]
async fn lists_and_watches_that_hang_are_given_up_and_tried_again() {
    let mut rig = rig();
    let hanging_list = rig.mock.expect(Method::GET, NODES).await;
    let broken_list = rig.mock.expect(Method::GET, NODES).await;
    let never_ending_body = broken_list.watch();
    let call = rig.mock.expect(Method::GET, NODES).await;
    call.ok(list(10, json!([node("a", true, 1)])));
    let hanging_watch = rig.mock.expect(Method::GET, NODES).await;
    assert!(hanging_watch.uri.contains("watch=true"));
    let silent_watch = rig.mock.expect(Method::GET, NODES).await.watch();
    let begun = tokio::time::Instant::now();
    let next_watch = rig.mock.expect(Method::GET, NODES).await;
    assert!(next_watch.uri.contains("watch=true"));
    assert_eq!(begun.elapsed().as_secs(), u64::from(WATCH_SECONDS) + 5);
    drop((hanging_list, never_ending_body, hanging_watch, silent_watch));
}

#[test]
fn pauses_double_up_to_ten_seconds_and_are_spread_over_their_second_half() {
    let full: Vec<u128> = (1..8).map(|n| pause(n, 1.0).as_millis()).collect();
    assert_eq!(full, [800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    assert_eq!(pause(u32::MAX, 0.5), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_failing_watch_is_told_with_its_age_until_it_is_granted_again() {
    let mut rig = rig();
    let watch = rig.list_and_watch(10, json!([])).await;
    rig.change().await;
    assert_eq!(rig.cache.failing(), None);
    drop(watch);
    let begun = tokio::time::Instant::now();
    for _ in 0..4 {
        rig.mock.next().await.fail(503, "ServiceUnavailable");
    }
    let call = rig.mock.next().await;
    assert_eq!(rig.cache.failing(), Some(begun.elapsed()));
    // Granted, and quiet: nothing has changed meanwhile.
    let watch = call.watch();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.cache.failing(), None);
    drop(watch);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_server_never_accepts_again_ends_in_a_new_list() {
    let mut rig = rig();
    let watch = rig.list_and_watch(1000, json!([node("a", true, 900)])).await;
    rig.change().await;
    drop(watch);
    let mut refused = 0;
    let relist = loop {
        let call = rig.mock.next().await;
        if !call.uri.contains("watch=true") {
            break call;
        }
        refused += 1;
        assert!(refused <= FAILURES_MAX, "it insists on a version that is unknown");
        call.fail(504, "Timeout");
    };
    relist.ok(list(5, json!([node("b", true, 4)])));
    let from_there = rig.mock.next().await;
    assert!(from_there.uri.contains("resourceVersion=5"), "{}", from_there.uri);
    assert_eq!(rig.names(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_lags_gets_all_instead_of_what_it_missed() {
    let cache = Arc::new(Cache::<Node>::new("nodes"));
    let mut changes = Arc::clone(&cache).subscribe().boxed();
    let numbered = |number: usize| Node {
        name: NodeName::parse(&format!("n{number}")).unwrap(),
        uid: String::new(),
        ready: true,
        out_of_service: false,
        address: None,
    };
    cache.replace(Indexed::default());
    assert_eq!(names(&changes.next().await.unwrap()), Vec::<&str>::new());
    for number in 0..=CHANGES_MAX {
        cache.apply(numbered(number));
    }
    let all = changes.next().await.unwrap();
    assert_eq!(names(&all).len(), CHANGES_MAX + 1);
    cache.remove(&numbered(0).name);
    assert!(matches!(changes.next().await.unwrap(), Change::Deleted(_)));
}

mod own_writes {
    use super::*;
    use crate::cluster::{Attachment, Version};

    fn attachment(uid: &str, version: &str, attached: bool) -> Arc<Attachment> {
        Arc::new(Attachment {
            name: "x".into(),
            version: Version { uid: uid.into(), resource_version: version.into() },
            volume: "pv".into(),
            node: NodeName::parse("n").unwrap(),
            attached,
            deleting: false,
        })
    }

    fn version(cache: &Cache<Arc<Attachment>>) -> Option<String> {
        let found = cache.get(&"x".to_owned());
        found.map(|found| found.version.resource_version.clone())
    }

    #[test]
    fn the_newer_of_a_write_and_the_watch_stays_whichever_comes_first() {
        let cache = Cache::new("volumeattachments");
        cache.apply(attachment("u", "9", false));
        cache.refresh(attachment("u", "11", true));
        cache.apply(attachment("u", "10", false));
        assert_eq!(version(&cache).as_deref(), Some("11"));
        cache.apply(attachment("u", "12", false));
        cache.refresh(attachment("u", "11", true));
        assert_eq!(version(&cache).as_deref(), Some("12"));
    }

    #[test]
    fn a_late_answer_to_a_write_does_not_bring_back_what_was_deleted_or_made_anew() {
        let cache = Cache::new("volumeattachments");
        cache.refresh(attachment("u", "1", true));
        assert_eq!(version(&cache), None);
        cache.apply(attachment("v", "20", false));
        cache.refresh(attachment("u", "21", true));
        assert_eq!(version(&cache).as_deref(), Some("20"));
    }

    #[test]
    fn an_object_made_anew_replaces_the_old_one_although_its_version_may_be_lower() {
        let cache = Cache::new("volumeattachments");
        cache.apply(attachment("u", "20", false));
        cache.apply(attachment("v", "3", false));
        assert_eq!(version(&cache).as_deref(), Some("3"));
    }

    #[test]
    fn where_versions_are_no_numbers_the_later_arrival_wins() {
        let cache = Cache::new("volumeattachments");
        cache.apply(attachment("u", "z", false));
        cache.refresh(attachment("u", "a", true));
        assert_eq!(version(&cache).as_deref(), Some("a"));
    }

    #[test]
    fn a_list_is_taken_as_it_is_even_with_lower_versions() {
        let cache = Cache::new("volumeattachments");
        cache.apply(attachment("u", "500", true));
        cache.replace(Indexed::from_iter([attachment("u", "4", false)]));
        assert_eq!(version(&cache).as_deref(), Some("4"));
    }
}
