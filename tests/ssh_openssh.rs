//! The SSH transport against a real OpenSSH server, limited to what a RouterOS box may offer.

#![expect(clippy::unwrap_used, reason = "also what the tests share is test code")]

#[path = "support/openssh.rs"]
mod openssh;

use std::fs::{self, Permissions};
use std::future::Future;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssh::{OpenSsh, keygen};
use rds_csi::rds::ssh::connector::{SecondSession, SshConnector};
use rds_csi::rds::ssh::host_key::PinnedKeys;
use rds_csi::rds::ssh::{Connect, ConnectError, Session, SessionError};
use slog::{Drain, Logger, OwnedKVList, Record, o};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

/// Only the name of RFC 8731, which thrussh does not know.
const RFC_NAME_ONLY: &str = "KexAlgorithms curve25519-sha256";
const GROUP_EXCHANGE_ONLY: &str = "KexAlgorithms diffie-hellman-group-exchange-sha256";
/// What a box with `strong-crypto=no` is said to offer.
const SHA1_ONLY: &str = "MACs hmac-sha1\nCiphers aes256-ctr,aes192-ctr,aes128-ctr";

/// Ends a test that hangs. Far above anything that a loaded machine needs.
async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("no answer within a minute")
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn logger(&self) -> Logger {
        Logger::root(self.clone().fuse(), o!())
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Drain for Lines {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
        self.0.lock().unwrap().push(record.msg().to_string());
        Ok(())
    }
}

async fn connector(server: &OpenSsh, key: &Path, second: SecondSession) -> SshConnector {
    logging_connector(server, key, second, &Lines::default()).await
}

async fn logging_connector(
    server: &OpenSsh,
    key: &Path,
    second: SecondSession,
    lines: &Lines,
) -> SshConnector {
    let pins = PinnedKeys::parse([server.host_key().as_str()]).unwrap();
    let user = OpenSsh::user().await;
    SshConnector::new(server.address(), user, key, pins, second, lines.logger())
}

async fn connect(server: &OpenSsh, second: SecondSession) -> Box<dyn Session> {
    let connector = connector(server, &server.key("ed25519"), second).await;
    match within(connector.connect()).await {
        Ok(session) => session,
        Err(e) => panic!("{e}\n{}", server.log()),
    }
}

async fn refused(connector: &SshConnector) -> ConnectError {
    match within(connector.connect()).await {
        Ok(_) => panic!("a session was opened"),
        Err(e) => e,
    }
}

/// Both transports, without a choice.
const BOTH: [SecondSession; 2] = [SecondSession::Forbid, SecondSession::Force];

#[tokio::test]
async fn both_transports_log_in_with_both_types_of_user_key() {
    let server = OpenSsh::start("").await;
    for format in ["PEM", "PKCS8"] {
        let path = server.path(format);
        fs::copy(server.key("rsa"), &path).unwrap();
        keygen_convert(&path, format).await;
    }
    for second in BOTH {
        for key in ["ed25519", "rsa", "PEM", "PKCS8"] {
            let connector = connector(&server, &server.key(key), second).await;
            let mut session = within(connector.connect())
                .await
                .unwrap_or_else(|e| panic!("{second:?} {key}: {e}\n{}", server.log()));
            assert_eq!(within(session.exec("echo hi")).await.unwrap().stdout, b"hi\n");
            within(session.close()).await;
        }
    }
}

async fn keygen_convert(path: &Path, format: &str) {
    let mut command = tokio::process::Command::new("ssh-keygen");
    command.args(["-q", "-p", "-N", "", "-m", format, "-f"]).arg(path);
    assert!(command.status().await.unwrap().success());
}

