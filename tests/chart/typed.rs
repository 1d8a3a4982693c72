//! Objects as the types of Kubernetes' own API: whatever those do not know is lost on the way there
//! and back, and so it is found.

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, batch::v1 as batch, core::v1 as core,
    networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac, storage::v1 as storage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Panics where the object has a field that its type does not know.
pub fn check(object: &Value) {
    let unknown = unknown_fields(object);
    let name = &object["metadata"]["name"];
    assert!(unknown.is_empty(), "{} {name}: unknown are {unknown:?}", object["kind"]);
}

/// The fields of an object that its type does not know.
pub fn unknown_fields(object: &Value) -> Vec<String> {
    let typed = match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some("v1"), Some("Namespace")) => there_and_back::<core::Namespace>(object),
        (Some("v1"), Some("ServiceAccount")) => there_and_back::<core::ServiceAccount>(object),
        (Some("v1"), Some("ConfigMap")) => there_and_back::<core::ConfigMap>(object),
        (Some("v1"), Some("Secret")) => there_and_back::<core::Secret>(object),
        (Some("v1"), Some("Service")) => there_and_back::<core::Service>(object),
        (Some("apps/v1"), Some("Deployment")) => there_and_back::<apps::Deployment>(object),
        (Some("apps/v1"), Some("DaemonSet")) => there_and_back::<apps::DaemonSet>(object),
        (Some("batch/v1"), Some("Job")) => there_and_back::<batch::Job>(object),
        (Some("policy/v1"), Some("PodDisruptionBudget")) => {
            there_and_back::<policy::PodDisruptionBudget>(object)
        }
        (Some("networking.k8s.io/v1"), Some("NetworkPolicy")) => {
            there_and_back::<networking::NetworkPolicy>(object)
        }
        (Some("storage.k8s.io/v1"), Some("CSIDriver")) => {
            there_and_back::<storage::CSIDriver>(object)
        }
        (Some("storage.k8s.io/v1"), Some("StorageClass")) => {
            there_and_back::<storage::StorageClass>(object)
        }
        (Some("rbac.authorization.k8s.io/v1"), Some(kind)) => match kind {
            "ClusterRole" => there_and_back::<rbac::ClusterRole>(object),
            "ClusterRoleBinding" => there_and_back::<rbac::ClusterRoleBinding>(object),
            "Role" => there_and_back::<rbac::Role>(object),
            "RoleBinding" => there_and_back::<rbac::RoleBinding>(object),
            other => panic!("{other} is unexpected"),
        },
        (Some("admissionregistration.k8s.io/v1"), Some("ValidatingAdmissionPolicy")) => {
            there_and_back::<admission::ValidatingAdmissionPolicy>(object)
        }
        (Some("admissionregistration.k8s.io/v1"), Some("ValidatingAdmissionPolicyBinding")) => {
            there_and_back::<admission::ValidatingAdmissionPolicyBinding>(object)
        }
        other => panic!("{other:?} is unexpected"),
    };
    let mut lost = Vec::new();
    compare(object, &typed, "", &mut lost);
    lost
}

fn there_and_back<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let typed: K = serde_json::from_value(object.clone()).unwrap_or_else(|error| {
        panic!("{} {}: {error}", object["kind"], object["metadata"]["name"])
    });
    serde_json::to_value(typed).unwrap()
}

fn compare(before: &Value, after: &Value, path: &str, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(after) => compare(value, after, &path, lost),
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (at, (before, after)) in before.iter().zip(after).enumerate() {
                compare(before, after, &format!("{path}/{at}"), lost);
            }
        }
        _ if before == after => {}
        _ => lost.push(path.to_owned()),
    }
}
