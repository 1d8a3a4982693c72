//! Reads a server's offer from a fresh connection. Bounded in bytes; the deadline is the
//! caller's.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::io::{BufReader, join, split};

use super::Offer;
use crate::rds::ssh::ConnectError;
use crate::rds::ssh::socket::dial;

/// How we introduce ourselves.
const OUR_BANNER: &[u8] = b"SSH-2.0-rds_csi\r\n";
/// Longest line of the version exchange, RFC 4253, section 4.2.
const LONGEST_LINE: u64 = 255;
/// Lines that a server may send before its version. OpenSSH stops at 1024; a box sends none.
const LINES_BEFORE_VERSION: usize = 64;
/// Longest packet that every implementation must take, RFC 4253, section 6.1.
const LONGEST_PACKET: u32 = 35_000;
/// Packets that may be ignored before the offer.
const PACKETS_BEFORE_OFFER: usize = 8;
/// SSH_MSG_IGNORE and SSH_MSG_DEBUG.
const IGNORABLE: [u8; 2] = [2, 4];

/// Connects, reads what the server offers, and closes.
///
/// # Errors
/// [`ConnectError::Unreachable`], or [`ConnectError::Handshake`] when what answers does not
/// speak SSH.
pub(in super::super) async fn read_offer(address: &str) -> Result<Offer, ConnectError> {
    let (reader, writer) = split(dial(address).await?);
    let mut stream = join(BufReader::new(reader), writer);
    exchange(&mut stream).await.map_err(|reason| ConnectError::Handshake {
        address: address.to_owned(),
        reason: format!("no list of algorithms can be read: {reason}"),
    })
}

async fn exchange<S: AsyncBufRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Offer, String> {
    stream.write_all(OUR_BANNER).await.map_err(|e| e.to_string())?;
    let banner = read_version(stream).await?;
    for _ in 0..=PACKETS_BEFORE_OFFER {
        let payload = read_packet(stream).await?;
        match payload.first() {
            Some(number) if IGNORABLE.contains(number) => {}
            Some(_) => {
                return Offer::parse(&banner, &payload)
                    .ok_or_else(|| "the packet holds no list of algorithms".to_owned());
            }
            None => return Err("an empty packet".to_owned()),
        }
    }
    Err("packets without end".to_owned())
}

async fn read_version<S: AsyncBufRead + Unpin>(stream: &mut S) -> Result<String, String> {
    for _ in 0..=LINES_BEFORE_VERSION {
        let mut line = Vec::new();
        let mut bounded = (&mut *stream).take(LONGEST_LINE);
        bounded.read_until(b'\n', &mut line).await.map_err(|e| e.to_string())?;
        if !line.ends_with(b"\n") {
            return Err("the line of the version is cut off or too long".to_owned());
        }
        if line.starts_with(b"SSH-") {
            return Ok(String::from_utf8_lossy(line.trim_ascii_end()).escape_debug().to_string());
        }
    }
    Err("lines without end before the version".to_owned())
}

/// One packet before encryption: length, length of the padding, payload, padding.
async fn read_packet<S: AsyncBufRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, String> {
    let length = stream.read_u32().await.map_err(|e| e.to_string())?;
    if !(2..=LONGEST_PACKET).contains(&length) {
        return Err(format!("a packet of {length} bytes"));
    }
    let mut packet = vec![0; length as usize];
    stream.read_exact(&mut packet).await.map_err(|e| e.to_string())?;
    let padding = usize::from(packet.remove(0));
    let end = packet.len().checked_sub(padding).ok_or("more padding than packet")?;
    packet.truncate(end);
    Ok(packet)
}

#[cfg(test)]
mod test {
    use super::super::test::payload;
    use super::*;
    use futures::executor::block_on;
    use proptest::prelude::*;
    use tokio::io::sink;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let padding = 4u8;
        let length = u32::try_from(payload.len()).unwrap() + 1 + u32::from(padding);
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.push(padding);
        bytes.extend(payload);
        bytes.extend([0; 4]);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Offer, String> {
        block_on(exchange(&mut join(bytes, sink())))
    }

    #[test]
    fn an_offer_is_found_behind_greetings_and_ignorable_packets() {
        let mut bytes = b"welcome\r\nSSH-2.0-ROSSSH\r\n".to_vec();
        bytes.extend(packet(&[2, 0, 0, 0, 0]));
        bytes.extend(packet(&payload("kex", "key", "cipher", "mac")));
        let offer = read(&bytes).unwrap();
        assert_eq!(offer.banner, "SSH-2.0-ROSSSH");
        assert_eq!(offer.macs, ["mac"]);
    }

    #[test]
    fn a_peer_that_does_not_speak_ssh_is_refused_after_a_bounded_amount() {
        let endless_packets = [b"SSH-2.0-x\n".to_vec(), packet(&[2]).repeat(100)].concat();
        let table = [
            (b"HTTP/1.1 400 Bad Request\r\n".repeat(100), "lines without end"),
            (vec![b'x'; 100_000], "too long"),
            (b"SSH-2.0-x\r\n\xff\xff\xff\xff".to_vec(), "4294967295 bytes"),
            (b"SSH-2.0-x\r\n\0\0\0\x02\xff\x14".to_vec(), "padding"),
            ([b"SSH-2.0-x\n".to_vec(), packet(&[1, 0])].concat(), "no list"),
            (endless_packets, "packets without end"),
            (b"SSH-2.0-x\r\n".to_vec(), "end of file"),
        ];
        for (bytes, expected) in table {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_peer_makes_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = read(&bytes);
            let _ = read(&[b"SSH-2.0-x\r\n".to_vec(), bytes.clone()].concat());
            let _ = read(&[b"SSH-2.0-x\r\n".to_vec(), packet(&bytes)].concat());
        }
    }
}
