use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::attachment::ledger::{COPY_ANNOTATION, ClusterTag, NodeTag, Nonce, Record, Sharing};
use crate::cluster::Claim;
use crate::cluster::mock::Mock;

const NODE: &str = "n1";

fn rig() -> (Arc<KubeEvidence>, Mock) {
    let (client, mock) = Mock::new();
    let settings = Settings {
        driver: "d".into(),
        node: node(),
        namespace: "storage".into(),
        pod: None,
        deadline: Duration::from_secs(10),
        events: watch::channel(Bounds::default()).1,
    };
    (KubeEvidence::new(client, settings, &Logger::root(slog::Discard, o!())), mock)
}

fn node() -> NodeName {
    NodeName::parse(NODE).unwrap()
}

fn record() -> Record {
    let created = Record::created(ClusterTag::of("c"));
    created.attach(NodeTag::of("c", &node()), Sharing::Single, 0, Nonce::random())
}

fn pv(name: &str, driver: &str, handle: &str, record: Option<&Record>) -> Value {
    let copy = record.map(|record| {
        json!({
            "record": record.text(), "nodes": [NODE], "image": "pool/v.img", "bytes": 1024,
            "fileSystem": "ext4", "fencedFrom": [],
        })
        .to_string()
    });
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": name, "uid": "u", "resourceVersion": "1",
            "annotations": copy.map(|copy| json!({COPY_ANNOTATION: copy})),
        },
        "spec": {
            "capacity": {"storage": "1Ki"},
            "claimRef": {"namespace": "ns", "name": "claim", "uid": "c1"},
            "csi": {"driver": driver, "volumeHandle": handle},
        },
    })
}

fn va(pv: &str, deleted: bool) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {
            "name": "csi-1", "deletionTimestamp": deleted.then_some("2026-01-02T03:04:05Z"),
        },
        "spec": {"attacher": "d", "nodeName": NODE, "source": {"persistentVolumeName": pv}},
        "status": {"attached": true, "attachmentMetadata": {"nqn": "nqn.x:v.g1-0a1b2c3d4e5f"}},
    })
}

fn va_path(handle: &str) -> String {
    let name = attachment_name(handle, "d", &node());
    format!("/apis/storage.k8s.io/v1/volumeattachments/{name}")
}

fn pv_path(name: &str) -> String {
    format!("/api/v1/persistentvolumes/{name}")
}

#[test]
fn a_volume_attachment_is_found_under_the_name_that_kubernetes_gives_it() {
    // printf 'pvc-1rds.csi.srvlab.ioworker-1' | sha256sum
    let node = NodeName::parse("worker-1").unwrap();
    let expected = "csi-36af5b31fb42e080450324c6fdb400ab86558d2086d3b66f7a78953d6e9d9281";
    assert_eq!(attachment_name("pvc-1", "rds.csi.srvlab.io", &node), expected);
}

#[tokio::test(start_paused = true)]
async fn everything_that_is_said_of_a_volume_is_found_with_two_requests() {
    let (evidence, mut mock) = rig();
    let (volume, record) = (Handle::parse("v").unwrap(), record());
    let (found, ()) = tokio::join!(evidence.of(&volume, true), async {
        // Its PV has another name than its slot.
        mock.expect(Method::GET, &va_path("v")).await.ok(va("static-1", false));
        mock.expect(Method::GET, &pv_path("static-1")).await.ok(pv(
            "static-1",
            "d",
            "v",
            Some(&record),
        ));
    });
    let found = found.unwrap();
    let bound = Bound { nqn: Some("nqn.x:v.g1-0a1b2c3d4e5f".into()), holds: true };
    let expected =
        Attested { volume: Claimed::Told(record, vec![node()]), attachment: Some(bound) };
    assert_eq!(found.attested, expected);
    let claim = Claim { namespace: "ns".into(), name: "claim".into(), uid: "c1".into() };
    assert_eq!(found.about, About::Claim(claim));
    assert!(mock.is_idle());
}

#[tokio::test(start_paused = true)]
async fn only_an_object_that_is_not_there_at_all_is_gone() {
    let record = record();
    let of_a_claim = "pvc-0b7f0a5e-1111-4222-8333-444444444444";
    for (slot, answer, expected) in [
        (of_a_claim, None, Claimed::Gone),
        // The PV of a volume that a person made may be called anything.
        ("v", None, Claimed::Untold),
        ("v", Some(pv("v", "other", "v", Some(&record))), Claimed::Untold),
        ("v", Some(pv("v", "d", "second/v", Some(&record))), Claimed::Untold),
        ("v", Some(pv("v", "d", "v", None)), Claimed::Untold),
    ] {
        let (evidence, mut mock) = rig();
        let volume = Handle::parse(slot).unwrap();
        let (found, ()) = tokio::join!(evidence.of(&volume, true), async {
            mock.expect(Method::GET, &va_path(slot)).await.fail(404, "NotFound");
            let call = mock.expect(Method::GET, &pv_path(slot)).await;
            match answer.clone() {
                None => call.fail(404, "NotFound"),
                Some(object) => call.ok(object),
            }
        });
        assert_eq!(found.unwrap().attested, Attested { volume: expected, attachment: None });
    }
}

#[tokio::test(start_paused = true)]
async fn a_guessed_handle_is_put_right_by_the_pv_and_the_attachment_asked_for_anew() {
    let (evidence, mut mock) = rig();
    let (volume, record) = (Handle::parse("v").unwrap(), record());
    let (found, ()) = tokio::join!(evidence.of(&volume, false), async {
        let right = || pv("v", "d", "second/v", Some(&record));
        mock.expect(Method::GET, &va_path("v")).await.fail(404, "NotFound");
        mock.expect(Method::GET, &pv_path("v")).await.ok(right());
        mock.expect(Method::GET, &va_path("second/v")).await.ok(va("v", true));
        mock.expect(Method::GET, &pv_path("v")).await.ok(right());
    });
    let attested = found.unwrap().attested;
    assert!(matches!(attested.volume, Claimed::Told(..)));
    assert!(!attested.attachment.unwrap().holds, "it is on its way out");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_say_is_no_evidence() {
    let (evidence, mut mock) = rig();
    let volume = Handle::parse("v").unwrap();
    let (found, ()) = tokio::join!(evidence.of(&volume, true), async {
        mock.expect(Method::GET, &va_path("v")).await.fail(404, "NotFound");
        mock.expect(Method::GET, &pv_path("v")).await.fail(503, "ServiceUnavailable");
    });
    assert!(matches!(found, Err(ClusterError::Unreachable(_))), "{found:?}");
}
