//! Objects by their key, and by what else they are looked for.
//!
//! A pass looks for the PV of every disk and for the VolumeAttachment of every PV. The index for
//! that is kept as objects come and go, so that nobody has to build one each time, or to walk
//! through all of them for one.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::hash::BuildHasher as _;
use std::ops::Deref;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::cache::Kept;

/// Objects of one kind. Derefs to the map by key.
#[derive(Clone)]
pub struct Indexed<V: Kept> {
    by_key: BTreeMap<V::Key, V>,
    /// Those that have a [`Kept::sought`], by its hash. Several may have the same.
    by_sought: HashTable<V>,
    hasher: RandomState,
}

impl<V: Kept> Indexed<V> {
    /// Puts one in; one of the same key goes.
    pub fn insert(&mut self, value: V) {
        self.remove(&value.key());
        if let Some(sought) = value.sought() {
            let hash = self.hasher.hash_one(sought);
            let hasher = |known: &V| self.hasher.hash_one(known.sought().unwrap_or_default());
            self.by_sought.insert_unique(hash, value.clone(), hasher);
        }
        self.by_key.insert(value.key(), value);
    }

    /// Takes one out.
    pub fn remove(&mut self, key: &V::Key) -> Option<V> {
        let gone = self.by_key.remove(key)?;
        if let Some(sought) = gone.sought() {
            let hash = self.hasher.hash_one(sought);
            if let Ok(place) = self.by_sought.find_entry(hash, |known| known.key() == *key) {
                place.remove();
            }
        }
        Some(gone)
    }

    /// Those with this [`Kept::sought`], in no order.
    pub fn sought<'a, 't>(&'a self, text: &'t str) -> impl Iterator<Item = &'a V> + use<'a, 't, V> {
        let candidates = self.candidates(text).map(|(_, value)| value);
        candidates.filter(move |value| value.sought() == Some(text))
    }

    /// All those with this [`Kept::sought`] and perhaps others, in no order: for who compares
    /// anyway. Each with its place: a number below [`Indexed::places`] that no other one has as long
    /// as nothing is changed.
    pub fn candidates<'a>(
        &'a self,
        text: &str,
    ) -> impl Iterator<Item = (usize, &'a V)> + use<'a, V> {
        let candidates = self.by_sought.iter_hash_buckets(self.hasher.hash_one(text));
        candidates.filter_map(|at| Some((at, self.by_sought.get_bucket(at)?)))
    }

    /// Above every place.
    pub fn places(&self) -> usize {
        self.by_sought.num_buckets()
    }
}

impl<V: Kept> Default for Indexed<V> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_sought: HashTable::new(),
            hasher: RandomState::default(),
        }
    }
}

impl<V: Kept> PartialEq for Indexed<V> {
    fn eq(&self, other: &Self) -> bool {
        self.by_key == other.by_key
    }
}

impl<V: Kept + Eq> Eq for Indexed<V> {}

impl<V: Kept> Deref for Indexed<V> {
    type Target = BTreeMap<V::Key, V>;

    fn deref(&self) -> &Self::Target {
        &self.by_key
    }
}

impl<V: Kept> FromIterator<V> for Indexed<V> {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        let mut all = Self::default();
        values.into_iter().for_each(|value| all.insert(value));
        all
    }
}

impl<V: Kept + Debug> Debug for Indexed<V>
where
    V::Key: Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.by_key).finish()
    }
}

#[cfg(test)]
mod test {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::cluster::Version;

    /// Name, what else it is looked for by, and something that changes.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Thing(u8, Option<String>, u8);

    impl Kept for Thing {
        type Key = u8;

        fn key_of(name: &str) -> Option<u8> {
            name.parse().ok()
        }
        fn key(&self) -> u8 {
            self.0
        }
        fn version(&self) -> Option<&Version> {
            None
        }
        fn sought(&self) -> Option<&str> {
            self.1.as_deref()
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_scan_finds(
            changes in proptest::collection::vec((0..12u8, 0..6u8, 0..4u8, any::<bool>()), 0..200),
        ) {
            let mut all = Indexed::default();
            let mut scanned: BTreeMap<u8, Thing> = BTreeMap::new();
            for (key, sought, content, comes) in changes {
                // One in six has nothing to be looked for by.
                let text = (sought > 0).then(|| format!("t{sought}"));
                if comes {
                    all.insert(Thing(key, text.clone(), content));
                    scanned.insert(key, Thing(key, text, content));
                } else {
                    prop_assert_eq!(all.remove(&key), scanned.remove(&key));
                }
                let before = all.clone();
                prop_assert_eq!(&*before, &scanned);
                let mut places = BTreeSet::new();
                for text in (0..6).map(|sought| format!("t{sought}")) {
                    let found: BTreeSet<&Thing> = before.sought(&text).collect();
                    let scan = scanned.values().filter(|it| it.1.as_ref() == Some(&text));
                    prop_assert_eq!(found, scan.collect::<BTreeSet<_>>());
                    let candidates = before.candidates(&text);
                    for (place, _) in candidates.filter(|(_, it)| it.1.as_ref() == Some(&text)) {
                        prop_assert!(place < before.places() && places.insert(place));
                    }
                }
            }
        }
    }
}
