//! An NQN, taken apart: the volume, and which of its attachments.

use sha2::{Digest as _, Sha256};

use crate::volume::hex;

/// Hex digits of a nonce.
const NONCE_DIGITS: usize = 12;

/// The name of the volume, which is the same for all its attachments: the NQN without
/// `.g<generation>-<nonce>`. A name that comes back (the slot alone, the first driver's NQNs) has
/// no such end and names the volume as it is.
pub fn volume_name(nqn: &str) -> &str {
    split(nqn).map_or(nqn, |(name, _, _)| name)
}

/// Generation and nonce of an NQN that this driver made for one attachment. `None` for any other.
pub fn generation(nqn: &str) -> Option<(u64, &str)> {
    split(nqn).map(|(_, generation, nonce)| (generation, nonce))
}

/// The same for people: what nobody can guess is left out, and of a name that comes back a hash is
/// shown, because the name is all that a host needs to connect with.
pub fn without_nonce(nqn: &str) -> String {
    match split(nqn) {
        Some((name, generation, _)) => format!("{name}.g{generation}"),
        None => format!("sha256:{}", hex(&Sha256::digest(nqn.as_bytes())[..6])),
    }
}

fn split(nqn: &str) -> Option<(&str, u64, &str)> {
    let (name, end) = nqn.rsplit_once(".g")?;
    let (generation, nonce) = end.split_once('-')?;
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let is_nonce = nonce.len() == NONCE_DIGITS && nonce.bytes().all(digit);
    // As it is printed: no sign, no leading zero.
    let number: u64 = generation.parse().ok()?;
    let is_ours = is_nonce && number.to_string() == generation && name.contains(':');
    is_ours.then_some((name, number, nonce))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_person_is_shown_no_name_that_a_host_could_connect_with() {
        let nqn = "nqn.2000-02.com.mikrotik:pvc-1.g12-0a1b2c3d4e5f";
        assert_eq!(without_nonce(nqn), "nqn.2000-02.com.mikrotik:pvc-1.g12");
        for nqn in ["pvc-1", "nqn.2000-02.com.mikrotik:pvc-1", "nqn.x:v.g1-short"] {
            let shown = without_nonce(nqn);
            assert!(shown.starts_with("sha256:") && !shown.contains(nqn), "{shown}");
        }
        assert_ne!(without_nonce("pvc-1"), without_nonce("pvc-2"));
    }
}
