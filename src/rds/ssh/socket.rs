//! The TCP connection below either SSH library.
//!
//! A library owns its stream and reads it in a task of its own. This wrapper keeps a hand on it
//! all the same: it says when the connection has ended ([`Grip::ended`]), ends it from outside
//! even while the library waits for a silent peer ([`Grip::abandon`]), and bounds what a peer may
//! send. It knows nothing of SSH, and sets no deadline of its own: that is the caller's.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::ConnectError;

/// Idle time before the kernel asks whether the peer is still there. The poll of the connection
/// finds a dead box sooner; this is for sockets that nobody polls.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
/// Time between two such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// Connects to `host:port`, with TCP_NODELAY (a login takes 15 ms instead of 60 ms with it) and
/// TCP keepalive.
///
/// # Errors
/// [`ConnectError::Unreachable`] with what the operating system said.
pub(super) async fn dial(address: &str) -> Result<TcpStream, ConnectError> {
    let unreachable = |e: io::Error| ConnectError::Unreachable {
        address: address.to_owned(),
        reason: e.to_string(),
    };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let keepalive =
        socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(unreachable)?;
    Ok(stream)
}

/// What the owner of a session keeps of its [`Socket`]. Dropping it ends the connection.
#[derive(Debug)]
pub(super) struct Grip {
    ended: CancellationToken,
    abandon: CancellationToken,
    received: Arc<AtomicUsize>,
}

impl Grip {
    /// Is cancelled as soon as the socket has ended, whoever ended it.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Ends the connection now, even while the library waits for the peer.
    pub(super) fn abandon(&self) {
        self.abandon.cancel();
    }

    /// Grants the peer the full allowance of bytes again: called before each command.
    pub(super) fn replenish(&self) {
        self.received.store(0, Ordering::Relaxed);
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        self.abandon.cancel();
    }
}

/// A stream that tells when it ends and can be ended from outside.
pub(super) struct Socket<S = TcpStream> {
    stream: S,
    ended: CancellationToken,
    // One each: a reader and a writer may be polled with different wakers.
    abandoned_while_reading: Pin<Box<WaitForCancellationFutureOwned>>,
    abandoned_while_writing: Pin<Box<WaitForCancellationFutureOwned>>,
    received: Arc<AtomicUsize>,
    allowance: usize,
}

impl<S> Socket<S> {
    /// Wraps `stream`. The peer may send `allowance` bytes between two [`Grip::replenish`].
    pub(super) fn new(stream: S, allowance: usize) -> (Self, Grip) {
        let grip = Grip {
            ended: CancellationToken::new(),
            abandon: CancellationToken::new(),
            received: Arc::default(),
        };
        let socket = Socket {
            stream,
            ended: grip.ended.clone(),
            abandoned_while_reading: Box::pin(grip.abandon.clone().cancelled_owned()),
            abandoned_while_writing: Box::pin(grip.abandon.clone().cancelled_owned()),
            received: grip.received.clone(),
            allowance,
        };
        (socket, grip)
    }
}

impl<S> Drop for Socket<S> {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

fn abandoned() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "given up by this side")
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.abandoned_while_reading.as_mut().poll(cx).is_ready() {
            this.ended.cancel();
            return Poll::Ready(Err(abandoned()));
        }
        let before = buf.filled().len();
        let polled = std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        let total = this.received.fetch_add(read, Ordering::Relaxed).saturating_add(read);
        if total > this.allowance {
            this.ended.cancel();
            return Poll::Ready(Err(io::Error::other("more data than anyone may send")));
        }
        if polled.is_err() || (read == 0 && buf.remaining() > 0) {
            this.ended.cancel();
        }
        Poll::Ready(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.abandoned_while_writing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(abandoned()));
        }
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.abandoned_while_writing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(abandoned()));
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
pub(super) mod test {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// A server that introduces itself; whoever reads on panics.
    #[derive(Default)]
    pub(in super::super) struct Panicking {
        introduced: bool,
    }

    impl AsyncRead for Panicking {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            assert!(!self.introduced, "the panic that the test wants");
            self.introduced = true;
            buf.put_slice(b"SSH-2.0-test\r\n");
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Panicking {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn abandoning_ends_a_read_that_waits_for_a_silent_peer() {
        let (_peer, near) = duplex(16);
        let (mut socket, grip) = Socket::new(near, 1024);
        let reader = tokio::spawn(async move { socket.read_u8().await });
        tokio::task::yield_now().await;

        grip.abandon();

        let error = reader.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(grip.ended().is_cancelled());
    }

    #[tokio::test]
    async fn abandoning_ends_a_write_that_the_peer_does_not_take() {
        let (_peer, near) = duplex(1);
        let (mut socket, grip) = Socket::new(near, 1024);
        let writer = tokio::spawn(async move { socket.write_all(&[0; 64]).await });
        tokio::task::yield_now().await;

        drop(grip);

        assert!(writer.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn the_end_of_the_peer_is_told_with_the_read_that_sees_it() {
        let (peer, near) = duplex(16);
        let (mut socket, grip) = Socket::new(near, 1024);
        drop(peer);

        assert!(!grip.ended().is_cancelled());
        assert!(socket.read_u8().await.is_err());
        assert!(grip.ended().is_cancelled());
    }

    #[tokio::test]
    async fn a_peer_may_send_its_allowance_and_not_a_byte_more() {
        let (mut peer, near) = duplex(64);
        let (mut socket, grip) = Socket::new(near, 8);
        peer.write_all(&[0; 17]).await.unwrap();

        socket.read_exact(&mut [0; 8]).await.unwrap();
        grip.replenish();
        socket.read_exact(&mut [0; 8]).await.unwrap();
        assert!(socket.read_u8().await.is_err());
        assert!(grip.ended().is_cancelled());
    }
}
