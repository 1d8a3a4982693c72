//! The documents outside of the resources: version, health, and which resources there are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::failure::Failure;
use super::kinds::{RESOURCES, Resource};

/// The document at a path.
///
/// # Errors
///
/// 404 for any other path.
pub fn document(path: &str) -> Result<Value, Failure> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["version"] => Ok(version()),
        ["healthz" | "livez" | "readyz", ..] => Ok(json!("ok")),
        ["api"] => Ok(json!({
            "kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => {
            let groups: BTreeSet<&str> =
                RESOURCES.iter().map(|r| r.group).filter(|group| !group.is_empty()).collect();
            let groups: Vec<Value> = groups.into_iter().filter_map(group).collect();
            Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => group(name).ok_or_else(Failure::no_such_path),
        ["api", version] => resources("", version),
        ["apis", group, version] => resources(group, version),
        _ => Err(Failure::no_such_path()),
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.0+rds-sim", "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn group(name: &str) -> Option<Value> {
    let resource = RESOURCES.iter().find(|r| !name.is_empty() && r.group == name)?;
    let version = json!({"groupVersion": resource.api_version(), "version": resource.version});
    Some(json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [version],
        "preferredVersion": version,
    }))
}

fn resources(group: &str, version: &str) -> Result<Value, Failure> {
    let here: Vec<&Resource> =
        RESOURCES.iter().filter(|r| r.group == group && r.version == version).collect();
    let Some(first) = here.first() else {
        return Err(Failure::no_such_path());
    };
    let entry = |name: String, resource: &Resource, verbs: &[&str]| {
        json!({
            "name": name, "singularName": resource.kind.to_lowercase(),
            "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs,
        })
    };
    let mut entries = Vec::new();
    for resource in &here {
        let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
        entries.push(entry(resource.plural.to_owned(), resource, &verbs));
        if resource.has_status {
            let name = format!("{}/status", resource.plural);
            entries.push(entry(name, resource, &["get", "patch", "update"]));
        }
    }
    Ok(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(),
        "resources": entries,
    }))
}
