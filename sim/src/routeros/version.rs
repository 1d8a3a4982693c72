//! RouterOS versions and what they know.

use std::fmt;
use std::str::FromStr;

/// A RouterOS release, as `/system/resource get version` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The 7 of 7.24.4.
    pub major: u16,
    /// The 24 of 7.24.4.
    pub minor: u16,
    /// The 4 of 7.24.4; 0 where there is none.
    pub patch: u16,
}

impl Version {
    /// A long-term release that cannot set an NQN: there the NQN is the slot name.
    pub const V7_20_8: Version = Version { major: 7, minor: 20, patch: 8 };
    /// The oldest line with `nvme-tcp-server-nqn`.
    pub const V7_21_5: Version = Version { major: 7, minor: 21, patch: 5 };
    /// The release on which the published transcripts of an RDS2216 were made.
    pub const V7_24_4: Version = Version { major: 7, minor: 24, patch: 4 };

    /// Whether this release is `major.minor` or later.
    pub fn at_least(self, major: u16, minor: u16) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// `nvme-tcp-server-nqn` came with 7.21 (extracted command trees).
    pub fn has_server_nqn(self) -> bool {
        self.at_least(7, 21)
    }

    /// The channel that the version string names.
    fn channel(self) -> &'static str {
        if self.minor == 20 { "long-term" } else { "stable" }
    }

    /// What `/system/resource get version` returns.
    pub fn resource_text(self) -> String {
        format!("{self} ({})", self.channel())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)?;
        }
        Ok(())
    }
}

/// Not a version from 7.17 on, the first with disks of type `file`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a RouterOS version from 7.17 on, such as 7.24.4")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || NotAVersion(text.to_owned());
        let mut parts = text.split('.').map(|part| part.parse::<u16>().map_err(|_| refuse()));
        let major = parts.next().ok_or_else(refuse)??;
        let minor = parts.next().ok_or_else(refuse)??;
        let patch = parts.next().unwrap_or(Ok(0))?;
        let version = Version { major, minor, patch };
        if parts.next().is_some() || major != 7 || !version.at_least(7, 17) {
            return Err(refuse());
        }
        Ok(version)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn versions_parse_or_say_what_they_should_look_like() {
        assert_eq!("7.24.4".parse(), Ok(Version::V7_24_4));
        assert_eq!("7.24".parse::<Version>().map(|v| v.to_string()), Ok("7.24".to_owned()));
        for bad in ["", "7", "7.16", "6.49", "7.20.8.1", "7.x", "7.24.4 (stable)"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_7_21_and_later_set_an_nqn() {
        assert!(!Version::V7_20_8.has_server_nqn());
        assert!(Version::V7_21_5.has_server_nqn());
        assert_eq!(Version::V7_24_4.resource_text(), "7.24.4 (stable)");
    }
}
