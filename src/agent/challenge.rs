//! The question: random bytes that no answer of the past can contain.

use std::fmt;

use crate::volume::{Refused, chance, hex};

/// Bytes of a challenge.
const BYTES: usize = 32;

/// What an answer must repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; BYTES]);

impl Challenge {
    /// A new one.
    pub fn random() -> Self {
        Self(chance::bytes())
    }

    /// Reads 64 lower-case hex digits.
    ///
    /// # Errors
    /// Where it is anything else.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let bytes = super::seal::unhex(text.as_bytes());
        bytes.map(Self).ok_or_else(|| Refused::value(text, "is no challenge: 64 digits of 0-9 a-f"))
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
