//! What both SSH libraries are given to open a session, and how they may fail.

use super::host_key::{Fingerprint, PinnedKeys};
use super::{ConnectError, ExecOutput, SessionError};

/// Whom to reach, as whom, and how much to take from it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `host:port` as configured.
    pub(super) address: String,
    /// The login name.
    pub(super) user: String,
    /// The keys under which the box may show itself.
    pub(super) pins: PinnedKeys,
    /// Bytes of output that one command may give.
    pub(super) max_output: usize,
}

impl Target {
    /// The box showed a key that is not pinned.
    pub(super) fn wrong_host_key(&self, offered: Fingerprint) -> Failure {
        Failure::Other(ConnectError::HostKey {
            address: self.address.clone(),
            offered: offered.to_string(),
            pinned: self.pins.to_string(),
        })
    }

    /// The box does not take the user or the key.
    pub(super) fn refused(&self) -> Failure {
        Failure::Other(ConnectError::Refused {
            address: self.address.clone(),
            user: self.user.clone(),
        })
    }

    /// The box hung up before the login was done.
    pub(super) fn hung_up(&self) -> Failure {
        self.handshake(
            "the box closed the connection; `/ip/service/print detail where name=ssh` shows from \
             where and how often it may be used",
        )
    }

    /// The connection broke during the handshake.
    pub(super) fn broken(&self, error: &std::io::Error) -> Failure {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | BrokenPipe => self.hung_up(),
            _ => self.handshake(error),
        }
    }

    /// Anything else.
    pub(super) fn handshake(&self, reason: impl ToString) -> Failure {
        Failure::Other(ConnectError::Handshake {
            address: self.address.clone(),
            reason: reason.to_string(),
        })
    }

    /// Bytes on the wire that one command may cost: headers, padding and tags come on top of the
    /// output, and a peer that sends single bytes is still to be heard for a while.
    pub(super) fn wire_allowance(&self) -> usize {
        self.max_output.saturating_mul(2).saturating_add(1 << 20)
    }
}

/// Why no session was opened.
#[derive(Debug)]
pub(super) enum Failure {
    /// The two sides share no algorithm: another library may.
    NoCommonAlgorithm(String),
    /// Nothing that another library would do better.
    Other(ConnectError),
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Failure::Other(error)
    }
}

/// Gathers what a command writes, up to a bound.
#[derive(Debug)]
pub(super) struct Gathering {
    output: ExecOutput,
    room: usize,
    limit: usize,
}

impl Gathering {
    /// Room for `limit` bytes, both streams together.
    pub(super) fn new(limit: usize) -> Self {
        Gathering { output: ExecOutput::default(), room: limit, limit }
    }

    /// Adds to the standard output.
    pub(super) fn stdout(&mut self, data: &[u8]) -> Result<(), SessionError> {
        self.take(data.len())?;
        self.output.stdout.extend_from_slice(data);
        Ok(())
    }

    /// Adds to the standard error.
    pub(super) fn stderr(&mut self, data: &[u8]) -> Result<(), SessionError> {
        self.take(data.len())?;
        self.output.stderr.extend_from_slice(data);
        Ok(())
    }

    /// Notes the exit status.
    pub(super) fn exit_status(&mut self, status: u32) {
        self.output.exit_status = Some(status);
    }

    /// The channel has closed.
    pub(super) fn finish(self) -> ExecOutput {
        self.output
    }

    fn take(&mut self, length: usize) -> Result<(), SessionError> {
        self.room = self.room.checked_sub(length).ok_or(SessionError::TooLong(self.limit))?;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod test {
    use super::*;

    /// A box that nobody contacts.
    pub(in super::super) fn target() -> Target {
        let pin = format!("SHA256:{}", "A".repeat(43));
        Target {
            address: "box:22".to_owned(),
            user: "csi".to_owned(),
            pins: PinnedKeys::parse([pin.as_str()]).unwrap(),
            max_output: 1024,
        }
    }

    #[test]
    fn output_is_gathered_up_to_the_limit_and_no_further() {
        let mut gathering = Gathering::new(5);
        gathering.stdout(b"ab").unwrap();
        gathering.stderr(b"cd").unwrap();
        gathering.stdout(b"e").unwrap();
        assert_eq!(gathering.stderr(b"f"), Err(SessionError::TooLong(5)));

        gathering.exit_status(3);
        let output = gathering.finish();
        assert_eq!(output.stdout, b"abe");
        assert_eq!(output.stderr, b"cd");
        assert_eq!(output.exit_status, Some(3));
    }
}
