//! A real OpenSSH server on a loopback port, one `sshd -i` per connection.
//!
//! The port is ours from the start, so nothing has to wait for the server or guess a free port,
//! and every server process has an owner that ends it, also when a test panics. Commands run in
//! the login shell of the user that runs the tests.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

const SSHD: &str = "/usr/sbin/sshd";

/// A server that ends with its owner.
pub struct OpenSsh {
    dir: TempDir,
    address: String,
    connections: Arc<Mutex<Vec<Child>>>,
    accepting: JoinHandle<()>,
}

impl OpenSsh {
    /// Starts a server with an RSA host key only, as a RouterOS box has it, and these further
    /// lines of configuration, in which `$DIR` is the server's directory. There is a second host
    /// key, `host_ed25519`, to be named there.
    pub async fn start(configuration: &str) -> Self {
        assert!(
            Path::new(SSHD).exists(),
            "{SSHD} is missing: install openssh-server, these tests need a real one"
        );
        let dir = tempfile::tempdir().unwrap();
        keygen(&dir.path().join("host_rsa"), &["-t", "rsa", "-b", "2048"]).await;
        keygen(&dir.path().join("host_ed25519"), &["-t", "ed25519"]).await;
        keygen(&dir.path().join("ed25519"), &["-t", "ed25519"]).await;
        keygen(&dir.path().join("rsa"), &["-t", "rsa", "-b", "2048"]).await;
        let public = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let authorized = dir.path().join("authorized");
        fs::write(&authorized, public("ed25519.pub") + &public("rsa.pub")).unwrap();
        let log = dir.path().join("log");
        let lines = format!(
            "HostKey {0}/host_rsa\nAuthorizedKeysFile {0}/authorized\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n\
             LogLevel VERBOSE\n{configuration}\n",
            dir.path().display()
        );
        let file = dir.path().join("sshd_config");
        let lines = lines.replace("$DIR", &dir.path().display().to_string());
        fs::write(&file, lines).unwrap();
        // Debian's sshd, started as root, wants it. Another user needs none.
        let _ = fs::create_dir_all("/run/sshd");

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::default();
        let accepting = tokio::spawn(accept(listener, file, log, Arc::clone(&connections)));
        OpenSsh { dir, address, connections, accepting }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Who runs the tests; nobody else can log in to a server that is not root's.
    pub async fn user() -> String {
        let output = Command::new("id").arg("-un").output().await.unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The private key `ed25519` or `rsa` that may log in.
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The public host key, as a line.
    pub fn host_key(&self) -> String {
        fs::read_to_string(self.dir.path().join("host_rsa.pub")).unwrap()
    }

    /// A shell line that hangs until this server is dropped, so that nothing is left running.
    pub fn hang(&self) -> String {
        format!("while [ -e {}/sshd_config ]; do sleep 0.1; done", self.dir.path().display())
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// What the server processes wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits until the server processes have written `text`.
    pub async fn logged(&self, text: &str) {
        while !self.log().contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills the process of every connection, without a word to the other side.
    pub async fn kill_connections(&self) {
        let mut killed: Vec<Child> = std::mem::take(&mut *self.connections.lock().unwrap());
        for child in &mut killed {
            let _ = child.kill().await;
        }
    }

    /// A path in the server's directory, for files of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for OpenSsh {
    fn drop(&mut self) {
        self.accepting.abort();
        // The processes end with their handles: they are started with kill_on_drop.
        self.connections.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }
}

/// Makes a key pair without a passphrase.
pub async fn keygen(path: &Path, arguments: &[&str]) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-f"]).arg(path).args(arguments);
    assert!(command.status().await.unwrap().success(), "ssh-keygen failed");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn accept(
    listener: TcpListener,
    configuration: PathBuf,
    log: PathBuf,
    connections: Arc<Mutex<Vec<Child>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let child = serve(stream, &configuration, &log);
        connections.lock().unwrap().push(child);
    }
}

fn serve(stream: TcpStream, configuration: &Path, log: &Path) -> Child {
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let input = OwnedFd::from(stream);
    let output = input.try_clone().unwrap();
    Command::new(SSHD)
        .arg("-i")
        .arg("-f")
        .arg(configuration)
        .arg("-E")
        .arg(log)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
