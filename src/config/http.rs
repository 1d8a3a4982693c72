//! `[http]`: where metrics and health are served.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to bind.
    pub listen: SocketAddr,
}
