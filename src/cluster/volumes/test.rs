use super::*;
use crate::attachment::ledger::Further;
use crate::cluster::mock::Mock;
use crate::volume::{ImagePath, NodeName};
use http::Method;
use std::time::Duration;

const DRIVER: &str = "rds.csi.srvlab.io";

fn silent() -> Logger {
    Logger::root(slog::Discard, slog::o!())
}

fn pv() -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "pvc-1", "uid": "u1", "resourceVersion": "42"},
        "spec": {
            "capacity": {"storage": "1500Gi"},
            "persistentVolumeReclaimPolicy": "Delete",
            "csi": {"driver": DRIVER, "volumeHandle": "pvc-1",
                "volumeAttributes": {"nvmePort": "4420"}},
            "claimRef": {"namespace": "team", "name": "data", "uid": "c1"},
        },
        "status": {"phase": "Bound"},
    })
}

fn kept(object: Value) -> Option<Arc<Volume>> {
    convert(serde_json::from_value(object).unwrap(), DRIVER, &silent())
}

fn copy(nodes: &[&str]) -> Copy {
    Copy {
        record: "r1 attached".into(),
        nodes: nodes.iter().map(|n| NodeName::parse(n).unwrap()).collect(),
        image: ImagePath::parse("pool/pvc-1.img").unwrap(),
        bytes: 1,
        file_system: "ext4".into(),
        uuid: String::new(),
        readers: Vec::new(),
        fenced_from: Vec::new(),
        further: Further::default(),
    }
}

fn with_copy(copy: CopyState) -> Volume {
    let mut volume = (*kept(pv()).unwrap()).clone();
    volume.copy = copy;
    volume
}

#[test]
fn everything_that_matters_of_a_pv_is_kept() {
    let volume = kept(pv()).unwrap();
    assert_eq!(volume.name, "pvc-1");
    assert_eq!(volume.version.uid, "u1");
    assert_eq!(volume.version.resource_version, "42");
    assert_eq!(volume.handle, "pvc-1");
    assert_eq!(volume.attributes.get("nvmePort").map(String::as_str), Some("4420"));
    assert_eq!(volume.bytes, 1500 << 30);
    assert_eq!(volume.claim.as_ref().map(|c| c.uid.as_str()), Some("c1"));
    assert_eq!(volume.copy, CopyState::Absent);
    assert!(!volume.going);
}

#[test]
fn pvs_of_other_drivers_and_kinds_are_not_ours() {
    let mut other = pv();
    other["spec"]["csi"]["driver"] = json!("other");
    assert_eq!(kept(other), None);
    let mut nfs = pv();
    nfs["spec"]["csi"] = json!(null);
    assert_eq!(kept(nfs), None);
}

#[test]
fn a_pv_is_going_when_it_is_deleted_or_released_with_policy_delete() {
    for (phase, policy, deleted, going) in [
        ("Bound", "Delete", false, false),
        ("Released", "Delete", false, true),
        ("Released", "Retain", false, false),
        ("Failed", "Delete", false, false),
        ("Bound", "Retain", true, true),
    ] {
        let mut object = pv();
        object["status"]["phase"] = json!(phase);
        object["spec"]["persistentVolumeReclaimPolicy"] = json!(policy);
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
        }
        let volume = kept(object).unwrap();
        assert_eq!(volume.going, going, "{phase} {policy} {deleted}");
    }
}

#[test]
fn a_pv_says_for_what_it_is_attached() {
    for (read_only, modes, volume_mode, reads_only, is_raw) in [
        (json!(null), json!(null), json!(null), false, false),
        (json!(false), json!([]), json!("Filesystem"), false, false),
        (json!(true), json!(["ReadWriteOnce"]), json!("Block"), true, true),
        (json!(false), json!(["ReadOnlyMany"]), json!("Filesystem"), true, false),
        (json!(false), json!(["ReadOnlyMany", "ReadWriteOnce"]), json!("Block"), false, true),
    ] {
        let mut object = pv();
        object["spec"]["csi"]["readOnly"] = read_only;
        object["spec"]["accessModes"] = modes;
        object["spec"]["volumeMode"] = volume_mode;
        let usage = kept(object.clone()).unwrap().usage;
        assert_eq!(usage, Usage { reads_only, is_raw }, "{}", object["spec"]);
    }
}

#[test]
fn a_copy_names_readers_only_where_there_are_some() {
    let mut copy = copy(&["n1", "n2"]);
    let text = serde_json::to_string(&copy).unwrap();
    assert!(!text.contains("readers"), "an older release could not read it: {text}");
    copy.readers = vec![NodeName::parse("n2").unwrap()];
    let text = serde_json::to_string(&copy).unwrap();
    assert_eq!(read_copy(Some(&text)), CopyState::Present(Box::new(copy)));
}

#[test]
fn a_pv_with_an_unreadable_capacity_stays_in_sight() {
    let mut object = pv();
    object["spec"]["capacity"]["storage"] = json!("lots");
    assert_eq!(kept(object).unwrap().bytes, 0);
}

