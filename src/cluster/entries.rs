//! A ConfigMap of ours that holds small entries, each under a key of its own.
//!
//! Writers of one process take turns and remember the entries as they left them, so that a write
//! costs one request; the write is guarded by that version, and another replica's change is a
//! conflict after which the entries are read again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::Mutex;

use super::ClusterError;
use super::request::Requests;

/// Writes that are tried when others change the entries at the same time.
pub(super) const ATTEMPTS: usize = 6;

/// What is to become of entries: a new text, or `None` to take one away.
pub type Edits = BTreeMap<String, Option<String>>;

/// The ConfigMap as last seen.
struct Seen {
    resource_version: String,
    data: BTreeMap<String, String>,
}

/// The entries.
pub struct Entries {
    requests: Requests,
    namespace: String,
    name: String,
    seen: Mutex<Option<Seen>>,
}

impl Entries {
    /// Those of the ConfigMap `namespace`/`name`.
    pub fn new(requests: Requests, namespace: String, name: String) -> Self {
        Self { requests, namespace, name, seen: Mutex::new(None) }
    }

    /// What it is called in messages.
    pub fn what(&self) -> String {
        format!("ConfigMap {}/{}", self.namespace, self.name)
    }

    /// All of them; none where there is no such ConfigMap.
    ///
    /// # Errors
    /// When the API server does not show them.
    pub async fn all(&self) -> Result<BTreeMap<String, String>, ClusterError> {
        Ok(self.read().await?.map(|seen| seen.data).unwrap_or_default())
    }

    /// Changes what `decide` says of the entries as they are; it may be asked several times. No
    /// edits: they are as they should be.
    ///
    /// # Errors
    /// Those of `decide`; [`ClusterError::Conflict`] when others change the entries all the time.
    pub async fn edit(
        &self,
        decide: impl Fn(&BTreeMap<String, String>) -> Result<Edits, ClusterError>,
    ) -> Result<(), ClusterError> {
        let what = self.what();
        let turns = async {
            let mut memory = self.seen.lock().await;
            for _ in 0..ATTEMPTS {
                // Taken out: a future that is dropped in the middle leaves no wrong memory.
                let remembered = memory.take();
                if let Some(seen) = self.attempt(&decide, remembered).await? {
                    *memory = seen;
                    return Ok(());
                }
            }
            Err(ClusterError::Conflict(what.clone()))
        };
        self.requests.bounded(&what, turns).await
    }

    /// One try from what is remembered, else from a fresh look. Done, it returns the entries as
    /// they are now; nothing when they must be looked at again.
    async fn attempt(
        &self,
        decide: &impl Fn(&BTreeMap<String, String>) -> Result<Edits, ClusterError>,
        remembered: Option<Seen>,
    ) -> Result<Option<Option<Seen>>, ClusterError> {
        let fresh = remembered.is_none();
        let before = match remembered {
            Some(seen) => Some(seen),
            None => self.read().await?,
        };
        let none = BTreeMap::new();
        let edits = match decide(before.as_ref().map_or(&none, |seen| &seen.data)) {
            // Only what was read just now can satisfy or refuse.
            Err(_) if !fresh => return Ok(None),
            Ok(edits) if edits.is_empty() && !fresh => return Ok(None),
            Ok(edits) if edits.is_empty() => return Ok(Some(before)),
            Ok(edits) => edits,
            Err(error) => return Err(error),
        };
        let existed = before.is_some();
        match self.write(edits, before).await {
            Ok(seen) => Ok(Some(Some(seen))),
            // Changed, made or deleted by somebody else meanwhile.
            Err(ClusterError::Conflict(_)) => Ok(None),
            Err(ClusterError::NotFound(_)) if existed => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read(&self) -> Result<Option<Seen>, ClusterError> {
        let api = self.requests.within::<core::ConfigMap>(&self.namespace);
        let found = self.requests.run(&self.what(), api.get_opt(&self.name)).await?;
        Ok(found.map(seen))
    }

    async fn write(&self, edits: Edits, before: Option<Seen>) -> Result<Seen, ClusterError> {
        let api = self.requests.within::<core::ConfigMap>(&self.namespace);
        let what = self.what();
        let written = match before {
            None => {
                let mut object = core::ConfigMap::default();
                object.metadata.name = Some(self.name.clone());
                let set = |(key, text): (String, Option<String>)| Some((key, text?));
                object.data = Some(edits.into_iter().filter_map(set).collect());
                let create = async { api.create(&PostParams::default(), &object).await };
                self.requests.run(&what, create).await?
            }
            Some(before) => {
                let patch = json!({
                    "metadata": {"resourceVersion": before.resource_version},
                    "data": edits,
                });
                let params = PatchParams::default();
                let merge = Patch::Merge(&patch);
                let request = api.patch(&self.name, &params, &merge);
                self.requests.run(&what, request).await?
            }
        };
        Ok(seen(written))
    }
}

fn seen(object: core::ConfigMap) -> Seen {
    Seen {
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        data: object.data.unwrap_or_default(),
    }
}
