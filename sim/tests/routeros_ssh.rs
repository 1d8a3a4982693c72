//! The box behind SSH, as the real OpenSSH client sees it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use rds_sim::routeros::{
    AuthorizedKeys, ExitStatus, Fault, HostKey, Quirks, Reboot, RouterOs, SecondChannel, Server,
    ServerSetup, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

/// A folder of the test's own that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rds-sim-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    async fn key(&self, kind: &str) -> (String, String) {
        let file = self.0.join(kind).display().to_string();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-f", &file])
            .stdin(Stdio::null())
            .output()
            .await
            .expect("ssh-keygen runs");
        assert!(made.status.success(), "{made:?}");
        let public = std::fs::read_to_string(format!("{file}.pub")).expect("a public key");
        (file, public)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn start(os: &RouterOs, keys: &[&str]) -> Server {
    let authorized = AuthorizedKeys::These(keys.iter().map(|key| (*key).to_owned()).collect());
    let setup = ServerSetup { host_key: HostKey::Ed25519, authorized, ..ServerSetup::default() };
    Server::start(os.clone(), LOOPBACK, setup).await.expect("the server starts")
}

fn ssh(server: &Server, key: &str) -> Command {
    ssh_with(&[], server, key)
}

fn ssh_with(options: &[&str], server: &Server, key: &str) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(options);
    ssh.args([
        "-F",
        "none",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ])
    .args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
    .args(["-o", "IdentityAgent=none", "-i", key])
    .args(["-p", &server.address().port().to_string(), "admin@127.0.0.1"])
    .stdin(Stdio::null())
    .kill_on_drop(true);
    ssh
}

async fn run(ssh: &mut Command) -> Output {
    let output = tokio::time::timeout(Duration::from_secs(30), ssh.output());
    output.await.expect("ssh ends").expect("ssh runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn openssh_logs_in_with_both_kinds_of_keys_and_prints_disks() {
    let folder = Folder::new("print");
    let (ed25519, ed25519_pub) = folder.key("ed25519").await;
    let (rsa, rsa_pub) = folder.key("rsa").await;
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[&ed25519_pub, &rsa_pub]).await;
    for key in [&ed25519, &rsa] {
        let output = run(ssh(&server, key).arg("/disk print detail")).await;
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(
            printed.starts_with("Flags: E - EMPTY, B - BLOCK-DEVICE; M - MOUNTED;"),
            "{printed}"
        );
        assert!(printed.contains("slot=\"storage-pool\""), "{printed}");
        let lines: Vec<&str> = printed.split_terminator("\r\n").collect();
        assert!(lines.len() > 40 && lines.iter().all(|line| line.len() <= 80), "{printed}");
    }
    assert_eq!(os.exec_count(), 2);
}

#[tokio::test]
async fn a_stock_box_shows_an_rsa_host_key_and_no_version() {
    let folder = Folder::new("stock");
    let (key, public) = folder.key("ed25519").await;
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let setup =
        ServerSetup { authorized: AuthorizedKeys::These(vec![public]), ..ServerSetup::default() };
    let server = Server::start(os, LOOPBACK, setup).await.expect("the server starts");
    assert!(server.public_key().starts_with("ssh-rsa "));
    let mut socket = TcpStream::connect(server.address()).await.expect("connects");
    let mut banner = [0; 16];
    socket.read_exact(&mut banner).await.expect("a banner");
    assert_eq!(&banner, b"SSH-2.0-ROSSSH\r\n");
    assert!(run(ssh(&server, &key).arg(":put hello")).await.status.success());
}

#[tokio::test]
async fn any_stream_will_do() {
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[]).await;
    let (mut ours, theirs) = tokio::io::duplex(4096);
    server.serve_stream(theirs);
    let mut banner = [0; 16];
    ours.read_exact(&mut banner).await.expect("a banner");
    assert_eq!(&banner, b"SSH-2.0-ROSSSH\r\n");
    drop(server);
    let mut rest = Vec::new();
    let ends = tokio::time::timeout(Duration::from_secs(10), ours.read_to_end(&mut rest));
    assert!(ends.await.expect("the server ends its connections").is_ok());
}

#[tokio::test]
async fn unknown_and_ecdsa_keys_are_refused() {
    let folder = Folder::new("refused");
    let (_, known) = folder.key("ed25519").await;
    let (ecdsa, ecdsa_pub) = folder.key("ecdsa").await;
    let (rsa, _) = folder.key("rsa").await;
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[&known, &ecdsa_pub]).await;
    for key in [&ecdsa, &rsa] {
        let output = run(ssh(&server, key).arg(":put hello")).await;
        assert!(text(&output.stderr).contains("Permission denied (publickey)"), "{output:?}");
    }
    assert_eq!(os.exec_count(), 0);
}

#[tokio::test]
async fn errors_come_on_stdout_with_the_exit_status_of_the_profile() {
    let folder = Folder::new("status");
    let (key, public) = folder.key("ed25519").await;
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[&public]).await;
    for (profile, code) in [
        (ExitStatus::AlwaysZero, Some(0)),
        (ExitStatus::OneOnError, Some(1)),
        // OpenSSH says 255 where a channel ends without a status.
        (ExitStatus::Never, Some(255)),
    ] {
        os.change_quirks(|quirks| quirks.exit_status = profile);
        let output = run(ssh(&server, &key).arg("/disk/remove nosuch")).await;
        assert_eq!(text(&output.stdout), "no such item\r\n");
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.status.code(), code, "{profile:?}");
    }
}

