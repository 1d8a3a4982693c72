//! Delete: preconditions, finalizers, and the grace of pods.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Core, Target, finalizers};
use crate::apiserver::clock::rfc3339;
use crate::apiserver::failure::Failure;

/// The body of a DELETE, as far as it is honoured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    /// What the object must be for the delete to happen.
    pub preconditions: Option<Preconditions>,
    /// Seconds that a running pod gets to stop; zero removes it at once.
    pub grace_period_seconds: Option<u64>,
    /// Not supported: a dry run is refused.
    pub dry_run: Vec<String>,
}

/// The preconditions of a delete.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The resourceVersion that the object must have.
    pub resource_version: Option<String>,
}

impl Core {
    /// Deletes an object, or marks it deleted while finalizers or a pod's grace hold it.
    ///
    /// Answers with the body that a client gets: the object, or a `Status`.
    ///
    /// # Errors
    ///
    /// 404, and 409 when a precondition does not hold.
    pub fn delete(
        &mut self,
        target: &Target,
        options: &DeleteOptions,
        now: SystemTime,
    ) -> Result<Value, Failure> {
        let old = self.get(target)?.clone();
        preconditions(target, &old, options)?;
        let grace = grace(target, &old, options);
        let held = grace > 0 || !finalizers(&old).is_empty();
        if !held {
            self.put(target.key(), None);
            if target.resource.returns_deleted {
                return Ok(old);
            }
            return Ok(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {
                    "name": target.name, "group": target.resource.group,
                    "kind": target.resource.plural, "uid": old["metadata"]["uid"],
                },
            }));
        }
        let already = old["metadata"]["deletionGracePeriodSeconds"].as_u64();
        if !old["metadata"]["deletionTimestamp"].is_null() && already.is_none_or(|a| a <= grace) {
            return Ok(old);
        }
        let mut marked = old;
        let at = rfc3339(now + Duration::from_secs(grace));
        marked["metadata"]["deletionTimestamp"] = at.into();
        marked["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        Ok(self.put(target.key(), Some(marked)).unwrap_or_default())
    }
}

fn preconditions(target: &Target, old: &Value, options: &DeleteOptions) -> Result<(), Failure> {
    let Some(wanted) = &options.preconditions else {
        return Ok(());
    };
    for (what, wanted, field) in [
        ("UID", &wanted.uid, "uid"),
        ("ResourceVersion", &wanted.resource_version, "resourceVersion"),
    ] {
        let found = old["metadata"][field].as_str().unwrap_or_default();
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: \
                 {found}"
            );
            return Err(Failure::conflict(target.resource, &target.name, &why));
        }
    }
    Ok(())
}

/// Only a pod that runs somewhere has a grace period; it stays until its kubelet, or somebody
/// with force, deletes it with zero seconds. At most an hour, so that times cannot overflow.
fn grace(target: &Target, old: &Value, options: &DeleteOptions) -> u64 {
    let phase = old["status"]["phase"].as_str().unwrap_or_default();
    let runs = target.resource.kind == "Pod"
        && old["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty())
        && !matches!(phase, "Succeeded" | "Failed");
    if !runs {
        return 0;
    }
    let own = old["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    options.grace_period_seconds.unwrap_or(own).min(3600)
}
