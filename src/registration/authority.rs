//! What kubelet calls the host: the path of our socket, percent-encoded (its plugin manager dials without
//! `grpc.WithAuthority`, unlike its CSI client, and grpc-go makes `:authority` of what is dialled). No URI
//! has such a host, so h2 refuses every request with PROTOCOL_ERROR (hyperium/h2#487). On a unix socket the
//! name of the host says nothing: here it is replaced before h2 sees it.
//!
//! Only frames (RFC 9113, 4.1) and the shape of header fields (RFC 7541, 6) are read. Values need not be
//! decoded for that, and what is not understood is passed on as it is: h2 judges it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a client sends first (RFC 9113, 3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Length (3 bytes), type, flags, stream (4 bytes).
const HEAD: usize = 9;
/// The largest frame that we allow; it is HTTP/2's own default.
const LARGEST: usize = 16_384;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The place of `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
const LOCALHOST: &[u8] = b"localhost";

/// A connection whose client calls us localhost, whatever it says.
pub struct Localhost<S> {
    inner: S,
    frames: Frames,
    /// What may be read, and how much of it was.
    ready: (Vec<u8>, usize),
}

impl<S> Localhost<S> {
    /// Of a connection that nothing was read from.
    pub fn new(inner: S) -> Self {
        Self { inner, frames: Frames::default(), ready: (Vec::new(), 0) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Localhost<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let (bytes, read) = &mut this.ready;
            let rest = bytes.get(*read..).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(into.remaining());
                into.put_slice(rest.get(..count).unwrap_or_default());
                *read += count;
                return Poll::Ready(Ok(()));
            }
            let mut room = [0; 4096];
            let mut piece = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut piece))?;
            let ended = piece.filled().is_empty();
            let next = if ended { this.frames.rest() } else { this.frames.push(piece.filled()) };
            this.ready = (next, 0);
            if ended && this.ready.0.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Localhost<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

impl<S: Connected> Connected for Localhost<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

/// The stream of frames of one client.
#[derive(Default)]
struct Frames {
    /// The preface was passed on.
    begun: bool,
    /// Bytes of the present frame that are passed on as they come.
    passing: usize,
    /// The beginning of a frame that is not decided yet.
    held: Vec<u8>,
}

impl Frames {
    /// More bytes of the client; returns what h2 is given for them.
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if !self.begun {
            (self.begun, self.passing) = (true, PREFACE);
        }
        self.held.extend_from_slice(bytes);
        let mut given = Vec::with_capacity(self.held.len());
        loop {
            let now = self.passing.min(self.held.len());
            given.extend(self.held.drain(..now));
            self.passing -= now;
            let Some(head) = Head::read(&self.held) else { return given };
            if !head.is_whole() {
                self.passing = HEAD + head.length;
                continue;
            }
            let Some(frame) = self.held.get(..HEAD + head.length) else { return given };
            given.extend(head.with_localhost(frame).unwrap_or_else(|| frame.to_vec()));
            self.held.drain(..HEAD + head.length);
        }
    }

    /// What is left when the client says nothing more.
    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// The head of a frame.
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, ..] = bytes.get(..HEAD)? else { return None };
        let length = u32::from_be_bytes([0, a, b, c]);
        Some(Self { length: usize::try_from(length).ok()?, kind, flags })
    }

    /// All headers of a request, in one frame that is allowed.
    fn is_whole(&self) -> bool {
        self.kind == HEADERS && self.flags & END_HEADERS != 0 && self.length <= LARGEST
    }

    /// The frame with another authority; `None` where there is none to replace.
    fn with_localhost(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (head, body) = frame.split_at_checked(HEAD)?;
        let padding = usize::from(self.flags & PADDED != 0);
        let before = padding + if self.flags & PRIORITY != 0 { 5 } else { 0 };
        let after = if padding == 1 { usize::from(*body.first()?) } else { 0 };
        let fields = body.get(before..body.len().checked_sub(after)?)?;
        let (from, to) = authority(fields)?;
        let mut body = body.to_vec();
        let text = [&[u8::try_from(LOCALHOST.len()).ok()?], LOCALHOST].concat();
        body.splice(before + from..before + to, text);
        let [_, length @ ..] = u32::try_from(body.len()).ok()?.to_be_bytes();
        Some([&length, head.get(3..)?, &body].concat())
    }
}

/// Where the value of `:authority` lies, its length included. Not of one that is shorter than ours: h2
/// would then forget fields (RFC 7541, 4.4) that the client still refers to.
fn authority(fields: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some(first) = fields.get(at) {
        let bits = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let name;
        (name, at) = integer(fields, at, bits)?;
        if bits == 7 || bits == 5 {
            continue;
        }
        if name == 0 {
            at = after_string(fields, at)?;
        }
        let end = after_string(fields, at)?;
        if name == AUTHORITY {
            return (end - at > LOCALHOST.len()).then_some((at, end));
        }
        at = end;
    }
    None
}

fn after_string(fields: &[u8], at: usize) -> Option<usize> {
    let (length, begin) = integer(fields, at, 7)?;
    begin.checked_add(length).filter(|end| *end <= fields.len())
}

/// An integer whose first byte has so many bits of it (RFC 7541, 5.1), and where it ends.
fn integer(fields: &[u8], at: usize, bits: u32) -> Option<(usize, usize)> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*fields.get(at)?) & most;
    let mut at = at + 1;
    if value < most {
        return Some((value, at));
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*fields.get(at)?);
        at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    /// What grpc-go sends first to a socket that was dialled by its path: the values are as they are written
    /// without Huffman's code.
    fn request(authority: &[u8]) -> Vec<u8> {
        let mut fields = vec![0x83, 0x86, 0x44, 2, b'/', b'a', 0x41];
        fields.push(u8::try_from(authority.len()).unwrap());
        fields.extend(authority);
        // A new name, as `te: trailers`.
        fields.extend([0x40, 2, b't', b'e', 8]);
        fields.extend(b"trailers");
        frame(HEADERS, END_HEADERS, &fields)
    }

    fn frame(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[..], &[kind, flags, 0, 0, 0, 1], body].concat()
    }

    const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PATH: &[u8] = b"%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Frds-reg.sock";

    #[test]
    fn an_authority_that_is_a_path_becomes_localhost_and_nothing_else_changes() {
        let settings = frame(4, 0, &[0; 6]);
        let data = frame(0, 1, b"\x41\x09a message");
        let sent = [PRI, &settings, &request(PATH), &data].concat();
        let wanted = [PRI, &settings, &request(LOCALHOST), &data].concat();
        assert_eq!(Frames::default().push(&sent), wanted);
    }

    #[test]
    fn padding_and_priority_stay_where_they_are() {
        let flags = END_HEADERS | PADDED | PRIORITY;
        let with = |authority: &[u8]| {
            let fields = request(authority);
            let body = [&[3, 0, 0, 0, 0, 9], &fields[HEAD..], &[0; 3]].concat();
            frame(HEADERS, flags, &body)
        };
        let sent = [PRI, &with(PATH)].concat();
        assert_eq!(Frames::default().push(&sent), [PRI, &with(LOCALHOST)].concat());
    }

    #[test]
    fn a_host_that_is_shorter_than_ours_or_said_before_is_left_as_it_is() {
        let indexed = frame(HEADERS, END_HEADERS, &[0x83, 0xbe, 0xff, 0x01]);
        let sent = [PRI, &request(b"node"), &indexed].concat();
        assert_eq!(Frames::default().push(&sent), sent);
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same(size in 1_usize..80) {
            let sent = [PRI, &frame(4, 0, &[]), &request(PATH), &frame(0, 1, &[7; 300])].concat();
            let mut frames = Frames::default();
            let given: Vec<u8> = sent.chunks(size).flat_map(|piece| frames.push(piece)).collect();
            prop_assert_eq!(given, Frames::default().push(&sent));
            prop_assert!(frames.rest().is_empty());
        }

        #[test]
        fn nonsense_of_any_kind_ends_in_no_panic_and_nothing_of_it_is_lost(
            body in proptest::collection::vec(any::<u8>(), 0..200), flags in any::<u8>(),
        ) {
            let sent = [PRI, &frame(HEADERS, flags, &body)].concat();
            let mut frames = Frames::default();
            let mut given = frames.push(&sent);
            given.extend(frames.rest());
            // Only an authority was replaced, if anything.
            prop_assert!(given == sent || given.windows(9).any(|part| part == LOCALHOST));
        }
    }
}
