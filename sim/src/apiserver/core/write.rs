//! Create, update and patch.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::{Core, Key, Part, Target, admit, own_target};
use crate::apiserver::clock::rfc3339;
use crate::apiserver::failure::Failure;
use crate::apiserver::kinds::{self, Resource};

/// A patch as it came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(Value),
}

impl Core {
    /// Creates an object as a client would.
    ///
    /// # Errors
    ///
    /// 400, 404 (namespace), 409 (name taken) and 422 as the real server.
    pub fn create(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        body: Value,
        now: SystemTime,
    ) -> Result<Value, Failure> {
        let mut object = admit::shape(resource, body)?;
        if let Some(json) = resource.initial_status {
            object["status"] = serde_json::from_str(json).unwrap_or_default();
        }
        if !object["metadata"]["resourceVersion"].is_null() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::bad_request(message));
        }
        self.insert(resource, namespace, object, now)
    }

    /// Creates an object just as it is given, status and all.
    ///
    /// # Errors
    ///
    /// 400 for an unknown kind or a malformed object, 404 (namespace), 409 (name taken), 422 (name).
    pub fn seed(&mut self, body: Value, now: SystemTime) -> Result<Value, Failure> {
        let Target { resource, namespace, .. } = own_target(&body)?;
        let object = admit::shape(resource, body)?;
        self.insert(resource, &namespace, object, now)
    }

    fn insert(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        mut object: Value,
        now: SystemTime,
    ) -> Result<Value, Failure> {
        self.namespace_exists(resource, namespace)?;
        let stated = object["metadata"]["namespace"].as_str().unwrap_or_default();
        if !stated.is_empty() && stated != namespace {
            let message = "the namespace of the provided object does not match the namespace sent \
                           on the request";
            return Err(Failure::bad_request(message));
        }
        let mut name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(prefix) = object["metadata"]["generateName"].as_str().filter(|p| !p.is_empty())
            && name.is_empty()
        {
            name = format!("{prefix}{}", self.name_suffix());
        }
        admit::name(resource, &name)?;
        let key = Key { resource, namespace: namespace.to_owned(), name: name.clone() };
        if self.objects.contains_key(&key) {
            return Err(Failure::already_exists(resource, &name));
        }
        let uid = self.new_uid();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("deletionTimestamp");
            metadata.remove("deletionGracePeriodSeconds");
            metadata.insert("name".to_owned(), name.into());
            metadata.insert("uid".to_owned(), uid.into());
            metadata.insert("creationTimestamp".to_owned(), rfc3339(now).into());
            if resource.namespaced {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
        }
        Ok(self.put(key, Some(object)).unwrap_or_default())
    }

    fn namespace_exists(&self, resource: &Resource, namespace: &str) -> Result<(), Failure> {
        let Some(namespaces) = kinds::by_path("", "v1", "namespaces") else {
            return Ok(());
        };
        let key =
            Key { resource: namespaces, namespace: String::new(), name: namespace.to_owned() };
        match resource.namespaced && !self.objects.contains_key(&key) {
            true => Err(Failure::not_found(namespaces, namespace)),
            false => Ok(()),
        }
    }

    /// Replaces an object, or its status.
    ///
    /// Removes it when it was being deleted and its last finalizer is gone. What changes nothing
    /// takes no new revision.
    ///
    /// # Errors
    ///
    /// 400, 404, 409 (another uid or resourceVersion) and 422 as the real server.
    pub fn update(&mut self, target: &Target, body: Value) -> Result<Value, Failure> {
        let old = self.get(target)?;
        let new = admit::shape(target.resource, body)?;
        let stored = admit::update(target, old, new)?;
        if stored == *old {
            return Ok(stored);
        }
        let finished = !stored["metadata"]["deletionTimestamp"].is_null()
            && stored["metadata"]["deletionGracePeriodSeconds"] == json!(0)
            && super::finalizers(&stored).is_empty();
        if finished {
            self.put(target.key(), None);
            return Ok(stored);
        }
        Ok(self.put(target.key(), Some(stored)).unwrap_or_default())
    }

    /// Patches an object, or its status; then as [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// As `update`; 400 for a malformed patch, 422 for a JSON patch that does not apply.
    pub fn patch(&mut self, target: &Target, patch: &Patch) -> Result<Value, Failure> {
        let mut object = self.get(target)?.clone();
        match patch {
            Patch::Merge(changes) if changes.is_object() => {
                json_patch::merge(&mut object, changes);
            }
            Patch::Merge(_) => return Err(Failure::bad_request("the patch is not a JSON object")),
            Patch::Json(operations) => {
                let operations: json_patch::Patch = serde_json::from_value(operations.clone())
                    .map_err(|e| Failure::bad_request(format!("malformed JSON patch: {e}")))?;
                json_patch::patch(&mut object, &operations).map_err(|e| {
                    let why = format!("the JSON patch does not apply: {e}");
                    Failure::invalid(target.resource, &target.name, &why)
                })?;
            }
        }
        self.update(target, object)
    }
}

impl Part {
    /// The part that a subresource of a path means.
    pub fn of_subresource(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Main),
            Some("status") => Some(Self::Status),
            Some(_) => None,
        }
    }
}
