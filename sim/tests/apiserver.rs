//! The double through the eyes of kube's own client: what a driver written against kube sees.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::net::SocketAddr;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent,
    WatchParams,
};
use kube::runtime::events;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Config, Resource, ResourceExt};
use rds_sim::apiserver::{ApiServer, Fault, Listening, On, Options, Verb, world};
use serde_json::json;
use tokio::io::AsyncReadExt;

const DRIVER: &str = "rds.csi.example.com";

fn in_memory(api: &ApiServer) -> Client {
    Client::new(api.service(), "default")
}

async fn on_a_socket(api: &ApiServer) -> (Listening, Client) {
    let listening = api.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let client = Client::try_from(Config::new(listening.url.parse().unwrap())).unwrap();
    (listening, client)
}

/// A deadline, so that what does not come fails a test instead of holding it.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
}

fn refusal(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("not an answer of the API server: {other:?}"),
    }
}

fn seed_node(api: &ApiServer, name: &str) {
    api.create(world::node(name).build()).unwrap();
}

fn names<K: ResourceExt>(objects: impl IntoIterator<Item = K>) -> Vec<String> {
    objects.into_iter().map(|object| object.name_any()).collect()
}

type Seen = watcher::Result<watcher::Event<Node>>;

/// Renders what a watcher says, so that whole sequences can be compared.
async fn said(stream: &mut (impl Stream<Item = Seen> + Unpin)) -> String {
    match stream.next().await.unwrap() {
        Ok(watcher::Event::Init) => "init".into(),
        Ok(watcher::Event::InitApply(node)) => format!("initial {}", node.name_any()),
        Ok(watcher::Event::InitDone) => "done".into(),
        Ok(watcher::Event::Apply(node)) => format!("apply {}", node.name_any()),
        Ok(watcher::Event::Delete(node)) => format!("delete {}", node.name_any()),
        Err(watcher::Error::WatchError(status)) => format!("error {}", status.code),
        Err(watcher::Error::WatchFailed(_)) => "watch failed".into(),
        Err(other) => format!("{other:?}"),
    }
}

