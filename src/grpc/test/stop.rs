//! How serving ends, in memory and on a real socket.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;
use tonic::codegen::http::uri::PathAndQuery;

use super::*;
use crate::grpc::codec::Codec;
use crate::grpc::socket::{Socket, SocketError};

#[tokio::test(start_paused = true)]
async fn an_idle_client_holds_nobody_up() {
    let harness = Harness::start(Fake::default());
    let mut client = harness.identity().await;
    client.probe(csi::ProbeRequest {}).await.unwrap();
    let since = Instant::now();
    assert_eq!(harness.stopped().await, Drained::All);
    assert!(since.elapsed() < DRAIN);
    assert!(client.probe(csi::ProbeRequest {}).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_is_answered_before_the_server_stops() {
    let gate = Some(Gate::default());
    let harness = Harness::start(Fake { gate, ..Fake::default() });
    let gate = harness.fake.gate.as_ref().unwrap();
    let mut client = harness.controller().await;
    let call = tokio::spawn(async move { client.create_volume(create("pvc-1")).await });
    gate.begun.notified().await;
    harness.stop.cancel();
    tokio::time::sleep(DRAIN / 2).await;
    gate.go.notify_one();
    assert!(call.await.unwrap().is_ok());
    assert_eq!(harness.stopped().await, Drained::All);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_does_not_end_is_left_behind_at_the_deadline() {
    let gate = Some(Gate::default());
    let harness = Harness::start(Fake { gate, ..Fake::default() });
    let gate = harness.fake.gate.as_ref().unwrap();
    let mut client = harness.controller().await;
    let call = tokio::spawn(async move { client.create_volume(create("pvc-1")).await });
    gate.begun.notified().await;
    call.abort();
    let since = Instant::now();
    assert_eq!(harness.stopped().await, Drained::Abandoned { operations: 1 });
    assert_eq!(since.elapsed().as_secs(), DRAIN.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_finishes_its_request_cannot_hold_the_server() {
    let harness = Harness::start(Fake::default());
    let mut client = tonic::client::Grpc::new(harness.channel().await);
    client.ready().await.unwrap();
    let call = tokio::spawn(async move {
        let unfinished = tonic::Request::new(tokio_stream::pending());
        let path = PathAndQuery::from_static("/csi.v1.Identity/Probe");
        let codec = Codec::<csi::ProbeRequest, csi::ProbeResponse>::default();
        client.client_streaming(unfinished, path, codec).await
    });
    // A second call on a connection of its own: when it is answered, the first has arrived.
    harness.identity().await.probe(csi::ProbeRequest {}).await.unwrap();
    let silent = harness.dial();

    let since = Instant::now();
    assert_eq!(harness.stopped().await, Drained::Abandoned { operations: 0 });
    assert_eq!(since.elapsed().as_secs(), DRAIN.as_secs());
    call.abort();
    drop(silent);
}

#[tokio::test]
async fn serving_on_a_real_socket_answers_and_ends_in_time_with_a_stuck_client() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("csi.sock");
    let address = format!("unix://{}", path.display());
    let socket = Socket::bind(&address, None).unwrap();
    let stop = CancellationToken::new();
    let drain = Duration::from_millis(200);
    let services = parts(Fake::default()).services;
    let server = tokio::spawn(serve(socket, services, stop.clone(), drain));

    let channel = Endpoint::try_from(address).unwrap().connect().await.unwrap();
    let answer = IdentityClient::new(channel).probe(csi::ProbeRequest {}).await.unwrap();
    assert_eq!(answer.into_inner().ready, Some(true));

    let stuck = UnixStream::connect(&path).await.unwrap();
    stop.cancel();
    timeout(Duration::from_secs(10), server).await.unwrap().unwrap().unwrap();
    assert!(!path.exists());
    drop(stuck);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn only_the_owner_may_connect_unless_a_group_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("csi.sock");
    let socket = Socket::bind(path.to_str().unwrap(), None).unwrap();
    assert_eq!(mode(&path), 0o600);
    drop(socket);

    let group = fs::metadata(directory.path()).unwrap().gid();
    let socket = Socket::bind(path.to_str().unwrap(), Some(group)).unwrap();
    assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (0o660, group));
    drop(socket);
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("csi.sock");
    let address = path.to_str().unwrap();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());

    let socket = Socket::bind(address, None).unwrap();
    let error = Socket::bind(address, None).unwrap_err();
    assert!(matches!(&error, SocketError::InUse(p) if *p == path), "{error}");
    assert!(path.exists());
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("csi.sock");
    fs::write(&path, "precious").unwrap();
    let error = Socket::bind(path.to_str().unwrap(), None).unwrap_err();
    assert!(matches!(error, SocketError::Occupied(_)), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_successors_socket_survives_its_predecessor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("csi.sock");
    let first = Socket::bind(path.to_str().unwrap(), None).unwrap();
    fs::remove_file(&path).unwrap();
    let second = Socket::bind(path.to_str().unwrap(), None).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn an_address_that_is_no_path_is_refused() {
    let long = format!("/{}", "x".repeat(107));
    for address in ["", "relative.sock", "unix:relative", "tcp://10.0.0.1:1", &long, "/a\0b"] {
        let error = Socket::bind(address, None).unwrap_err();
        assert!(matches!(error, SocketError::Address(_)), "{error}");
    }
    let missing = Socket::bind("/no/such/directory/csi.sock", None).unwrap_err();
    assert!(missing.to_string().contains("bind"), "{missing}");
}
