//! The algorithms that the box offers, by their SSH names.

use std::borrow::Cow;

use russh::{cipher, kex, mac};

use super::ServerError;

/// Names of algorithms, most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Key exchanges.
    pub kex: Vec<String>,
    /// Ciphers.
    pub ciphers: Vec<String>,
    /// MACs.
    pub macs: Vec<String>,
}

impl Default for Offer {
    /// A box as most report it: both names of curve25519, AES, SHA-2 and SHA-1 MACs.
    fn default() -> Self {
        Offer::of(
            &[
                "curve25519-sha256",
                "curve25519-sha256@libssh.org",
                "diffie-hellman-group-exchange-sha256",
                "diffie-hellman-group14-sha256",
            ],
            &["aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr"],
            &["hmac-sha2-256", "hmac-sha2-512", "hmac-sha1"],
        )
    }
}

impl Offer {
    /// An offer of these names.
    pub fn of(kex: &[&str], ciphers: &[&str], macs: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Offer { kex: owned(kex), ciphers: owned(ciphers), macs: owned(macs) }
    }

    /// A box with `strong-crypto=no` as one author measured it: only hmac-sha1 as MAC.
    pub fn only_sha1_macs() -> Self {
        Offer { macs: vec!["hmac-sha1".to_owned()], ..Offer::default() }
    }

    /// A box with only the RFC name of curve25519.
    pub fn only_rfc_curve() -> Self {
        Offer { kex: vec!["curve25519-sha256".to_owned()], ..Offer::default() }
    }

    /// What of it this server has; the default for a kind of which nothing is left.
    pub(in super::super) fn known(mut self) -> Self {
        let default = Offer::default();
        self.kex.retain(|name| kex::Name::try_from(name.as_str()).is_ok());
        self.ciphers.retain(|name| cipher::Name::try_from(name.as_str()).is_ok());
        self.macs.retain(|name| mac::Name::try_from(name.as_str()).is_ok());
        for (names, all) in [
            (&mut self.kex, default.kex),
            (&mut self.ciphers, default.ciphers),
            (&mut self.macs, default.macs),
        ] {
            if names.is_empty() {
                *names = all;
            }
        }
        self
    }

    pub(super) fn preferred(&self) -> Result<russh::Preferred, ServerError> {
        Ok(russh::Preferred {
            kex: Cow::Owned(named(&self.kex, |name| kex::Name::try_from(name))?),
            cipher: Cow::Owned(named(&self.ciphers, |name| cipher::Name::try_from(name))?),
            mac: Cow::Owned(named(&self.macs, |name| mac::Name::try_from(name))?),
            ..russh::Preferred::DEFAULT
        })
    }
}

fn named<T>(names: &[String], find: impl Fn(&str) -> Result<T, ()>) -> Result<Vec<T>, ServerError> {
    let one = |name: &String| find(name).map_err(|()| ServerError::Algorithm(name.clone()));
    names.iter().map(one).collect()
}
