//! The first choice of transport: thrussh 0.49. The only file that names it.
//!
//! What it needs of a server, and how it behaves, was measured against OpenSSH 9.2: see
//! [`super::offers`] for the algorithms. Three traits of the library shape this file. A failed
//! handshake shows on the next call as "Channel send error", the real error is what the
//! [`Handle`] resolves to. The channel of a finished command is dropped without a word when the
//! connection dies, so the close of a channel is passed on as a message of its own. Its task waits
//! for a silent peer for ever, which the [`Grip`] ends. And it never answers the close of a
//! channel, which [`super::renewing`] makes up for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use thrussh::client::{self, Channel, Handle};
use thrussh::{ChannelId, ChannelMsg, ChannelOpenFailure, Disconnect, Limits, Preferred};
use thrussh_keys::PublicKeyBase64 as _;
use thrussh_keys::key::{self as keys, KeyPair, PublicKey, SignatureHash};
use tokio::io::{AsyncRead, AsyncWrite};

use super::guarded::{Guarded, Library};
use super::handshake::{Failure, Gathering, Target};
use super::host_key::Fingerprint;
use super::key::PrivateKey;
use super::socket::{Grip, Socket, dial};
use super::{ExecOutput, Session, SessionError};

/// Opens a session, or says why not.
pub(super) async fn open(target: &Target, key: &PrivateKey) -> Result<Box<dyn Session>, Failure> {
    let pair = decode(key).map_err(|reason| target.handshake(reason))?;
    log_in(target, pair, dial(&target.address).await?).await
}

async fn log_in<S>(target: &Target, pair: KeyPair, stream: S) -> Result<Box<dyn Session>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (socket, grip) = Socket::new(stream, target.wire_allowance());
    let refusal = Refusal::default();
    let guard = Guard { target: target.clone(), refusal: refusal.clone() };
    let config = Arc::new(configuration(target.pins.prefer_ed25519()));
    let mut handle = client::connect_stream(config, socket, guard)
        .await
        .map_err(|ended| ended.into_failure(target))?;
    match handle.authenticate_publickey(target.user.as_str(), Arc::new(pair)).await {
        Ok(true) => {}
        Ok(false) if !handle.is_closed() => return Err(target.refused()),
        Ok(false) | Err(_) => {
            return Err(match (&mut handle).await {
                Ok(()) => target.hung_up(),
                Err(ended) => ended.into_failure(target),
            });
        }
    }
    let max_output = target.max_output;
    Ok(Box::new(Guarded::new(Thrussh { handle, refusal, max_output }, grip)))
}

fn decode(key: &PrivateKey) -> Result<KeyPair, String> {
    let mut pair = thrussh_keys::decode_secret_key(key.text(), None)
        .map_err(|e| format!("the key cannot be decoded: {e}"))?;
    // What RFC 8332 requires of a server; the library would use SHA-512 where it can.
    if let KeyPair::RSA { hash, .. } = &mut pair {
        *hash = SignatureHash::SHA2_256;
    }
    Ok(pair)
}

fn configuration(prefer_ed25519: bool) -> client::Config {
    // rsa-sha2-512 is left out: the library checks every RSA signature of a host as SHA-256.
    const ED25519_FIRST: &[keys::Name] = &[keys::ED25519, keys::RSA_SHA2_256];
    const RSA_FIRST: &[keys::Name] = &[keys::RSA_SHA2_256, keys::ED25519];
    client::Config {
        // No renewal of keys by us: sessions are short-lived compared with these limits.
        limits: Limits::new(1 << 30, 1 << 30, Duration::from_secs(24 * 60 * 60)),
        preferred: Preferred {
            key: if prefer_ed25519 { ED25519_FIRST } else { RSA_FIRST },
            // The library's own list ends with "none".
            mac: &[thrussh::mac::hmac_sha256::NAME],
            // Compressed output could be far larger than what the socket may receive.
            compression: &["none"],
            ..Preferred::DEFAULT_CLIENT
        },
        ..client::Config::default()
    }
}

/// How the library's task ended.
#[derive(Debug)]
enum Ended {
    Library(thrussh::Error),
    WrongHostKey(Fingerprint),
}

impl From<thrussh::Error> for Ended {
    fn from(error: thrussh::Error) -> Self {
        Ended::Library(error)
    }
}

impl Ended {
    fn into_failure(self, target: &Target) -> Failure {
        use thrussh::Error::*;
        match self {
            Ended::WrongHostKey(offered) => target.wrong_host_key(offered),
            Ended::Library(NoAuthMethod) => target.refused(),
            Ended::Library(Disconnect | HUP) => target.hung_up(),
            Ended::Library(IO(e)) => target.broken(&e),
            Ended::Library(
                e @ (NoCommonKexAlgo | NoCommonKeyAlgo | NoCommonCipher | NoCommonMac),
            ) => Failure::NoCommonAlgorithm(e.to_string()),
            Ended::Library(Join(e)) if e.is_panic() => target.handshake("the SSH library panicked"),
            Ended::Library(e) => target.handshake(e),
        }
    }
}

