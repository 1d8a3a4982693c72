use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that reads a request and writes these bytes, then closes; `None`: it says nothing.
async fn server(answer: Option<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap_or(0);
            assert!(request[..read].starts_with(b"GET /agent?challenge=1f HTTP/1.1\r\n"));
            match &answer {
                // The other side may hang up before it has read everything.
                Some(bytes) => drop(stream.write_all(bytes).await),
                None => kept.push(stream),
            }
        }
    });
    address
}

async fn asked(address: SocketAddr, within: u64) -> Result<Vec<u8>, Unanswered> {
    OverHttp.get(address, "/agent?challenge=1f", Duration::from_millis(within)).await
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn an_answer_is_passed_on_as_it_came() {
    let address = server(Some(ok(b"\x00bytes\xff"))).await;
    assert_eq!(asked(address, 5000).await, Ok(b"\x00bytes\xff".to_vec()));
}

#[tokio::test]
async fn who_refuses_or_takes_a_connection_is_alive() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = asked(free, 5000).await;
    assert_eq!(refused, Err(Unanswered::Alive("refuses the connection".into())));
    // The kernel took the connection, whatever the process behind it does.
    let silent = asked(server(None).await, 300).await;
    assert!(matches!(&silent, Err(Unanswered::Alive(why)) if why.contains("sends no answer")));
}

#[test]
fn that_a_host_cannot_be_reached_is_not_its_own_word() {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
    };
    for (kind, is_alive) in [
        (ConnectionRefused, true),
        (ConnectionReset, true),
        (HostUnreachable, false),
        (NetworkUnreachable, false),
        (TimedOut, false),
    ] {
        let told = not_connected(&io::Error::from(kind));
        assert_eq!(matches!(told, Unanswered::Alive(_)), is_alive, "{kind:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_told_as_such() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.extend(vec![b'a'; ANSWER_MAX + 100_000]);
    let long_head = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 100_000]].concat();
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    let busy = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n".to_vec();
    for bytes in [endless, long_head, cut, busy, b"\x15\x03\x01".to_vec(), Vec::new()] {
        let start = bytes[..bytes.len().min(30)].to_vec();
        let got = asked(server(Some(bytes)).await, 5000).await;
        assert!(matches!(got, Err(Unanswered::Alive(_))), "{start:?} gave {got:?}");
    }
}
