//! The keys of agents, derived from the cluster Secret.
//!
//! Each purpose has a key of its own, under a label of its own: what is derived from the Secret
//! elsewhere (host NQNs) says nothing of these.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::challenge::Challenge;
use crate::volume::{Refused, hex};

/// Bytes of a key, a tag and a hashed name.
pub(super) const BYTES: usize = 32;

/// What seals answers and hides names.
#[derive(Clone)]
pub struct Keys {
    seal: [u8; BYTES],
    names: [u8; BYTES],
}

impl Keys {
    /// Of the cluster that has this Secret.
    ///
    /// # Errors
    /// Where it is too short to be one.
    pub fn of(secret: &[u8]) -> Result<Self, Refused> {
        // As many bytes as the driver and the chart put there; an empty file is no secret.
        if secret.len() < BYTES {
            let why = format!("the cluster Secret has {} bytes, it takes {BYTES}", secret.len());
            return Err(Refused(why));
        }
        let derived = |label: &[u8]| digest(secret, &[label]);
        Ok(Self { seal: derived(b"agent-answer\0")?, names: derived(b"agent-nqn\0")? })
    }

    /// The tag of these bytes.
    pub(super) fn tag(&self, bytes: &[u8]) -> Result<[u8; BYTES], Refused> {
        digest(&self.seal, &[bytes])
    }

    /// Is this the tag of these bytes? Takes as long for a wrong one as for the right one.
    pub(super) fn is_tag(&self, tag: &[u8; BYTES], bytes: &[u8]) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.seal) else { return false };
        mac.update(bytes);
        mac.verify_slice(tag).is_ok()
    }

    /// What stands for a name in an answer to this challenge.
    pub(super) fn hidden(&self, challenge: &Challenge, name: &str) -> Result<String, Refused> {
        Ok(hex(&digest(&self.names, &[challenge.bytes(), name.as_bytes()])?))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

fn digest(key: &[u8], parts: &[&[u8]]) -> Result<[u8; BYTES], Refused> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|_| Refused("the cluster Secret is no HMAC key".into()))?;
    parts.iter().for_each(|part| mac.update(part));
    Ok(mac.finalize().into_bytes().into())
}
