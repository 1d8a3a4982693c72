//! One SSH connection: login, channels, exec, shell.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::server::{Auth, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::console::{ExecError, Session};
use super::super::machine::{ExecResult, RouterOs};
use super::super::quirks::SecondChannel;
use super::keys::Accepted;
use super::shell;
use super::stream::Gate;

type Reply = russh::server::ChannelOpenHandle;

/// Input of a shell that waits to be read.
const SHELL_BACKLOG: usize = 64;

/// Channels that a box which never answers may leave open.
const MAX_STALLED: usize = 64;

/// An answer has gone out when nothing was written for this long.
const QUIET: Duration = Duration::from_millis(50);

/// Gives up waiting for an answer to go out after so many looks.
const MAX_QUIET_CHECKS: usize = 100;

/// Channels that are open.
#[derive(Clone, Default)]
struct Open(Arc<Mutex<HashSet<ChannelId>>>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashSet<ChannelId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Handler {
    os: RouterOs,
    accepted: Accepted,
    over: CancellationToken,
    logged_in: CancellationToken,
    gate: Gate,
    /// The name that was let in.
    user: String,
    session: Option<Arc<Session>>,
    open: Open,
    stalled: Vec<Reply>,
    terminals: HashSet<ChannelId>,
    shells: HashMap<ChannelId, mpsc::Sender<Vec<u8>>>,
}

impl Handler {
    pub(super) fn new(
        os: RouterOs,
        accepted: Accepted,
        over: CancellationToken,
        gate: Gate,
    ) -> Self {
        Handler {
            os,
            accepted,
            over,
            logged_in: CancellationToken::new(),
            gate,
            user: String::new(),
            session: None,
            open: Open::default(),
            stalled: Vec::new(),
            terminals: HashSet::new(),
            shells: HashMap::new(),
        }
    }

    /// Cancelled at login.
    pub(super) fn logged_in(&self) -> CancellationToken {
        self.logged_in.clone()
    }

    fn answer(&self, channel: ChannelId, session: &russh::server::Session) -> Answer {
        let (os, gate, open) = (self.os.clone(), self.gate.clone(), self.open.clone());
        Answer { handle: session.handle(), channel, os, gate, open }
    }

    fn verdict(&self, user: &str, key: &russh::keys::PublicKey) -> Auth {
        if self.accepted.accepts(key) && self.os.rights(user).may_log_in() {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }
}

impl russh::server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.verdict(user, offer.public_key))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        self.user = user.to_owned();
        Ok(self.verdict(user, key.public_key))
    }

    async fn auth_succeeded(
        &mut self,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.logged_in.cancel();
        match self.os.session(&self.user, self.over.clone()) {
            Some(logged_in) => self.session = Some(Arc::new(logged_in)),
            None => {
                session.disconnect(Disconnect::TooManyConnections, "too many sessions", "")?;
            }
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: Reply,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let second = !self.open.lock().is_empty();
        match self.os.quirks().second_channel {
            SecondChannel::Refuse if second => {
                reply.reject(ChannelOpenFailure::ResourceShortage).await;
            }
            SecondChannel::Stall if second => {
                if self.stalled.len() < MAX_STALLED {
                    self.stalled.push(reply);
                }
            }
            _ => {
                {
                    let mut open = self.open.lock();
                    open.insert(channel.id());
                    self.gate.shut(false);
                }
                reply.accept().await;
            }
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.shells.remove(&channel);
        self.terminals.remove(&channel);
        self.open.lock().remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if self.open.lock().contains(&channel) {
            self.terminals.insert(channel);
        }
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        line: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let Some(console) = self.session.clone() else {
            return session.channel_failure(channel);
        };
        session.channel_success(channel)?;
        let line = String::from_utf8_lossy(line).into_owned();
        let answer = self.answer(channel, session);
        let over = self.over.clone();
        tokio::spawn(async move {
            match console.exec(&line).await {
                Ok(result) => answer.send(result).await,
                Err(ExecError::ChannelRefused) => answer.close().await,
                Err(ExecError::Dropped) => over.cancel(),
            }
        });
        Ok(())
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let Some(console) = self.session.clone() else {
            return session.channel_failure(channel);
        };
        session.channel_success(channel)?;
        let (sender, input) = mpsc::channel(SHELL_BACKLOG);
        self.shells.insert(channel, sender);
        let answer = self.answer(channel, session);
        let (os, echo) = (self.os.clone(), self.terminals.contains(&channel));
        let over = self.over.clone();
        tokio::spawn(async move {
            match shell::run(&os, &console, input, &answer, echo).await {
                Ok(()) => answer.close().await,
                Err(ExecError::ChannelRefused | ExecError::Dropped) => over.cancel(),
            }
        });
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(shell) = self.shells.get(&channel) {
            // A shell whose backlog is full loses input, as a console does.
            let _ = shell.try_send(data.to_vec());
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.shells.remove(&channel);
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}

/// Where the output of one channel goes.
pub(super) struct Answer {
    handle: russh::server::Handle,
    channel: ChannelId,
    os: RouterOs,
    gate: Gate,
    open: Open,
}

impl Answer {
    /// Output of a shell.
    pub(super) async fn print(&self, bytes: Vec<u8>) {
        let _ = self.handle.data(self.channel, bytes).await;
    }

    /// Everything, the exit status where there is one, and the end.
    async fn send(self, result: ExecResult) {
        if !result.stdout.is_empty() {
            let _ = self.handle.data(self.channel, result.stdout).await;
        }
        if !result.stderr.is_empty() {
            let _ = self.handle.extended_data(self.channel, 1, result.stderr).await;
        }
        if let Some(status) = result.exit_status {
            let _ = self.handle.exit_status_request(self.channel, status).await;
        }
        self.close().await;
    }

    async fn close(self) {
        // First, so that the client's next channel is not the second one.
        self.open.lock().remove(&self.channel);
        let _ = self.handle.eof(self.channel).await;
        let before = self.gate.written();
        let _ = self.handle.close(self.channel).await;
        if self.os.quirks().keepalive_unanswered {
            self.shut_when_sent(before).await;
        }
    }

    /// Shuts the gate once the answer has gone out and nothing more comes, so that keepalives stay
    /// unanswered until the next channel.
    async fn shut_when_sent(self, mut before: u64) {
        let mut moved = false;
        for _ in 0..MAX_QUIET_CHECKS {
            tokio::time::sleep(QUIET).await;
            let now = self.gate.written();
            if moved && now == before {
                let open = self.open.lock();
                self.gate.shut(open.is_empty());
                return;
            }
            moved |= now != before;
            before = now;
        }
    }
}
