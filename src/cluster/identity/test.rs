use super::*;
use crate::cluster::mock::Mock;
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

const NAMESPACE: &str = "/api/v1/namespaces/kube-system";
const SECRETS: &str = "/api/v1/namespaces/storage/secrets";
const SECRET: &str = "/api/v1/namespaces/storage/secrets/rds-cluster";

fn rig(cluster_id: Option<&str>) -> (Identities, Mock) {
    let (client, mock) = Mock::new();
    let identities = Identities::new(
        Requests::new(client, Duration::from_secs(10)),
        cluster_id.map(str::to_owned),
        "storage".into(),
        "rds-cluster".into(),
        Logger::root(slog::Discard, slog::o!()),
    );
    (identities, mock)
}

fn namespace() -> Value {
    json!({"kind": "Namespace", "apiVersion": "v1",
        "metadata": {"name": "kube-system", "uid": "cluster-uid"}})
}

/// `length` bytes, each the letter A.
fn secret(length: usize) -> Value {
    let key = ByteString(vec![b'A'; length]);
    json!({"kind": "Secret", "apiVersion": "v1",
        "metadata": {"name": "rds-cluster"}, "data": {"key": key}})
}

#[tokio::test(start_paused = true)]
async fn who_we_are_is_asked_once_and_remembered() {
    let (identities, mut mock) = rig(None);
    let (identity, ()) = tokio::join!(identities.get(), async {
        mock.expect(Method::GET, NAMESPACE).await.ok(namespace());
        mock.expect(Method::GET, SECRET).await.ok(secret(32));
    });
    let identity = identity.unwrap();
    assert_eq!(identity.cluster_id, "cluster-uid");
    assert_eq!(*identity.secret, [b'A'; 32]);
    let again = identities.get().await.unwrap();
    assert_eq!(again.secret, identity.secret);
    assert!(mock.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_configured_cluster_id_needs_no_namespace() {
    let (identities, mut mock) = rig(Some("given"));
    let (identity, ()) = tokio::join!(identities.get(), async {
        mock.expect(Method::GET, SECRET).await.ok(secret(40));
    });
    assert_eq!(identity.unwrap().cluster_id, "given");
}

#[tokio::test(start_paused = true)]
async fn the_first_controller_makes_32_random_bytes_and_reads_them_back() {
    let mut made = Vec::new();
    for _ in 0..2 {
        let (identities, mut mock) = rig(Some("c"));
        let (identity, created) = tokio::join!(identities.get(), async {
            mock.expect(Method::GET, SECRET).await.fail(404, "NotFound");
            let call = mock.expect(Method::POST, SECRETS).await;
            let created = call.body.clone();
            call.ok(created.clone());
            mock.expect(Method::GET, SECRET).await.ok(created.clone());
            created
        });
        assert_eq!(created["metadata"]["name"], "rds-cluster");
        let secret = identity.unwrap().secret;
        assert_eq!(secret.len(), 32);
        made.push(secret);
    }
    assert_ne!(made[0], made[1]);
}

#[tokio::test(start_paused = true)]
async fn when_two_controllers_make_it_at_once_both_use_the_one_that_lies_there() {
    let (identities, mut mock) = rig(Some("c"));
    let (identity, ()) = tokio::join!(identities.get(), async {
        mock.expect(Method::GET, SECRET).await.fail(404, "NotFound");
        let call = mock.expect(Method::POST, SECRETS).await;
        call.fail(409, "AlreadyExists");
        mock.expect(Method::GET, SECRET).await.ok(secret(32));
    });
    assert_eq!(*identity.unwrap().secret, [b'A'; 32]);
}

#[tokio::test(start_paused = true)]
async fn where_it_is_missing_and_may_not_be_made_the_command_that_makes_it_is_named() {
    let (identities, mut mock) = rig(Some("c"));
    let (identity, ()) = tokio::join!(identities.get(), async {
        mock.expect(Method::GET, SECRET).await.fail(404, "NotFound");
        mock.expect(Method::POST, SECRETS).await.fail(403, "Forbidden");
    });
    let Err(ClusterError::Refused(why)) = identity else {
        panic!("{identity:?}");
    };
    let command = "kubectl --namespace storage create secret generic rds-cluster";
    assert!(why.contains(command), "{why}");
}

#[tokio::test(start_paused = true)]
async fn an_unusable_secret_is_refused_with_its_name_and_never_overwritten() {
    let mut without_key = secret(32);
    without_key["data"] = json!({"other": "AAAA"});
    let mut empty = secret(32);
    empty["data"] = json!(null);
    for found in [secret(31), secret(0), without_key, empty] {
        let (identities, mut mock) = rig(Some("c"));
        let (identity, ()) = tokio::join!(identities.get(), async {
            mock.expect(Method::GET, SECRET).await.ok(found);
        });
        let Err(ClusterError::Refused(why)) = identity else {
            panic!("{identity:?}");
        };
        assert!(why.contains("storage/rds-cluster"), "{why}");
        assert!(mock.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_be_parsed_is_told_without_its_contents() {
    let (identities, mut mock) = rig(Some("c"));
    let (identity, ()) = tokio::join!(identities.get(), async {
        let mut found = secret(32);
        found["data"] = json!("hunter2");
        mock.expect(Method::GET, SECRET).await.ok(found);
    });
    let text = format!("{identity:?}");
    assert!(identity.is_err() && !text.contains("hunter2"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_remembered() {
    let (identities, mut mock) = rig(None);
    let (identity, ()) = tokio::join!(identities.get(), async {
        mock.next().await.fail(503, "ServiceUnavailable");
    });
    assert!(matches!(identity, Err(ClusterError::Unreachable(_))));
    let (identity, ()) = tokio::join!(identities.get(), async {
        mock.expect(Method::GET, NAMESPACE).await.ok(namespace());
        mock.expect(Method::GET, SECRET).await.ok(secret(32));
    });
    assert!(identity.is_ok());
}

#[test]
fn an_identity_is_printed_without_its_secret() {
    let identity = Identity { cluster_id: "c".into(), secret: Arc::from(*b"hunter2") };
    let text = format!("{identity:?}");
    assert!(!text.contains("104") && !text.contains("hunter2"), "{text}");
}
