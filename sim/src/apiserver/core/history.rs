//! The bounded log of changes: what a watch replays and what an old list is rebuilt from.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::Key;
use crate::apiserver::failure::Failure;
use crate::apiserver::selector::Selector;

/// What happened to an object, in the words of the watch protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It came, or it began to match the selector.
    Added,
    /// It changed.
    Modified,
    /// It went, or it ceased to match the selector.
    Deleted,
}

impl ChangeKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change as a watcher sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object after it; for [`ChangeKind::Deleted`] the last state, with the revision of the
    /// deletion.
    pub object: Value,
    /// The resourceVersion of the change.
    pub revision: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    revision: u64,
    key: Key,
    before: Option<Value>,
    after: Option<Value>,
}

/// The log. Revisions up to and including `floor` are forgotten.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    bound: usize,
    floor: u64,
}

impl History {
    pub(super) fn new(bound: usize) -> Self {
        Self { entries: VecDeque::new(), bound, floor: 0 }
    }

    pub(super) fn record(
        &mut self,
        revision: u64,
        key: Key,
        before: Option<Value>,
        after: Option<Value>,
    ) {
        self.entries.push_back(Entry { revision, key, before, after });
        while self.entries.len() > self.bound {
            if let Some(gone) = self.entries.pop_front() {
                self.floor = gone.revision;
            }
        }
    }

    /// Forgets everything up to `revision`.
    pub(super) fn forget(&mut self, revision: u64) {
        self.entries.retain(|entry| entry.revision > revision);
        self.floor = self.floor.max(revision);
    }

    /// The changes after `from` that concern `within` and pass the selector, in order.
    pub(super) fn since(
        &self,
        from: u64,
        within: impl Fn(&Key) -> bool,
        selector: &Selector,
    ) -> Result<Vec<Change>, Failure> {
        if from < self.floor {
            let message = format!("too old resource version: {from} ({})", self.floor + 1);
            return Err(Failure::expired(message));
        }
        let first = self.entries.partition_point(|entry| entry.revision <= from);
        let entries = self.entries.range(first..).filter(|entry| within(&entry.key));
        Ok(entries.filter_map(|entry| entry.seen_through(selector)).collect())
    }

    /// Turns the objects of now into the objects of `revision`.
    pub(super) fn rewind(
        &self,
        objects: &mut BTreeMap<Key, Value>,
        revision: u64,
        within: impl Fn(&Key) -> bool,
    ) -> Result<(), Failure> {
        if revision < self.floor {
            return Err(Failure::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You must start a new list without the continue parameter.",
            ));
        }
        let later = self.entries.iter().rev().take_while(|entry| entry.revision > revision);
        for entry in later.filter(|entry| within(&entry.key)) {
            match &entry.before {
                Some(before) => objects.insert(entry.key.clone(), before.clone()),
                None => objects.remove(&entry.key),
            };
        }
        Ok(())
    }
}

impl Entry {
    fn seen_through(&self, selector: &Selector) -> Option<Change> {
        let before = self.before.as_ref().filter(|object| selector.matches(object));
        let after = self.after.as_ref().filter(|object| selector.matches(object));
        let (kind, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(after)) => (ChangeKind::Added, after.clone()),
            (Some(_), Some(after)) => (ChangeKind::Modified, after.clone()),
            (Some(before), None) => {
                let mut last = before.clone();
                last["metadata"]["resourceVersion"] = self.revision.to_string().into();
                (ChangeKind::Deleted, last)
            }
        };
        Some(Change { kind, object, revision: self.revision })
    }
}

#[cfg(test)]
mod test {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::apiserver::core::{Core, DeleteOptions, Page, Part, Patch, Scope, Target};
    use crate::apiserver::kinds::by_name;

    /// Creates, relabels or deletes one of four nodes; what is refused changes nothing.
    fn act(core: &mut Core, (what, which): (u8, u8)) {
        let resource = by_name("nodes").unwrap();
        let name = format!("n{which}");
        let at =
            Target { resource, namespace: String::new(), name: name.clone(), part: Part::Main };
        let label = json!({"metadata": {"labels": {"x": what.to_string()}}});
        let _ = match what {
            0 => core.create(resource, "", json!({"metadata": {"name": name}}), UNIX_EPOCH),
            1..=3 => core.patch(&at, &Patch::Merge(label)),
            _ => core.delete(&at, &DeleteOptions::default(), UNIX_EPOCH),
        };
    }

    fn by_object_name(items: &[Value]) -> BTreeMap<String, Value> {
        items.iter().map(|o| (o["metadata"]["name"].to_string(), o.clone())).collect()
    }

    proptest! {
        #[test]
        fn every_moment_can_be_listed_again_and_followed_from(
            acts in prop::collection::vec((0u8..6, 0u8..4), 1..60),
            labels in prop::sample::select(vec!["", "x", "x=1", "x!=2"]),
        ) {
            let mut core = Core::new(1, 1000, UNIX_EPOCH);
            let resource = by_name("nodes").unwrap();
            let selector = Selector::parse(resource, labels, "").unwrap();
            let scope = Scope { resource, namespace: None, selector };
            let mut moments = Vec::new();
            for step in acts {
                moments.push(core.list(&scope, &Page::default()).unwrap());
                act(&mut core, step);
            }
            let end = by_object_name(&core.list(&scope, &Page::default()).unwrap().items);
            for moment in moments {
                let page = Page { revision: Some(moment.revision), ..Page::default() };
                prop_assert_eq!(&core.list(&scope, &page).unwrap(), &moment);
                let mut followed = by_object_name(&moment.items);
                for change in core.changes_since(moment.revision, &scope).unwrap() {
                    let name = change.object["metadata"]["name"].to_string();
                    let known = match change.kind {
                        ChangeKind::Deleted => followed.remove(&name),
                        _ => followed.insert(name, change.object),
                    };
                    prop_assert_eq!(known.is_none(), change.kind == ChangeKind::Added);
                }
                prop_assert_eq!(&followed, &end);
            }
        }
    }
}
