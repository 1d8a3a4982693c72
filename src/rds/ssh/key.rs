//! The private key that logs the driver in.
//!
//! Reads the file, refuses what cannot work before a connection is made, and says what helps:
//! a file that others can read, an encrypted key, a key of a type that RouterOS does not take.
//! The two SSH libraries decode the text themselves. Key material is never shown and is wiped
//! when dropped.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::wire::Wire;

/// No key is longer; a path that leads elsewhere must not fill the memory.
const LONGEST_FILE: u64 = 64 * 1024;

/// Permission bits of everybody who is neither owner nor group.
const OTHERS: u32 = 0o007;

const RSA: &str = "RSA";
const ED25519: &str = "Ed25519";

/// Why a private key cannot be used. `Display` says what helps, never what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// A directory, a socket, a device.
    #[error("is not a regular file; name the file that holds the key")]
    NotAFile,
    /// Other users of the machine can read or change the file.
    #[error(
        "mode {mode:04o} of {} lets others read it; `chmod o-rwx`, or `defaultMode: 0440` of \
         the Secret volume",
        .target.display()
    )]
    OpenToOthers {
        /// The file itself, behind all symbolic links.
        target: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing that any key file could be.
    #[error("holds no private key: {0}")]
    NoKey(&'static str),
    /// There is nobody to type the passphrase.
    #[error("is encrypted; take the passphrase off with `ssh-keygen -p -N '' -f`, on a copy")]
    Encrypted,
    /// A type that the box does not take.
    #[error(
        "is a {0} key; RouterOS takes RSA and Ed25519 keys only: `ssh-keygen -t ed25519`, then \
         `/user/ssh-keys/import` on the box"
    )]
    Type(String),
}

/// A private key as text, known to be of a type and form that can be used.
pub struct PrivateKey {
    text: Zeroizing<String>,
    kind: &'static str,
}

impl PrivateKey {
    /// Reads the key in `path`. Blocks: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`KeyError`]: the file, its permissions or the type of the key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        // Asked for twice: opening a pipe would block, and what counts is the file that is read.
        if !std::fs::metadata(path).map_err(KeyError::Unreadable)?.is_file() {
            return Err(KeyError::NotAFile);
        }
        let file = std::fs::File::open(path).map_err(KeyError::Unreadable)?;
        let metadata = file.metadata().map_err(KeyError::Unreadable)?;
        if !metadata.is_file() {
            return Err(KeyError::NotAFile);
        }
        // Of the opened file, so behind all links: kubelet lays a Secret out as
        // `id -> ..data/id`, `..data -> ..2026_…`, and links themselves have mode 0777.
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 {
            let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            return Err(KeyError::OpenToOthers { target, mode });
        }
        if metadata.len() > LONGEST_FILE {
            return Err(KeyError::NoKey("it is too long"));
        }
        // One allocation: a growing one would leave copies of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(LONGEST_FILE as usize));
        file.take(LONGEST_FILE).read_to_string(&mut text).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => KeyError::NoKey("it is not text"),
            _ => KeyError::Unreadable(e),
        })?;
        Self::parse(text)
    }

    fn parse(text: Zeroizing<String>) -> Result<Self, KeyError> {
        let kind = kind_of(&text)?;
        Ok(PrivateKey { text, kind })
    }

    /// `Ed25519 key` or `RSA key`, for a person.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            RSA => "RSA key",
            _ => "Ed25519 key",
        }
    }

    /// The text of the file, for the library that signs with it. Never for a log.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key (hidden)", self.kind)
    }
}