#[test]
fn a_copy_is_read_back_as_it_was_written() {
    let copy = copy(&["n1"]);
    let text = serde_json::to_string(&copy).unwrap();
    let mut object = pv();
    object["metadata"]["annotations"] = json!({ COPY_ANNOTATION: text });
    assert_eq!(kept(object).unwrap().copy, CopyState::Present(Box::new(copy)));
}

#[test]
fn a_copy_that_somebody_has_edited_is_unreadable_with_a_short_reason_and_never_absent() {
    let valid = serde_json::to_value(copy(&["n1"])).unwrap();
    let changed = |field: &str, value: Value| {
        let mut copy = valid.clone();
        copy[field] = value;
        copy.to_string()
    };
    for text in [
        String::new(),
        "null".into(),
        "{}".into(),
        "[1,2".into(),
        changed("needs", json!(2)),
        changed("needs", json!(u64::MAX)),
        changed("needs", json!("1")),
        changed("bytes", json!(-1)),
        changed("image", json!("../../etc")),
        changed("nodes", json!(["Not A Node"])),
        changed("nodes", json!("n1")),
        changed("nodes", json!("\u{1b}[31m".repeat(2000))),
        "[".repeat(10_000),
        format!("{valid}{}", " ".repeat(COPY_LENGTH_MAX)),
    ] {
        let CopyState::Unreadable(reason) = read_copy(Some(&text)) else {
            panic!("read: {text}");
        };
        assert!(!reason.is_empty() && reason.len() < 2000, "{reason}");
        assert!(!reason.contains(|c: char| c.is_control()), "{reason:?}");
    }
}

#[test]
fn what_a_newer_release_added_to_a_copy_is_carried_through_unless_it_says_that_it_must_be_known() {
    let mut newer = serde_json::to_value(copy(&["n1"])).unwrap();
    newer["later"] = json!(["n1", { "deep": [1.5, null] }]);
    newer["fencedFrom"] = json!([{ "node": "n2", "attachment": "u", "since": "noon" }]);
    for needs in [None, Some(1)] {
        if let Some(needs) = needs {
            newer["needs"] = json!(needs);
        }
        let CopyState::Present(read) = read_copy(Some(&newer.to_string())) else {
            panic!("{newer}")
        };
        assert_eq!(serde_json::to_value(&read).unwrap(), newer);
        // Nothing is added to what an older release reads.
        let plain = serde_json::to_value(copy(&[])).unwrap();
        let names: Vec<&String> = plain.as_object().unwrap().keys().collect();
        assert_eq!(names, ["bytes", "fencedFrom", "fileSystem", "image", "nodes", "record"]);
    }
    newer["needs"] = json!(2);
    let CopyState::Unreadable(why) = read_copy(Some(&newer.to_string())) else { panic!() };
    assert!(why.contains("needs form 2"), "{why}");
}

#[test]
fn a_copy_has_room_for_everybody_who_may_be_kept_out() {
    use crate::attachment::ledger::{FENCED_FROM_MAX, FencedFrom, HOLDERS_MAX};
    let name = |n: usize| NodeName::parse(&format!("{n:03}{}", "n".repeat(250))).unwrap();
    let uid = || "01234567-89ab-8def-8123-456789abcdef".to_owned();
    let entry = |n: usize| FencedFrom {
        node: name(n),
        attachment: uid(),
        node_uid: Some(uid()),
        boot_id: Some(uid()),
        unknown: Default::default(),
    };
    // A holder was attached when there was one less, and is fenced.
    let all = (0..FENCED_FROM_MAX - 1 + HOLDERS_MAX).map(entry).collect();
    let mut full = Copy { fenced_from: all, uuid: uid(), ..copy(&[]) };
    full.nodes = (0..HOLDERS_MAX).map(name).collect();
    full.record = "r".repeat(200);
    let image = format!("{}/pvc-1.img", "p".repeat(200));
    full.image = ImagePath::parse(&image).unwrap();
    let volume = with_copy(CopyState::Absent);
    copy_patch(&volume, &full, Timestamp::UNIX_EPOCH).unwrap();
}

#[test]
fn the_first_drivers_annotations_change_only_when_the_node_does() {
    let present = |nodes: &[&str]| CopyState::Present(Box::new(copy(nodes)));
    let now = "2026-11-21T12:00:00.5Z".parse().unwrap();
    let at = "2026-11-21T12:00:00Z";
    let untouched = None;
    for (before, nodes, expected) in [
        (CopyState::Absent, vec!["n1"], Some((json!("n1"), json!(at)))),
        (CopyState::Absent, vec![], Some((json!(null), json!(null)))),
        (CopyState::Unreadable("x".into()), vec!["n1"], Some((json!("n1"), json!(at)))),
        (present(&["n1"]), vec!["n1"], untouched.clone()),
        (present(&["n1"]), vec!["n1", "n2"], untouched.clone()),
        (present(&["n1"]), vec!["n2"], Some((json!("n2"), json!(at)))),
        (present(&["n1"]), vec![], Some((json!(null), json!(null)))),
        (present(&[]), vec![], untouched),
        (present(&[]), vec!["n1"], Some((json!("n1"), json!(at)))),
    ] {
        let label = format!("{before:?} to {nodes:?}");
        let patch = copy_patch(&with_copy(before), &copy(&nodes), now).unwrap();
        let annotations = patch["metadata"]["annotations"].as_object().unwrap();
        assert!(annotations.contains_key(COPY_ANNOTATION));
        let written = annotations
            .get(ATTACHED_NODE)
            .map(|node| (node.clone(), annotations[ATTACHED_AT].clone()));
        assert_eq!(written, expected, "{label}");
    }
}

