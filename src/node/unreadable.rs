//! A note that cannot be read: by a newer driver, or damaged. It stops its own volume, whose name is
//! the note's, and nothing that it may describe is ended; every other volume goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use slog::{info, warn};

use super::look::is_generation_of;
use super::staged::{LEFT, Note, is_left};
use super::{Happened, Node, precondition};
use crate::agent::generation;
use crate::host;
use crate::logging::Chain;
use crate::operations::{Error, Kind};
use crate::volume::{Nqn, Slot};

/// A note that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its name.
    pub name: String,
    /// The NQN in it, where that at least can be read.
    pub nqn: Option<Nqn>,
    /// Why the rest cannot.
    pub why: String,
    /// Was it read, and is none of ours? Else reading it failed, which may pass.
    pub is_damaged: bool,
}

/// Which notes cannot be read, as it was told last.
pub(super) type Told = Mutex<BTreeSet<String>>;

/// All notes, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// Those that can be read.
    pub read: BTreeMap<String, Note>,
    /// The others.
    pub unreadable: BTreeMap<String, Unreadable>,
}

impl Notes {
    fn of(texts: BTreeMap<String, Result<String, host::Error>>) -> Self {
        let mut notes = Self::default();
        for (name, text) in texts {
            let (why, nqn) = match &text {
                Err(error) => (Chain(error).to_string(), None),
                Ok(text) => match Note::read(text) {
                    Ok(note) => {
                        notes.read.insert(name, note);
                        continue;
                    }
                    Err(why) => (why.to_string(), nqn_in(text)),
                },
            };
            let is_damaged = text.is_ok();
            notes.unreadable.insert(name.clone(), Unreadable { name, nqn, why, is_damaged });
        }
        notes
    }
}

/// Every form of notes names the NQN in one and the same way.
fn nqn_in(text: &str) -> Option<Nqn> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    Nqn::exported(value.get("nqn")?.as_str()?).ok()
}

impl Unreadable {
    /// Is it of a volume that was unstaged, and tells no more than how far a file system was made?
    pub fn is_left(&self) -> bool {
        is_left(&self.name)
    }

    /// May it be the note of what is connected under this name? It is where it says so; else by the
    /// slot of its volume, as far as the name tells one.
    pub fn may_describe(&self, nqn: &Nqn) -> bool {
        match &self.nqn {
            Some(own) => own == nqn,
            None if generation(nqn.as_str()).is_none() => true,
            None => {
                let volume = self.name.strip_suffix(LEFT).unwrap_or(&self.name);
                let slot = volume.rsplit('.').next().and_then(|slot| Slot::parse(slot).ok());
                slot.is_none_or(|slot| is_generation_of(nqn, &slot))
            }
        }
    }

    /// Why nothing is done.
    pub fn error(&self) -> Error {
        if !self.is_damaged {
            let message = format!(
                "the note {} of what is staged on this node cannot be read now: {}",
                self.name, self.why
            );
            return Error::new(Kind::Unavailable, message);
        }
        precondition(format!(
            "the note {} of what is staged on this node cannot be read: {}; look at it, and remove \
             it once its volume is not in use here",
            self.name, self.why
        ))
    }
}

impl Node {
    /// All notes, those of volumes that were unstaged among them. Says which of them cannot be read,
    /// whenever that has changed.
    pub(super) async fn all_notes(&self) -> Result<Notes, Error> {
        let notes = Notes::of(self.parts.host.notes().await?);
        let mut told = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<String> = notes.unreadable.keys().cloned().collect();
        if *told != names {
            for one in notes.unreadable.values().filter(|one| !told.contains(&one.name)) {
                warn!(self.parts.log, "a note cannot be read, and its volume is left as it is";
                    "note" => &one.name, "nqn" => one.nqn.as_ref().map(Nqn::as_str),
                    "error" => &one.why);
            }
            for name in told.difference(&names) {
                info!(self.parts.log, "an unreadable note is gone or can be read"; "note" => name);
            }
            self.parts.observer.happened(Happened::UnreadableNotes(names.len()));
            *told = names;
        }
        Ok(notes)
    }

    /// The notes that cannot be read.
    ///
    /// # Errors
    /// When none of them can.
    pub async fn unreadable(&self) -> Result<Vec<Unreadable>, Error> {
        Ok(self.all_notes().await?.unreadable.into_values().collect())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_note_that_could_not_be_read_is_asked_for_again_and_only_a_damaged_one_may_be_removed() {
        let failed = host::Error::new(host::Kind::Failed, "too many open files");
        let texts = [("v", Err(failed)), ("w", Ok("{".to_owned()))];
        let notes = Notes::of(texts.map(|(name, text)| (name.to_owned(), text)).into());
        let error = notes.unreadable["v"].error();
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(!error.message.contains("remove"), "{error}");
        let error = notes.unreadable["w"].error();
        assert_eq!(error.kind, Kind::Precondition);
        assert!(error.message.contains("remove it"), "{error}");
    }

    #[test]
    fn an_unreadable_note_may_describe_what_it_names_or_what_its_name_does_not_exclude() {
        let generation = "nqn.x:v.g3-0123456789ab";
        for (name, text, nqn, expected) in [
            ("v", r#"{"form": 2, "nqn": "nqn.x:v.g3-0123456789ab"}"#, generation, true),
            ("v", r#"{"form": 2, "nqn": "nqn.x:v.g2-0123456789ab"}"#, generation, false),
            ("w", r#"{"form": 2, "nqn": "nqn.x:v.g3-0123456789ab"}"#, generation, true),
            ("v", "{", generation, true),
            ("far.v", "{", generation, true),
            ("v.left.note", "{", generation, true),
            ("w", "{", generation, false),
            // A name that never changes is no slot's for certain.
            ("w", "{", "nqn.x:v", true),
            ("w", "{", "v", true),
            ("no slot", "{", generation, true),
        ] {
            let notes = Notes::of(BTreeMap::from([(name.to_owned(), Ok(text.to_owned()))]));
            let found = notes.unreadable[name].may_describe(&Nqn::exported(nqn).unwrap());
            assert_eq!(found, expected, "{name} {text} {nqn}");
        }
    }
}
