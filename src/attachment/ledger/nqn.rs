//! The name under which a record lets hosts find its volume.

use std::fmt;

use super::{Record, State};
use crate::volume::{NQN_LENGTH_MAX, Nqn, Refused, Slot};

impl Record {
    /// The NQN of this generation: for an attachment in the static form the slot.
    pub fn nqn(&self, base: &str, slot: &Slot) -> Result<Nqn, Refused> {
        if self.state == State::Attached && self.is_static() {
            return Ok(Nqn::of_slot(slot));
        }
        let mut text = String::new();
        self.write_nqn(&mut text, base, slot).map_err(|_| Refused("no room for an NQN".into()))?;
        Nqn::parse(&text)
    }

    /// Is `text` the NQN of this generation? As [`Record::nqn`] says, which need not be made for it.
    pub fn has_nqn(&self, text: &str, base: &str, slot: &Slot) -> bool {
        if self.state == State::Attached && self.is_static() {
            return text == slot.as_str();
        }
        let mut rest = Unmatched(text);
        let is_same = self.write_nqn(&mut rest, base, slot).is_ok() && rest.0.is_empty();
        // What follows the base is never amiss, but perhaps too long.
        is_same && text.len() <= NQN_LENGTH_MAX && Nqn::is_nqn(base)
    }

    fn write_nqn(&self, to: &mut impl fmt::Write, base: &str, slot: &Slot) -> fmt::Result {
        for part in [base, ":", slot.as_str(), ".g"] {
            to.write_str(part)?;
        }
        write!(to, "{}-", self.generation)?;
        self.nonce.write(to)
    }
}

/// What is left of a text after all that was written was found at its beginning.
struct Unmatched<'a>(&'a str);

impl fmt::Write for Unmatched<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
        Ok(())
    }
}
