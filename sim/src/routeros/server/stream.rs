//! The socket with the faults of the box between it and SSH.
//!
//! Three states besides working: over (reads and writes fail, the socket closes), frozen (nothing is
//! read or written any more and the socket stays open), and held (what is written waits until the
//! gate opens: the way to leave a keepalive unanswered, for the SSH library answers by itself).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Bytes held back at most; more are let through.
const MAX_HELD: usize = 64 << 10;

/// Holds back what is written while it is shut.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    shut: AtomicBool,
    written: AtomicU64,
}

impl Gate {
    /// Shuts or opens. Opening takes effect with the next write.
    pub(super) fn shut(&self, shut: bool) {
        self.0.shut.store(shut, Ordering::SeqCst);
    }

    /// Bytes that went through so far.
    pub(super) fn written(&self) -> u64 {
        self.0.written.load(Ordering::SeqCst)
    }

    fn is_shut(&self) -> bool {
        self.0.shut.load(Ordering::SeqCst)
    }
}

/// Anything SSH can run over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A wire with faults.
pub(super) struct BoxStream {
    wire: Box<dyn Wire>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    frozen: Pin<Box<WaitForCancellationFutureOwned>>,
    is_frozen: bool,
    gate: Gate,
    held: Vec<u8>,
}

impl BoxStream {
    pub(super) fn new(
        wire: Box<dyn Wire>,
        over: CancellationToken,
        frozen: CancellationToken,
        gate: Gate,
    ) -> Self {
        BoxStream {
            wire,
            over: Box::pin(over.cancelled_owned()),
            frozen: Box::pin(frozen.cancelled_owned()),
            is_frozen: false,
            gate,
            held: Vec::new(),
        }
    }

    /// Ready with an error when it is over, pending while frozen.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !self.is_frozen && self.frozen.as_mut().poll(cx).is_ready() {
            self.is_frozen = true;
        }
        if self.is_frozen { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Sends what was held back.
    fn release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.wire).poll_write(cx, &self.held))?;
            self.held.drain(..sent.max(1).min(self.held.len()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for BoxStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.check(cx))?;
        Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for BoxStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.check(cx))?;
        if self.gate.is_shut() && self.held.len() + buf.len() <= MAX_HELD {
            self.held.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.release(cx))?;
        let sent = ready!(Pin::new(&mut self.wire).poll_write(cx, buf))?;
        self.gate.0.written.fetch_add(sent as u64, Ordering::SeqCst);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.check(cx))?;
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.check(cx))?;
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