#[tokio::test]
async fn output_error_output_and_exit_status_come_back_apart() {
    let server = OpenSsh::start("").await;
    for second in BOTH {
        let mut session = connect(&server, second).await;
        let output = within(session.exec("printf 'a\\0b'; printf c >&2; exit 7")).await.unwrap();
        assert_eq!(output.stdout, b"a\0b", "{second:?}");
        assert_eq!(output.stderr, b"c");
        assert_eq!(output.exit_status, Some(7));

        let large = within(session.exec("head -c 5000000 /dev/zero")).await.unwrap();
        assert_eq!(large.stdout.len(), 5_000_000);
        assert_eq!(large.exit_status, Some(0));

        // Killed by a signal: no exit status.
        let killed = within(session.exec("kill -9 $$")).await.unwrap();
        assert_eq!(killed.exit_status, None);
    }
}

#[tokio::test]
async fn a_command_that_asks_is_not_waited_for() {
    let server = OpenSsh::start("").await;
    for second in BOTH {
        let mut session = connect(&server, second).await;
        let output = within(session.exec("cat; echo done")).await.unwrap();
        assert_eq!(output.stdout, b"done\n", "{second:?}");
    }
}

#[tokio::test]
async fn one_session_runs_many_commands() {
    let server = OpenSsh::start("").await;
    for second in BOTH {
        let mut session = connect(&server, second).await;
        // OpenSSH allows ten channels at a time, so far fewer than this must stay open.
        for i in 0..24 {
            let output = within(session.exec(&format!("echo {i}"))).await;
            let output = output.unwrap_or_else(|e| panic!("{second:?} {i}: {e}\n{}", server.log()));
            assert_eq!(output.stdout, format!("{i}\n").as_bytes());
        }
    }
}

#[tokio::test]
async fn a_wrong_host_key_is_refused_with_both_fingerprints() {
    let server = OpenSsh::start("").await;
    let other = server.path("other");
    keygen(&other, &["-t", "ed25519"]).await;
    let other = fs::read_to_string(server.path("other.pub")).unwrap();
    let shown = fingerprint(&server.path("host_rsa.pub")).await;
    let pinned = fingerprint(&server.path("other.pub")).await;
    for second in BOTH {
        let pins = PinnedKeys::parse([other.as_str()]).unwrap();
        let (user, log) = (OpenSsh::user().await, Lines::default().logger());
        let key = server.key("rsa");
        let connector = SshConnector::new(server.address(), user, key, pins, second, log);
        let error = refused(&connector).await;
        assert!(matches!(error, ConnectError::HostKey { .. }), "{second:?}: {error}");
        let text = error.to_string();
        assert!(text.contains(&shown) && text.contains(&pinned), "{text}");
    }
}

/// As OpenSSH itself prints it.
async fn fingerprint(path: &Path) -> String {
    let mut command = tokio::process::Command::new("ssh-keygen");
    let output = command.arg("-lf").arg(path).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
}

#[tokio::test]
async fn either_of_two_pinned_keys_and_a_fingerprint_are_accepted() {
    let server = OpenSsh::start("").await;
    keygen(&server.path("next"), &["-t", "ed25519"]).await;
    let next = fs::read_to_string(server.path("next.pub")).unwrap();
    let shown = fingerprint(&server.path("host_rsa.pub")).await;
    let pins = PinnedKeys::parse([next.as_str(), shown.as_str()]).unwrap();
    for second in BOTH {
        let (user, log) = (OpenSsh::user().await, Lines::default().logger());
        let (pins, key) = (pins.clone(), server.key("rsa"));
        let connector = SshConnector::new(server.address(), user, key, pins, second, log);
        within(connector.connect()).await.unwrap_or_else(|e| panic!("{second:?}: {e}"));
    }
}

