//! Names and sizes: types that parse or refuse.
//!
//! Everything that reaches the box or the cluster under a name goes through one of these types, so
//! that no other place has to ask whether a string is harmless. Nothing here does I/O.

pub mod capability;
pub mod chance;
pub mod endpoint;
pub mod turns;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest slot that we give a volume, in bytes. RouterOS names no bound; the first driver's PV
/// names are 40 bytes.
pub const SLOT_LENGTH_MAX: usize = 63;
/// Longest volume name that CSI lets a caller send, in bytes.
pub const NAME_LENGTH_MAX: usize = 128;
/// Longest NQN, in bytes (NVMe base specification 2.0, 4.5).
pub const NQN_LENGTH_MAX: usize = 223;
/// Prefix of slots that are made from a hash, for names that are no slot themselves.
const HASHED_PREFIX: &str = "h-";
/// Hex digits behind [`HASHED_PREFIX`]: 160 bits, so that two names never meet.
const HASHED_DIGITS: usize = 40;

/// A value that was refused, with the reason in words for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Refused {
    /// A refusal that says `what` about the `value` (shown shortened and escaped).
    pub fn value(value: &str, what: impl fmt::Display) -> Self {
        let shown: String = value.chars().take(80).flat_map(char::escape_debug).collect();
        let more = if value.chars().count() > 80 { "…" } else { "" };
        Self(format!("\"{shown}{more}\" {what}"))
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        // Shared: a pass copies names by the ten thousand.
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Refused;
            fn try_from(text: String) -> Result<Self, Refused> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl std::str::FromStr for $name {
            type Err = Refused;
            fn from_str(text: &str) -> Result<Self, Refused> {
                Self::parse(text)
            }
        }
    };
}

text! {
    /// The name of a `/disk` item on the box: `[a-z][a-z0-9-]{0,62}`.
    Slot
}
text! {
    /// The configured name of one box: `[a-z][a-z0-9-]{0,31}`.
    BackendName
}
text! {
    /// The name of a Kubernetes Node, which is also its CSI node id (DNS subdomain, 253 bytes).
    NodeName
}
text! {
    /// An NVMe qualified name without the characters that RouterOS or a shell would interpret.
    Nqn
}
text! {
    /// A directory on the box that holds images, without a leading slash, such as `pool/volumes`.
    VolumePath
}
text! {
    /// The image behind a volume, without a leading slash: `<volume path>/<slot>.img`.
    ImagePath
}

fn is_label(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl Slot {
    /// A slot as it stands on the box.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if is_label(text, SLOT_LENGTH_MAX) {
            return Ok(Self(text.into()));
        }
        Err(Refused::value(text, "is no slot: it takes a-z, then up to 62 of a-z 0-9 -"))
    }

    /// The slot of a volume that is asked for under `name`: the name itself where it is a slot and
    /// not of the form we make ourselves, else `h-` and a hash of it. Two names never share one.
    pub fn for_name(name: &str) -> Result<Self, Refused> {
        if name.is_empty() {
            return Err(Refused("must not be empty".into()));
        }
        if name.len() > NAME_LENGTH_MAX {
            let what = format!("has {} bytes, {NAME_LENGTH_MAX} are allowed", name.len());
            return Err(Refused::value(name, what));
        }
        if let Some(bad) = name.chars().find(|c| c.is_control()) {
            let what = format!("has the control character {}", bad.escape_debug());
            return Err(Refused::value(name, what));
        }
        if is_label(name, SLOT_LENGTH_MAX) && !Self::is_hashed(name) {
            return Ok(Self(name.into()));
        }
        let digest = hex(&Sha256::digest(name.as_bytes()));
        Ok(Self(format!("{HASHED_PREFIX}{}", &digest[..HASHED_DIGITS]).into()))
    }

    fn is_hashed(text: &str) -> bool {
        text.strip_prefix(HASHED_PREFIX).is_some_and(|rest| {
            rest.len() == HASHED_DIGITS && rest.bytes().all(|b| b.is_ascii_hexdigit())
        })
    }
}

impl BackendName {
    /// A backend's name as the configuration gives it.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if is_label(text, 32) {
            return Ok(Self(text.into()));
        }
        Err(Refused::value(text, "is no backend name: it takes a-z, then up to 31 of a-z 0-9 -"))
    }
}

impl NodeName {
    /// A node name as Kubernetes writes it.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let label = |part: &str| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            edge(part.chars().next()) && edge(part.chars().next_back())
        };
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if text.len() <= 253 && text.bytes().all(allowed) && text.split('.').all(label) {
            return Ok(Self(text.into()));
        }
        Err(Refused::value(text, "is no node name (a DNS subdomain in lower case)"))
    }
}

