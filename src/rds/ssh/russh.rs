//! The second transport, for boxes that share no algorithm with the first: russh 0.65. The only
//! file that names it.
//!
//! It allows what a RouterOS box with `strong-crypto=no` may be limited to (hmac-sha1,
//! Diffie-Hellman groups of 2048 bits), always behind everything better, and never a SHA-1
//! signature of a host. Its errors name both offers. As with the first transport, the real
//! error of a lost connection is what the [`Handle`] resolves to.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ::russh::client::{self, AuthResult, GexParams, Handle};
use ::russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use ::russh::{ChannelMsg, Disconnect, Limits, Preferred, cipher, compression, kex, mac};
use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use super::guarded::{Guarded, Library};
use super::handshake::{Failure, Gathering, Target};
use super::host_key::{Fingerprint, PinnedKeys};
use super::key::PrivateKey;
use super::socket::{Grip, Socket, dial};
use super::{ExecOutput, Session, SessionError};

/// Smallest, preferred and largest group, in bits, of a negotiated Diffie-Hellman exchange.
const GROUP_BITS: (usize, usize, usize) = (2048, 3072, 8192);

const KEX: &[kex::Name] = &[
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::DH_G14_SHA1,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

const MACS: &[mac::Name] = &[
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256,
    mac::HMAC_SHA512,
    mac::HMAC_SHA1_ETM,
    mac::HMAC_SHA1,
];

/// Opens a session, or says why not.
pub(super) async fn open(target: &Target, key: &PrivateKey) -> Result<Box<dyn Session>, Failure> {
    let key = decode(key).map_err(|reason| target.handshake(reason))?;
    log_in(target, key, dial(&target.address).await?).await
}

async fn log_in<S>(
    target: &Target,
    key: PrivateKeyWithHashAlg,
    stream: S,
) -> Result<Box<dyn Session>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = configuration(target.pins.prefer_ed25519()).map_err(|e| target.handshake(e))?;
    let (socket, grip) = Socket::new(stream, target.wire_allowance());
    let guard = Guard { pins: target.pins.clone() };
    let mut handle = client::connect_stream(Arc::new(config), socket, guard)
        .await
        .map_err(|ended| ended.into_failure(target))?;
    match handle.authenticate_publickey(target.user.as_str(), key).await {
        Ok(AuthResult::Success) => {}
        Ok(AuthResult::Failure { .. }) if !handle.is_closed() => return Err(target.refused()),
        Ok(AuthResult::Failure { .. }) | Err(_) => {
            return Err(match (&mut handle).await {
                Ok(()) => target.hung_up(),
                Err(ended) => ended.into_failure(target),
            });
        }
    }
    let max_output = target.max_output;
    Ok(Box::new(Guarded::new(Russh { handle, max_output }, grip)))
}

fn decode(key: &PrivateKey) -> Result<PrivateKeyWithHashAlg, String> {
    let key = ::russh::keys::decode_secret_key(key.text(), None)
        .map_err(|e| format!("the key cannot be decoded: {e}"))?;
    // What RFC 8332 requires of a server.
    Ok(PrivateKeyWithHashAlg::new(Arc::new(key), Some(HashAlg::Sha256)))
}

fn configuration(prefer_ed25519: bool) -> Result<client::Config, ::russh::Error> {
    let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
    let mut key = vec![rsa(HashAlg::Sha256), rsa(HashAlg::Sha512)];
    key.insert(if prefer_ed25519 { 0 } else { key.len() }, Algorithm::Ed25519);
    let (min, preferred, max) = GROUP_BITS;
    Ok(client::Config {
        limits: Limits::new(1 << 30, 1 << 30, Duration::from_secs(24 * 60 * 60)),
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Owned(key),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            // Compressed output could be far larger than what the socket may receive.
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        gex: GexParams::new(min, preferred, max)?,
        ..client::Config::default()
    })
}

/// How the library's task ended.
#[derive(Debug)]
enum Ended {
    Library(::russh::Error),
    WrongHostKey(Fingerprint),
}

impl From<::russh::Error> for Ended {
    fn from(error: ::russh::Error) -> Self {
        Ended::Library(error)
    }
}

impl Ended {
    fn into_failure(self, target: &Target) -> Failure {
        match self {
            Ended::WrongHostKey(offered) => target.wrong_host_key(offered),
            Ended::Library(::russh::Error::NoAuthMethod) => target.refused(),
            Ended::Library(::russh::Error::Disconnect | ::russh::Error::HUP) => target.hung_up(),
            Ended::Library(::russh::Error::IO(e)) => target.broken(&e),
            Ended::Library(e @ ::russh::Error::NoCommonAlgo { .. }) => {
                Failure::NoCommonAlgorithm(e.to_string())
            }
            Ended::Library(e) => target.handshake(describe(&e)),
        }
    }
}

fn describe(error: &::russh::Error) -> String {
    match error {
        ::russh::Error::Join(_) => "the SSH library panicked".to_owned(),
        e => e.to_string(),
    }
}

/// Checks the host key.
struct Guard {
    pins: PinnedKeys,
}

impl client::Handler for Guard {
    type Error = Ended;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Ended> {
        let blob = shown.public_key().to_bytes().map_err(::russh::keys::Error::from);
        let blob = blob.map_err(::russh::Error::from)?;
        match self.pins.check(&blob) {
            Ok(()) => Ok(true),
            Err(offered) => Err(Ended::WrongHostKey(offered)),
        }
    }
}

struct Russh {
    handle: Handle<Guard>,
    max_output: usize,
}

impl Russh {
    /// The task has ended or is about to: why.
    async fn ended(&mut self, grip: &Grip) -> SessionError {
        grip.abandon();
        SessionError::Closed(match (&mut self.handle).await {
            Ok(()) => "the box closed it".to_owned(),
            Err(Ended::Library(e)) => describe(&e),
            Err(Ended::WrongHostKey(offered)) => format!("another host key: {offered}"),
        })
    }
}

#[async_trait]
impl Library for Russh {
    async fn run(&mut self, line: &str, grip: &Grip) -> Result<ExecOutput, SessionError> {
        let mut channel = match self.handle.channel_open_session().await {
            Ok(channel) => channel,
            Err(_) if self.handle.is_closed() => {
                return Err(self.ended(grip).await.before_a_channel());
            }
            Err(e) => return Err(SessionError::Channel(e.to_string())),
        };
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
                Some(ChannelMsg::Failure) => {
                    return Err(SessionError::Channel("it runs no command here".to_owned()));
                }
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
    use super::super::offers::RUSSH as NEEDS;
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
            let preferred = configuration(prefer_ed25519).unwrap().preferred;
            assert_eq!(names(&preferred.kex), NEEDS.kex);
            assert_eq!(names(&preferred.cipher), NEEDS.ciphers);
            assert_eq!(names(&preferred.mac), NEEDS.macs);
            let keys: Vec<String> = preferred.key.iter().map(ToString::to_string).collect();
            assert_eq!(keys[0] == "ssh-ed25519", prefer_ed25519);
            assert_eq!(sorted(keys), NEEDS.host_key);
        }
    }

    #[tokio::test]
    async fn a_panic_in_the_librarys_task_ends_as_an_error() {
        let pair = ::russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]);
        let key = PrivateKeyWithHashAlg::new(Arc::new(pair.into()), None);
        let opened = log_in(&target(), key, Panicking::default()).await;
        let Err(Failure::Other(ConnectError::Handshake { reason, .. })) = opened else {
            panic!("opened, or failed otherwise");
        };
        assert_eq!(reason, "the SSH library panicked");
    }
}