/// Why the box last refused to open a channel.
type Refusal = Arc<Mutex<Option<String>>>;

/// Checks the host key and tells the close of a channel from the end of the connection.
struct Guard {
    target: Target,
    refusal: Refusal,
}

/// The library's own behaviour, to add to it instead of replacing it.
struct Plain;

impl client::Handler for Plain {
    type Error = Ended;
}

impl client::Handler for Guard {
    type Error = Ended;

    async fn check_server_key(self, key: &PublicKey) -> Result<(Self, bool), Ended> {
        match self.target.pins.check(&key.public_key_bytes()) {
            Ok(()) => Ok((self, true)),
            Err(offered) => Err(Ended::WrongHostKey(offered)),
        }
    }

    async fn channel_close(
        self,
        channel: ChannelId,
        session: client::Session,
    ) -> Result<(Self, client::Session), Ended> {
        session.send_channel_msg(channel, ChannelMsg::Close);
        let (_, session) = Plain.channel_close(channel, session).await?;
        Ok((self, session))
    }

    async fn channel_open_failure(
        self,
        channel: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        language: &str,
        session: client::Session,
    ) -> Result<(Self, client::Session), Ended> {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(format!("{reason:?}: {}", description.escape_debug()));
        let (_, session) =
            Plain.channel_open_failure(channel, reason, description, language, session).await?;
        Ok((self, session))
    }
}

struct Thrussh {
    handle: Handle<Guard>,
    refusal: Refusal,
    max_output: usize,
}

impl Thrussh {
    async fn open_channel(&mut self, grip: &Grip) -> Result<Channel, SessionError> {
        match self.handle.channel_open_session().await {
            Ok(channel) => Ok(channel),
            Err(_) if self.handle.is_closed() => Err(self.ended(grip).await.before_a_channel()),
            Err(e) => {
                let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
                Err(SessionError::Channel(refusal.take().unwrap_or_else(|| e.to_string())))
            }
        }
    }

    /// The task has ended or is about to: why.
    async fn ended(&mut self, grip: &Grip) -> SessionError {
        grip.abandon();
        SessionError::Closed(match (&mut self.handle).await {
            Ok(()) => "the box closed it".to_owned(),
            Err(Ended::Library(thrussh::Error::Join(e))) if e.is_panic() => {
                "the SSH library panicked".to_owned()
            }
            Err(Ended::Library(e)) => e.to_string(),
            Err(Ended::WrongHostKey(offered)) => format!("another host key: {offered}"),
        })
    }
}

#[async_trait]
impl Library for Thrussh {
    async fn run(&mut self, line: &str, grip: &Grip) -> Result<ExecOutput, SessionError> {
        let mut channel = self.open_channel(grip).await?;
        let mut gathering = Gathering::new(self.max_output);
        // Nothing is ever typed to a command: one that asks must not wait.
        if channel.exec(true, line).await.is_err() || channel.eof().await.is_err() {
            return Err(self.ended(grip).await);
        }
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) => gathering.stdout(&data)?,
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => gathering.stderr(&data)?,
                Some(ChannelMsg::ExitStatus { exit_status }) => gathering.exit_status(exit_status),
                Some(ChannelMsg::Close) => return Ok(gathering.finish()),
                Some(_) => {}
                None => return Err(self.ended(grip).await),
            }
        }
    }

    async fn goodbye(&mut self) -> bool {
        self.handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok()
    }
}

#[cfg(test)]
mod test {
    use super::super::ConnectError;
    use super::super::handshake::test::target;
    use super::super::offers::THRUSSH as NEEDS;
    use super::super::socket::test::Panicking;
    use super::*;

    #[test]
    fn what_is_configured_is_what_the_choice_of_a_transport_assumes() {
        fn names<T: AsRef<str>>(list: &[T]) -> Vec<&str> {
            let names = list.iter().map(AsRef::as_ref);
            names.filter(|n| !n.starts_with("kex-strict") && !n.starts_with("ext-info")).collect()
        }
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        for prefer_ed25519 in [true, false] {
            let preferred = configuration(prefer_ed25519).preferred;
            assert_eq!(names(preferred.kex), NEEDS.kex);
            assert_eq!(names(preferred.cipher), NEEDS.ciphers);
            assert_eq!(names(preferred.mac), NEEDS.macs);
            let keys: Vec<String> = preferred.key.iter().map(|k| k.as_ref().to_owned()).collect();
            assert_eq!(keys[0] == "ssh-ed25519", prefer_ed25519);
            assert_eq!(sorted(keys), NEEDS.host_key);
        }
    }

    #[tokio::test]
    async fn a_panic_in_the_librarys_task_ends_as_an_error() {
        let pair = KeyPair::generate_ed25519().unwrap();
        let opened = log_in(&target(), pair, Panicking::default()).await;
        let Err(Failure::Other(ConnectError::Handshake { reason, .. })) = opened else {
            panic!("opened, or failed otherwise");
        };
        assert_eq!(reason, "the SSH library panicked");
    }
}
