//! `[driver]`: who we are to Kubernetes and where the sidecars find us.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::check::{Check, is_dns_label};

/// The scheme of [`DriverConfig::endpoint`].
const SCHEME: &str = "unix://";
/// Longest path of a Unix socket on Linux, in bytes (unix(7): 108 with the closing zero).
const SOCKET_PATH_LENGTH_MAX: usize = 107;

/// `[driver]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverConfig {
    /// CSI driver name.
    pub name: String,
    /// Socket of the CSI services, `unix://` and an absolute path.
    pub endpoint: String,
    /// Group that may use the socket; the owner alone where there is none.
    #[serde(deserialize_with = "super::value::optional")]
    pub endpoint_group: Option<u32>,
    /// Prefix of the names of the objects that the driver keeps.
    pub release: String,
    /// The driver's own namespace.
    pub namespace: String,
}

impl DriverConfig {
    /// The path of the CSI socket.
    pub fn socket_path(&self) -> PathBuf {
        PathBuf::from(self.endpoint.strip_prefix(SCHEME).unwrap_or(&self.endpoint))
    }

    /// The mode of the CSI socket.
    pub fn socket_mode(&self) -> u32 {
        if self.endpoint_group.is_some() { 0o660 } else { 0o600 }
    }

    pub(super) fn validate(&self, check: &mut Check) {
        let path = self.endpoint.strip_prefix(SCHEME);
        let named = path.is_some_and(|p| Path::new(p).file_name().is_some() && !p.ends_with('/'));
        let absolute = path.is_some_and(|path| path.starts_with('/'));
        let short = path.is_some_and(|path| path.len() <= SOCKET_PATH_LENGTH_MAX);
        check
            .part("driver")
            .that(
                is_driver_name(&self.name),
                "name",
                "must be 1 to 63 of A-Z a-z 0-9 . - and begin and end with a letter or digit",
            )
            .that(named && absolute, "endpoint", "must be unix:// and an absolute path of a file")
            .that(
                short,
                "endpoint",
                format!("must have a path of at most {SOCKET_PATH_LENGTH_MAX} bytes"),
            )
            // Names like <release>-deleting must still be names; 53 is what Helm allows, too.
            .that(
                is_dns_label(&self.release, 53),
                "release",
                "must be 1 to 53 of a-z 0-9 - and begin and end with a letter or digit",
            )
            .that(
                is_dns_label(&self.namespace, 63),
                "namespace",
                "must be the name of a namespace",
            );
    }
}

/// CSI specification, GetPluginInfo: domain name notation, at most 63 characters.
fn is_driver_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}
