//! Sockets that are somewhere else: of a machine, for programs here, and of here, for a machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::boot::Vm;
use super::command;
use super::network::Cable;
use super::wire::Request;
use crate::Trouble;

/// Passes connections on until it is dropped.
pub struct Lent {
    _task: JoinSet<()>,
}

impl Vm {
    /// Whoever connects to the unix socket `here` is connected to the one at `there` in this machine.
    ///
    /// # Errors
    /// When `here` cannot be listened on.
    pub fn lend(&self, there: &str, here: &Path) -> Result<Lent, Trouble> {
        let _ = std::fs::remove_file(here);
        let listener = UnixListener::bind(here)?;
        let (address, there) = (self.address(Cable::Control), there.to_owned());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let request = Request::Forward { socket: there.clone() };
                open.spawn(async move {
                    // Where nobody listens there, whoever asked sees its connection end.
                    if let Ok(mut far) = command::ask(address, &request).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
                while open.try_join_next().is_some() {}
            }
        });
        Ok(Lent { _task: task })
    }
}

/// Whoever connects to `address` is connected to the unix socket at this path.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn offer(socket: PathBuf, address: SocketAddr) -> Result<(Lent, SocketAddr), Trouble> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut far, _)) = listener.accept().await {
            let socket = socket.clone();
            open.spawn(async move {
                if let Ok(mut near) = UnixStream::connect(&socket).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
            while open.try_join_next().is_some() {}
        }
    });
    Ok((Lent { _task: task }, bound))
}

/// Whoever connects to `address` is connected to `there`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn pass(address: SocketAddr, there: SocketAddr) -> Result<Lent, Trouble> {
    let listener = TcpListener::bind(address).await?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut far, _)) = listener.accept().await {
            open.spawn(async move {
                if let Ok(mut near) = TcpStream::connect(there).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
            while open.try_join_next().is_some() {}
        }
    });
    Ok(Lent { _task: task })
}
