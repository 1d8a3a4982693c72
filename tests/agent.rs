//! The agent of a node as a process: `rds-csi node` answers challenges at its health port, over real
//! sockets, and only to who has the cluster Secret is it worth anything.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rds_csi::agent::{Asked, Challenge, Keys, Proven, Unproven, open};
use rds_csi::cluster::agents::{OverHttp, Transport as _, Unanswered};
use rds_csi::volume::NodeName;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

const SECRET: &[u8; 32] = b"one cluster's secret of 32 bytes";
const PATIENCE: Duration = Duration::from_secs(30);

/// A node plugin without Kubernetes, without a box and without kubelet.
struct Node {
    folder: TempDir,
    address: SocketAddr,
    process: Child,
}

impl Node {
    async fn start(has_secret_path: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago; the process says so when somebody was quicker.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let secret = if has_secret_path { at("key") } else { String::new() };
        let config = format!(
            "[driver]\nendpoint = \"unix://{}\"\n[http]\nlisten = \"{address}\"\n\
             [node]\nkubelet_dir = \"{}\"\nregister = false\ncluster_secret_path = \"{secret}\"\n",
            at("csi.sock"),
            at("kubelet"),
        );
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        std::fs::write(folder.path().join("key"), SECRET).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_rds-csi"))
            .args(["node", "--node-id", "n1", "--config", &at("config.toml")])
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { folder, address, process }
    }

    fn secret(&self) -> &Path {
        self.folder.path()
    }

    async fn ask(&self, challenge: &str) -> Result<Vec<u8>, Unanswered> {
        let target = format!("/agent?challenge={challenge}");
        OverHttp.get(self.address, &target, Duration::from_secs(5)).await
    }

    /// The answer to a challenge, once the process listens.
    async fn answer(&self, challenge: Challenge) -> Result<Vec<u8>, Unanswered> {
        let begun = Instant::now();
        loop {
            match self.ask(&challenge.to_string()).await {
                Err(Unanswered::Alive(why)) if why == "refuses the connection" => {}
                answer => return answer,
            }
            assert!(begun.elapsed() < PATIENCE, "it does not listen");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn opened(
    answer: &[u8],
    secret: &[u8],
    of: &str,
    challenge: Challenge,
) -> Result<Proven, Unproven> {
    let node = NodeName::parse(of).unwrap();
    let asked = Asked { driver: "rds.csi.srvlab.io", node: &node, challenge };
    open(answer, &Keys::of(secret).unwrap(), asked)
}

#[tokio::test]
async fn a_node_proves_its_name_and_its_boot_to_who_has_the_secret() {
    let node = Node::start(true).await;
    let (challenge, later) = (Challenge::random(), Challenge::random());
    let answer = node.answer(challenge).await.unwrap();
    let proven = opened(&answer, SECRET, "n1", challenge).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(proven.boot_id(), boot.trim());
    assert!(proven.sees() && !proven.is_connected(), "nothing is attached here");
    assert_eq!(opened(&answer, SECRET, "n1", later).unwrap_err(), Unproven::Replayed);
    let other = b"two cluster's secret of 32 bytes";
    assert_eq!(opened(&answer, other, "n1", challenge).unwrap_err(), Unproven::WrongSeal);
    let n1 = NodeName::parse("n1").unwrap();
    assert_eq!(opened(&answer, SECRET, "n2", challenge).unwrap_err(), Unproven::OtherNode(n1));
}

#[tokio::test]
async fn what_cannot_be_answered_is_told_and_a_later_secret_is_taken() {
    let node = Node::start(true).await;
    let challenge = Challenge::random();
    node.answer(challenge).await.unwrap();
    let refused = |why: &str| Err(Unanswered::Alive(format!("answers with {why}")));
    assert_eq!(node.ask("nonsense").await, refused("400 Bad Request"));
    let key = node.secret().join("key");
    std::fs::remove_file(&key).unwrap();
    assert_eq!(node.answer(challenge).await, refused("503 Service Unavailable"));
    let other = b"two cluster's secret of 32 bytes";
    std::fs::write(&key, other).unwrap();
    let answer = node.answer(challenge).await.unwrap();
    opened(&answer, other, "n1", challenge).unwrap();
}

#[tokio::test]
async fn a_node_without_the_secret_has_no_agent_and_ends_when_it_is_told_to() {
    let mut node = Node::start(false).await;
    let answer = node.answer(Challenge::random()).await;
    assert_eq!(answer, Err(Unanswered::Alive("answers with 404 Not Found".into())));
    let id = rustix::process::Pid::from_raw(node.process.id().unwrap().try_into().unwrap());
    rustix::process::kill_process(id.unwrap(), rustix::process::Signal::TERM).unwrap();
    let ended = tokio::time::timeout(PATIENCE, node.process.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}