#[tokio::test]
async fn of_a_server_with_two_host_keys_the_pinned_one_is_asked_for() {
    let server = OpenSsh::start("HostKey $DIR/host_ed25519").await;
    for second in BOTH {
        for name in ["host_rsa.pub", "host_ed25519.pub"] {
            let line = fs::read_to_string(server.path(name)).unwrap();
            let pins = PinnedKeys::parse([line.as_str()]).unwrap();
            let (user, log) = (OpenSsh::user().await, Lines::default().logger());
            let key = server.key("ed25519");
            let connector = SshConnector::new(server.address(), user, key, pins, second, log);
            let opened = within(connector.connect()).await;
            opened.unwrap_or_else(|e| panic!("{second:?} {name}: {e}"));
        }
    }
}

#[tokio::test]
async fn a_box_that_hangs_up_is_a_failed_handshake_that_says_where_to_look() {
    let server = OpenSsh::start("").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hang_up = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    for second in BOTH {
        let pins = PinnedKeys::parse([server.host_key().as_str()]).unwrap();
        let (key, log) = (server.key("rsa"), Lines::default().logger());
        let connector = SshConnector::new(address.as_str(), "user", key, pins, second, log);
        let text = refused(&connector).await.to_string();
        assert!(text.contains("/ip/service/print"), "{second:?}: {text}");
    }
    hang_up.abort();
}

