//! What the kernel tells of devices that come, go and change, on the netlink socket for kobjects.
//!
//! It is heard once and handed on as a number that grows. What is lost (a full socket) counts as a
//! change: whoever waits looks anew and believes only what it sees.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use slog::Logger;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// The kernel's own multicast group; udev's is the second (`lib/kobject_uevent.c`).
const OF_KERNEL: u32 = 1;
/// `UEVENT_BUFFER_SIZE` and the path before it.
const EVENT_BYTES_MAX: usize = 8192;
/// How often those who wait are told to look where the socket cannot be had.
const WITHOUT: Duration = Duration::from_secs(1);

/// Hears events until nobody listens any more.
pub async fn hear(changes: watch::Sender<u64>, log: Logger) {
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; an OwnedFd that nobody else has stays what it is"
    )]
    let socket = open().map_err(std::io::Error::from).and_then(AsyncFd::new);
    match socket {
        Ok(socket) => listen(&socket, &changes, &log).await,
        Err(error) => {
            slog::warn!(log, "kernel events cannot be heard"; "error" => %error);
        }
    }
    // Without events those who wait look once a second.
    while !changes.is_closed() {
        tokio::time::sleep(WITHOUT).await;
        tell(&changes);
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
    bind(&socket, &SocketAddrNetlink::new(0, OF_KERNEL))?;
    Ok(socket)
}

async fn listen(socket: &AsyncFd<OwnedFd>, changes: &watch::Sender<u64>, log: &Logger) {
    let mut buffer = vec![0; EVENT_BYTES_MAX];
    loop {
        let ready = tokio::select! {
            ready = socket.readable() => ready,
            () = changes.closed() => return,
        };
        let Ok(mut ready) = ready else { return };
        match ready.try_io(|socket| Ok(recv(socket, &mut buffer[..], RecvFlags::empty())?)) {
            // Not ready after all.
            Err(_) => {}
            Ok(Ok((length, _))) if concerns_us(&buffer[..length.min(EVENT_BYTES_MAX)]) => {
                tell(changes);
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => match Errno::from_io_error(&error) {
                Some(Errno::NOBUFS | Errno::INTR) => tell(changes),
                _ => {
                    slog::warn!(log, "kernel events cannot be heard any more"; "error" => %error);
                    return;
                }
            },
        }
    }
}

fn tell(changes: &watch::Sender<u64>) {
    changes.send_modify(|number| *number = number.wrapping_add(1));
}

/// Is it about a block device or NVMe? `action@path`, then `KEY=value`, each ended by a zero byte.
fn concerns_us(event: &[u8]) -> bool {
    event.split(|&byte| byte == 0).any(|word| {
        word.strip_prefix(b"SUBSYSTEM=").is_some_and(|subsystem| {
            matches!(subsystem, b"block" | b"nvme" | b"nvme-subsystem" | b"nvme-generic")
        })
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_events_of_block_devices_and_nvme_concern_us() {
        let event = |subsystem: &str| {
            format!("change@/devices/virtual/x\0ACTION=change\0SUBSYSTEM={subsystem}\0SEQNUM=7\0")
        };
        for subsystem in ["block", "nvme", "nvme-subsystem"] {
            assert!(concerns_us(event(subsystem).as_bytes()), "{subsystem}");
        }
        for subsystem in ["net", "blockx", "", "tty"] {
            assert!(!concerns_us(event(subsystem).as_bytes()), "{subsystem}");
        }
        assert!(!concerns_us(b""));
        assert!(!concerns_us(b"add@/devices/SUBSYSTEM/block"));
    }

    #[tokio::test]
    async fn hearing_ends_when_nobody_listens_any_more() {
        let (changes, listener) = watch::channel(0);
        let log = Logger::root(slog::Discard, slog::o!());
        let heard = tokio::spawn(hear(changes, log));
        drop(listener);
        tokio::time::timeout(Duration::from_secs(30), heard).await.unwrap().unwrap();
    }
}
