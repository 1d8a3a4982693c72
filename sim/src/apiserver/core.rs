//! The store: objects, one growing resourceVersion, a bounded history. Pure and synchronous; the
//! time comes in with each call that needs it, randomness from a seed.
//!
//! What it knows of Kubernetes' rules is in [`kinds`] and in `core/admit.rs`. It does
//! not default or validate specs, and it runs no controllers: deleting a namespace leaves what is in
//! it, and a PersistentVolume is bound only by whoever writes that it is.

mod admit;
mod history;
mod remove;
#[cfg(test)]
mod test;
mod write;

use std::collections::BTreeMap;
use std::time::SystemTime;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

pub use self::history::{Change, ChangeKind};
pub use self::remove::DeleteOptions;
pub use self::write::Patch;
use super::failure::Failure;
use super::kinds::{self, Resource};
use super::selector::Selector;

/// Where an object lies. The order is the order of lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    resource: &'static Resource,
    namespace: String,
    name: String,
}

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The object, without its status where the status is a subresource.
    Main,
    /// Its status only.
    Status,
    /// Both, and no rule asked: for tests that seed a world.
    Whole,
}

/// The object that a call is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its resource.
    pub resource: &'static Resource,
    /// Its namespace; empty for cluster-wide resources.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What of it.
    pub part: Part,
}

impl Target {
    fn key(&self) -> Key {
        Key { resource: self.resource, namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// A resource, in one namespace or in all, narrowed by selectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// The resource.
    pub resource: &'static Resource,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// The selectors.
    pub selector: Selector,
}

impl Scope {
    fn holds(&self, key: &Key) -> bool {
        key.resource == self.resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    }
}

/// Which page of a list, as of when.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// At most so many objects.
    pub limit: Option<usize>,
    /// As of this revision instead of now.
    pub revision: Option<u64>,
    /// Refuse when the server has not reached this revision.
    pub not_older_than: u64,
    /// Only what comes after this namespace and name.
    pub after: Option<(String, String)>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The objects, ordered by namespace and name.
    pub items: Vec<Value>,
    /// The revision that the page shows.
    pub revision: u64,
    /// Namespace and name of the last object, when more follow, and how many do.
    pub more: Option<((String, String), usize)>,
}

/// The whole state of the server.
#[derive(Debug)]
pub struct Core {
    objects: BTreeMap<Key, Value>,
    revision: u64,
    history: history::History,
    random: StdRng,
}

impl Core {
    /// An almost empty cluster: its four first namespaces. `history` bounds the log of changes,
    /// `seed` makes uids and generated names.
    pub fn new(seed: u64, history: usize, now: SystemTime) -> Self {
        let mut core = Self {
            objects: BTreeMap::new(),
            revision: 0,
            history: history::History::new(history),
            random: StdRng::seed_from_u64(seed),
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
                "status": {"phase": "Active"},
            });
            // The names are good and the store is empty, so this cannot be refused.
            let _ = core.seed(namespace, now);
        }
        core
    }

    /// The newest resourceVersion.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    ///
    /// # Errors
    ///
    /// 404 when it does not exist.
    pub fn get(&self, target: &Target) -> Result<&Value, Failure> {
        let missing = || Failure::not_found(target.resource, &target.name);
        self.objects.get(&target.key()).ok_or_else(missing)
    }

    /// One page of a list.
    ///
    /// # Errors
    ///
    /// 410 for a revision whose history is forgotten, 504 for one that is not reached yet.
    pub fn list(&self, scope: &Scope, page: &Page) -> Result<Listed, Failure> {
        let revision = page.revision.unwrap_or(self.revision);
        let asked = revision.max(page.not_older_than);
        if asked > self.revision {
            return Err(Failure::version_too_large(asked, self.revision));
        }
        let within = |key: &Key| scope.holds(key);
        let mut objects: BTreeMap<Key, Value> = self
            .objects
            .iter()
            .filter(|(key, _)| within(key))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        if revision < self.revision {
            self.history.rewind(&mut objects, revision, within)?;
        }
        let after = page.after.as_ref().map(|(namespace, name)| (namespace, name));
        let mut selected = objects
            .into_iter()
            .filter(|(key, _)| after.is_none_or(|after| (&key.namespace, &key.name) > after))
            .filter(|(_, object)| scope.selector.matches(object));
        let (keys, items): (Vec<_>, Vec<_>) =
            selected.by_ref().take(page.limit.unwrap_or(usize::MAX)).unzip();
        let left = selected.count();
        let more = keys
            .into_iter()
            .next_back()
            .filter(|_| left > 0)
            .map(|key| ((key.namespace, key.name), left));
        Ok(Listed { items, revision, more })
    }

    /// What changed after a revision, in order, as seen through a scope.
    ///
    /// # Errors
    ///
    /// 410 when the history does not reach back that far.
    pub fn changes_since(&self, revision: u64, scope: &Scope) -> Result<Vec<Change>, Failure> {
        self.history.since(revision, |key| scope.holds(key), &scope.selector)
    }

    /// Forgets all history, as a compaction does after one more change elsewhere: every
    /// resourceVersion handed out so far is too old to watch from.
    pub fn expire_history(&mut self) {
        self.revision += 1;
        self.history.forget(self.revision);
    }

    /// Stores an object under a new revision, or removes it, and records the change.
    fn put(&mut self, key: Key, object: Option<Value>) -> Option<Value> {
        self.revision += 1;
        let stamped = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = self.revision.to_string().into();
            object
        });
        let before = match &stamped {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(&key),
        };
        self.history.record(self.revision, key, before, stamped.clone());
        stamped
    }

    fn new_uid(&mut self) -> String {
        let [a, b, c, d]: [u32; 4] = self.random.random();
        format!(
            "{a:08x}-{:04x}-4{:03x}-{:04x}-{:04x}{d:08x}",
            b >> 16,
            b & 0xfff,
            0x8000 | (c >> 16 & 0x3fff),
            c & 0xffff
        )
    }

    fn name_suffix(&mut self) -> String {
        // The alphabet of the real one: no vowels, nothing that looks like something else.
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(ALPHABET[self.random.random_range(0..ALPHABET.len())])).collect()
    }
}

/// The finalizers of an object.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// The resource, namespace and name that an object itself states.
pub(super) fn own_target(object: &Value) -> Result<Target, Failure> {
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let resource = kinds::by_kind(&version, &kind)
        .ok_or_else(|| Failure::bad_request(format!("no kind {kind:?} in version {version:?}")))?;
    let namespace = match resource.namespaced {
        true => Some(text(&object["metadata"]["namespace"])).filter(|n| !n.is_empty()),
        false => Some(String::new()),
    };
    Ok(Target {
        resource,
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
        name: text(&object["metadata"]["name"]),
        part: Part::Whole,
    })
}