#[tokio::test]
async fn a_key_that_the_box_does_not_know_is_refused_by_name() {
    let server = OpenSsh::start("").await;
    let stranger = server.path("stranger");
    keygen(&stranger, &["-t", "rsa", "-b", "2048"]).await;
    for second in BOTH {
        let connector = connector(&server, &stranger, second).await;
        let error = refused(&connector).await;
        let user = OpenSsh::user().await;
        assert!(
            matches!(&error, ConnectError::Refused { user: named, .. } if *named == user),
            "{second:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_box_that_shares_nothing_with_the_first_transport_is_served_by_the_second() {
    for limits in [RFC_NAME_ONLY, GROUP_EXCHANGE_ONLY, SHA1_ONLY] {
        let server = OpenSsh::start(limits).await;
        let lines = Lines::default();
        let key = server.key("rsa");
        let connector = logging_connector(&server, &key, SecondSession::Auto, &lines).await;
        for _ in 0..3 {
            let mut session = within(connector.connect())
                .await
                .unwrap_or_else(|e| panic!("{limits}: {e}\n{}", server.log()));
            let output = within(session.exec("echo $((6 * 7))")).await.unwrap();
            assert_eq!(output.stdout, b"42\n");
        }
        // Once the first transport, once the offer, then the second one each time.
        assert_eq!(server.connections(), 5, "{limits}");
        assert_eq!(lines.all(), ["no common algorithm, the second session takes over"]);
    }
}

#[tokio::test]
async fn where_the_second_transport_is_forbidden_the_offer_and_the_command_are_named() {
    let table = [
        (RFC_NAME_ONLY, "key exchange curve25519-sha256;"),
        (GROUP_EXCHANGE_ONLY, "key exchange diffie-hellman-group-exchange-sha256;"),
        (SHA1_ONLY, "MACs hmac-sha1;"),
    ];
    for (limits, offered) in table {
        let server = OpenSsh::start(limits).await;
        let connector = connector(&server, &server.key("rsa"), SecondSession::Forbid).await;
        let error = refused(&connector).await;
        assert!(matches!(error, ConnectError::Algorithms { .. }), "{limits}: {error}");
        let text = error.to_string();
        for part in ["SSH-2.0-OpenSSH", offered, "/ip/ssh set strong-crypto=yes"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn a_box_that_shares_nothing_with_either_transport_is_refused_with_its_offer() {
    let server = OpenSsh::start("Ciphers aes256-cbc").await;
    for second in [SecondSession::Auto, SecondSession::Force, SecondSession::Forbid] {
        let connector = connector(&server, &server.key("rsa"), second).await;
        let text = refused(&connector).await.to_string();
        for part in ["ciphers aes256-cbc", "we need cipher", "strong-crypto=yes"] {
            assert!(text.contains(part), "{second:?}: {text}");
        }
    }
}

#[tokio::test]
async fn a_hung_command_is_abandoned_and_the_next_session_works() {
    let server = OpenSsh::start("").await;
    for second in BOTH {
        let mut session = connect(&server, second).await;
        let closed = session.closed();
        let hang = server.hang();
        let patience = Duration::from_millis(300);
        assert!(timeout(patience, session.exec(&hang)).await.is_err(), "{second:?}");

        // What would come now belongs to the command that was given up.
        let error = within(session.exec("echo late")).await.unwrap_err();
        assert!(matches!(error, SessionError::Closed(_)), "{second:?}: {error}");
        drop(session);
        within(closed.cancelled()).await;

        let mut session = connect(&server, second).await;
        assert_eq!(within(session.exec("echo hi")).await.unwrap().stdout, b"hi\n");
    }
}

#[tokio::test]
async fn the_end_of_the_server_is_noticed_while_idle_and_during_a_command() {
    let server = OpenSsh::start("").await;
    for second in BOTH {
        let mut idle = connect(&server, second).await;
        let mut busy = connect(&server, second).await;
        let hang = server.hang();
        let closed = (idle.closed(), busy.closed());
        assert!(!closed.0.is_cancelled() && !closed.1.is_cancelled());
        let command = tokio::spawn(async move { busy.exec(&hang).await });
        // The command is under way once its shell has said so.
        within(server.logged("Starting session")).await;

        let killed_at = Instant::now();
        server.kill_connections().await;
        within(closed.0.cancelled()).await;
        within(closed.1.cancelled()).await;
        assert!(killed_at.elapsed() < Duration::from_secs(2), "{second:?}");
        let error = within(command).await.unwrap().unwrap_err();
        assert!(matches!(error, SessionError::Closed(_)), "{second:?}: {error}");
        // What is sent to nobody cannot have run.
        let error = within(idle.exec("echo hi")).await.unwrap_err();
        assert!(matches!(error, SessionError::Channel(_)), "{second:?}: {error}");
        fs::remove_file(server.path("log")).unwrap();
    }
}

#[tokio::test]
async fn a_goodbye_closes_the_connection() {
    let server = OpenSsh::start("").await;
    for second in BOTH {
        let mut session = connect(&server, second).await;
        let closed = session.closed();
        // Until then the server may still be writing, and miss the goodbye.
        within(session.exec("true")).await.unwrap();
        within(session.close()).await;
        within(closed.cancelled()).await;
        within(server.logged("Received disconnect")).await;
        fs::remove_file(server.path("log")).unwrap();
    }
}

#[tokio::test]
async fn more_output_than_allowed_ends_the_session() {
    let server = OpenSsh::start("").await;
    for second in BOTH {
        let connector = connector(&server, &server.key("ed25519"), second).await;
        let connector = connector.with_max_output(1_000_000);
        let mut session = within(connector.connect()).await.unwrap();
        let output = within(session.exec("head -c 1000000 /dev/zero")).await.unwrap();
        assert_eq!(output.stdout.len(), 1_000_000);
        let error = within(session.exec("cat /dev/zero")).await.unwrap_err();
        assert_eq!(error, SessionError::TooLong(1_000_000), "{second:?}");
        within(session.closed().cancelled()).await;
    }
}

#[tokio::test]
async fn a_world_readable_key_is_refused_and_kubelets_layout_accepted() {
    let server = OpenSsh::start("").await;
    let data = server.path("..2026_01_01_00_00_00.1");
    fs::create_dir(&data).unwrap();
    fs::copy(server.key("ed25519"), data.join("id")).unwrap();
    symlink("..2026_01_01_00_00_00.1", server.path("..data")).unwrap();
    symlink("..data/id", server.path("id")).unwrap();

    fs::set_permissions(data.join("id"), Permissions::from_mode(0o440)).unwrap();
    let connector = connector(&server, &server.path("id"), SecondSession::Auto).await;
    within(connector.connect()).await.unwrap();

    // The file is read again for each session: a Secret may be rotated.
    fs::set_permissions(data.join("id"), Permissions::from_mode(0o444)).unwrap();
    let before = server.connections();
    let error = refused(&connector).await;
    assert!(matches!(error, ConnectError::Key { .. }), "{error}");
    assert!(error.to_string().contains("0444"), "{error}");
    assert_eq!(server.connections(), before, "the box was contacted");
}

#[tokio::test]
async fn keys_that_the_box_would_not_take_are_refused_before_it_is_contacted() {
    let server = OpenSsh::start("").await;
    keygen(&server.path("ecdsa"), &["-t", "ecdsa"]).await;
    keygen(&server.path("secret"), &["-t", "ed25519"]).await;
    let mut command = tokio::process::Command::new("ssh-keygen");
    command.args(["-q", "-p", "-N", "hunter22", "-f"]).arg(server.path("secret"));
    assert!(command.status().await.unwrap().success());
    for (name, expected) in [("ecdsa", "RSA and Ed25519 keys only"), ("secret", "ssh-keygen -p")] {
        let connector = connector(&server, &server.path(name), SecondSession::Auto).await;
        let text = refused(&connector).await.to_string();
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_to_the_callers_deadline() {
    let server = OpenSsh::start("").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for second in BOTH {
        let pins = PinnedKeys::parse([server.host_key().as_str()]).unwrap();
        let (key, log) = (server.key("rsa"), Lines::default().logger());
        let connector = SshConnector::new(address.as_str(), "user", key, pins, second, log);
        let attempt = timeout(Duration::from_millis(200), connector.connect());
        let (attempt, accepted) = tokio::join!(attempt, silent.accept());
        assert!(attempt.is_err(), "{second:?}");

        // Nothing of it is left behind: our side of the connection is closed.
        let (mut stream, _) = accepted.unwrap();
        let mut rest = Vec::new();
        within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)).await.unwrap();
        assert!(rest.starts_with(b"SSH-2.0-"));
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_during_the_handshake_leaves_no_task_behind() {
    let server = OpenSsh::start("").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for second in BOTH {
        let pins = PinnedKeys::parse([server.host_key().as_str()]).unwrap();
        let (key, log) = (server.key("rsa"), Lines::default().logger());
        let connector = SshConnector::new(address.as_str(), "user", key, pins, second, log);
        let attempt = timeout(Duration::from_millis(300), connector.connect());
        let answer = async {
            let (mut stream, _) = silent.accept().await.unwrap();
            let banner = b"SSH-2.0-silent\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, banner).await.unwrap();
            stream
        };
        let (attempt, mut stream) = tokio::join!(attempt, answer);
        assert!(attempt.is_err(), "{second:?}");
        let mut rest = Vec::new();
        within(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_at_once() {
    let server = OpenSsh::start("").await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let pins = PinnedKeys::parse([server.host_key().as_str()]).unwrap();
    let (key, log) = (server.key("rsa"), Lines::default().logger());
    let connector = SshConnector::new(&address, "user", key, pins, SecondSession::Auto, log);
    let began = Instant::now();
    let error = refused(&connector).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn what_is_no_ssh_server_is_a_failed_handshake() {
    let server = OpenSsh::start("").await;
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = web.local_addr().unwrap().to_string();
    let serve = tokio::spawn(async move {
        while let Ok((mut stream, _)) = web.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    for second in BOTH {
        let pins = PinnedKeys::parse([server.host_key().as_str()]).unwrap();
        let (key, log) = (server.key("rsa"), Lines::default().logger());
        let connector = SshConnector::new(address.as_str(), "user", key, pins, second, log);
        let error = refused(&connector).await;
        assert!(matches!(error, ConnectError::Handshake { .. }), "{second:?}: {error}");
    }
    serve.abort();
}