fn kind_of(text: &str) -> Result<&'static str, KeyError> {
    if text.starts_with("PuTTY-User-Key-File") {
        return Err(KeyError::NoKey(
            "it is a PuTTY key; convert it with `puttygen -O private-openssh`",
        ));
    }
    if ["ssh-", "ecdsa-"].iter().any(|prefix| text.starts_with(prefix)) {
        return Err(KeyError::NoKey("it is the public half; name the file without `.pub`"));
    }
    let label = text
        .lines()
        .find_map(|l| l.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .ok_or(KeyError::NoKey("there is no `-----BEGIN … PRIVATE KEY-----` line"))?;
    match label {
        "OPENSSH PRIVATE KEY" => kind_of_openssh(&body(text)?),
        "RSA PRIVATE KEY" if text.contains("ENCRYPTED") => Err(KeyError::Encrypted),
        "RSA PRIVATE KEY" => body(text).map(|_| RSA),
        "PRIVATE KEY" => kind_of_pkcs8(&body(text)?),
        "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
        "EC PRIVATE KEY" => Err(KeyError::Type("ECDSA".to_owned())),
        "DSA PRIVATE KEY" => Err(KeyError::Type("DSA".to_owned())),
        _ => Err(KeyError::NoKey("the block is of another type")),
    }
}

/// What stands between the BEGIN and the END line, without the headers of older formats.
fn body(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let cut_off = KeyError::NoKey("it is cut off or damaged");
    let mut base64 = Zeroizing::new(String::with_capacity(text.len()));
    let mut lines = text.lines().map(str::trim_end).skip_while(|l| !l.starts_with("-----BEGIN "));
    lines.next();
    for line in lines {
        if line.starts_with("-----END ") {
            let decoded = STANDARD.decode(base64.as_bytes()).map_err(|_| cut_off)?;
            return Ok(Zeroizing::new(decoded));
        }
        if !line.contains(':') {
            base64.push_str(line);
        }
    }
    Err(cut_off)
}

/// OpenSSH's own format: cipher, key derivation and public keys stand in front of the secret.
fn kind_of_openssh(bytes: &[u8]) -> Result<&'static str, KeyError> {
    let damaged = KeyError::NoKey("it is cut off or damaged");
    let Some(rest) = bytes.strip_prefix(b"openssh-key-v1\0") else {
        return Err(damaged);
    };
    let mut wire = Wire(rest);
    let read = |wire: &mut Wire<'_>| -> Option<(bool, String)> {
        let encrypted = wire.string()? != b"none";
        wire.string()?;
        wire.string()?;
        let keys = wire.u32()?;
        let name = Wire(wire.string()?).string()?;
        (keys == 1).then(|| (encrypted, String::from_utf8_lossy(name).into_owned()))
    };
    let (encrypted, name) = read(&mut wire).ok_or(damaged)?;
    match name.as_str() {
        "ssh-rsa" | "ssh-ed25519" if encrypted => Err(KeyError::Encrypted),
        "ssh-rsa" => Ok(RSA),
        "ssh-ed25519" => Ok(ED25519),
        _ => Err(KeyError::Type(name)),
    }
}

/// PKCS#8: the object identifier of the algorithm stands near the front.
fn kind_of_pkcs8(bytes: &[u8]) -> Result<&'static str, KeyError> {
    const OID_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const OID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
    const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    // Two sequence headers of at most six bytes each, and the version.
    let front = &bytes[..bytes.len().min(15 + OID_RSA.len())];
    let holds = |oid: &[u8]| front.windows(oid.len()).any(|w| w == oid);
    if holds(OID_RSA) {
        Ok(RSA)
    } else if holds(OID_ED25519) {
        // thrussh 0.49 reads a form of its own here, and takes the standard one for another key.
        Err(KeyError::NoKey(
            "it is an Ed25519 key in PKCS#8; make one with `ssh-keygen -t ed25519`, or convert it \
             with `ssh-keygen -p` of OpenSSH 9.6 or later",
        ))
    } else if holds(OID_EC) {
        Err(KeyError::Type("ECDSA".to_owned()))
    } else {
        Err(KeyError::Type("PKCS#8 key of another".to_owned()))
    }
}

#[cfg(test)]
mod test;
