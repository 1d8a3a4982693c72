//! Objects of the cluster, from JSON and as JSON.

use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::Trouble;
use crate::node::PLAYED;

/// Makes an object; its `apiVersion` and `kind` say what it is.
///
/// # Errors
/// When the API server refuses it.
pub async fn create(client: &kube::Client, object: Value) -> Result<Value, Trouble> {
    let api = resource(
        client,
        object["apiVersion"].as_str().unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default(),
        object["metadata"]["namespace"].as_str(),
    );
    let object: DynamicObject = serde_json::from_value(object)?;
    Ok(serde_json::to_value(api.create(&PostParams::default(), &object).await?)?)
}

/// All objects of a kind, in all namespaces.
///
/// # Errors
/// When the API server does not say.
pub async fn list(client: &kube::Client, version: &str, kind: &str) -> Result<Vec<Value>, Trouble> {
    let listed = resource(client, version, kind, None).list(&ListParams::default()).await?;
    let objects = listed.items.into_iter().map(serde_json::to_value);
    Ok(objects.collect::<Result<_, _>>()?)
}

/// The API of a kind, in a namespace or in all.
pub fn resource(
    client: &kube::Client,
    version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// A claim in the namespace `default`.
pub fn claim(name: &str, class: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        },
    })
}

/// A pod of a workload that mounts this claim; kwok plays it.
pub fn pod(name: &str, claim: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {PLAYED.0: PLAYED.1}},
        "spec": template(claim)["spec"],
    })
}

/// A StatefulSet of so many replicas, each with a claim `data-<name>-<n>` of its own.
pub fn stateful_set(name: &str, class: &str, size: &str, replicas: i64) -> Value {
    let labels = json!({PLAYED.0: PLAYED.1, "app": name});
    let mut template = template("data");
    template["spec"]["volumes"] = json!([]);
    template["metadata"] = json!({"labels": labels});
    let mut claim = claim("data", class, size);
    claim["metadata"] = json!({"name": "data"});
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "serviceName": name, "replicas": replicas, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": name}}, "template": template,
            "volumeClaimTemplates": [claim],
        },
    })
}

fn template(claim: &str) -> Value {
    json!({
        "spec": {
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "work", "image": "work",
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        },
    })
}
