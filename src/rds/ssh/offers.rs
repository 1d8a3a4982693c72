//! What a server offers, read in plain text, and which transport can serve it.
//!
//! When a negotiation fails, the libraries say at most that something is missing. This reads the
//! server's KEXINIT (RFC 4253, section 7.1) on a connection of its own, decides between the two
//! transports, and writes what an operator can do. It authenticates nobody and trusts nothing of
//! what it reads: a man in the middle can bring about the second transport or an error text, but
//! either transport checks the pinned host key before anything of ours is sent.

use std::fmt;

mod choice;
mod read;

pub(super) use choice::{Choice, RUSSH, THRUSSH, choose};
pub(super) use read::read_offer;

use super::wire::Wire;

/// The longest name that RFC 4251, section 6, allows.
const LONGEST_NAME: usize = 64;
/// Names of one kind that a message lists.
const NAMES_SHOWN: usize = 40;
/// Message number, RFC 4253.
const KEXINIT: u8 = 20;
/// Random bytes behind the message number.
const COOKIE: usize = 16;

/// The algorithms that a server offers, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// How the server introduces itself, e.g. `SSH-2.0-ROSSSH`.
    pub(super) banner: String,
    /// Key exchange, without the markers of protocol extensions.
    pub(super) kex: Vec<String>,
    /// Types of host keys and of their signatures.
    pub(super) host_key: Vec<String>,
    /// Ciphers offered in both directions.
    pub(super) ciphers: Vec<String>,
    /// MACs offered in both directions.
    pub(super) macs: Vec<String>,
}

impl Offer {
    /// Parses the payload of a KEXINIT packet. `None`: it is none, or is cut off.
    pub(super) fn parse(banner: &str, payload: &[u8]) -> Option<Self> {
        let mut wire = Wire(payload);
        if wire.bytes(1)? != [KEXINIT] {
            return None;
        }
        wire.bytes(COOKIE)?;
        let mut names = || -> Option<Vec<String>> {
            Some(wire.names()?.into_iter().filter(|name| is_name(name)).collect())
        };
        let mut kex = names()?;
        kex.retain(|name| !is_extension(name));
        let host_key = names()?;
        let (mut ciphers, to_client) = (names()?, names()?);
        ciphers.retain(|name| to_client.contains(name));
        let (mut macs, to_client) = (names()?, names()?);
        macs.retain(|name| to_client.contains(name));
        Some(Offer { banner: banner.to_owned(), kex, host_key, ciphers, macs })
    }
}

/// Printable, without spaces, not too long: what is safe to show, and all that RFC 4251 allows.
fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME && name.bytes().all(|b| b.is_ascii_graphic())
}

fn is_extension(name: &str) -> bool {
    name.starts_with("ext-info-") || name.starts_with("kex-strict-")
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("key exchange", &self.kex),
            ("host key", &self.host_key),
            ("ciphers", &self.ciphers),
            ("MACs", &self.macs),
        ];
        write!(f, "the box ({}) offers", self.banner)?;
        for (i, (kind, names)) in kinds.into_iter().enumerate() {
            let shown = &names[..names.len().min(NAMES_SHOWN)];
            let list = if shown.is_empty() { "nothing".to_owned() } else { shown.join(",") };
            let more = if names.len() > NAMES_SHOWN { ",…" } else { "" };
            write!(f, "{} {kind} {list}{more}", if i == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod test {
    use super::*;
    use proptest::prelude::*;

    /// A KEXINIT payload with these lists, both directions alike.
    pub(in super::super) fn payload(
        kex: &str,
        host_key: &str,
        ciphers: &str,
        macs: &str,
    ) -> Vec<u8> {
        let mut bytes = vec![KEXINIT];
        bytes.extend([7; COOKIE]);
        for list in [kex, host_key, ciphers, ciphers, macs, macs, "none", "none", "", ""] {
            bytes.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            bytes.extend(list.as_bytes());
        }
        bytes.extend([0; 5]);
        bytes
    }

    #[test]
    fn the_lists_are_read_in_the_servers_order() {
        let bytes = payload("a,kex-strict-s-v00@openssh.com,b,ext-info-s", "k", "x,y", "m");
        let offer = Offer::parse("SSH-2.0-ROSSSH", &bytes).unwrap();
        assert_eq!(
            offer.to_string(),
            "the box (SSH-2.0-ROSSSH) offers key exchange a,b; host key k; ciphers x,y; MACs m"
        );
    }

    #[test]
    fn what_cannot_be_a_name_is_not_shown() {
        let long = "x".repeat(LONGEST_NAME + 1);
        let bytes = payload(&format!("a,b\x1b[2J,ü,{long},c d"), "", "", "");
        let offer = Offer::parse("", &bytes).unwrap();
        assert_eq!(offer.kex, ["a"]);
        assert!(offer.to_string().contains("MACs nothing"));
    }

    #[test]
    fn a_list_of_thousands_is_cut_in_messages() {
        let many = vec!["x"; 5_000].join(",");
        let offer = Offer::parse("", &payload(&many, "", "", "")).unwrap();
        assert!(offer.to_string().len() < 300, "{offer}");
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_parser_panic(bytes in any::<Vec<u8>>()) {
            let _ = Offer::parse("b", &bytes);
            let mut kexinit = vec![KEXINIT];
            kexinit.extend(&bytes);
            let _ = Offer::parse("b", &kexinit);
        }

        #[test]
        fn a_payload_that_is_cut_off_is_refused(cut in 0usize..60) {
            let whole = payload("a", "b", "c", "d");
            // The lists end before compression, languages and flags: 2 * 8 + 2 * 4 + 5 bytes.
            let lists = whole.len() - 29;
            let parsed = Offer::parse("b", &whole[..cut.min(whole.len())]);
            prop_assert_eq!(parsed.is_some(), cut >= lists);
        }
    }
}
