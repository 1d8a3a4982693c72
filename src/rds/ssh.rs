//! The session trait: one SSH connection to a box, one command at a time.
//!
//! RouterOS runs one command at a time per connection reliably, multiplexed channels not
//! (reported of ControlMaster and of an RDS), so a [`Session`] is used by one caller at a time: `exec` takes `&mut self`.
//! The actor that owns the sessions knows only these traits; thrussh and russh are named in
//! `rds/ssh/` alone.

pub mod connector;
mod guarded;
mod handshake;
pub mod host_key;
pub mod key;
mod offers;
mod renewing;
mod russh;
mod socket;
pub mod survey;
mod thrussh;
mod wire;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

/// What came back from one exec, uninterpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Everything the box wrote to the channel. RouterOS writes its errors here, too.
    pub stdout: Vec<u8>,
    /// Extended data of type 1. Empty on every box that anybody has shown.
    pub stderr: Vec<u8>,
    /// The exit status, where the box sent one. It proves nothing: authors contradict each other.
    pub exit_status: Option<u32>,
}

/// Why a session could not be opened. `Display` is one line for a person, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No TCP connection: refused, unreachable, no answer.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// `host:port` as configured.
        address: String,
        /// What the operating system said.
        reason: String,
    },
    /// The box showed another host key than the one that is pinned.
    #[error(
        "the host key of {address} is {offered}, not the pinned {pinned}; if the box got a new \
         key, compare it on its console and change `host_key`"
    )]
    HostKey {
        /// `host:port` as configured.
        address: String,
        /// `SHA256:…` fingerprint of what the box showed.
        offered: String,
        /// `SHA256:…` fingerprint of what the configuration pins.
        pinned: String,
    },
    /// No common algorithm. The text lists what the box offers, what we need and what helps.
    #[error("no common algorithm with {address}: {advice}")]
    Algorithms {
        /// `host:port` as configured.
        address: String,
        /// The offer, the need and the RouterOS command that helps.
        advice: String,
    },
    /// The box refused the user or the key.
    #[error("{address} refused the key of user {user}")]
    Refused {
        /// `host:port` as configured.
        address: String,
        /// The login name.
        user: String,
    },
    /// The private key cannot be used: unreadable, readable by others, encrypted, of an unknown
    /// type.
    #[error("private key {path}: {reason}")]
    Key {
        /// The path as configured.
        path: String,
        /// What is wrong and what helps.
        reason: String,
    },
    /// Anything else that went wrong during the handshake.
    #[error("handshake with {address} failed: {reason}")]
    Handshake {
        /// `host:port` as configured.
        address: String,
        /// What the library said.
        reason: String,
    },
}

/// Why an exec gave no output. In every case the command may have run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The connection ended before the channel closed.
    #[error("the connection ended before the command was answered: {0}")]
    Closed(String),
    /// No channel was opened: the box refused one, or the connection ended before. The one case in
    /// which nothing can have run.
    #[error("the box opened no channel: {0}")]
    Channel(String),
    /// More output than anyone may send us.
    #[error("more than {0} bytes of output")]
    TooLong(usize),
}

impl SessionError {
    /// The same, where the connection ended before there was a channel to send a line on.
    pub(crate) fn before_a_channel(self) -> Self {
        match self {
            Self::Closed(why) => Self::Channel(why),
            other => other,
        }
    }
}

/// One connection. Dropping it closes the socket.
#[async_trait]
pub trait Session: Send {
    /// Runs one line and returns when the channel has closed. The caller sets the deadline by
    /// dropping the future; the session must not be used again after that.
    async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError>;

    /// Is cancelled as soon as the TCP connection or the SSH transport has ended.
    fn closed(&self) -> CancellationToken;

    /// Says goodbye (SSH disconnect) and closes the socket. Bounded by the caller.
    async fn close(self: Box<Self>);
}

/// Opens sessions to one box.
#[async_trait]
pub trait Connect: Send + Sync {
    /// A fresh, authenticated session. The caller sets the deadline by dropping the future.
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError>;

    /// `host:port`, for logs, metrics and error texts.
    fn address(&self) -> &str;
}
