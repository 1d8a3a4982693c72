//! What the server makes of an object that a client sends: checks, and the fields that are not the
//! client's to set. Pure functions from old and new to what is stored.

use serde_json::{Map, Value, json};

use super::{Part, Target};
use crate::apiserver::failure::Failure;
use crate::apiserver::kinds::Resource;

/// Metadata that an update never changes.
const FIXED: &[&str] = &[
    "name",
    "namespace",
    "generateName",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
];

/// Checks the shape that every object has and fills in `apiVersion` and `kind`.
pub(super) fn shape(resource: &Resource, mut body: Value) -> Result<Value, Failure> {
    let expected = [("apiVersion", resource.api_version()), ("kind", resource.kind.to_owned())];
    let Some(object) = body.as_object_mut() else {
        return Err(Failure::bad_request("the body is not a JSON object"));
    };
    for (field, wanted) in expected {
        let found = object.entry(field).or_insert_with(|| wanted.clone().into());
        if *found != Value::String(wanted.clone()) {
            let message =
                format!("the {field} in the data ({found}) does not match the expected ({wanted})");
            return Err(Failure::bad_request(message));
        }
    }
    for field in ["spec", "status"] {
        if object.get(field).is_some_and(|value| !value.is_null() && !value.is_object()) {
            return Err(Failure::bad_request(format!("{field} is not a JSON object")));
        }
    }
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        return Err(Failure::bad_request("metadata is not a JSON object"));
    };
    metadata.retain(|_, value| !value.is_null());
    metadata_shape(metadata)?;
    if resource.kind == "Secret" && !body["stringData"].is_null() {
        let message = "stringData is not supported by this server double: send data";
        return Err(Failure::bad_request(message));
    }
    Ok(body)
}

fn metadata_shape(metadata: &Map<String, Value>) -> Result<(), Failure> {
    let wrong = |field: &str, wanted: &str| {
        Err(Failure::bad_request(format!("metadata.{field} is not {wanted}")))
    };
    for field in ["name", "namespace", "generateName", "uid", "resourceVersion"] {
        if metadata.get(field).is_some_and(|value| !value.is_string()) {
            return wrong(field, "a string");
        }
    }
    for field in ["labels", "annotations"] {
        let map = metadata.get(field);
        let strings = |value: &Value| {
            value.as_object().is_some_and(|entries| entries.values().all(Value::is_string))
        };
        if map.is_some_and(|value| !strings(value)) {
            return wrong(field, "a map of strings");
        }
    }
    let finalizers = metadata.get("finalizers");
    let strings =
        |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    if finalizers.is_some_and(|value| !strings(value)) {
        return wrong("finalizers", "a list of strings");
    }
    Ok(())
}

/// Whether a name may stand in a path: a DNS subdomain.
pub(super) fn name(resource: &Resource, name: &str) -> Result<(), Failure> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if name.is_empty() {
        let why = "metadata.name: Required value: name or generateName is required";
        return Err(Failure::invalid(resource, name, why));
    }
    if name.len() > 253 || !name.split('.').all(label) {
        let why = format!(
            "metadata.name: Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist \
             of lower case alphanumeric characters, '-' or '.', and must start and end with an \
             alphanumeric character"
        );
        return Err(Failure::invalid(resource, name, &why));
    }
    Ok(())
}

/// What is stored when `new`, already in shape, is sent over `old`.
pub(super) fn update(target: &Target, old: &Value, new: Value) -> Result<Value, Failure> {
    identity(target, old, &new)?;
    let mut stored = match target.part {
        Part::Main | Part::Whole => new.clone(),
        Part::Status => old.clone(),
    };
    let status_from = match target.part {
        Part::Main if target.resource.has_status => Some(old),
        Part::Status => Some(&new),
        Part::Main | Part::Whole => None,
    };
    if let (Some(source), Some(object)) = (status_from, stored.as_object_mut()) {
        match source.get("status") {
            Some(status) => object.insert("status".to_owned(), status.clone()),
            None => object.remove("status"),
        };
    }
    if let Some(metadata) = stored["metadata"].as_object_mut() {
        for field in FIXED {
            match old["metadata"].get(field) {
                Some(value) => metadata.insert((*field).to_owned(), value.clone()),
                None => metadata.remove(*field),
            };
        }
    }
    if target.part == Part::Main {
        unchanged(target, old, &stored)?;
        finalizers(target, old, &stored)?;
    }
    Ok(stored)
}

/// The new object must be the one that the path names, and the version it claims to be.
fn identity(target: &Target, old: &Value, new: &Value) -> Result<(), Failure> {
    let sent = |field: &str| new["metadata"][field].as_str().filter(|text| !text.is_empty());
    let have = |field: &str| old["metadata"][field].as_str().unwrap_or_default();
    for field in ["name", "namespace"] {
        if sent(field).is_some_and(|value| value != have(field)) {
            let message = format!(
                "the {field} of the object ({}) does not match the {field} on the URL ({})",
                sent(field).unwrap_or_default(),
                have(field)
            );
            return Err(Failure::bad_request(message));
        }
    }
    if let Some(uid) = sent("uid").filter(|uid| *uid != have("uid")) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            have("uid")
        );
        return Err(Failure::conflict(target.resource, &target.name, &why));
    }
    match sent("resourceVersion") {
        Some(version) if version != have("resourceVersion") => {
            Err(Failure::modified(target.resource, &target.name))
        }
        None if target.part != Part::Whole && !target.resource.unconditional_update => {
            let why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
            Err(Failure::invalid(target.resource, &target.name, why))
        }
        _ => Ok(()),
    }
}

fn unchanged(target: &Target, old: &Value, new: &Value) -> Result<(), Failure> {
    let resource = target.resource;
    let frozen = if old["immutable"] == true {
        &["/immutable", "/data", "/binaryData"][..]
    } else {
        resource.immutable
    };
    for pointer in frozen {
        if old.pointer(pointer) != new.pointer(pointer) {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            let why = format!("{path}: Forbidden: field is immutable");
            return Err(Failure::invalid(resource, &target.name, &why));
        }
    }
    Ok(())
}

fn finalizers(target: &Target, old: &Value, new: &Value) -> Result<(), Failure> {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let before = super::finalizers(old);
    let added: Vec<_> =
        super::finalizers(new).into_iter().filter(|f| !before.contains(f)).collect();
    if added.is_empty() {
        return Ok(());
    }
    let why = format!(
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being \
         deleted, found new finalizers {added:?}"
    );
    Err(Failure::invalid(target.resource, &target.name, &why))
}
