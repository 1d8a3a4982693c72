//! The box as a program: what a person sees who starts it and logs in with OpenSSH's `ssh`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// The running program; killed when dropped.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rds-sim"))
            .args(["--listen", "127.0.0.1:0", "--ed25519", "--latency", "0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        Self { child, lines }
    }

    /// The next line that holds `part`.
    async fn line(&mut self, part: &str) -> String {
        let found = async {
            loop {
                let line = self.lines.next_line().await.expect("readable").expect("not the end");
                if line.contains(part) {
                    return line;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("the line comes")
    }
}

/// A folder of the test's own that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("rds-sim-program-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn key(folder: &Path) -> String {
    let file = folder.join("id_ed25519").display().to_string();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &file]).stdin(Stdio::null());
    assert!(keygen.status().await.expect("ssh-keygen runs").success());
    file
}

#[tokio::test]
async fn the_printed_ssh_command_logs_in_and_prints_disks() {
    let folder = Folder::new();
    let key = key(&folder.0).await;
    let mut program = Program::start(&["--authorized-key", &format!("{key}.pub")]);
    assert!(program.line("RouterOS").await.starts_with("RouterOS 7.24.4 (simulated) on 127.0.0.1"));
    assert!(program.line("host key").await.starts_with("host key SHA256:"));
    let command = program.line("ssh -o").await;
    let mut words = command.split_whitespace();
    let mut ssh = Command::new(words.next().expect("ssh"));
    // Nothing of the person who runs the tests: no configuration, no agent.
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
        .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", &key])
        .args(words)
        .arg("/disk print detail")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, ssh.output()).await.expect("ssh ends").expect("ssh runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(printed.starts_with("Flags: E - EMPTY, B - BLOCK-DEVICE;"), "{printed}");
    assert!(printed.contains("slot=\"storage-pool\""), "{printed}");
    // Ctrl-C.
    let id = program.child.id().expect("it runs").to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(kill.expect("kill runs").success());
    let status = timeout(PATIENCE, program.child.wait()).await.expect("it ends").expect("a status");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn without_a_key_it_says_what_to_give_it() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_rds-sim"));
    let output = timeout(PATIENCE, program.args(["--listen", "127.0.0.1:0"]).output()).await;
    let output = output.expect("it ends").expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--authorized-key") && said.contains("--no-key"), "{said}");
}
