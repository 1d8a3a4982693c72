//! The list of volumes that are being deleted: a ConfigMap in our namespace.
//!
//! One entry per disk, `<backend>.<slot>` → `{"image":…,"since":…}`, written before the line that
//! deletes the disk and taken away afterwards, so that a retry which finds no disk still knows its
//! image. Entries that cannot be read are logged and kept: a person wrote them, or a later version.
//!
//! Writers of one process take turns and remember the list as they left it, so that a write costs
//! one request; the write is guarded by that version, and another replica's change is a conflict
//! after which the list is read again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::json;
use slog::{Logger, warn};
use tokio::sync::Mutex;

use super::request::Requests;
use super::volumes::seconds;
use super::{ClusterError, Deleting};
use crate::volume::{BackendName, ImagePath, Refused, Slot};

/// Most entries. At about 400 bytes each this stays far below the 1 MiB of a ConfigMap.
const ENTRIES_MAX: usize = 1000;
/// Longest entry that is read, in bytes.
const ENTRY_LENGTH_MAX: usize = 1024;
/// Writes that are tried when others change the list at the same time.
const ATTEMPTS: usize = 6;

/// The value of an entry. Unknown fields are those of a later version and do no harm.
#[derive(Serialize, Deserialize)]
struct Value {
    image: ImagePath,
    since: String,
}

/// The ConfigMap as last seen.
struct Seen {
    resource_version: String,
    data: BTreeMap<String, String>,
}

/// The list.
pub struct DeletingList {
    requests: Requests,
    namespace: String,
    name: String,
    seen: Mutex<Option<Seen>>,
    log: Logger,
}

/// What is to become of one entry.
enum Edit {
    Nothing,
    Set(String),
    Remove,
}

impl DeletingList {
    /// The list in the ConfigMap `namespace`/`<release>-deleting`.
    pub fn new(requests: Requests, namespace: String, release: &str, log: Logger) -> Self {
        Self {
            requests,
            namespace,
            name: format!("{release}-deleting"),
            seen: Mutex::new(None),
            log,
        }
    }

    fn what(&self) -> String {
        format!("ConfigMap {}/{}", self.namespace, self.name)
    }

    /// All entries that can be read.
    ///
    /// # Errors
    /// When the API server does not show the list.
    pub async fn entries(&self) -> Result<Vec<Deleting>, ClusterError> {
        let data = self.read().await?.map(|seen| seen.data).unwrap_or_default();
        let mut entries = Vec::with_capacity(data.len());
        for (key, value) in &data {
            match parse(key, value) {
                Ok(entry) => entries.push(entry),
                Err(error) => warn!(self.log, "entry in the list of deletions cannot be read";
                    "list" => self.what(), "key" => key, "error" => %error),
            }
        }
        Ok(entries)
    }

    /// Adds an entry. One for the same disk with another image is replaced.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] when the list is full; [`ClusterError::Conflict`] when others
    /// change it all the time.
    pub async fn add(&self, entry: &Deleting) -> Result<(), ClusterError> {
        let since = seconds(Timestamp::now());
        let value = Value { image: entry.image.clone(), since };
        let text = serde_json::to_string(&value)
            .map_err(|e| ClusterError::Refused(format!("{}: {e}", self.what())))?;
        let key = key(entry);
        self.edit(&key, |data| {
            if data.get(&key).is_some_and(|old| is(&key, old, entry)) {
                return Ok(Edit::Nothing);
            }
            if data.len() >= ENTRIES_MAX && !data.contains_key(&key) {
                let why = format!("{} has {ENTRIES_MAX} entries and takes no more", self.what());
                return Err(ClusterError::Refused(why));
            }
            Ok(Edit::Set(text.clone()))
        })
        .await
    }

