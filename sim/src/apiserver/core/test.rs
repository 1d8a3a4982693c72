//! The rules of the store, without HTTP.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::*;
use crate::apiserver::kinds::by_name;

fn core() -> Core {
    Core::new(1, 1000, UNIX_EPOCH)
}

fn target(resource: &str, name: &str) -> Target {
    let resource = by_name(resource).unwrap();
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    Target { resource, namespace: namespace.into(), name: name.into(), part: Part::Main }
}

fn status_of(mut target: Target) -> Target {
    target.part = Part::Status;
    target
}

fn scope(resource: &str) -> Scope {
    let resource = by_name(resource).unwrap();
    Scope { resource, namespace: None, selector: Selector::default() }
}

fn attachment(name: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": name},
        "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "p"}},
    })
}

fn make(core: &mut Core, resource: &str, body: Value) -> Result<Value, Failure> {
    let namespace = if by_name(resource).unwrap().namespaced { "default" } else { "" };
    core.create(by_name(resource).unwrap(), namespace, body, UNIX_EPOCH)
}

fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> u16 {
    result.unwrap_err().code
}

#[test]
fn create_sets_what_the_server_owns() {
    let mut core = core();
    let made = make(&mut core, "nodes", json!({"metadata": {"name": "a", "uid": "mine"}})).unwrap();
    assert_eq!(made["kind"], "Node");
    assert_eq!(made["metadata"]["creationTimestamp"], "1970-01-01T00:00:00Z");
    assert_eq!(made["metadata"]["resourceVersion"], core.revision().to_string());
    let uid = made["metadata"]["uid"].as_str().unwrap();
    assert_eq!((uid.len(), &uid[14..15]), (36, "4"));
}

#[test]
fn servers_of_one_seed_are_one_cluster_and_of_two_seeds_two() {
    let uid = |seed| {
        let core = Core::new(seed, 10, UNIX_EPOCH);
        core.get(&target("namespaces", "kube-system")).unwrap()["metadata"]["uid"].clone()
    };
    assert_eq!(uid(1), uid(1));
    assert_ne!(uid(1), uid(2));
}

#[test]
fn a_client_cannot_create_with_the_status_it_likes() {
    let mut core = core();
    let mut body = attachment("a");
    body["status"] = json!({"attached": true});
    assert_eq!(make(&mut core, "volumeattachments", body).unwrap()["status"]["attached"], false);
}

#[test]
fn generated_names_differ_and_start_with_the_prefix() {
    let mut core = core();
    let body = json!({"metadata": {"generateName": "e-"}});
    let mut name = || make(&mut core, "events", body.clone()).unwrap()["metadata"]["name"].clone();
    let (a, b) = (name(), name());
    assert_ne!(a, b);
    assert!(a.as_str().is_some_and(|a| a.starts_with("e-") && a.len() == 7), "{a}");
}

#[test]
fn bad_creates_are_refused() {
    let mut core = core();
    make(&mut core, "nodes", json!({"metadata": {"name": "a"}})).unwrap();
    for (resource, body, wanted) in [
        ("nodes", json!({"metadata": {"name": "a"}}), 409),
        ("nodes", json!({"metadata": {"name": "A_b"}}), 422),
        ("nodes", json!({"metadata": {}}), 422),
        ("nodes", json!([]), 400),
        ("nodes", json!({"metadata": 3}), 400),
        ("nodes", json!({"metadata": {"name": "b"}, "status": "x"}), 400),
        ("nodes", json!({"kind": "Pod", "metadata": {"name": "b"}}), 400),
        ("nodes", json!({"metadata": {"name": "b", "resourceVersion": "1"}}), 400),
        ("nodes", json!({"metadata": {"name": "b", "labels": {"x": 1}}}), 400),
        ("nodes", json!({"metadata": {"name": "b", "finalizers": "x"}}), 400),
        ("configmaps", json!({"metadata": {"name": "b", "namespace": "other"}}), 400),
        ("secrets", json!({"metadata": {"name": "b"}, "stringData": {"a": "b"}}), 400),
    ] {
        assert_eq!(code(make(&mut core, resource, body.clone())), wanted, "{resource} {body}");
    }
    let configmaps = by_name("configmaps").unwrap();
    let body = json!({"metadata": {"name": "b"}});
    assert_eq!(code(core.create(configmaps, "nowhere", body, UNIX_EPOCH)), 404);
}

#[test]
fn status_and_the_rest_are_written_apart() {
    let mut core = core();
    let at = target("nodes", "a");
    make(&mut core, "nodes", json!({"metadata": {"name": "a"}, "status": {"phase": "x"}})).unwrap();
    let both = Patch::Merge(json!({"spec": {"unschedulable": true}, "status": {"phase": "y"}}));
    let main = core.patch(&at, &both).unwrap();
    assert_eq!(
        (&main["spec"]["unschedulable"], &main["status"]["phase"]),
        (&json!(true), &json!("x"))
    );
    let both = Patch::Merge(json!({"spec": {"unschedulable": false}, "status": {"phase": "y"}}));
    let status = core.patch(&status_of(at), &both).unwrap();
    assert_eq!(
        (&status["spec"]["unschedulable"], &status["status"]["phase"]),
        (&json!(true), &json!("y"))
    );
}

