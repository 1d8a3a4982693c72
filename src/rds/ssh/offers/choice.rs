//! Which transport can serve an offer, and what helps when none may.

use super::Offer;

/// What one transport can do, in SSH's names.
#[derive(Debug)]
pub(in super::super) struct Needs {
    pub(in super::super) kex: &'static [&'static str],
    pub(in super::super) host_key: &'static [&'static str],
    pub(in super::super) ciphers: &'static [&'static str],
    pub(in super::super) macs: &'static [&'static str],
    /// A MAC must be shared even if the cipher authenticates by itself.
    pub(in super::super) mac_always: bool,
}

/// thrussh 0.49. Names cannot be added to its key exchanges.
pub(in super::super) const THRUSSH: Needs = Needs {
    kex: &["mlkem768x25519-sha256", "curve25519-sha256@libssh.org"],
    host_key: &["rsa-sha2-256", "ssh-ed25519"],
    ciphers: &["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr"],
    macs: &["hmac-sha2-256"],
    mac_always: true,
};

/// russh 0.65, as configured here.
pub(in super::super) const RUSSH: Needs = Needs {
    kex: &[
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group14-sha1",
    ],
    host_key: &["rsa-sha2-256", "rsa-sha2-512", "ssh-ed25519"],
    ciphers: &[
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes256-ctr",
        "aes192-ctr",
        "aes128-ctr",
    ],
    macs: &[
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "hmac-sha1-etm@openssh.com",
        "hmac-sha1",
    ],
    mac_always: false,
};

/// Ciphers that need no MAC.
const AUTHENTICATED: &[&str] =
    &["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"];

/// One kind of algorithm of which nothing is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Kex,
    HostKey,
    Cipher,
    Mac,
}

/// Which transport can serve an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Choice {
    /// The first one, thrussh.
    First,
    /// Only the second one, russh.
    Second,
    /// None.
    Neither,
}

/// Decides by the offer alone.
pub(in super::super) fn choose(offer: &Offer) -> Choice {
    if THRUSSH.served_by(offer) {
        Choice::First
    } else if RUSSH.served_by(offer) {
        Choice::Second
    } else {
        Choice::Neither
    }
}

fn missing(offer: &Offer, needs: &Needs) -> Vec<Missing> {
    let share = |offered: &[String], ours: &[&str]| ours.iter().any(|n| has(offered, n));
    // Every transport prefers ciphers that authenticate, so a shared one is the one in use.
    let authenticated =
        needs.ciphers.iter().any(|n| AUTHENTICATED.contains(n) && has(&offer.ciphers, n));
    let needs_mac = needs.mac_always || !authenticated;
    [
        (Missing::Kex, !share(&offer.kex, needs.kex)),
        (Missing::HostKey, !share(&offer.host_key, needs.host_key)),
        (Missing::Cipher, !share(&offer.ciphers, needs.ciphers)),
        (Missing::Mac, needs_mac && !share(&offer.macs, needs.macs)),
    ]
    .into_iter()
    .filter_map(|(kind, absent)| absent.then_some(kind))
    .collect()
}

fn has(offered: &[String], name: &str) -> bool {
    offered.iter().any(|o| o == name)
}

impl Needs {
    /// Whether the offer has something of every kind that is needed.
    pub(in super::super) fn served_by(&self, offer: &Offer) -> bool {
        missing(offer, self).is_empty()
    }

    /// What the box offers, what this transport misses, and which RouterOS command helps.
    pub(in super::super) fn advice(&self, offer: &Offer) -> String {
        let needs = self.lacks(offer);
        format!("{offer}; we need {needs}; what helps: {}", self.helps(offer).join("; "))
    }

    /// What of this transport's needs the offer has nothing of; empty where nothing is missing.
    pub(in super::super) fn lacks(&self, offer: &Offer) -> String {
        let missing = missing(offer, self);
        missing.iter().map(|kind| self.describe(*kind)).collect::<Vec<_>>().join(" and ")
    }

