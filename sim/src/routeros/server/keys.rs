//! Host keys and user keys.

use std::sync::Arc;

use russh::keys::ssh_key::private::RsaKeypair;
use russh::keys::ssh_key::{Algorithm, PrivateKey, PublicKey};

use super::ServerError;

/// The key that the box shows.
#[derive(Debug, Clone, Default)]
pub enum HostKey {
    /// RSA of 2048 bits, made at start: what a stock box has.
    #[default]
    Rsa,
    /// Ed25519, made at start: quick, and what `host-key-type=ed25519` gives.
    Ed25519,
    /// A private key in OpenSSH or PEM format.
    Given(String),
}

impl HostKey {
    /// Makes or reads the key, off the runtime's threads: RSA takes its time.
    pub(super) async fn make(self) -> Result<PrivateKey, ServerError> {
        let made = tokio::task::spawn_blocking(move || match self {
            HostKey::Rsa => RsaKeypair::random(&mut russh::keys::key::safe_rng(), 2048)
                .map(PrivateKey::from)
                .map_err(|error| error.to_string()),
            HostKey::Ed25519 => {
                PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
                    .map_err(|error| error.to_string())
            }
            HostKey::Given(text) => {
                russh::keys::decode_secret_key(&text, None).map_err(|error| error.to_string())
            }
        });
        let made = made.await.map_err(|error| ServerError::HostKey(error.to_string()))?;
        made.map_err(ServerError::HostKey)
    }
}

/// Who may log in. Passwords are refused either way, and so are ECDSA keys, as on a box.
#[derive(Debug, Clone)]
pub enum AuthorizedKeys {
    /// Whoever has an RSA or Ed25519 key: for a person who rehearses.
    Any,
    /// Lines as in `authorized_keys`.
    These(Vec<String>),
}

impl Default for AuthorizedKeys {
    /// Nobody.
    fn default() -> Self {
        AuthorizedKeys::These(Vec::new())
    }
}

/// Keys as they are compared.
#[derive(Debug, Clone)]
pub(super) struct Accepted(Option<Arc<Vec<PublicKey>>>);

impl AuthorizedKeys {
    pub(super) fn read(self) -> Result<Accepted, ServerError> {
        let AuthorizedKeys::These(lines) = self else {
            return Ok(Accepted(None));
        };
        let read = |line: String| {
            PublicKey::from_openssh(line.trim())
                .map_err(|e| ServerError::AuthorizedKey { key: line, reason: e.to_string() })
        };
        let keys: Result<Vec<_>, _> = lines.into_iter().map(read).collect();
        Ok(Accepted(Some(Arc::new(keys?))))
    }
}

impl Accepted {
    /// Whether that key may log in. ECDSA is `wrong format` to RouterOS (measured on 7.x).
    pub(super) fn accepts(&self, key: &PublicKey) -> bool {
        let usable = matches!(key.algorithm(), Algorithm::Rsa { .. } | Algorithm::Ed25519);
        let listed = match &self.0 {
            None => true,
            Some(keys) => keys.iter().any(|one| one.key_data() == key.key_data()),
        };
        usable && listed
    }
}

/// A key pair of a user, for whoever drives a box and has none.
#[derive(Clone)]
pub struct UserKey {
    /// The private key in OpenSSH format.
    pub private: String,
    /// The line for [`AuthorizedKeys::These`].
    pub public: String,
}

impl UserKey {
    /// Makes an Ed25519 pair.
    ///
    /// # Errors
    /// What the library says when it cannot write a key down.
    pub fn generate() -> Result<Self, ServerError> {
        let failed = |error: russh::keys::ssh_key::Error| ServerError::HostKey(error.to_string());
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
            .map_err(failed)?;
        let private = key.to_openssh(russh::keys::ssh_key::LineEnding::LF).map_err(failed)?;
        let public = key.public_key().to_openssh().map_err(failed)?;
        Ok(Self { private: private.to_string(), public })
    }
}

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserKey").field("public", &self.public).finish_non_exhaustive()
    }
}
