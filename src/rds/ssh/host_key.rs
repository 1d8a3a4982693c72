//! The pinned host keys of a box.
//!
//! Parsed once, from the configuration, and asked by both SSH libraries during the key exchange,
//! before anything of ours is sent. There is no trust on first use: a driver that starts on a
//! fresh node has no first use worth the name. Several keys may be pinned, so that a key can be
//! rotated without an outage; one of them must match.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};

use super::wire::Wire;

const RSA: &str = "ssh-rsa";
const ED25519: &str = "ssh-ed25519";

/// People copy keys and fingerprints with and without it.
const PADDING: char = '=';

/// How people get a pin, for error texts. The box prints its key on its console.
const WAY_OUT: &str = "pin the line that `ssh-keyscan` prints, or its `SHA256:…` fingerprint, \
                       after comparing it with the box's console";

/// SHA-256 of a public key in SSH's wire form, shown as OpenSSH shows it: `SHA256:…`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a key blob.
    pub fn of(blob: &[u8]) -> Self {
        Fingerprint(Sha256::digest(blob).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The type of a host key, where the pin says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyType {
    /// `ssh-rsa`, signing with `rsa-sha2-256` or `rsa-sha2-512`. The box's default.
    Rsa,
    /// `ssh-ed25519`.
    Ed25519,
}

/// Why a pin in the configuration cannot be used. `Display` says what helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// No pin at all: there is no trust on first use.
    #[error("no host key is pinned; {WAY_OUT}")]
    Missing,
    /// A key type that the box or our transport does not have.
    #[error(
        "host keys of type {0} are not supported; a RouterOS box has an RSA or an Ed25519 key: \
         `/ip/ssh set host-key-type=ed25519` and `/ip/ssh regenerate-host-key`"
    )]
    Type(String),
    /// Not a key, not a fingerprint.
    #[error("{0}; {WAY_OUT}")]
    Malformed(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pin {
    fingerprint: Fingerprint,
    key_type: Option<KeyType>,
}

/// All keys under which a box may show itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedKeys(Vec<Pin>);

impl PinnedKeys {
    /// Parses every pin: `ssh-ed25519 AAAA…`, `ssh-rsa AAAA…`, the same with a host name in front
    /// (a line of `known_hosts`) or a comment behind, or `SHA256:…`.
    ///
    /// # Errors
    /// The first pin that cannot be used, or that there is none.
    pub fn parse<'a>(pins: impl IntoIterator<Item = &'a str>) -> Result<Self, PinError> {
        let parsed = pins.into_iter().map(parse_pin).collect::<Result<Vec<_>, _>>()?;
        if parsed.is_empty() { Err(PinError::Missing) } else { Ok(PinnedKeys(parsed)) }
    }

    /// Whether the key that the box showed, in SSH's wire form, is one of the pinned ones.
    ///
    /// # Errors
    /// The fingerprint of the key that is not.
    pub fn check(&self, blob: &[u8]) -> Result<(), Fingerprint> {
        let offered = Fingerprint::of(blob);
        if self.0.iter().any(|pin| pin.fingerprint == offered) { Ok(()) } else { Err(offered) }
    }

    /// Whether Ed25519 should be asked for before RSA. A server with both shows the one that is
    /// asked for first; a fingerprint says nothing of its type, then RSA, the box's default.
    pub(super) fn prefer_ed25519(&self) -> bool {
        self.0.iter().find_map(|pin| pin.key_type) == Some(KeyType::Ed25519)
    }
}

impl fmt::Display for PinnedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pin) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { " or " };
            write!(f, "{separator}{}", pin.fingerprint)?;
        }
        Ok(())
    }
}

fn parse_pin(text: &str) -> Result<Pin, PinError> {
    let text = text.trim();
    if let Some(digest) = text.strip_prefix("SHA256:") {
        let digest = STANDARD_NO_PAD
            .decode(digest.trim_end_matches(PADDING))
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or(PinError::Malformed("a SHA256 fingerprint has 43 characters of base64"))?;
        return Ok(Pin { fingerprint: Fingerprint(digest), key_type: None });
    }
    if text.starts_with("MD5:") {
        return Err(PinError::Malformed("MD5 fingerprints prove nothing"));
    }
    if text.starts_with('@') || text.starts_with("|1|") {
        return Err(PinError::Malformed("markers and hashed host names are not supported"));
    }
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    match words[..] {
        [name, blob, ..] if is_key_type(name) => parse_key(name, blob),
        [_host, name, blob] if is_key_type(name) => parse_key(name, blob),
        [] => Err(PinError::Missing),
        _ => Err(PinError::Malformed("neither a public key nor a fingerprint")),
    }
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| word.starts_with(prefix))
}