#[test]
fn a_write_with_an_old_version_or_another_uid_conflicts() {
    let mut core = core();
    let at = target("nodes", "a");
    let old = make(&mut core, "nodes", json!({"metadata": {"name": "a"}})).unwrap();
    core.patch(&at, &Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}))).unwrap();
    let failure = core.update(&at, old).unwrap_err();
    assert_eq!((failure.code, failure.reason), (409, "Conflict"));
    for metadata in [json!({"resourceVersion": "1"}), json!({"uid": "other"})] {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        assert_eq!(code(core.patch(&at, &patch)), 409);
    }
}

#[test]
fn an_attachment_cannot_be_replaced_without_saying_which_version() {
    let mut core = core();
    make(&mut core, "volumeattachments", attachment("a")).unwrap();
    assert_eq!(code(core.update(&target("volumeattachments", "a"), attachment("a"))), 422);
    make(&mut core, "nodes", json!({"metadata": {"name": "a"}})).unwrap();
    let body = json!({"metadata": {"name": "a", "labels": {"x": "y"}}});
    core.update(&target("nodes", "a"), body).unwrap();
}

#[test]
fn what_never_changes_cannot_be_changed() {
    let mut core = core();
    make(&mut core, "volumeattachments", attachment("a")).unwrap();
    let volume = json!({"metadata": {"name": "a"}, "spec": {"csi": {"volumeHandle": "h"}}});
    make(&mut core, "persistentvolumes", volume).unwrap();
    let frozen = json!({"metadata": {"name": "a"}, "immutable": true, "data": {"k": "djE="}});
    make(&mut core, "secrets", frozen).unwrap();
    for (at, patch) in [
        (target("volumeattachments", "a"), json!({"spec": {"nodeName": "m"}})),
        (target("persistentvolumes", "a"), json!({"spec": {"csi": {"volumeHandle": "i"}}})),
        (target("secrets", "default/a"), json!({"data": {"k": "djI="}})),
        (target("secrets", "default/a"), json!({"immutable": null})),
    ] {
        assert_eq!(code(core.patch(&at, &Patch::Merge(patch.clone()))), 422, "{patch}");
    }
    let owned = json!({"metadata": {"creationTimestamp": "x", "deletionTimestamp": "y"}});
    let patched = core.patch(&target("volumeattachments", "a"), &Patch::Merge(owned)).unwrap();
    assert_eq!(patched["metadata"]["creationTimestamp"], "1970-01-01T00:00:00Z");
    assert!(patched["metadata"]["deletionTimestamp"].is_null());
}

#[test]
fn a_write_that_changes_nothing_takes_no_revision() {
    let mut core = core();
    make(&mut core, "nodes", json!({"metadata": {"name": "a", "labels": {"x": "y"}}})).unwrap();
    let before = core.revision();
    let patch = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    core.patch(&target("nodes", "a"), &patch).unwrap();
    assert_eq!(core.revision(), before);
}

#[test]
fn a_json_patch_applies_wholly_or_not_at_all() {
    let mut core = core();
    let at = target("nodes", "a");
    make(&mut core, "nodes", json!({"metadata": {"name": "a"}, "spec": {"taints": []}})).unwrap();
    let add = json!({"op": "add", "path": "/spec/taints/-", "value": {"key": "k"}});
    let test = json!({"op": "test", "path": "/metadata/name", "value": "b"});
    assert_eq!(code(core.patch(&at, &Patch::Json(json!([add, test])))), 422);
    assert_eq!(core.get(&at).unwrap()["spec"]["taints"], json!([]));
    core.patch(&at, &Patch::Json(json!([add]))).unwrap();
    assert_eq!(core.get(&at).unwrap()["spec"]["taints"], json!([{"key": "k"}]));
    assert_eq!(code(core.patch(&at, &Patch::Json(json!([{"op": "fly"}])))), 400);
    assert_eq!(code(core.patch(&at, &Patch::Merge(json!([])))), 400);
}

#[test]
fn finalizers_hold_a_deleted_object_until_the_last_is_gone() {
    let mut core = core();
    let at = target("volumeattachments", "a");
    let mut body = attachment("a");
    body["metadata"]["finalizers"] = json!(["one", "two"]);
    make(&mut core, "volumeattachments", body).unwrap();
    core.delete(&at, &DeleteOptions::default(), UNIX_EPOCH).unwrap();
    let held = core.get(&at).unwrap();
    assert_eq!(held["metadata"]["deletionTimestamp"], "1970-01-01T00:00:00Z");
    let marked = core.revision();
    core.delete(&at, &DeleteOptions::default(), UNIX_EPOCH).unwrap();
    assert_eq!(core.revision(), marked, "a second delete changes nothing");
    let finalizers = |list: Value| Patch::Merge(json!({"metadata": {"finalizers": list}}));
    assert_eq!(code(core.patch(&at, &finalizers(json!(["one", "two", "three"])))), 422);
    core.patch(&at, &finalizers(json!(["two"]))).unwrap();
    core.get(&at).unwrap();
    core.patch(&at, &finalizers(Value::Null)).unwrap();
    assert_eq!(code(core.get(&at).cloned()), 404);
    let last = core.changes_since(marked, &scope("volumeattachments")).unwrap();
    assert_eq!(last.last().map(|change| change.kind), Some(ChangeKind::Deleted));
}

