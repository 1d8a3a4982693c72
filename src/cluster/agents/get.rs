//! One GET: deadline, bounded answer, and what is learnt where there is none.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::agent::ANSWER_MAX;
use crate::cluster::request::reason;

/// Room for the head of an answer, in bytes.
const HEAD_MAX: usize = 16 * 1024;

/// Why there is no answer, in words that go on from the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// The kernel at that address took or refused the connection: it lives.
    Alive(String),
    /// Nothing came back.
    Silent(String),
}

/// How agents are reached.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Asks `address` for `target`, and waits `within` at most.
    async fn get(
        &self,
        address: SocketAddr,
        target: &str,
        within: Duration,
    ) -> Result<Vec<u8>, Unanswered>;
}

/// Over TCP, as agents are.
#[derive(Debug, Clone, Copy)]
pub struct OverHttp;

#[async_trait]
impl Transport for OverHttp {
    async fn get(
        &self,
        address: SocketAddr,
        target: &str,
        within: Duration,
    ) -> Result<Vec<u8>, Unanswered> {
        get(address, target, within).await
    }
}

async fn get(address: SocketAddr, target: &str, within: Duration) -> Result<Vec<u8>, Unanswered> {
    let end = Instant::now() + within;
    let stream = match timeout_at(end, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(not_connected(&error)),
        Err(_) => return Err(Unanswered::Silent(format!("does not answer within {within:?}"))),
    };
    match timeout_at(end, exchange(stream, address, target)).await {
        Ok(answer) => answer.map_err(Unanswered::Alive),
        Err(_) => {
            let why = format!("took the connection and sends no answer within {within:?}");
            Err(Unanswered::Alive(why))
        }
    }
}

/// Only a refusal or a reset comes from that kernel itself; that it cannot be reached is somebody
/// else's word.
fn not_connected(error: &io::Error) -> Unanswered {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
            Unanswered::Alive("refuses the connection".into())
        }
        _ => Unanswered::Silent(format!("cannot be reached: {error}")),
    }
}

async fn exchange(stream: TcpStream, address: SocketAddr, target: &str) -> Result<Vec<u8>, String> {
    let failed = |error: hyper::Error| format!("sends no answer: {}", reason(&error));
    let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    // Moves the bytes; what becomes of it is told by the request.
    let _moving = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.ok() }));
    let request = Request::get(target)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("cannot be asked: {error}"))?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        return Err(format!("answers with {}", answer.status()));
    }
    // One byte more, so that what is too long is seen to be.
    let body = Limited::new(answer.into_body(), ANSWER_MAX + 1);
    let body = body.collect().await.map_err(|error| format!("sends no answer: {error}"))?;
    Ok(body.to_bytes().to_vec())
}

#[cfg(test)]
mod test;
