use super::*;
use crate::attachment::ledger::{COPY_ANNOTATION, Further};
use crate::cluster::mock::{Call, Mock, Watch};
use crate::cluster::{CopyState, Version};
use crate::volume::ImagePath;
use futures::StreamExt as _;
use http::Method;
use serde_json::{Value, json};

const DRIVER: &str = "rds.csi.srvlab.io";
const PVS: &str = "/api/v1/persistentvolumes";
const VAS: &str = "/apis/storage.k8s.io/v1/volumeattachments";

fn cluster() -> (Arc<KubeCluster>, Mock) {
    let (client, mock) = Mock::new();
    let settings = Settings {
        driver: DRIVER.into(),
        release: "rds".into(),
        namespace: "storage".into(),
        cluster_id: None,
        secret: "rds-cluster".into(),
        deadline: Duration::from_secs(10),
        pod: None,
        events: watch::channel(Bounds::default()).1,
    };
    let log = Logger::root(slog::Discard, o!());
    let cluster = KubeCluster::new(client, settings, Arc::new(|_| {}), &log);
    (cluster, mock)
}

fn pv(name: &str, handle: &str, version: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string()},
        "spec": {"capacity": {"storage": "1Gi"}, "csi": {"driver": DRIVER, "volumeHandle": handle}},
    })
}

fn va(name: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {"name": name, "uid": "va-uid", "resourceVersion": "30"},
        "spec": {"attacher": DRIVER, "nodeName": "n1", "source": {"persistentVolumeName": "pv1"}},
        "status": {"attached": true},
    })
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": "u", "resourceVersion": "3"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

fn list(kind: &str, items: Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": "100"},
        "items": items})
}

/// Serves the three lists, one node, one PV, one VolumeAttachment, and returns the watches.
async fn sync(mock: &mut Mock) -> Vec<(String, Watch)> {
    let mut watches = Vec::new();
    while watches.len() < 3 {
        let call = mock.next().await;
        let path = call.uri.split('?').next().unwrap_or_default().to_owned();
        if call.uri.contains("watch=true") {
            watches.push((path, call.watch()));
            continue;
        }
        let all = match path.as_str() {
            PVS => list("PersistentVolumeList", json!([pv("pv1", "pv1", 20)])),
            VAS => list("VolumeAttachmentList", json!([va("csi-1")])),
            _ => list("NodeList", json!([node("n1")])),
        };
        call.ok(all);
    }
    watches
}

fn hang_up(watches: Vec<(String, Watch)>) {
    drop(watches);
}

#[tokio::test(start_paused = true)]
async fn caches_say_that_they_are_not_synced_until_all_are() {
    let (cluster, mut mock) = cluster();
    assert_eq!(cluster.unsynced(), ["nodes", "persistentvolumes", "volumeattachments"]);
    let stop = CancellationToken::new();
    let tasks = cluster.start(&stop);
    let (watches, ()) = tokio::join!(sync(&mut mock), cluster.synced());
    assert!(cluster.unsynced().is_empty());
    let view = cluster.view();
    assert_eq!(view.nodes.len(), 1);
    assert_eq!(view.volumes["pv1"].bytes, 1 << 30);
    assert!(view.attachments["csi-1"].attached);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await.expect("the tasks do not end");
    hang_up(watches);
}

#[tokio::test(start_paused = true)]
async fn without_an_api_server_it_starts_waits_and_stops() {
    let (cluster, mock) = cluster();
    drop(mock);
    let stop = CancellationToken::new();
    let tasks = cluster.start(&stop);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(cluster.unsynced().len(), 3);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await.expect("the tasks do not end");
}

