//! A person's terminal: bash with the real kubectl and helm, as the administrator of the cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rds_csi_testbed::{Cluster, parts};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Longest time for one command.
const WITHIN: Duration = Duration::from_secs(120);

/// A terminal in a folder of its own, in which the project's `deploy/` lies.
pub struct Terminal {
    /// Where it stands.
    pub folder: PathBuf,
    kubeconfig: PathBuf,
    path: String,
}

impl Terminal {
    /// Opens one.
    pub async fn open(cluster: &Cluster) -> Self {
        let folder = cluster.folder().join("terminal");
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        std::os::unix::fs::symlink(parts::workspace().join("deploy"), folder.join("deploy"))
            .unwrap();
        for name in ["helm", "kubectl"] {
            let program = parts::program(name).unwrap();
            std::os::unix::fs::symlink(program, folder.join("bin").join(name)).unwrap();
        }
        let system = std::env::var("PATH").unwrap();
        let path = format!("{}:{system}", folder.join("bin").display());
        let kubeconfig = cluster.plane.lock().await.kubeconfig();
        Self { folder, kubeconfig, path }
    }

    /// Runs one command to its end. `Err` with all that it said where it fails.
    pub async fn run(&self, line: &str) -> Result<String, String> {
        self.feed(line, "").await
    }

    /// The same, with something at its standard input.
    pub async fn feed(&self, line: &str, input: &str) -> Result<String, String> {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let feeding = tokio::spawn(async move {
            // Who has heard enough may hang up.
            let _ = stdin.write_all(input.as_bytes()).await;
        });
        let ended = timeout(WITHIN, child.wait_with_output()).await;
        let ended = ended.map_err(|_| format!("does not end: {line}"))?.unwrap();
        feeding.await.unwrap();
        let said = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if ended.status.success() {
            Ok(said(ended.stdout))
        } else {
            Err(format!("{line}\n{}{}", said(ended.stderr), said(ended.stdout)))
        }
    }

    /// Starts a command that goes on. It ends when the answer is dropped.
    pub fn start(&self, line: &str) -> Child {
        let mut command = self.command(&format!("exec {line}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "bash", "-eu", "-o", "pipefail", "-c", line])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            // Nothing of the person who runs this: no repositories, no plugins, no cache.
            .env("HOME", self.home())
            .env_remove("HELM")
            .kill_on_drop(true);
        command
    }

    fn home(&self) -> &Path {
        &self.folder
    }
}
