//! The list of volumes that are being deleted: a ConfigMap in our namespace.
//!
//! One entry per disk, `<backend>.<slot>` → `{"image":…,"since":…}`, written before the line that
//! deletes the disk and taken away afterwards, so that a retry which finds no disk still knows its
//! image. Entries that cannot be read are logged and kept: a person wrote them, or a later version.

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slog::{Logger, warn};

use super::entries::{Edits, Entries};
use super::request::Requests;
use super::volumes::seconds;
use super::{ClusterError, Deleting};
use crate::volume::{BackendName, ImagePath, Refused, Slot};

/// Most entries. At about 400 bytes each this stays far below the 1 MiB of a ConfigMap.
const ENTRIES_MAX: usize = 1000;
/// Longest entry that is read, in bytes.
const ENTRY_LENGTH_MAX: usize = 1024;

/// The value of an entry. Unknown fields are those of a later version and do no harm.
#[derive(Serialize, Deserialize)]
struct Value {
    image: ImagePath,
    since: String,
}

/// The list.
pub struct DeletingList {
    list: Entries,
    log: Logger,
}

impl DeletingList {
    /// The list in the ConfigMap `namespace`/`<release>-deleting`.
    pub fn new(requests: Requests, namespace: String, release: &str, log: Logger) -> Self {
        Self { list: Entries::new(requests, namespace, format!("{release}-deleting")), log }
    }

    /// All entries that can be read.
    ///
    /// # Errors
    /// When the API server does not show the list.
    pub async fn entries(&self) -> Result<Vec<Deleting>, ClusterError> {
        let data = self.list.all().await?;
        let mut entries = Vec::with_capacity(data.len());
        for (key, value) in &data {
            match parse(key, value) {
                Ok(entry) => entries.push(entry),
                Err(error) => warn!(self.log, "entry in the list of deletions cannot be read";
                    "list" => self.list.what(), "key" => key, "error" => %error),
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
            .map_err(|e| ClusterError::Refused(format!("{}: {e}", self.list.what())))?;
        let key = key(entry);
        self.list
            .edit(|data| {
                if data.get(&key).is_some_and(|old| is(&key, old, entry)) {
                    return Ok(Edits::new());
                }
                if data.len() >= ENTRIES_MAX && !data.contains_key(&key) {
                    let why =
                        format!("{} has {ENTRIES_MAX} entries and takes no more", self.list.what());
                    return Err(ClusterError::Refused(why));
                }
                Ok(Edits::from([(key.clone(), Some(text.clone()))]))
            })
            .await
    }

    /// Takes an entry away. One for the same disk with another image stays.
    ///
    /// # Errors
    /// As [`DeletingList::add`].
    pub async fn remove(&self, entry: &Deleting) -> Result<(), ClusterError> {
        let key = key(entry);
        self.list
            .edit(|data| {
                let found = data.get(&key).is_some_and(|old| is(&key, old, entry));
                Ok(found.then(|| (key.clone(), None)).into_iter().collect())
            })
            .await
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
