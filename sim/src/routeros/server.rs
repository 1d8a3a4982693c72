//! The box behind a real SSH server.
//!
//! One [`Server`] listens on one address for one [`RouterOs`]. The faults of the box act on its
//! sockets: refusing closes the listener, half-open leaves sockets open and never touches them
//! again, a reboot cuts everything. Dropping the server ends it and its connections.

mod handler;
mod keys;
mod offer;
mod shell;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::PrivateKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::machine::{Net, RouterOs};
use handler::Handler;
pub use keys::{AuthorizedKeys, HostKey, UserKey};
pub use offer::Offer;
use stream::{BoxStream, Gate};

/// TCP connections at once, logged in or not.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take to log in.
const LOGIN_DEADLINE: Duration = Duration::from_secs(120);

/// How the SSH side of a box is set up.
#[derive(Debug, Clone, Default)]
pub struct ServerSetup {
    /// The key it shows.
    pub host_key: HostKey,
    /// Who may log in.
    pub authorized: AuthorizedKeys,
    /// The algorithms it offers.
    pub offer: Offer,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// As given.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The host key cannot be made or read.
    #[error("host key: {0}")]
    HostKey(String),
    /// A public key cannot be read.
    #[error("authorized key {key:?}: {reason}")]
    AuthorizedKey {
        /// As given.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// An algorithm that this server does not have.
    #[error("unknown algorithm {0:?}")]
    Algorithm(String),
}

/// What every connection shares.
struct Site {
    os: RouterOs,
    config: Arc<russh::server::Config>,
    authorized: keys::Accepted,
    stop: CancellationToken,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("os", &self.os).finish_non_exhaustive()
    }
}

/// A listening SSH server. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    public_key: String,
    fingerprint: String,
    site: Arc<Site>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.site.stop.cancel();
    }
}

impl Server {
    /// Listens; port 0 takes a free one. Making an RSA key takes a moment.
    pub async fn start(
        os: RouterOs,
        address: SocketAddr,
        setup: ServerSetup,
    ) -> Result<Server, ServerError> {
        let accepted = setup.authorized.read()?;
        let host_key = setup.host_key.make().await?;
        let config = configure(&host_key, &setup.offer)?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServerError::Listen { address, source })?;
        let address =
            listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
        let site = Arc::new(Site {
            os,
            config: Arc::new(config),
            authorized: accepted,
            stop: CancellationToken::new(),
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        });
        tokio::spawn(accept(Arc::clone(&site), listener, address));
        let fingerprint = host_key.public_key().fingerprint(russh::keys::HashAlg::Sha256);
        let public_key = host_key.public_key().to_openssh();
        Ok(Server {
            address,
            public_key: public_key.map_err(|error| ServerError::HostKey(error.to_string()))?,
            fingerprint: fingerprint.to_string(),
            site,
        })
    }

    /// Serves one more connection over any stream, such as an in-memory pipe.
    pub fn serve_stream(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let site = Arc::clone(&self.site);
        tokio::spawn(async move { serve(&site, stream).await });
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `SHA256:…` of the host key.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The host key as a line of `known_hosts` has it after the host name.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }
}

fn configure(key: &PrivateKey, offer: &Offer) -> Result<russh::server::Config, ServerError> {
    let methods = [russh::MethodKind::PublicKey];
    Ok(russh::server::Config {
        // The banner of every release since 6: no version in it.
        server_id: russh::SshId::Standard("SSH-2.0-ROSSSH".into()),
        methods: russh::MethodSet::from(&methods[..]),
        auth_rejection_time: Duration::from_millis(20),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key.clone()],
        preferred: offer.preferred()?,
        // As a debug log of a device showed: window 1 MiB, packets 16 KiB.
        window_size: 1 << 20,
        maximum_packet_size: 16 << 10,
        inactivity_timeout: None,
        ..russh::server::Config::default()
    })
}

/// Accepts until the server is dropped. The port is closed while the box refuses or is off.
async fn accept(site: Arc<Site>, listener: TcpListener, address: SocketAddr) {
    let mut net = site.os.net();
    let mut listener = Some(listener);
    loop {
        let now = net.borrow_and_update().clone();
        if let Some(until) = closed_until(&now) {
            listener = None;
            tokio::select! {
                () = site.stop.cancelled() => return,
                _ = net.changed() => {}
                () = tokio::time::sleep_until(until) => {}
            }
            continue;
        }
        let Some(open) = &listener else {
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            continue;
        };
        tokio::select! {
            () = site.stop.cancelled() => return,
            _ = net.changed() => {}
            accepted = open.accept() => {
                if let Ok((socket, _)) = accepted {
                    tokio::spawn(connection(Arc::clone(&site), socket));
                }
            }
        }
    }
}

/// Until when the port stays closed at least; none while it is open.
fn closed_until(net: &Net) -> Option<tokio::time::Instant> {
    let now = tokio::time::Instant::now();
    if net.refusing {
        return Some(now + Duration::from_secs(3600));
    }
    net.down_until.filter(|until| *until > now)
}

async fn connection(site: Arc<Site>, socket: TcpStream) {
    // One place each; more connections than places are closed at once.
    let Ok(_place) = Arc::clone(&site.places).try_acquire_owned() else {
        return;
    };
    let _ = socket.set_nodelay(true);
    serve(&site, socket).await;
}

/// Serves one connection over any stream until it ends.
async fn serve(site: &Site, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let net = site.os.net().borrow().clone();
    let over = net.cut.child_token();
    let _over_when_done = over.clone().drop_guard();
    if net.half_open {
        // Neither a banner nor an end: the client hangs in its handshake.
        tokio::select! {
            () = over.cancelled() => {}
            () = site.stop.cancelled() => {}
        }
        return;
    }
    let (_, latency) = site.os.latency();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let gate = Gate::default();
    let stream = BoxStream::new(Box::new(stream), over.clone(), net.frozen.clone(), gate.clone());
    let handler = Handler::new(site.os.clone(), site.authorized.clone(), over.clone(), gate);
    let logged_in = handler.logged_in();
    let run = async {
        match russh::server::run_stream(Arc::clone(&site.config), stream, handler).await {
            Ok(session) => {
                let _ = session.await;
            }
            Err(_) => over.cancel(),
        }
    };
    let too_late = async {
        tokio::select! {
            () = logged_in.cancelled() => std::future::pending().await,
            () = tokio::time::sleep(LOGIN_DEADLINE) => over.cancel(),
        }
    };
    tokio::select! {
        () = run => {}
        () = too_late => {}
        () = site.stop.cancelled() => over.cancel(),
    }
}
