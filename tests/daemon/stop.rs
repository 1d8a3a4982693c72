//! The stop has one deadline, whoever is stuck.

use std::time::Duration;

use rds_sim::routeros::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tonic::Code;

use crate::csi::code;
use crate::surroundings::Surroundings;

/// The configured deadline, and what a loaded machine may add to it.
const DEADLINE: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_commands_that_are_stuck_do_not_hold_it_up() {
    let mut around = Surroundings::start(&["main"]).await;
    around.tables += &format!("[shutdown]\ndeadline = \"{}s\"\n", DEADLINE.as_secs());
    let (mut daemon, csi) = around.ready().await;
    let handle = around.provision(&csi, "pvc-1", &[]).await;
    // Clients that connect and say nothing, or stop in the middle.
    let mut silent = UnixStream::connect(around.socket()).await.unwrap();
    silent.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut slow = TcpStream::connect(daemon.http().await).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    // A command that the box never answers, and a caller that waits for it.
    let rds = &around.main().rds;
    rds.arm_on("pvc-2", Fault::Stall);
    let caller = tokio::spawn({
        let csi = csi.clone();
        async move { csi.create("pvc-2", &[]).await }
    });
    while rds.armed() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    daemon.terminate().await;
    let status = daemon.ended().await;
    let took = begun.elapsed();
    let log = daemon.text();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < DEADLINE + SLACK, "{took:?}\n{log}");
    assert!(daemon.said("stopped").len() == 1, "{log}");
    assert!(!around.socket().exists());
    let ended = caller.await.unwrap();
    assert!(matches!(code(ended), Code::Unavailable | Code::Unknown | Code::DeadlineExceeded));
    assert!(matches!(silent.read(&mut [0; 64]).await, Ok(_) | Err(_)));
    // The next process goes on from there.
    std::fs::remove_dir_all(around.path("config")).unwrap();
    let (daemon, csi) = around.ready().await;
    assert_eq!(csi.list().await.unwrap(), [handle]);
    csi.create("pvc-2", &[]).await.unwrap();
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_and_an_api_server_that_say_nothing_do_not_hold_it_up() {
    let mut around = Surroundings::start(&["main"]).await;
    around.tables += &format!("[shutdown]\ndeadline = \"{}s\"\n", DEADLINE.as_secs());
    let (mut daemon, _csi) = around.ready().await;
    around.main().rds.set_half_open(true);
    around.api.faults().unreachable(rds_sim::apiserver::Fault::Hang);
    daemon.ready(false).await;
    let begun = Instant::now();
    daemon.terminate().await;
    let status = daemon.ended().await;
    assert_eq!(status.code(), Some(0), "{}", daemon.text());
    assert!(begun.elapsed() < DEADLINE + SLACK, "{:?}", begun.elapsed());
}
