//! The word of a node's agent: what it is worth, and what it lets happen.

use std::net::SocketAddr;
use std::time::Duration;

use rds_csi::agent::{Asked, Challenge, Keys, PATH, Proven, Unproven, open};
use rds_csi::cluster::agents::{OverHttp, Transport as _};
use rds_csi::grpc::csi::ControllerUnpublishVolumeRequest;
use rds_csi::volume::NodeName;
use rds_csi_testbed::vm::{Cable, Kind, Volume, driver};
use rds_csi_testbed::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::teller::tell;
use crate::world::{AGENT_PORT, MIB, POD, STEP, World, writes};

#[test]
#[ignore = "boots machines: make vm-test"]
fn only_a_fresh_word_under_the_clusters_key_lets_a_fenced_node_in_also_after_a_restart() {
    tell(fresh_words);
}

async fn fresh_words(world: &mut World) {
    let (challenge, later) = (Challenge::random(), Challenge::random());
    let clean = answer(world, 1, challenge).await;
    let secret = world.driver.secret().unwrap();
    assert!(opened(&clean, &secret, challenge).unwrap().sees());
    assert_eq!(opened(&clean, &secret, later).unwrap_err(), Unproven::Replayed);
    assert_eq!(opened(&clean, &[7; 32], challenge).unwrap_err(), Unproven::WrongSeal);

    // A volume is fenced from node-b, which goes on writing; then its agent is silent.
    let volume = world.driver.provision("w", Kind::Block, 64 * MIB).await.unwrap();
    world.runs(&volume, 1).await;
    let mut writer = writes(&world.nodes[1].0, &volume, "w").await;
    remembered(world, "node-b").await;
    world.nodes[1].1.daemon.kill().await.unwrap();
    let seen = || world.driver.said().matches(r#""transition":"out of service""#).count();
    let before = seen();
    world.driver.set_out_of_service("node-b", true).unwrap();
    // Only of a node that is known to be out of service a detach shuts the host out.
    wait::until(
        "the order is seen",
        STEP,
        async || {
            if seen() > before { Ok(()) } else { Err("not yet") }
        },
    )
    .await
    .unwrap();
    world.driver.detach(&volume, "node-b").await.unwrap();
    world.driver.set_out_of_service("node-b", false).unwrap();

    // Had the controller forgotten that this agent has ever spoken, its silence would say nothing.
    world.driver.restart().await.unwrap();
    let why = kept_out(world, &volume).await;
    assert!(why.contains("gives no word, though its kernel is alive"), "{why}");
    // What it said before, when it was clean; and what one without the key says.
    let gateway = SocketAddr::new(world.network.gateway(Cable::Control).into(), AGENT_PORT);
    world.driver.place("node-b", world.network.gateway(Cable::Control)).unwrap();
    for (said, refused) in [
        (clean.clone(), "is one to another challenge"),
        (forged(&clean), "is not sealed with this cluster's Secret"),
        (b"welcome".to_vec(), "does not begin with 64 hex digits"),
    ] {
        let mut impostor = impostor(gateway, said).await;
        let refusals = || {
            let log = world.driver.said();
            let all = log.lines().filter(|line| line.contains("answer of an agent refused"));
            all.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = refusals().len();
        // The controller learns of the new address in a moment.
        let heard = wait::until("it is heard, and not believed", STEP, async || {
            let why = kept_out(world, &volume).await;
            assert!(why.contains("gives no word"), "{why}");
            refusals().into_iter().nth(before).ok_or(why)
        });
        let line = heard.await.unwrap();
        assert!(line.contains(refused), "{line}");
        impostor.shutdown().await;
    }

    // The agent itself comes back, sweeps, and says so.
    world.driver.place("node-b", world.nodes[1].0.address(Cable::Control)).unwrap();
    let began = Instant::now();
    world.restart(1, &[]).await;
    writer.wait(STEP).await.unwrap();
    world.runs(&volume, 1).await;
    eprintln!("let in {:?} after its agent came back", began.elapsed());
    world.gone(&volume, 1).await;
}

#[test]
#[ignore = "boots machines: make vm-test"]
fn the_word_of_an_agent_lets_a_node_leave_of_which_kubelet_says_nothing() {
    tell(leaves);
}

async fn leaves(world: &mut World) {
    let volume = world.driver.provision("s", Kind::SharedBlock, 64 * MIB).await.unwrap();
    world.runs(&volume, 0).await;
    world.runs(&volume, 1).await;
    let mut writer = writes(&world.nodes[0].0, &volume, "s").await;
    world.driver.set_ready("node-b", false).unwrap();
    let (refused, took) = unpublished(world, &volume).await;
    let refused = refused.unwrap_err();
    eprintln!("connected, and kubelet silent, after {took:?}: {refused:?}");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("shows a controller of the volume"), "{refused:?}");

    let plugin = &world.nodes[1].1;
    plugin.unpublish(&volume, POD).await.unwrap();
    plugin.unstage(&volume).await.unwrap();
    let (left, took) = unpublished(world, &volume).await;
    left.unwrap();
    eprintln!("let go, and kubelet silent: detached after {took:?}");
    assert!(took < Duration::from_secs(5), "nothing is waited for: {took:?}");
    world.driver.detach(&volume, "node-b").await.unwrap();
    world.driver.set_ready("node-b", true).unwrap();
    // The other one went on all the while.
    let said = rds_csi_testbed::vm::oracle::acknowledged(&writer.said());
    crate::world::more_than(&writer, said.unwrap() + 20).await;
    writer.kill().await.unwrap();
    world.gone(&volume, 0).await;
}

/// Waits until the controller has written down that this node's agent has spoken.
async fn remembered(world: &World, node: &str) {
    wait::until("the agent is remembered", STEP, async || {
        let memory = world.driver.api.get("configmaps", "rds-csi/rds-csi-agents");
        let data = memory.map(|memory| memory["data"].clone()).unwrap_or_default();
        if data[node].is_string() { Ok(()) } else { Err(data.to_string()) }
    })
    .await
    .unwrap();
}

async fn answer(world: &World, node: usize, challenge: Challenge) -> Vec<u8> {
    let address = world.nodes[node].0.address(Cable::Control);
    let target = format!("{PATH}?challenge={challenge}");
    let address = SocketAddr::new(address.into(), AGENT_PORT);
    OverHttp.get(address, &target, Duration::from_secs(20)).await.unwrap()
}

fn opened(answer: &[u8], secret: &[u8], challenge: Challenge) -> Result<Proven, Unproven> {
    let node = NodeName::parse("node-b").unwrap();
    open(
        answer,
        &Keys::of(secret).unwrap(),
        Asked { driver: driver::DRIVER, node: &node, challenge },
    )
}

/// The same answer with one digit of its seal changed.
fn forged(answer: &[u8]) -> Vec<u8> {
    let mut forged = answer.to_vec();
    forged[0] = if forged[0] == b'0' { b'1' } else { b'0' };
    forged
}

/// Somebody who answers this to whatever is asked.
async fn impostor(address: SocketAddr, body: Vec<u8>) -> JoinSet<()> {
    let listener = TcpListener::bind(address).await.unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        }
    });
    serving
}

/// Why node-b does not get the volume.
async fn kept_out(world: &World, volume: &Volume) -> String {
    let attaching = world.driver.attach_refused(volume, "node-b");
    attaching.await.unwrap()
}

/// ControllerUnpublishVolume from node-b, without the patience of an attacher.
async fn unpublished(world: &World, volume: &Volume) -> (Result<(), Status>, Duration) {
    // The watches tell of the node's state in a moment.
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let request = ControllerUnpublishVolumeRequest {
        volume_id: volume.handle.clone(),
        node_id: "node-b".into(),
        ..ControllerUnpublishVolumeRequest::default()
    };
    let answer = world.driver.controller().controller_unpublish_volume(request).await;
    (answer.map(drop), began.elapsed())
}