fn parse_key(name: &str, text: &str) -> Result<Pin, PinError> {
    let key_type = match name {
        RSA => KeyType::Rsa,
        ED25519 => KeyType::Ed25519,
        other => return Err(PinError::Type(other.to_owned())),
    };
    let blob = STANDARD_NO_PAD
        .decode(text.trim_end_matches(PADDING))
        .map_err(|_| PinError::Malformed("the key is not base64"))?;
    let well_formed = is_key(key_type, Wire(&blob)).unwrap_or(false);
    if !well_formed {
        return Err(PinError::Malformed("the key is cut off or not of the type it names"));
    }
    Ok(Pin { fingerprint: Fingerprint::of(&blob), key_type: Some(key_type) })
}

fn is_key(key_type: KeyType, mut wire: Wire<'_>) -> Option<bool> {
    let name = wire.string()?;
    let well_formed = match key_type {
        KeyType::Ed25519 => name == ED25519.as_bytes() && wire.string()?.len() == 32,
        KeyType::Rsa => {
            let (exponent, modulus) = (wire.string()?, wire.string()?);
            name == RSA.as_bytes() && !exponent.is_empty() && !modulus.is_empty()
        }
    };
    Some(well_formed && wire.0.is_empty())
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    fn blob(seed: u8) -> Vec<u8> {
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([seed; 32]);
        blob
    }

    fn line(seed: u8) -> String {
        format!("ssh-ed25519 {}", STANDARD_NO_PAD.encode(blob(seed)))
    }

    #[test]
    fn a_key_is_recognized_in_every_form_in_which_it_can_be_pinned() {
        let fingerprint = Fingerprint::of(&blob(1)).to_string();
        let key = line(1);
        let forms = [
            key.clone(),
            format!("{key} admin@box"),
            format!("[10.0.0.1]:22 {key}"),
            format!("box,10.0.0.1 {key} comment"),
            format!("  {key}\n"),
            fingerprint.clone(),
            format!("{fingerprint}="),
        ];
        for form in &forms {
            let pins = PinnedKeys::parse([form.as_str()]).expect(form);
            assert_eq!(pins.check(&blob(1)), Ok(()), "{form}");
        }
    }

    #[test]
    fn another_key_is_named_by_its_fingerprint() {
        let pins = PinnedKeys::parse([line(1).as_str()]).unwrap();
        let other = blob(2);
        assert_eq!(pins.check(&other), Err(Fingerprint::of(&other)));
        assert_ne!(pins.to_string(), Fingerprint::of(&other).to_string());
    }

    #[test]
    fn with_two_pins_either_key_is_accepted() {
        let (old, new) = (line(1), Fingerprint::of(&blob(2)).to_string());
        let pins = PinnedKeys::parse([old.as_str(), new.as_str()]).unwrap();
        assert_eq!(pins.check(&blob(1)), Ok(()));
        assert_eq!(pins.check(&blob(2)), Ok(()));
        assert!(pins.check(b"").is_err());
        assert!(pins.to_string().contains(" or SHA256:"));
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let key = line(1);
        let cut = &key[..key.len() - 8];
        let lying = key.replacen(ED25519, RSA, 1);
        let table = [
            ("", "no host key"),
            ("SHA256:abc", "43 characters"),
            ("MD5:aa:bb", "MD5"),
            ("ecdsa-sha2-nistp256 AAAA", "host-key-type=ed25519"),
            ("box ecdsa-sha2-nistp256 AAAA", "host-key-type=ed25519"),
            ("ssh-dss AAAA", "host-key-type=ed25519"),
            ("@cert-authority * ssh-rsa AAAA", "markers"),
            ("ssh-ed25519 !!!", "base64"),
            ("ssh-ed25519", "neither"),
            ("hello", "neither"),
            (cut, "cut off"),
            (&lying, "cut off or not of the type"),
        ];
        for (pin, expected) in table {
            let error = PinnedKeys::parse([pin]).unwrap_err().to_string();
            assert!(error.contains(expected), "{pin}: {error}");
        }
        assert_eq!(PinnedKeys::parse([]), Err(PinError::Missing));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_no_other_key_passes(text in "\\PC{0,80}", key in any::<Vec<u8>>()) {
            if let Ok(pins) = PinnedKeys::parse([text.as_str()]) {
                prop_assert!(pins.check(&key).is_err());
            }
        }
    }
}
