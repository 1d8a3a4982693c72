//! `rds-csi controller` as a process of its own, with its log read line by line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// Far above what anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The running process. It is killed when this is dropped.
pub struct Daemon {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    grown: watch::Receiver<usize>,
}

impl Daemon {
    /// Starts the controller with this configuration file and nothing of our environment.
    pub fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    /// The same, with these variables.
    pub fn start_with(config: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rds-csi"))
            .arg("controller")
            .arg("--config")
            .arg(config)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (tell, grown) = watch::channel(0);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, stderr) = (lines.clone(), child.stderr.take().unwrap());
        tokio::spawn(async move {
            let mut stderr = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = stderr.next_line().await {
                let mut kept = kept.lock().unwrap();
                kept.push(line);
                tell.send_replace(kept.len());
            }
        });
        Self { child, lines, grown }
    }

    /// Everything that was written so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// What was written so far, for a failure: without traces.
    pub fn text(&self) -> String {
        let shown = |line: &String| !line.contains("\"level\":\"TRCE\"");
        self.lines().into_iter().filter(shown).collect::<Vec<_>>().join("\n")
    }

    /// The records so far; what is no JSON is left out.
    pub fn records(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The records so far with this message.
    pub fn said(&self, message: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["msg"] == message).collect()
    }

    /// Waits for a record with this message that fits.
    pub async fn logged(&self, message: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut grown = self.grown.clone();
        let found = async {
            loop {
                grown.mark_unchanged();
                if let Some(record) = self.said(message).into_iter().find(&fits) {
                    return Some(record);
                }
                // The process has ended and everything is read.
                if grown.changed().await.is_err() {
                    return self.said(message).into_iter().find(&fits);
                }
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(Some(record)) => record,
            _ => panic!("{message:?} was not logged:\n{}", self.text()),
        }
    }

    /// Where metrics and health are served.
    pub async fn http(&self) -> SocketAddr {
        let record = self.logged("serving metrics and health", |_| true).await;
        record["address"].as_str().unwrap().parse().unwrap()
    }

    /// Status and body of one GET.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = get(self.http().await, path).await;
        answer.unwrap_or_else(|error| panic!("no answer to {path}: {error}\n{}", self.text()))
    }

    /// The body of one GET, as JSON.
    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }

    /// The sum of all series of this name whose labels hold `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.get("/metrics").await.1;
        let of_it = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) && rest.contains(labels)
        };
        let values = text.lines().filter(of_it).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }

    /// Waits until `/readyz` says this; asks often.
    pub async fn ready(&self, wanted: bool) -> Value {
        let status = if wanted { 200 } else { 503 };
        let mut last = String::new();
        let found = async {
            loop {
                let (found, body) = self.get("/readyz").await;
                if found == status {
                    return serde_json::from_str(&body).unwrap();
                }
                last = body;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(body) => body,
            Err(_) => panic!("ready is not {wanted}: {last}\n{}", self.text()),
        }
    }

    /// Asks it to stop.
    pub async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Sends it a signal.
    pub async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        let mut kill = Command::new("kill");
        assert!(kill.args([signal, &id]).status().await.unwrap().success());
    }

    /// Waits for the end of the process and of its log.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            let status = self.child.wait().await.unwrap();
            while self.grown.changed().await.is_ok() {}
            status
        };
        match timeout(PATIENCE, ended).await {
            Ok(status) => status,
            Err(_) => panic!("the process does not end:\n{}", self.text()),
        }
    }

    /// Stops it and checks that it went in good order.
    pub async fn stop(mut self) -> Vec<String> {
        self.terminate().await;
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.text());
        self.lines()
    }
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let read = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    };
    timeout(PATIENCE, read).await.unwrap()
}

/// A configuration file as kubelet lays out a ConfigMap: `rds.toml` → `..data/rds.toml`, `..data` →
/// a directory of its own for each version.
pub struct ConfigMap {
    root: PathBuf,
    version: u32,
}

impl ConfigMap {
    /// The first version, in a directory that does not exist yet.
    pub fn new(root: PathBuf, content: &str) -> Self {
        std::fs::create_dir(&root).unwrap();
        let mut map = Self { root, version: 0 };
        map.swap(content);
        std::os::unix::fs::symlink("..data/rds.toml", map.file()).unwrap();
        map
    }

    /// What `--config` names.
    pub fn file(&self) -> PathBuf {
        self.root.join("rds.toml")
    }

    /// Makes a new version and swaps the link over, in one rename.
    pub fn swap(&mut self, content: &str) {
        let before = self.root.join(format!("..version_{}", self.version));
        self.version += 1;
        let version = format!("..version_{}", self.version);
        std::fs::create_dir(self.root.join(&version)).unwrap();
        std::fs::write(self.root.join(&version).join("rds.toml"), content).unwrap();
        std::os::unix::fs::symlink(&version, self.root.join("..data_tmp")).unwrap();
        std::fs::rename(self.root.join("..data_tmp"), self.root.join("..data")).unwrap();
        let _ = std::fs::remove_dir_all(before);
    }
}