impl Nqn {
    /// An NQN: `nqn.`, then up to 219 more of `A-Za-z0-9.:-_` (NVMe base specification 2.0, 4.5:
    /// at most 223 bytes).
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if Self::is_nqn(text) {
            return Ok(Self(text.into()));
        }
        Err(Refused::value(text, "is no NQN: nqn., then A-Z a-z 0-9 . : - _, 223 bytes at most"))
    }

    /// A name as a box exports it: an NQN or, from RouterOS before 7.21, the name of a slot.
    pub fn exported(text: &str) -> Result<Self, Refused> {
        Self::parse(text)
            .or_else(|why| Slot::parse(text).map(|slot| Self::of_slot(&slot)).map_err(|_| why))
    }

    /// Would [`Nqn::parse`] take it?
    pub fn is_nqn(text: &str) -> bool {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'_');
        text.len() <= NQN_LENGTH_MAX && text.starts_with("nqn.") && text.bytes().all(allowed)
    }

    /// The name under which RouterOS before 7.21 exports a disk: its slot, which no standard would
    /// call an NQN (manual, NVMe over TCP: `subnqn: disk1`).
    pub fn of_slot(slot: &Slot) -> Self {
        Self(slot.as_str().into())
    }
}

fn path(text: &str) -> Result<Arc<str>, Refused> {
    // /disk prints file-path with a leading slash, /file without one (observed on the RDS).
    let bare = text.strip_prefix('/').unwrap_or(text);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let segment =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
    if bare.len() <= 255 && bare.split('/').all(segment) {
        return Ok(bare.into());
    }
    let what = "is no path: segments of A-Z a-z 0-9 . - _ that do not start with a dot";
    Err(Refused::value(text, what))
}

impl VolumePath {
    /// A directory; a leading slash is taken off.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        path(text).map(Self)
    }

    /// The image of `slot` in this directory.
    pub fn image(&self, slot: &Slot) -> ImagePath {
        ImagePath(format!("{}/{slot}.img", self.0).into())
    }

    /// The pool that the directory lies on: its first segment.
    pub fn pool(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }
}

impl ImagePath {
    /// An image's path; a leading slash is taken off.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        path(text).map(Self)
    }
}

/// What names a volume to Kubernetes: the backend it lies on and its slot there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId {
    /// The box.
    pub backend: BackendName,
    /// The item on the box.
    pub slot: Slot,
}

impl VolumeId {
    /// Reads a handle: `<slot>` lies on the backend `bare`, `<backend>/<slot>` on the one named.
    pub fn parse(handle: &str, bare: &BackendName) -> Result<Self, Refused> {
        match handle.split_once('/') {
            None => Ok(Self { backend: bare.clone(), slot: Slot::parse(handle)? }),
            Some((backend, slot)) => {
                let backend = BackendName::parse(backend)?;
                if backend == *bare {
                    let what = format!("is no volume id: volumes on {bare} have no prefix");
                    return Err(Refused::value(handle, what));
                }
                Ok(Self { backend, slot: Slot::parse(slot)? })
            }
        }
    }

    /// The handle, the inverse of [`VolumeId::parse`].
    pub fn handle(&self, bare: &BackendName) -> String {
        if self.backend == *bare {
            self.slot.to_string()
        } else {
            format!("{}/{}", self.backend, self.slot)
        }
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.backend, self.slot)
    }
}

/// A handle that was read where nobody knows yet which backend is meant by none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// The backend, where it names one.
    pub backend: Option<BackendName>,
    /// The item there.
    pub slot: Slot,
}

impl Handle {
    /// Reads `<slot>` or `<backend>/<slot>`.
    pub fn parse(handle: &str) -> Result<Self, Refused> {
        Ok(match handle.split_once('/') {
            None => Self { backend: None, slot: Slot::parse(handle)? },
            Some((backend, slot)) => {
                Self { backend: Some(BackendName::parse(backend)?), slot: Slot::parse(slot)? }
            }
        })
    }

    /// Does it name an item on this backend? `bare` is the one that is meant by none, and is never
    /// named.
    pub fn is_on(&self, backend: &BackendName, bare: &BackendName) -> bool {
        let is_bare = backend == bare;
        match &self.backend {
            None => is_bare,
            Some(named) => !is_bare && named == backend,
        }
    }
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| hex_digits(*byte)).collect()
}

/// The two lower-case hex digits of a byte.
pub fn hex_digits(byte: u8) -> [char; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)]))
}

#[cfg(test)]
mod test;
