//! The private unix socket: nobody can connect who may not, at no moment.
//!
//! The mode is set on the socket before it is bound, so that it has it from its first moment under
//! its path (on Linux, bind(2) takes the permissions of the socket's inode, less the umask). Only
//! afterwards it is widened for a group, where the configuration names one.
//!
//! What a dead process left under the path is removed; a socket that somebody serves is not. The
//! path is removed again when the socket is dropped, unless it is somebody else's by then.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use rustix::fs::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::{Sleep, sleep};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// How long to wait after a failed accept: out of file descriptors, the next one fails as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The address is not one that we serve.
    #[error("\"{0}\" is no socket address; use unix:///path or an absolute path")]
    Address(String),
    /// Somebody serves it.
    #[error("{} is served by another process; stop that one, or use another path", .0.display())]
    InUse(PathBuf),
    /// There is something else under the path.
    #[error("{} exists and is no socket; remove it, or use another path", .0.display())]
    Occupied(PathBuf),
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    System {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket that listens. As a stream it yields its connections.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, to know it again.
    identity: (u64, u64),
    /// Runs after a failed accept.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Binds `address` (`unix:///path` or `/path`) with mode 0600; with a `group`, it belongs to
    /// that gid and has mode 0660. The directory must exist. Must be called within a runtime.
    pub fn bind(address: &str, group: Option<u32>) -> Result<Self, SocketError> {
        let path = path(address)?;
        clear(&path)?;
        let failed = |what: &'static str| {
            let path = path.clone();
            move |source| SocketError::System { what, path, source }
        };
        let socket = UnixSocket::new_stream().map_err(failed("make a socket for"))?;
        fchmod(&socket, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed("set the mode of")(error.into()))?;
        socket.bind(&path).map_err(failed("bind"))?;
        // From here on the path is ours and is removed again on every way out.
        let identity = identity(&path).map_err(failed("look at"))?;
        let listener = socket.listen(BACKLOG).map_err(failed("listen on"))?;
        let bound = Self { listener, path: path.clone(), identity, pause: None };
        if let Some(group) = group {
            chown(&path, None, Some(group)).map_err(failed("change the group of"))?;
            let mode = fs::Permissions::from_mode(0o660);
            fs::set_permissions(&path, mode).map_err(failed("set the mode of"))?;
        }
        Ok(bound)
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Stream for Socket {
    type Item = io::Result<UnixStream>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<UnixStream>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let accepted = ready!(self.listener.poll_accept(context));
        if accepted.is_err() {
            self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
        }
        Poll::Ready(Some(accepted.map(|(stream, _)| stream)))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A successor may have bound the path anew; its socket is another inode.
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The path of an address.
pub fn path(address: &str) -> Result<PathBuf, SocketError> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    // bind(2): sun_path has 108 bytes, the last of which is 0.
    if path.starts_with('/') && path.len() < 108 && !path.contains('\0') {
        return Ok(PathBuf::from(path));
    }
    Err(SocketError::Address(address.to_owned()))
}

/// Removes what a dead process left.
fn clear(path: &Path) -> Result<(), SocketError> {
    let failed = |what: &'static str| {
        move |source| SocketError::System { what, path: path.to_owned(), source }
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::Occupied(path.to_owned()));
        }
        Ok(_) => {}
    }
    // Connecting to a local socket does not wait for the other side, except when its backlog is
    // full; non-blocking, that is an error, and a sign of life.
    match knock(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove the stale socket"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(SocketError::InUse(path.to_owned()))
        }
        Err(error) => Err(failed("connect to the old socket")(error)),
    }
}

fn knock(path: &Path) -> io::Result<()> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };

    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(())
}
