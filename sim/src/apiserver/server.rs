//! The same service on a TCP socket, HTTP/1.1 without TLS. For loopback only: nobody is asked who
//! they are.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::ApiServer;

/// More connections than this at a time wait to be accepted.
const MOST_CONNECTIONS: usize = 256;

/// How long a connection may be idle, or take to send a request's head.
const IDLE: Duration = Duration::from_secs(300);

/// A server that listens. Dropping it closes the socket and cuts every connection.
#[derive(Debug)]
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    /// The same as a URL for a client's configuration.
    pub url: String,
    task: JoinHandle<()>,
}

impl Listening {
    pub(super) async fn start(server: ApiServer, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(server, listener));
        Ok(Self { address, url: format!("http://{address}"), task })
    }
    /// Closes the socket, cuts every connection, and waits until the address is free again.
    pub async fn stop(mut self) {
        self.task.abort();
        // The error says that it was aborted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(server: ApiServer, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                match accepted {
                    Ok((stream, _)) if !server.faults().refuses_everything() => {
                        connections.spawn(serve(server.clone(), stream));
                    }
                    Ok(_) => {}
                    // Out of file descriptors, or the peer is gone already: accept again, not at
                    // once.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        }
    }
}

async fn serve(server: ApiServer, stream: TcpStream) {
    // A watch sends single lines; nothing is gained by holding them back. If it cannot be set, the
    // lines only come later.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(server.service());
    // An error here is the client's leaving or a fault's breaking of the connection.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
