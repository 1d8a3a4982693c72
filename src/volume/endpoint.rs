//! SSH addresses, which people write with and without the port.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The port of SSH, which an address may leave out.
const SSH_PORT: u16 = 22;

/// Host and port of an SSH address, so that two spellings of one endpoint are equal: `10.0.0.1` and
/// `10.0.0.1:22`, `fd00::1` and `[fd00::1]:22`, `Box.lan` and `box.lan:22`.
pub fn endpoint(address: &str) -> (String, u16) {
    if let Ok(ip) = address.parse::<IpAddr>() {
        return (ip.to_string(), SSH_PORT);
    }
    if let Ok(socket) = address.parse::<SocketAddr>() {
        return (socket.ip().to_string(), socket.port());
    }
    let bracketed = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    if let Some(ip) = bracketed.and_then(|inner| inner.parse::<Ipv6Addr>().ok()) {
        return (ip.to_string(), SSH_PORT);
    }
    let split = address.rsplit_once(':');
    let (host, port) = split
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .unwrap_or((address, SSH_PORT));
    (host.to_ascii_lowercase(), port)
}

/// An SSH address as the first driver wrote it: without the port where that is SSH's own.
pub fn without_ssh_port(address: &str) -> String {
    match endpoint(address) {
        (host, SSH_PORT) => host,
        _ => address.to_owned(),
    }
}