#[tokio::test]
async fn a_person_types_at_a_prompt() {
    let folder = Folder::new("shell");
    let (key, public) = folder.key("ed25519").await;
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[&public]).await;
    let mut command = ssh_with(&["-tt"], &server, &key);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("ssh starts");
    let mut input = child.stdin.take().expect("stdin");
    input.write_all(b":put (40 + 2)\r/quit\r").await.expect("types");
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output());
    let printed = text(&output.await.expect("ssh ends").expect("ssh ran").stdout);
    assert!(printed.contains("[admin@MikroTik] > :put (40 + 2)\r\n42\r\n"), "{printed:?}");
}

#[tokio::test]
async fn a_cut_connection_gives_no_answer_though_the_line_ran() {
    let folder = Folder::new("cut");
    let (key, public) = folder.key("ed25519").await;
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[&public]).await;
    os.arm_on("identity", Fault::DropAfter);
    let output = run(ssh(&server, &key).arg("/system identity set name=cut; :put end")).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(255), String::new()));
    assert_eq!(os.exec(":put [/system/identity/get name]").text(), "cut\r\n");
    os.arm(Fault::DropBefore);
    let output = run(ssh(&server, &key).arg("/system identity set name=uncut")).await;
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(os.exec(":put [/system/identity/get name]").text(), "cut\r\n");
}

#[tokio::test]
async fn a_refusing_box_closes_its_port_and_opens_it_again() {
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[]).await;
    os.set_refusing(true);
    let closed = async {
        while TcpStream::connect(server.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the port closes");
    os.set_refusing(false);
    let open = async {
        while TcpStream::connect(server.address()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), open).await.expect("the port opens");
    os.reboot(Reboot::KeepEverything, Duration::from_millis(300));
    let back = async {
        let mut was_closed = false;
        loop {
            match TcpStream::connect(server.address()).await {
                Ok(_) if was_closed => return,
                Ok(_) => {}
                Err(_) => was_closed = true,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("away and back");
}

#[tokio::test]
async fn a_half_open_box_neither_answers_nor_closes() {
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[]).await;
    let mut before = TcpStream::connect(server.address()).await.expect("connects");
    let mut banner = [0; 16];
    before.read_exact(&mut banner).await.expect("a banner");
    os.set_half_open(true);
    let mut after = TcpStream::connect(server.address()).await.expect("connects");
    let patience = Duration::from_millis(300);
    // A server that reads answers this with its offer, and then with an end.
    before.write_all(b"SSH-2.0-client\r\n").await.expect("writes");
    before.write_all(&[0; 64]).await.expect("writes");
    assert!(tokio::time::timeout(patience, before.read(&mut banner)).await.is_err());
    assert!(tokio::time::timeout(patience, after.read(&mut banner)).await.is_err());
    os.drop_connections();
    let ends = tokio::time::timeout(Duration::from_secs(10), after.read(&mut banner)).await;
    assert!(matches!(ends, Ok(Ok(0) | Err(_))), "{ends:?}");
}

#[tokio::test]
async fn a_second_channel_works_only_where_the_switch_says_so() {
    let folder = Folder::new("mux");
    let (key, public) = folder.key("ed25519").await;
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[&public]).await;
    let control = folder.0.join("mux").display().to_string();
    let mut master = ssh_with(&["-M", "-S", &control], &server, &key);
    // The first channel stays open for as long as the delay takes.
    let mut master = master.arg(":delay 20s").spawn().expect("ssh starts");
    let there = async {
        while os.open_sessions() == 0 || !std::path::Path::new(&control).exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there).await.expect("the first session opens");
    // Port 1: where the channel is refused, ssh must not succeed over a connection of its own.
    let second = || {
        let mut second = ssh_with(&["-S", &control, "-p", "1"], &server, &key);
        second.arg(":put two");
        second
    };
    let output = run(&mut second()).await;
    assert!(text(&output.stderr).contains("Session open refused by peer"), "{output:?}");
    os.change_quirks(|quirks| quirks.second_channel = SecondChannel::Serve);
    assert_eq!(text(&run(&mut second()).await.stdout), "two\r\n");
    os.change_quirks(|quirks| quirks.second_channel = SecondChannel::Stall);
    assert!(tokio::time::timeout(Duration::from_millis(500), second().output()).await.is_err());
    master.kill().await.expect("ends");
}

#[tokio::test]
async fn an_unanswered_keepalive_ends_an_idle_client() {
    let folder = Folder::new("keepalive");
    let (key, public) = folder.key("ed25519").await;
    let os = RouterOs::new(Version::V7_24_4, Quirks::default());
    let server = start(&os, &[&public]).await;
    let control = folder.0.join("mux").display().to_string();
    let mux = ["-M", "-S", &control, "-oControlPersist=30"];
    let alive = ["-oServerAliveInterval=1", "-oServerAliveCountMax=1"];
    let idle_for = async |seconds| {
        let gone = async {
            while os.open_sessions() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(seconds), gone).await.is_ok()
    };
    let ask = async || {
        let mut command = ssh_with(&[&mux[..], &alive[..]].concat(), &server, &key);
        // The master stays behind and would keep these open.
        command.arg(":put one").stdout(Stdio::null()).stderr(Stdio::null());
        let status = tokio::time::timeout(Duration::from_secs(20), command.status()).await;
        assert!(status.expect("ssh ends").expect("ssh ran").success());
    };
    ask().await;
    assert!(!idle_for(4).await, "an answered keepalive keeps the client");
    os.change_quirks(|quirks| quirks.keepalive_unanswered = true);
    os.drop_connections();
    assert!(idle_for(10).await, "the first client goes");
    ask().await;
    assert!(idle_for(10).await, "an unanswered keepalive ends it");
}