#[tokio::test(start_paused = true)]
async fn the_changes_of_nodes_begin_with_all_and_can_be_begun_again() {
    let (cluster, mut mock) = cluster();
    let stop = CancellationToken::new();
    cluster.start(&stop);
    let mut early = cluster.node_changes();
    let watches = sync(&mut mock).await;
    assert!(matches!(early.next().await, Some(NodeChange::All(nodes)) if nodes.len() == 1));
    let mut late = cluster.node_changes();
    assert!(matches!(late.next().await, Some(NodeChange::All(nodes)) if nodes.len() == 1));
    let nodes = watches.iter().find(|(path, _)| path == "/api/v1/nodes");
    let (_, watch) = nodes.expect("nodes are watched");
    watch.send("DELETED", node("n1"));
    let gone = NodeName::parse("n1").unwrap();
    for changes in [&mut early, &mut late] {
        assert_eq!(changes.next().await, Some(NodeChange::Deleted(gone.clone())));
    }
    assert!(cluster.view().nodes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_volume_comes_from_the_cache_or_by_its_name_and_from_a_search_only_before_the_sync() {
    let (cluster, mut mock) = cluster();
    let (found, ()) = tokio::join!(cluster.volume("box/slot-1"), async {
        let call = mock.expect(Method::GET, &format!("{PVS}/slot-1")).await;
        call.fail(404, "NotFound");
        let call = mock.expect(Method::GET, PVS).await;
        call.ok(list("PersistentVolumeList", json!([pv("by-hand", "box/slot-1", 1)])));
    });
    assert_eq!(found.unwrap().unwrap().name, "by-hand");

    let stop = CancellationToken::new();
    cluster.start(&stop);
    let (_watches, ()) = tokio::join!(sync(&mut mock), cluster.synced());
    assert_eq!(cluster.volume("pv1").await.unwrap().unwrap().name, "pv1");
    let (found, ()) = tokio::join!(cluster.volume("slot-2"), async {
        let call = mock.expect(Method::GET, &format!("{PVS}/slot-2")).await;
        // A PV of that name for another volume is not the one.
        call.ok(pv("slot-2", "box/slot-2", 1));
    });
    assert_eq!(found, Ok(None));
    // A handle that can be no name is asked for under none.
    assert_eq!(cluster.volume("../secrets?x=").await, Ok(None));
    assert!(mock.is_idle());
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_in_the_view_at_once() {
    let (cluster, mut mock) = cluster();
    let stop = CancellationToken::new();
    cluster.start(&stop);
    let (_watches, ()) = tokio::join!(sync(&mut mock), cluster.synced());
    let before = cluster.view().volumes["pv1"].clone();
    let copy = Copy {
        record: "r".into(),
        nodes: Vec::new(),
        image: ImagePath::parse("pool/pv1.img").unwrap(),
        bytes: 1,
        file_system: String::new(),
        uuid: String::new(),
        readers: Vec::new(),
        fenced_from: Vec::new(),
        further: Further::default(),
    };
    let (written, ()) = tokio::join!(cluster.write_copy(&before, &copy), async {
        let call = mock.expect(Method::PATCH, &format!("{PVS}/pv1")).await;
        let mut object = pv("pv1", "pv1", 21);
        let text = call.body["metadata"]["annotations"][COPY_ANNOTATION].clone();
        object["metadata"]["annotations"] = json!({ COPY_ANNOTATION: text });
        call.ok(object);
    });
    assert_eq!(cluster.view().volumes["pv1"], written.unwrap());
    assert!(matches!(cluster.view().volumes["pv1"].copy, CopyState::Present(_)));
}

fn attachment() -> Attachment {
    Attachment {
        name: "csi-1".into(),
        version: Version { uid: "va-uid".into(), resource_version: "30".into() },
        volume: "pv1".into(),
        node: NodeName::parse("n1").unwrap(),
        attached: true,
        deleting: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_attachment_is_deleted_with_uid_and_version_as_preconditions() {
    let (cluster, mut mock) = cluster();
    let ours = attachment();
    let what = || "VolumeAttachment csi-1".to_owned();
    let waits_for_finalizers: fn(Call) = |call| call.ok(va("csi-1"));
    let gone: fn(Call) =
        |call| call.ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}));
    let changed: fn(Call) = |call| call.fail(409, "Conflict");
    let missing: fn(Call) = |call| call.fail(404, "NotFound");
    for (answer, expected) in [
        (waits_for_finalizers, Ok(())),
        (gone, Ok(())),
        (changed, Err(ClusterError::Conflict(what()))),
        (missing, Err(ClusterError::NotFound(what()))),
    ] {
        let (deleted, ()) = tokio::join!(cluster.delete_attachment(&ours), async {
            let call = mock.expect(Method::DELETE, &format!("{VAS}/csi-1")).await;
            let guard = json!({"uid": "va-uid", "resourceVersion": "30"});
            assert_eq!(call.body["preconditions"], guard);
            answer(call);
        });
        assert_eq!(deleted, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_attachment_of_unknown_version_is_not_deleted_blindly() {
    let (cluster, mut mock) = cluster();
    let mut unknown = attachment();
    unknown.version = Version::default();
    let deleted = cluster.delete_attachment(&unknown).await;
    assert!(matches!(deleted, Err(ClusterError::Refused(_))));
    assert!(mock.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_node_comes_from_the_cache_or_from_the_api_server() {
    let (cluster, mut mock) = cluster();
    let name = NodeName::parse("n1").unwrap();
    let (found, ()) = tokio::join!(cluster.node(&name), async {
        let call = mock.expect(Method::GET, "/api/v1/nodes/n1").await;
        call.ok(node("n1"));
    });
    assert!(found.unwrap().unwrap().ready);
    let (found, ()) = tokio::join!(cluster.node(&name), async {
        mock.next().await.fail(404, "NotFound");
    });
    assert_eq!(found, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_held_counts_as_unsynced_until_it_is_released() {
    let (cluster, _mock) = cluster();
    let caches = cluster.unsynced();
    cluster.hold("a check");
    assert_eq!(cluster.unsynced(), [&caches[..], &["a check"]].concat());
    cluster.release();
    assert_eq!(cluster.unsynced(), caches);
}
