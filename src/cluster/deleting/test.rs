use super::*;
use crate::cluster::entries::ATTEMPTS;
use crate::cluster::mock::{Call, Mock};
use http::Method;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::Duration;

const LIST: &str = "/api/v1/namespaces/storage/configmaps";
const ITEM: &str = "/api/v1/namespaces/storage/configmaps/rds-deleting";

fn rig() -> (DeletingList, Mock) {
    let (client, mock) = Mock::new();
    let requests = Requests::new(client, Duration::from_secs(10));
    let log = Logger::root(slog::Discard, slog::o!());
    (DeletingList::new(requests, "storage".into(), "rds", log), mock)
}

fn entry(slot: &str) -> Deleting {
    Deleting {
        backend: BackendName::parse("box").unwrap(),
        slot: Slot::parse(slot).unwrap(),
        image: ImagePath::parse(&format!("pool/{slot}.img")).unwrap(),
    }
}

fn text(slot: &str) -> String {
    format!(r#"{{"image":"pool/{slot}.img","since":"2026-11-21T12:00:00Z"}}"#)
}

fn map(version: u32, slots: &[&str]) -> Json {
    let data: BTreeMap<String, String> =
        slots.iter().map(|slot| (format!("box.{slot}"), text(slot))).collect();
    json!({"kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "rds-deleting", "resourceVersion": version.to_string()},
        "data": data})
}

/// Checks that a patch is guarded by `version`, and returns its data.
fn guarded(call: &Call, version: &str) -> Json {
    assert_eq!(call.body["metadata"]["resourceVersion"], version, "{call:?}");
    call.body["data"].clone()
}

#[tokio::test(start_paused = true)]
async fn the_first_entry_makes_the_list_and_the_next_costs_one_request() {
    let (list, mut mock) = rig();
    let (pv1, pv2) = (entry("pv1"), entry("pv2"));
    let (added, ()) = tokio::join!(list.add(&pv1), async {
        mock.expect(Method::GET, ITEM).await.fail(404, "NotFound");
        let call = mock.expect(Method::POST, LIST).await;
        assert_eq!(call.body["metadata"]["name"], "rds-deleting");
        let value: Json =
            serde_json::from_str(call.body["data"]["box.pv1"].as_str().unwrap()).unwrap();
        assert_eq!(value["image"], "pool/pv1.img");
        assert!(value["since"].as_str().unwrap().ends_with('Z'));
        call.ok(map(5, &["pv1"]));
    });
    assert_eq!(added, Ok(()));
    let (added, ()) = tokio::join!(list.add(&pv2), async {
        let call = mock.expect(Method::PATCH, ITEM).await;
        assert!(guarded(&call, "5")["box.pv2"].is_string());
        call.ok(map(6, &["pv1", "pv2"]));
    });
    assert_eq!(added, Ok(()));
    let (removed, ()) = tokio::join!(list.remove(&pv1), async {
        let call = mock.expect(Method::PATCH, ITEM).await;
        assert_eq!(guarded(&call, "6"), json!({"box.pv1": null}));
        call.ok(map(7, &["pv2"]));
    });
    assert_eq!(removed, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_reads_the_list_again_and_keeps_the_others_entry() {
    let (list, mut mock) = rig();
    let pv1 = entry("pv1");
    let (added, ()) = tokio::join!(list.add(&pv1), async {
        mock.expect(Method::GET, ITEM).await.ok(map(5, &[]));
        mock.expect(Method::PATCH, ITEM).await.fail(409, "Conflict");
        mock.expect(Method::GET, ITEM).await.ok(map(6, &["other"]));
        let call = mock.expect(Method::PATCH, ITEM).await;
        let data = guarded(&call, "6");
        assert_eq!(data.as_object().unwrap().len(), 1, "{data}");
        call.ok(map(7, &["other", "pv1"]));
    });
    assert_eq!(added, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn two_that_make_the_list_at_once_both_get_their_entry() {
    let (list, mut mock) = rig();
    let pv1 = entry("pv1");
    let (added, ()) = tokio::join!(list.add(&pv1), async {
        mock.expect(Method::GET, ITEM).await.fail(404, "NotFound");
        mock.expect(Method::POST, LIST).await.fail(409, "AlreadyExists");
        mock.expect(Method::GET, ITEM).await.ok(map(6, &["other"]));
        let call = mock.expect(Method::PATCH, ITEM).await;
        call.ok(map(7, &["other", "pv1"]));
    });
    assert_eq!(added, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn conflicts_without_end_are_given_up() {
    let (list, mut mock) = rig();
    let pv1 = entry("pv1");
    let (added, ()) = tokio::join!(list.add(&pv1), async {
        for _ in 0..ATTEMPTS {
            mock.expect(Method::GET, ITEM).await.ok(map(5, &[]));
            mock.expect(Method::PATCH, ITEM).await.fail(409, "Conflict");
        }
    });
    assert!(matches!(added, Err(ClusterError::Conflict(_))), "{added:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_believed_only_after_a_fresh_look() {
    let (list, mut mock) = rig();
    let pv1 = entry("pv1");
    let (added, ()) = tokio::join!(list.add(&pv1), async {
        mock.expect(Method::GET, ITEM).await.ok(map(5, &["pv1"]));
    });
    assert_eq!(added, Ok(()));
    // Meanwhile another replica has taken it away.
    let (added, ()) = tokio::join!(list.add(&pv1), async {
        mock.expect(Method::GET, ITEM).await.ok(map(6, &[]));
        let call = mock.expect(Method::PATCH, ITEM).await;
        guarded(&call, "6");
        call.ok(map(7, &["pv1"]));
    });
    assert_eq!(added, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_not_remembered() {
    let (list, mut mock) = rig();
    let pv1 = entry("pv1");
    let (added, ()) = tokio::join!(list.add(&pv1), async {
        mock.expect(Method::GET, ITEM).await.ok(map(5, &[]));
        drop(mock.expect(Method::PATCH, ITEM).await);
    });
    assert!(matches!(added, Err(ClusterError::Unreachable(_))), "{added:?}");
    let (removed, ()) = tokio::join!(list.remove(&pv1), async {
        mock.expect(Method::GET, ITEM).await.ok(map(6, &["pv1"]));
        mock.expect(Method::PATCH, ITEM).await.ok(map(7, &[]));
    });
    assert_eq!(removed, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn removing_what_is_not_there_or_names_another_image_changes_nothing() {
    let mut other = map(5, &["pv1"]);
    other["data"]["box.pv1"] = json!(text("elsewhere"));
    for found in [map(5, &["pv2"]), other] {
        let (list, mut mock) = rig();
        let pv1 = entry("pv1");
        let (removed, ()) = tokio::join!(list.remove(&pv1), async {
            mock.expect(Method::GET, ITEM).await.ok(found);
        });
        assert_eq!(removed, Ok(()));
        assert!(mock.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_list_takes_no_more_but_still_replaces() {
    let slots: Vec<String> = (0..ENTRIES_MAX).map(|n| format!("pv{n}")).collect();
    let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
    let (list, mut mock) = rig();
    let more = entry("more");
    let (added, ()) = tokio::join!(list.add(&more), async {
        mock.expect(Method::GET, ITEM).await.ok(map(5, &slots));
    });
    assert!(matches!(added, Err(ClusterError::Refused(_))), "{added:?}");
    let mut moved = entry("pv7");
    moved.image = ImagePath::parse("elsewhere/pv7.img").unwrap();
    let (added, ()) = tokio::join!(list.add(&moved), async {
        mock.expect(Method::GET, ITEM).await.ok(map(5, &slots));
        mock.expect(Method::PATCH, ITEM).await.ok(map(6, &slots));
    });
    assert_eq!(added, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn entries_that_cannot_be_read_do_not_hide_the_others() {
    let (list, mut mock) = rig();
    let mut found = map(5, &["pv1"]);
    let long = format!("{{\"image\":\"pool/x.img\",\"since\":\"{}\"}}", "x".repeat(2000));
    for (key, value) in [
        ("README", "kept by rds-csi"),
        ("box.UPPER", &text("x")),
        ("box.pv2", "{}"),
        ("box.pv3", "not json"),
        ("box.pv4", r#"{"image":"../x","since":""}"#),
        ("box.pv5", &long),
    ] {
        found["data"][key] = json!(value);
    }
    found["data"]["box.later"] =
        json!(r#"{"image":"pool/later.img","since":"","newField":{"a":1}}"#);
    let (entries, ()) = tokio::join!(list.entries(), async {
        mock.expect(Method::GET, ITEM).await.ok(found);
    });
    let mut later = entry("pv1");
    later.slot = Slot::parse("later").unwrap();
    later.image = ImagePath::parse("pool/later.img").unwrap();
    assert_eq!(entries, Ok(vec![later, entry("pv1")]));
}

#[tokio::test(start_paused = true)]
async fn no_list_is_an_empty_list_and_an_error_is_an_error() {
    let (list, mut mock) = rig();
    let (entries, ()) = tokio::join!(list.entries(), async {
        mock.next().await.fail(404, "NotFound");
    });
    assert_eq!(entries, Ok(vec![]));
    let (entries, ()) = tokio::join!(list.entries(), async {
        mock.next().await.fail(500, "InternalError");
    });
    assert!(matches!(entries, Err(ClusterError::Unreachable(_))));
}

#[tokio::test(start_paused = true)]
async fn writers_of_one_process_wait_for_each_other_until_their_deadline() {
    let (list, mut mock) = rig();
    let (pv1, pv2) = (entry("pv1"), entry("pv2"));
    let begun = tokio::time::Instant::now();
    let (first, second, _held) = tokio::join!(list.add(&pv1), list.add(&pv2), mock.next());
    for outcome in [first, second] {
        assert!(matches!(outcome, Err(ClusterError::Unreachable(_))));
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}