/// The watcher's life: list, watch, changes, and a list again when history was lost.
async fn a_watcher_follows_and_relists(api: &ApiServer, client: Client) {
    seed_node(api, "a");
    let mut stream = Box::pin(watcher(Api::<Node>::all(client), watcher::Config::default()));
    assert_eq!(said(&mut stream).await, "init");
    assert_eq!(said(&mut stream).await, "initial a");
    assert_eq!(said(&mut stream).await, "done");
    seed_node(api, "b");
    assert_eq!(said(&mut stream).await, "apply b");
    api.delete("nodes", "a").unwrap();
    assert_eq!(said(&mut stream).await, "delete a");
    api.expire_history();
    api.delete("nodes", "b").unwrap();
    seed_node(api, "c");
    assert_eq!(said(&mut stream).await, "error 410");
    assert_eq!(said(&mut stream).await, "init");
    assert_eq!(said(&mut stream).await, "initial c");
    assert_eq!(said(&mut stream).await, "done");
    seed_node(api, "d");
    assert_eq!(said(&mut stream).await, "apply d");
    let opened = api.count(Verb::Watch, "nodes");
    api.close_watches();
    seed_node(api, "e");
    assert_eq!(said(&mut stream).await, "apply e");
    seed_node(api, "f");
    assert_eq!(said(&mut stream).await, "apply f");
    assert_eq!(api.count(Verb::Watch, "nodes"), opened + 1);
    assert_eq!(api.count(Verb::List, "nodes"), 2, "a closed watch is resumed, not listed again");
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_watcher_follows_and_relists() {
    let api = ApiServer::new();
    a_watcher_follows_and_relists(&api, in_memory(&api)).await;
}

#[tokio::test]
async fn on_a_socket_a_watcher_follows_and_relists() {
    let api = ApiServer::new();
    let (_listening, client) = on_a_socket(&api).await;
    soon(a_watcher_follows_and_relists(&api, client)).await;
}

async fn writes_are_guarded(client: Client) {
    let nodes: Api<Node> = Api::all(client);
    let mut node: Node = serde_json::from_value(world::node("a").build()).unwrap();
    let made = nodes.create(&PostParams::default(), &node).await.unwrap();
    let again = nodes.create(&PostParams::default(), &node).await.unwrap_err();
    assert_eq!(refusal(again), (409, "AlreadyExists".into()));

    let label = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    let patched = nodes.patch("a", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(patched.labels()["x"], "y");
    node.metadata = made.metadata.clone();
    let late = nodes.replace("a", &PostParams::default(), &node).await.unwrap_err();
    assert_eq!(refusal(late), (409, "Conflict".into()));

    let exactly = |node: &Node| DeleteParams {
        preconditions: Some(Preconditions {
            uid: node.uid(),
            resource_version: node.resource_version(),
        }),
        ..DeleteParams::default()
    };
    let refused = nodes.delete("a", &exactly(&made)).await.unwrap_err();
    assert_eq!(refusal(refused), (409, "Conflict".into()));
    let deleted = nodes.delete("a", &exactly(&patched)).await.unwrap();
    assert!(deleted.is_right(), "a node that is gone is answered with a status");
    assert_eq!(refusal(nodes.get("a").await.unwrap_err()), (404, "NotFound".into()));
}

#[tokio::test(start_paused = true)]
async fn in_memory_writes_are_guarded_by_versions_and_preconditions() {
    writes_are_guarded(in_memory(&ApiServer::new())).await;
}

#[tokio::test]
async fn on_a_socket_writes_are_guarded_by_versions_and_preconditions() {
    let api = ApiServer::new();
    let (_listening, client) = on_a_socket(&api).await;
    soon(writes_are_guarded(client)).await;
}

#[tokio::test(start_paused = true)]
async fn json_patches_and_status_patches_work_and_apply_is_refused() {
    let api = ApiServer::new();
    let nodes: Api<Node> = Api::all(in_memory(&api));
    seed_node(&api, "a");
    let operations: json_patch::Patch = serde_json::from_value(json!([
        {"op": "test", "path": "/metadata/name", "value": "a"},
        {"op": "add", "path": "/spec/taints", "value": [{"key": "k", "effect": "NoSchedule"}]},
    ]))
    .unwrap();
    let params = PatchParams::default();
    nodes.patch("a", &params, &Patch::Json::<()>(operations)).await.unwrap();
    assert_eq!(api.get("nodes", "a").unwrap()["spec"]["taints"][0]["key"], "k");

    let in_use = Patch::Merge(json!({"status": {"volumesInUse": ["v"]}, "spec": {"taints": null}}));
    nodes.patch_status("a", &params, &in_use).await.unwrap();
    let node = api.get("nodes", "a").unwrap();
    assert_eq!(node["status"]["volumesInUse"], json!(["v"]));
    assert_eq!(node["spec"]["taints"][0]["key"], "k", "the rest is not the status's to change");

    let apply = Patch::Apply(json!({"apiVersion": "v1", "kind": "Node"}));
    let refused = nodes.patch("a", &PatchParams::apply("test"), &apply).await.unwrap_err();
    assert_eq!(refusal(refused).0, 415);
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_and_selected() {
    let api = ApiServer::new();
    for (name, node) in [("p1", "n1"), ("p2", "n2"), ("p3", "n1")] {
        api.create(world::pod("default", name, node, &[])).unwrap();
    }
    let pods: Api<Pod> = Api::all(in_memory(&api));
    let first = pods.list(&ListParams::default().limit(2)).await.unwrap();
    let (token, version) =
        (first.metadata.continue_.clone(), first.metadata.resource_version.clone());
    assert_eq!(names(first), ["p1", "p2"]);
    let next = ListParams::default().limit(2).continue_token(&token.unwrap());
    let second = pods.list(&next).await.unwrap();
    assert_eq!(second.metadata.resource_version, version);
    assert_eq!(second.metadata.continue_, None);
    assert_eq!(names(second), ["p3"]);
    let on_n1 = ListParams::default().fields("spec.nodeName=n1");
    assert_eq!(names(pods.list(&on_n1).await.unwrap()), ["p1", "p3"]);
}

#[tokio::test(start_paused = true)]
async fn the_items_of_a_list_leave_their_kind_to_the_list() {
    let api = ApiServer::new();
    seed_node(&api, "a");
    let request = http::Request::get("/api/v1/nodes").body(vec![]).unwrap();
    let list: serde_json::Value = in_memory(&api).request(request).await.unwrap();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("NodeList"), &json!("v1")));
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    assert!(list["items"][0]["kind"].is_null() && list["items"][0]["apiVersion"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_sees_everything_and_begins_again_when_history_is_lost() {
    let api = ApiServer::new();
    seed_node(&api, "a");
    let mut changes = api.subscribe("nodes").unwrap();
    assert!(api.subscribe("deployments").is_err());
    let mut next = async || {
        let change = soon(changes.next()).await.unwrap();
        format!("{} {}", change.kind.as_str(), change.object["metadata"]["name"])
    };
    assert_eq!(next().await, "ADDED \"a\"");
    api.modify("nodes", "a", |node| world::set_ready(node, "Unknown")).unwrap();
    api.delete("nodes", "a").unwrap();
    assert_eq!(next().await, "MODIFIED \"a\"");
    assert_eq!(next().await, "DELETED \"a\"");
    seed_node(&api, "b");
    api.expire_history();
    assert_eq!(next().await, "ADDED \"b\"");
    seed_node(&api, "c");
    assert_eq!(next().await, "ADDED \"c\"");
}

#[tokio::test(start_paused = true)]
async fn a_watch_has_bookmarks_and_ends_after_its_time() {
    let bookmark_every = Duration::from_secs(10);
    let api = ApiServer::with(Options { bookmark_every, ..Options::default() });
    let nodes: Api<Node> = Api::all(in_memory(&api));
    let began = tokio::time::Instant::now();
    let params = WatchParams::default().timeout(25);
    let stream = nodes.watch(&params, &api.revision().to_string()).await.unwrap();
    // A change elsewhere: no event here, but the next bookmark is past it.
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    api.create(map).unwrap();
    let events: Vec<WatchEvent<Node>> = stream.try_collect().await.unwrap();
    let versions = events.iter().map(|event| match event {
        WatchEvent::Bookmark(bookmark) => bookmark.metadata.resource_version.clone(),
        other => panic!("not a bookmark: {other:?}"),
    });
    assert_eq!(versions.collect::<Vec<_>>(), vec![api.revision().to_string(); 3]);
    assert_eq!(began.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_ends_with_its_bookmark() {
    let api = ApiServer::new();
    seed_node(&api, "a");
    let config = watcher::Config::default().streaming_lists();
    let mut stream = Box::pin(watcher(Api::<Node>::all(in_memory(&api)), config));
    for wanted in ["init", "initial a", "done"] {
        assert_eq!(said(&mut stream).await, wanted);
    }
    seed_node(&api, "b");
    assert_eq!(said(&mut stream).await, "apply b");
    assert_eq!(api.count(Verb::List, "nodes"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_refuses_hangs_or_says_so_and_comes_back() {
    let api = ApiServer::new();
    let nodes: Api<Node> = Api::all(in_memory(&api));
    let all = ListParams::default();
    for (fault, code) in [(Fault::Unavailable, 503), (Fault::TooManyRequests(3), 429)] {
        let fault = api.faults().unreachable(fault);
        assert_eq!(refusal(nodes.list(&all).await.unwrap_err()).0, code);
        api.faults().lift(fault);
    }
    let refused = api.faults().unreachable(Fault::Refuse);
    assert!(matches!(nodes.list(&all).await.unwrap_err(), kube::Error::Service(_)));
    api.faults().lift(refused);
    let hang = api.faults().unreachable(Fault::Hang);
    let waiting = tokio::time::timeout(Duration::from_secs(3600), nodes.list(&all));
    assert!(waiting.await.is_err());
    // The sleep ends only once the call hangs: paused time moves when nobody else can.
    let (answer, ()) = tokio::join!(nodes.list(&all), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        api.faults().lift(hang);
    });
    assert_eq!(answer.unwrap().items.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fault_hits_only_what_it_is_about_and_only_so_often() {
    let api = ApiServer::new();
    let client = in_memory(&api);
    let nodes: Api<Node> = Api::all(client.clone());
    let spaces: Api<Namespace> = Api::all(client);
    seed_node(&api, "a");
    seed_node(&api, "b");
    let label = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    let params = PatchParams::default();
    api.faults().next(1, On::writes().resource("nodes").name("a"), Fault::Conflict);
    spaces.patch("default", &params, &label).await.unwrap();
    nodes.patch("b", &params, &label).await.unwrap();
    nodes.get("a").await.unwrap();
    let hit = nodes.patch("a", &params, &label).await.unwrap_err();
    assert_eq!(refusal(hit), (409, "Conflict".into()));
    assert!(api.get("nodes", "a").unwrap()["metadata"]["labels"]["x"].is_null());
    nodes.patch("a", &params, &label).await.unwrap();

    api.faults().next(1, On::verb(Verb::Delete), Fault::LoseAnswer);
    assert!(nodes.delete("a", &DeleteParams::default()).await.is_err());
    assert!(api.get("nodes", "a").is_none(), "it was applied all the same");
    let last = api.writes().pop().unwrap();
    assert_eq!((last.applied, last.code), (true, None));
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_its_time() {
    let api = ApiServer::new();
    let nodes: Api<Node> = Api::all(in_memory(&api));
    api.faults().next(1, On::verb(Verb::List), Fault::Delay(Duration::from_secs(7)));
    let began = tokio::time::Instant::now();
    nodes.list(&ListParams::default()).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn open_watches_break_with_the_server_or_fall_silent_and_catch_up() {
    let api = ApiServer::new();
    let nodes = Api::<Node>::all(in_memory(&api));
    let mut stream = Box::pin(watcher(nodes, watcher::Config::default()));
    for wanted in ["init", "done"] {
        assert_eq!(said(&mut stream).await, wanted);
    }
    // The watch opens when the stream is polled again; an event shows that it is open.
    seed_node(&api, "a");
    assert_eq!(said(&mut stream).await, "apply a");
    let hang = api.faults().unreachable(Fault::Hang);
    seed_node(&api, "b");
    let silence = tokio::time::timeout(Duration::from_secs(200), said(&mut stream)).await;
    assert!(silence.is_err());
    api.faults().lift(hang);
    assert_eq!(said(&mut stream).await, "apply b");
    let refuse = api.faults().unreachable(Fault::Refuse);
    assert_eq!(said(&mut stream).await, "watch failed");
    api.faults().lift(refuse);
    seed_node(&api, "c");
    assert_eq!(said(&mut stream).await, "apply c");
}

#[tokio::test]
async fn on_a_socket_a_refusing_server_breaks_connections_and_a_dropped_one_is_gone() {
    let api = ApiServer::new();
    let (listening, client) = on_a_socket(&api).await;
    let nodes: Api<Node> = Api::all(client);
    let all = ListParams::default();
    soon(nodes.list(&all)).await.unwrap();
    let refuse = api.faults().unreachable(Fault::Refuse);
    assert!(soon(nodes.list(&all)).await.is_err());
    let mut silent = tokio::net::TcpStream::connect(listening.address).await.unwrap();
    let mut nothing = [0];
    assert_eq!(soon(silent.read(&mut nothing)).await.unwrap(), 0, "closed without being asked");
    api.faults().lift(refuse);
    soon(nodes.list(&all)).await.unwrap();
    let address = listening.address;
    listening.stop().await;
    assert!(soon(nodes.list(&all)).await.is_err());
    let _again = soon(api.listen(address)).await.unwrap();
    soon(nodes.list(&all)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_clients_do_is_counted_and_what_the_test_does_is_not() {
    let api = ApiServer::new();
    let nodes: Api<Node> = Api::all(in_memory(&api));
    seed_node(&api, "a");
    nodes.get("a").await.unwrap();
    nodes.get("missing").await.unwrap_err();
    assert_eq!(api.count(Verb::Get, "nodes"), 2);
    assert!(api.writes().is_empty());
    let label = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    nodes.patch("a", &PatchParams::default(), &label).await.unwrap();
    nodes.patch("missing", &PatchParams::default(), &label).await.unwrap_err();
    let writes = api.writes();
    assert_eq!(writes.len(), 2);
    assert_eq!((writes[0].verb, writes[0].name.as_str()), (Verb::Patch, "a"));
    assert_eq!((writes[0].code, writes[0].applied), (Some(200), true));
    assert_eq!(writes[0].body["metadata"]["labels"]["x"], "y");
    assert_eq!((writes[1].code, writes[1].applied), (Some(404), false));
    api.forget_requests();
    assert!(api.writes().is_empty() && api.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_has_a_version_groups_and_a_name_of_its_own() {
    let api = ApiServer::new();
    let client = in_memory(&api);
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
    let groups = client.list_api_groups().await.unwrap().groups;
    assert!(groups.iter().any(|group| group.name == "storage.k8s.io"));
    let storage = client.list_api_group_resources("storage.k8s.io/v1").await.unwrap();
    assert!(storage.resources.iter().any(|r| r.name == "volumeattachments/status"));
    let spaces: Api<Namespace> = Api::all(client);
    assert!(spaces.get("kube-system").await.unwrap().uid().is_some());
}

#[tokio::test(start_paused = true)]
async fn events_and_configmaps_live_in_namespaces() {
    let api = ApiServer::new();
    let client = in_memory(&api);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"a": "b"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    assert!(api.get("configmaps", "kube-system/m").is_some());
    let nowhere: Api<ConfigMap> = Api::namespaced(client.clone(), "nowhere");
    let refused = nowhere.create(&PostParams::default(), &map).await.unwrap_err();
    assert_eq!(refusal(refused).0, 404);
    let events: Api<Event> = Api::default_namespaced(client);
    let event: Event = serde_json::from_value(json!({
        "metadata": {"generateName": "e-"}, "involvedObject": {"kind": "Node", "name": "a"},
        "reason": "Fenced",
    }))
    .unwrap();
    events.create(&PostParams::default(), &event).await.unwrap();
    for (selector, found) in [("reason=Fenced", 1), ("reason=Other", 0)] {
        let about = ListParams::default().fields(&format!("involvedObject.name=a,{selector}"));
        assert_eq!(events.list(&about).await.unwrap().items.len(), found);
    }
}

#[tokio::test(start_paused = true)]
async fn kubes_own_recorder_finds_its_event_again() {
    let api = ApiServer::new();
    seed_node(&api, "a");
    let node: Node = serde_json::from_value(api.get("nodes", "a").unwrap()).unwrap();
    let recorder = events::Recorder::new(in_memory(&api), DRIVER.into());
    let event = events::Event {
        type_: events::EventType::Warning,
        reason: "Fenced".into(),
        note: None,
        action: "Fence".into(),
        secondary: None,
    };
    for _ in 0..3 {
        recorder.publish(&event, &node.object_ref(&())).await.unwrap();
    }
    let written = api.list("events.events.k8s.io");
    assert_eq!(written.len(), 1);
    assert_eq!(written[0]["series"]["count"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_attachment_stays_until_its_finalizer_is_gone() {
    let api = ApiServer::new();
    api.create(world::attached("va", DRIVER, "n1", "pv", &[("nqn", "x")])).unwrap();
    let attachments: Api<VolumeAttachment> = Api::all(in_memory(&api));
    let answer = attachments.delete("va", &DeleteParams::default()).await.unwrap();
    let held = answer.left().unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    assert!(held.status.unwrap().attached);
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    attachments.patch("va", &PatchParams::default(), &none).await.unwrap();
    assert!(api.get("volumeattachments", "va").is_none());
}
