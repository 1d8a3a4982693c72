//! One turn per volume: whoever holds it is the only one in this process that changes the volume.
//!
//! The turn travels inside the message that does the work. Held by the RPC's future it would be
//! released when the client cancels, while the command still runs on the box.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::mandate::Mandate;
use crate::volume::VolumeId;

/// Who has a turn. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    taken: Arc<Mutex<HashSet<VolumeId>>>,
}

/// The right to change one volume, given back when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Turn {
    held: Arc<Held>,
    /// What the work with it needs, where nobody else has asked for it.
    mandate: Option<Mandate>,
}

#[derive(Debug)]
struct Held {
    volume: VolumeId,
    turns: Turns,
}

impl Turns {
    /// Takes the turn of `volume`, or `None` while somebody else has it.
    pub fn take(&self, volume: &VolumeId) -> Option<Turn> {
        let taken = self.lock().insert(volume.clone());
        taken.then(|| {
            let held = Arc::new(Held { volume: volume.clone(), turns: self.clone() });
            Turn { held, mandate: None }
        })
    }

    /// How many volumes are being changed now.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<VolumeId>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The volume whose turn it is.
    pub fn volume(&self) -> &VolumeId {
        &self.held.volume
    }

    /// The same turn, for work that `mandate` allows.
    pub fn under(self, mandate: Mandate) -> Self {
        Self { mandate: Some(mandate), ..self }
    }

    /// What must hold in the moment in which a command of this turn is sent.
    pub fn mandate(&self) -> Option<&Mandate> {
        self.mandate.as_ref()
    }

    /// May the work go on?
    pub fn may_act(&self) -> bool {
        self.mandate.as_ref().is_none_or(Mandate::holds)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.volume);
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::volume::{BackendName, Slot};

    #[test]
    fn a_turn_is_free_again_when_its_last_clone_is_gone() {
        let volume = VolumeId {
            backend: BackendName::parse("box").unwrap(),
            slot: Slot::parse("a").unwrap(),
        };
        let turns = Turns::default();
        let first = turns.take(&volume).unwrap();
        let second = first.clone();
        drop(first);
        assert!(turns.take(&volume).is_none());
        drop(second);
        assert_eq!(turns.count(), 0);
        assert!(turns.take(&volume).is_some());
    }
}
