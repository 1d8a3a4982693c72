//! The word of a node's agent: what it says of its host, and how one knows that it is its word.
//!
//! ```text
//! GET /agent?challenge=<64 hex digits>
//!
//! <64 hex digits: HMAC-SHA256 over the rest>\n
//! {"format":1,"driver":…,"node":…,"bootId":…,"challenge":…,"volumes":[…]}
//! ```
//!
//! The key follows from the cluster Secret, which only the controller and the nodes have. The
//! challenge makes an answer good for one question. NQNs are hashed under a second key together
//! with the challenge: a listener learns how many volumes there are, and nothing of which.
//!
//! All of it is pure; who asks is `cluster::agents`, who answers `actors::agent`.

mod challenge;
mod document;
mod keys;
mod name;
mod seal;

pub use self::challenge::Challenge;
pub use self::document::{Connection, Formatting, Proven, Report, Seen, VolumeWord};
pub use self::keys::Keys;
pub use self::name::{generation, volume_name, without_nonce};
pub use self::seal::{ANSWER_MAX, Asked, Unproven, open, seal};

/// Where the agent answers, on the port of metrics and health.
pub const PATH: &str = "/agent";

#[cfg(test)]
mod test;