    /// Takes an entry away. One for the same disk with another image stays.
    ///
    /// # Errors
    /// As [`DeletingList::add`].
    pub async fn remove(&self, entry: &Deleting) -> Result<(), ClusterError> {
        let key = key(entry);
        self.edit(&key, |data| {
            let found = data.get(&key).is_some_and(|old| is(&key, old, entry));
            Ok(if found { Edit::Remove } else { Edit::Nothing })
        })
        .await
    }

    async fn edit(
        &self,
        key: &str,
        decide: impl Fn(&BTreeMap<String, String>) -> Result<Edit, ClusterError>,
    ) -> Result<(), ClusterError> {
        let what = self.what();
        let turns = async {
            let mut memory = self.seen.lock().await;
            for _ in 0..ATTEMPTS {
                // Taken out: a future that is dropped in the middle leaves no wrong memory.
                let remembered = memory.take();
                if let Some(seen) = self.attempt(key, &decide, remembered).await? {
                    *memory = seen;
                    return Ok(());
                }
            }
            Err(ClusterError::Conflict(what.clone()))
        };
        self.requests.bounded(&what, turns).await
    }

    /// One try from what is remembered, else from a fresh look. Done, it returns the list as it is
    /// now; nothing when it must be looked at again.
    async fn attempt(
        &self,
        key: &str,
        decide: &impl Fn(&BTreeMap<String, String>) -> Result<Edit, ClusterError>,
        remembered: Option<Seen>,
    ) -> Result<Option<Option<Seen>>, ClusterError> {
        let fresh = remembered.is_none();
        let before = match remembered {
            Some(seen) => Some(seen),
            None => self.read().await?,
        };
        let none = BTreeMap::new();
        let edit = match decide(before.as_ref().map_or(&none, |seen| &seen.data)) {
            // Only what was read just now can satisfy or refuse.
            Ok(Edit::Nothing) | Err(_) if !fresh => return Ok(None),
            Ok(Edit::Nothing) => return Ok(Some(before)),
            Ok(edit) => edit,
            Err(error) => return Err(error),
        };
        let existed = before.is_some();
        match self.write(key, edit, before).await {
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

    async fn write(
        &self,
        key: &str,
        edit: Edit,
        before: Option<Seen>,
    ) -> Result<Seen, ClusterError> {
        let api = self.requests.within::<core::ConfigMap>(&self.namespace);
        let value = match edit {
            Edit::Set(text) => Some(text),
            Edit::Remove | Edit::Nothing => None,
        };
        let what = self.what();
        let written = match before {
            None => {
                let mut object = core::ConfigMap::default();
                object.metadata.name = Some(self.name.clone());
                object.data = value.map(|text| BTreeMap::from([(key.to_owned(), text)]));
                let create = async { api.create(&PostParams::default(), &object).await };
                self.requests.run(&what, create).await?
            }
            Some(before) => {
                let patch = json!({
                    "metadata": {"resourceVersion": before.resource_version},
                    "data": {key: value},
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

/// Neither part has a dot, and both consist of what a key may have.
fn key(entry: &Deleting) -> String {
    format!("{}.{}", entry.backend, entry.slot)
}

fn is(key: &str, value: &str, entry: &Deleting) -> bool {
    parse(key, value).is_ok_and(|found| found == *entry)
}

fn parse(key: &str, value: &str) -> Result<Deleting, Refused> {
    let Some((backend, slot)) = key.split_once('.') else {
        return Err(Refused::value(key, "is not <backend>.<slot>"));
    };
    if value.len() > ENTRY_LENGTH_MAX {
        let what = format!("has {} bytes, {ENTRY_LENGTH_MAX} are allowed", value.len());
        return Err(Refused::value(value, what));
    }
    let parsed: Value = serde_json::from_str(value)
        .map_err(|e| Refused::value(value, format!("is no entry: {e}")))?;
    Ok(Deleting {
        backend: BackendName::parse(backend)?,
        slot: Slot::parse(slot)?,
        image: parsed.image,
    })
}

#[cfg(test)]
mod test;
