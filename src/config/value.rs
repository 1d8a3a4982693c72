//! Forms of values that several parts of the configuration share: an address with a port, a share,
//! a list, a value that may be left empty.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::volume::Refused;

/// Declares an enum whose values are words of the configuration.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The word that stands for it in the configuration.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = $crate::volume::Refused;
            fn try_from(text: String) -> Result<Self, $crate::volume::Refused> {
                match text.as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => {
                        let words = [$($word),+].join(", ");
                        let what = format!("is none of {words}");
                        Err($crate::volume::Refused::value(&text, what))
                    }
                }
            }
        }
        impl From<$name> for String {
            fn from(word: $name) -> String {
                word.as_str().to_owned()
            }
        }
    };
}
pub(crate) use words;

/// The port of SSH, used where an address names none.
const SSH_PORT: u16 = 22;

/// The SSH address of a box: a host name, an IPv4 or an IPv6 address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Reads `host`, `host:port`, `2001:db8::1` or `[2001:db8::1]:port`.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let refused = |what: &str| Refused::value(text, what);
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => {
                let port = rest.strip_prefix(':');
                (host, Some(port.ok_or_else(|| refused("is no address"))?))
            }
            None if text.parse::<std::net::Ipv6Addr>().is_ok() => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if !is_host(host) {
            return Err(refused("is no address: it takes host or host:port"));
        }
        let port = match port {
            None => SSH_PORT,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(refused("has no port from 1 to 65535")),
            },
        };
        let host = host.to_owned();
        Ok(Self { host, port })
    }

    /// The host, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Whether `text` is a host name, an IPv4 or an IPv6 address.
pub(super) fn is_host(text: &str) -> bool {
    let name = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(name))
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for HostPort {
    type Error = Refused;
    fn try_from(text: String) -> Result<Self, Refused> {
        Self::parse(&text)
    }
}

impl From<HostPort> for String {
    fn from(address: HostPort) -> String {
        address.to_string()
    }
}

/// A share of a whole, written with its unit: `"40%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(u8);

impl Percent {
    /// Reads `0%` to `100%`.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let number = text.strip_suffix('%').and_then(|n| n.trim().parse().ok());
        match number {
            Some(percent @ 0..=100) => Ok(Self(percent)),
            _ => Err(Refused::value(text, "is no share from 0% to 100%")),
        }
    }

    /// The share of a hundred.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<String> for Percent {
    type Error = Refused;
    fn try_from(text: String) -> Result<Self, Refused> {
        Self::parse(&text)
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> String {
        format!("{}%", percent.0)
    }
}

/// Reads a value that an empty string unsets.
pub(super) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct Optional<T>(PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Optional<T> {
        type Value = Option<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a number")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if text.is_empty() {
                return Ok(None);
            }
            text.parse().map(Some).map_err(E::custom)
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Optional(PhantomData))
}

/// Reads a list, or one text whose members are separated by commas (as a variable gives it).
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct List<T>(PhantomData<T>);
    impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for List<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let members = text.split(',').map(str::trim);
            members.map(|member| member.parse().map_err(E::custom)).collect()
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = seq.next_element::<String>()? {
                members.push(member.parse().map_err(de::Error::custom)?);
            }
            Ok(members)
        }
    }
    deserializer.deserialize_any(List(PhantomData))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn addresses_take_every_form_a_person_writes() {
        for (text, host, port) in [
            ("10.0.0.1", "10.0.0.1", 22),
            ("10.0.0.1:2222", "10.0.0.1", 2222),
            ("rds.example", "rds.example", 22),
            ("2001:db8::1", "2001:db8::1", 22),
            ("[2001:db8::1]", "2001:db8::1", 22),
            ("[2001:db8::1]:8022", "2001:db8::1", 8022),
        ] {
            let address = HostPort::parse(text).unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
            assert_eq!(HostPort::parse(&address.to_string()).unwrap(), address);
        }
        for text in ["", ":22", "a:", "a:0", "a:65536", "a b", "[::1]22", "ssh://a", "a;b", "a:1:2"]
        {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_needs_its_unit() {
        assert_eq!(Percent::parse("40%").unwrap().get(), 40);
        for text in ["40", "0.4", "101%", "-1%", "%"] {
            assert!(Percent::parse(text).is_err(), "{text}");
        }
    }
}