#[test]
fn a_copy_is_never_written_without_a_version_or_longer_than_it_could_be_read() {
    let now = Timestamp::UNIX_EPOCH;
    let mut unknown = with_copy(CopyState::Absent);
    unknown.version.resource_version.clear();
    let refused = copy_patch(&unknown, &copy(&[]), now);
    assert!(matches!(refused, Err(ClusterError::Refused(_))));
    let mut long = copy(&[]);
    long.record = "x".repeat(COPY_LENGTH_MAX);
    let refused = copy_patch(&with_copy(CopyState::Absent), &long, now);
    assert!(matches!(refused, Err(ClusterError::Refused(_))));
}

fn rig() -> (Volumes, Mock) {
    let (client, mock) = Mock::new();
    let requests = Requests::new(client, Duration::from_secs(10));
    (Volumes::new(requests, DRIVER.into(), silent()), mock)
}

const PV: &str = "/api/v1/persistentvolumes/pvc-1";

#[tokio::test(start_paused = true)]
async fn a_write_is_a_merge_patch_guarded_by_the_version_and_returns_the_new_one() {
    let (volumes, mut mock) = rig();
    let before = with_copy(CopyState::Absent);
    let copy = copy(&["n1"]);
    let (written, ()) = tokio::join!(volumes.write_copy(&before, &copy), async {
        let call = mock.expect(Method::PATCH, PV).await;
        assert_eq!(call.body["metadata"]["resourceVersion"], "42");
        assert_eq!(call.body["spec"], Value::Null);
        let mut object = pv();
        object["metadata"]["resourceVersion"] = json!("43");
        object["metadata"]["annotations"] = call.body["metadata"]["annotations"].clone();
        call.ok(object);
    });
    let written = written.unwrap();
    assert_eq!(written.version.resource_version, "43");
    assert_eq!(written.copy, CopyState::Present(Box::new(copy)));
}

#[tokio::test(start_paused = true)]
async fn a_write_over_another_version_is_a_conflict_that_names_the_pv() {
    let (volumes, mut mock) = rig();
    let (before, copy) = (with_copy(CopyState::Absent), copy(&[]));
    let (written, ()) = tokio::join!(volumes.write_copy(&before, &copy), async {
        mock.expect(Method::PATCH, PV).await.fail(409, "Conflict");
    });
    let expected = ClusterError::Conflict("PersistentVolume pvc-1".into());
    assert_eq!(written, Err(expected));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_never_answers_is_unreachable_at_the_deadline() {
    let (volumes, mut mock) = rig();
    let begun = tokio::time::Instant::now();
    let (read, _held) = tokio::join!(volumes.read("pvc-1"), mock.next());
    assert!(matches!(read, Err(ClusterError::Unreachable(_))), "{read:?}");
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_pv_that_is_gone_or_foreign_is_none_and_an_error_is_an_error() {
    let (volumes, mut mock) = rig();
    let (read, ()) = tokio::join!(volumes.read("pvc-1"), async {
        mock.expect(Method::GET, PV).await.fail(404, "NotFound");
    });
    assert_eq!(read, Ok(None));
    let (read, ()) = tokio::join!(volumes.read("pvc-1"), async {
        let mut foreign = pv();
        foreign["spec"]["csi"]["driver"] = json!("other");
        mock.next().await.ok(foreign);
    });
    assert_eq!(read, Ok(None));
    let (read, ()) = tokio::join!(volumes.read("pvc-1"), async {
        drop(mock.next().await);
    });
    assert!(matches!(read, Err(ClusterError::Unreachable(_))), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn a_search_reads_page_after_page_until_the_handle_is_found() {
    let (volumes, mut mock) = rig();
    let page = |next: &str, items: Value| {
        json!({"kind": "PersistentVolumeList", "apiVersion": "v1",
            "metadata": {"continue": next, "resourceVersion": "1"}, "items": items})
    };
    let (found, ()) = tokio::join!(volumes.search("pvc-1"), async {
        let list = "/api/v1/persistentvolumes";
        let call = mock.expect(Method::GET, list).await;
        assert!(call.uri.contains("limit=500"), "{}", call.uri);
        call.ok(page("token", json!([])));
        let call = mock.expect(Method::GET, list).await;
        assert!(call.uri.contains("continue=token"), "{}", call.uri);
        call.ok(page("", json!([pv()])));
    });
    assert_eq!(found.unwrap().unwrap().name, "pvc-1");
}
