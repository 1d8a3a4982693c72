//! Opens sessions to one box, over the transport that can.
//!
//! thrussh is tried first. When it shares no algorithm with the box, the box's offer is read,
//! and, where that is allowed, russh takes over for this and all later sessions; the log says so
//! once. The private key is read for each session, so a rotated Secret needs no restart. There
//! are no deadlines here and no retries: both belong to the owner of the sessions, who drops the
//! future.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::FutureExt as _;
use slog::{Logger, info, warn};

use super::handshake::{Failure, Target};
use super::host_key::PinnedKeys;
use super::key::PrivateKey;
use super::offers::{Choice, RUSSH, THRUSSH, choose, read_offer};
use super::renewing::{Open, Renewing};
use super::{Connect, ConnectError, Session, russh, thrussh};

/// Bytes of output that one command may give. A poll of thousands of disks stays far below.
pub const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// Whether the second transport may serve a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecondSession {
    /// When the first one shares no algorithm with the box.
    #[default]
    Auto,
    /// Always, instead of the first one.
    Force,
    /// Never: such a box is refused, with a message that lists what would help.
    Forbid,
}

/// Opens sessions to one box.
#[derive(Debug)]
pub struct SshConnector {
    target: Target,
    key: PathBuf,
    second_session: SecondSession,
    /// The first transport was found to share nothing with the box.
    second: AtomicBool,
    log: Logger,
}

impl SshConnector {
    /// A connector to `address` (`host:port`) that logs in as `user` with the private key in the
    /// file `key`, if the box shows one of the `pinned` host keys. Nothing is read or contacted
    /// yet.
    pub fn new(
        address: impl Into<String>,
        user: impl Into<String>,
        key: impl Into<PathBuf>,
        pinned: PinnedKeys,
        second_session: SecondSession,
        log: Logger,
    ) -> Self {
        let target = Target {
            address: address.into(),
            user: user.into(),
            pins: pinned,
            max_output: MAX_OUTPUT,
        };
        let second = AtomicBool::new(second_session == SecondSession::Force);
        SshConnector { target, key: key.into(), second_session, second, log }
    }

    /// The same with another bound on the output of one command, in bytes.
    #[must_use]
    pub fn with_max_output(mut self, bytes: usize) -> Self {
        self.target.max_output = bytes;
        self
    }

    async fn open(&self, key: &PrivateKey) -> Result<Box<dyn Session>, ConnectError> {
        if self.second.load(Ordering::Relaxed) {
            return self.open_second(key).await;
        }
        let reason = match thrussh::open(&self.target, key).await {
            Ok(session) => return Ok(self.renewing(session)),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::NoCommonAlgorithm(reason)) => reason,
        };
        let offer = read_offer(&self.target.address).await?;
        match (choose(&offer), self.second_session) {
            // The box has changed its mind meanwhile; the next attempt will see.
            (Choice::First, _) => Err(self.handshake(reason)),
            (Choice::Second, SecondSession::Forbid) => Err(self.algorithms(format!(
                "{}; or allow the second session in the configuration",
                THRUSSH.advice(&offer)
            ))),
            (Choice::Second, _) => {
                if !self.second.swap(true, Ordering::Relaxed) {
                    warn!(self.log, "no common algorithm, the second session takes over";
                        "address" => &self.target.address, "reason" => reason,
                        "advice" => THRUSSH.advice(&offer));
                }
                self.open_second(key).await
            }
            (Choice::Neither, _) => Err(self.algorithms(RUSSH.advice(&offer))),
        }
    }

    async fn open_second(&self, key: &PrivateKey) -> Result<Box<dyn Session>, ConnectError> {
        let reason = match russh::open(&self.target, key).await {
            Ok(session) => return Ok(session),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::NoCommonAlgorithm(reason)) => reason,
        };
        if self.second_session == SecondSession::Auto && self.second.swap(false, Ordering::Relaxed)
        {
            info!(self.log, "the box has changed its algorithms, the first session is tried again";
                "address" => &self.target.address);
        }
        let offer = read_offer(&self.target.address).await?;
        if RUSSH.served_by(&offer) {
            return Err(self.handshake(reason));
        }
        Err(self.algorithms(RUSSH.advice(&offer)))
    }

    fn renewing(&self, first: Box<dyn Session>) -> Box<dyn Session> {
        let (target, path) = (self.target.clone(), self.key.clone());
        let open: Open = Arc::new(move || {
            let (target, path) = (target.clone(), path.clone());
            Box::pin(async move {
                let key = load_key(path).await?;
                thrussh::open(&target, &key).await.map_err(|failure| match failure {
                    Failure::Other(error) => error,
                    Failure::NoCommonAlgorithm(reason) => {
                        ConnectError::Handshake { address: target.address.clone(), reason }
                    }
                })
            })
        });
        Box::new(Renewing::new(first, open))
    }

    fn handshake(&self, reason: String) -> ConnectError {
        ConnectError::Handshake { address: self.target.address.clone(), reason }
    }

    fn algorithms(&self, advice: String) -> ConnectError {
        ConnectError::Algorithms { address: self.target.address.clone(), advice }
    }
}

#[async_trait]
impl Connect for SshConnector {
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        let key = load_key(self.key.clone()).await?;
        // The libraries spawn tasks, whose panics they report, but parse in ours, too.
        AssertUnwindSafe(self.open(&key))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(self.handshake("the SSH library panicked".to_owned())))
    }

    fn address(&self) -> &str {
        &self.target.address
    }
}

async fn load_key(path: PathBuf) -> Result<PrivateKey, ConnectError> {
    let shown = path.display().to_string();
    let reason = match tokio::task::spawn_blocking(move || PrivateKey::load(&path)).await {
        Ok(Ok(key)) => return Ok(key),
        Ok(Err(e)) => e.to_string(),
        Err(_) => "reading it was interrupted".to_owned(),
    };
    Err(ConnectError::Key { path: shown, reason })
}
