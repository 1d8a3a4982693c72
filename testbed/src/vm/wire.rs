//! What test and guest say to each other: one TCP connection for each request, in frames of a length
//! (four bytes, big-endian) and a body, either JSON or plain bytes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Trouble;

/// Where the guest listens.
pub(super) const PORT: u16 = 7000;
/// The longest frame.
pub(super) const LIMIT: usize = 64 << 20;

/// A request; it is the first frame of a connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Runs a program to its end. A frame with its input follows; the answer is [`Answer::Ended`] with
    /// a frame of output and one of errors.
    Run(Program),
    /// Starts a program that lives as long as the connection. The answer is [`Answer::Started`]; then
    /// what it says, frame by frame; an empty one, and [`Answer::Ended`].
    Start(Program),
    /// Sends a signal to a process.
    Signal {
        /// Its id.
        process: i32,
        /// The signal's number.
        signal: i32,
    },
    /// The connection becomes one to this unix socket.
    Forward {
        /// Its path.
        socket: String,
    },
}

/// What is run, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Program {
    /// Found in PATH, or a path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside PATH.
    pub environment: Vec<(String, String)>,
    /// Milliseconds after which it is killed; daemons have none.
    pub deadline: u64,
}

/// What the guest answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Done; for signals and sockets.
    Done,
    /// A daemon runs.
    Started {
        /// Its id.
        process: i32,
    },
    /// A program has ended, or its time is over.
    Ended(End),
    /// It could not be done.
    Refused {
        /// Why.
        why: String,
    },
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// Not at all within its deadline. It was sent a SIGKILL, which a process that hangs in the kernel
    /// does not obey.
    TimedOut,
}

/// Writes one frame of bytes.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> Result<(), Trouble> {
    let length = u32::try_from(body.len())?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(body).await?;
    Ok(to.flush().await?)
}

/// Writes one frame of JSON.
pub(super) async fn say(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> Result<(), Trouble> {
    send(to, &serde_json::to_vec(message)?).await
}

/// Reads one frame.
pub(super) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Trouble> {
    let length = usize::try_from(from.read_u32().await?)?;
    if length > LIMIT {
        return Err(format!("a frame of {length} bytes is too long").into());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

/// Reads one frame of JSON.
pub(super) async fn hear<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<T, Trouble> {
    Ok(serde_json::from_slice(&receive(from).await?)?)
}