#[test]
fn a_delete_with_a_precondition_that_does_not_hold_deletes_nothing() {
    let mut core = core();
    let at = target("nodes", "a");
    let made = make(&mut core, "nodes", json!({"metadata": {"name": "a"}})).unwrap();
    let metadata = &made["metadata"];
    for wanted in [
        json!({"uid": "other"}),
        json!({"resourceVersion": "1"}),
        json!({"uid": metadata["uid"], "resourceVersion": "1"}),
    ] {
        let options = serde_json::from_value(json!({"preconditions": wanted})).unwrap();
        assert_eq!(code(core.delete(&at, &options, UNIX_EPOCH)), 409, "{wanted}");
    }
    let both = json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]});
    let options = serde_json::from_value(json!({"preconditions": both})).unwrap();
    core.delete(&at, &options, UNIX_EPOCH).unwrap();
    assert_eq!(code(core.get(&at).cloned()), 404);
}

#[test]
fn a_running_pod_stays_until_it_is_deleted_by_force() {
    let mut core = core();
    let at = target("pods", "default/p");
    let body = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}});
    make(&mut core, "pods", body).unwrap();
    core.delete(&at, &DeleteOptions::default(), UNIX_EPOCH).unwrap();
    let held = core.get(&at).unwrap();
    assert_eq!(held["metadata"]["deletionTimestamp"], "1970-01-01T00:00:30Z");
    core.patch(&at, &Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}))).unwrap();
    core.get(&at).unwrap();
    let force = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    core.delete(&at, &force, UNIX_EPOCH).unwrap();
    assert_eq!(code(core.get(&at).cloned()), 404);
}

#[test]
fn pages_show_one_moment_although_the_store_goes_on() {
    let mut core = core();
    for name in ["a", "b", "c", "d"] {
        make(&mut core, "nodes", json!({"metadata": {"name": name}})).unwrap();
    }
    let names = |listed: &Listed| -> Vec<String> {
        listed.items.iter().map(|n| n["metadata"]["name"].to_string()).collect()
    };
    let nodes = scope("nodes");
    let first = core.list(&nodes, &Page { limit: Some(2), ..Page::default() }).unwrap();
    assert_eq!(names(&first), [r#""a""#, r#""b""#]);
    let (after, left) = first.more.clone().unwrap();
    assert_eq!(left, 2);
    core.delete(&target("nodes", "c"), &DeleteOptions::default(), UNIX_EPOCH).unwrap();
    make(&mut core, "nodes", json!({"metadata": {"name": "e"}})).unwrap();
    let page = Page {
        limit: Some(2),
        revision: Some(first.revision),
        not_older_than: 0,
        after: Some(after),
    };
    let second = core.list(&nodes, &page).unwrap();
    assert_eq!(names(&second), [r#""c""#, r#""d""#]);
    assert_eq!((second.more.clone(), second.revision), (None, first.revision));
    core.expire_history();
    assert_eq!(code(core.list(&nodes, &page)), 410);
}

#[test]
fn a_version_from_the_future_is_refused() {
    let core = core();
    let page = Page { not_older_than: 999, ..Page::default() };
    assert_eq!(code(core.list(&scope("nodes"), &page)), 504);
}

#[test]
fn history_beyond_its_bound_expires() {
    let mut core = Core::new(1, 3, UNIX_EPOCH);
    let start = core.revision();
    for name in ["a", "b", "c"] {
        make(&mut core, "nodes", json!({"metadata": {"name": name}})).unwrap();
    }
    assert_eq!(core.changes_since(start, &scope("nodes")).unwrap().len(), 3);
    make(&mut core, "nodes", json!({"metadata": {"name": "d"}})).unwrap();
    let failure = core.changes_since(start, &scope("nodes")).unwrap_err();
    assert_eq!((failure.code, failure.reason), (410, "Expired"));
    assert_eq!(core.changes_since(start + 1, &scope("nodes")).unwrap().len(), 3);
}

#[test]
fn a_selector_turns_changes_into_comings_and_goings() {
    let mut core = core();
    let at = target("nodes", "a");
    let start = core.revision();
    make(&mut core, "nodes", json!({"metadata": {"name": "a"}})).unwrap();
    for label in [json!("y"), json!("y2"), Value::Null] {
        core.patch(&at, &Patch::Merge(json!({"metadata": {"labels": {"x": label}}}))).unwrap();
    }
    core.delete(&at, &DeleteOptions::default(), UNIX_EPOCH).unwrap();
    let mut labelled = scope("nodes");
    labelled.selector = Selector::parse(labelled.resource, "x", "").unwrap();
    let seen = core.changes_since(start, &labelled).unwrap();
    let kinds: Vec<_> = seen.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Deleted]);
    assert_eq!(seen[2].object["metadata"]["resourceVersion"], seen[2].revision.to_string());
}