    /// What may help, RouterOS commands in backquotes.
    pub(in super::super) fn helps(&self, offer: &Offer) -> Vec<&'static str> {
        let missing = missing(offer, self);
        let mut helps = Vec::new();
        if missing.iter().any(|kind| *kind != Missing::HostKey) {
            helps.push("`/ip/ssh set strong-crypto=yes`");
        }
        if missing.contains(&Missing::Kex) {
            helps.push("RouterOS 7.7 or later, which has curve25519");
        }
        if missing.contains(&Missing::HostKey) {
            helps.push(
                "`/ip/ssh set host-key-type=ed25519` and `/ip/ssh regenerate-host-key`, then pin \
                 the new key",
            );
        }
        helps
    }

    fn describe(&self, kind: Missing) -> String {
        let (kind, names) = match kind {
            Missing::Kex => ("key exchange", self.kex),
            Missing::HostKey => ("host key", self.host_key),
            Missing::Cipher => ("cipher", self.ciphers),
            Missing::Mac => ("MAC", self.macs),
        };
        format!("{kind} {}", names.join(" or "))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn offer(kex: &str, host_key: &str, ciphers: &str, macs: &str) -> Offer {
        let list = |names: &str| names.split(',').map(str::to_owned).collect();
        Offer {
            banner: "SSH-2.0-ROSSSH".to_owned(),
            kex: list(kex),
            host_key: list(host_key),
            ciphers: list(ciphers),
            macs: list(macs),
        }
    }

    #[test]
    fn the_first_transport_that_can_is_chosen() {
        use Choice::*;
        let (libssh, rfc) = ("curve25519-sha256@libssh.org", "curve25519-sha256");
        let gex = "diffie-hellman-group-exchange-sha256";
        let rsa = "rsa-sha2-512,rsa-sha2-256,ssh-rsa";
        let gcm = "aes256-gcm@openssh.com";
        let table = [
            (First, libssh, rsa, gcm, "hmac-sha2-256"),
            (First, "mlkem768x25519-sha256", "ssh-ed25519", "aes256-ctr", "hmac-sha2-256"),
            (Second, rfc, rsa, gcm, "hmac-sha2-256"),
            (Second, gex, rsa, "aes128-ctr", "hmac-sha1"),
            (Second, "diffie-hellman-group14-sha1", rsa, "aes256-ctr", "hmac-sha1,hmac-md5"),
            (Second, libssh, rsa, "aes256-ctr", "hmac-sha1"),
            // An authenticating cipher needs no MAC, but the first transport wants one.
            (Second, libssh, rsa, gcm, "hmac-md5"),
            (Second, libssh, "rsa-sha2-512", gcm, "hmac-sha2-256"),
            (Second, libssh, rsa, "aes128-ctr", "hmac-sha2-256"),
            (Neither, libssh, rsa, "aes256-ctr", "hmac-md5"),
            (Neither, libssh, "ssh-rsa", gcm, "hmac-sha2-256"),
            (Neither, libssh, "ecdsa-sha2-nistp256", gcm, "hmac-sha2-256"),
            (Neither, "diffie-hellman-group1-sha1", rsa, gcm, "hmac-sha2-256"),
            (Neither, libssh, rsa, "3des-cbc,aes256-cbc", "hmac-sha2-256"),
            (Neither, "", "", "", ""),
        ];
        for (expected, kex, host_key, ciphers, macs) in table {
            let offer = offer(kex, host_key, ciphers, macs);
            assert_eq!(choose(&offer), expected, "{offer}");
        }
    }

    #[test]
    fn the_advice_names_the_offer_the_need_and_the_command() {
        let weak = offer("curve25519-sha256@libssh.org", "rsa-sha2-256", "aes256-ctr", "hmac-sha1");
        let advice = THRUSSH.advice(&weak);
        for part in ["MACs hmac-sha1", "we need MAC hmac-sha2-256", "strong-crypto=yes"] {
            assert!(advice.contains(part), "{advice}");
        }
        assert!(!advice.contains("host-key-type"), "{advice}");

        let old_key = offer("curve25519-sha256", "ssh-dss", "aes256-ctr", "hmac-sha1");
        let advice = RUSSH.advice(&old_key);
        assert!(advice.contains("host key ssh-dss"), "{advice}");
        assert!(advice.contains("regenerate-host-key"), "{advice}");
        assert!(!advice.contains("strong-crypto"), "{advice}");
    }
}
