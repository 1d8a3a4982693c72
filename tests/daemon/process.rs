//! Start, stop, exit codes, and what stands in the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rds_sim::routeros::Reboot;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::csi::PASSWORD;
use crate::daemon::Daemon;
use crate::surroundings::{LOOPBACK, Surroundings, TOKEN};

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_serves_and_stops_on_sigterm_in_order() {
    let around = Surroundings::start(&["main"]).await;
    let (daemon, csi) = around.ready().await;
    assert!(csi.probe().await);
    assert_eq!(daemon.get("/livez").await, (200, "ok\n".to_owned()));
    let status = daemon.json("/statusz").await;
    assert_eq!(status["boxes"]["main"]["link"]["state"], "up");
    assert_eq!(status["cluster"]["nodes"]["count"], 2);
    assert_eq!(status["dead_actor"], Value::Null);
    let handle = around.provision(&csi, "pvc-1", &[]).await;
    csi.publish(&handle, "node-a").await.unwrap();
    let lines = daemon.stop().await;
    assert!(!around.socket().exists());
    let stops = ["stopping", "stopping grpc", "stopping actor", "stopping watches", "stopped"];
    let mut messages = lines.iter().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["msg"].as_str().unwrap().to_owned()
    });
    for stop in stops {
        assert!(messages.any(|message| message == stop), "{stop} in {}", lines.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_ends_it_with_64_and_names_the_key() {
    let mut around = Surroundings::start(&["main"]).await;
    around.tables = "[reconcile]\ninterval = \"5\"\n".into();
    let mut daemon = around.daemon();
    assert_eq!(daemon.ended().await.code(), Some(64));
    let text = daemon.text();
    assert!(text.contains("reconcile.interval = \"5\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_that_is_none_ends_it_with_64_and_names_the_key() {
    let around = Surroundings::start(&["main"]).await;
    let text = around.config();
    let start = text.find("SHA256:").unwrap();
    let text = text.replace(&text[start..start + 50], "SHA256:short");
    std::fs::write(around.path("bad.toml"), text).unwrap();
    let mut daemon = Daemon::start(&around.path("bad.toml"));
    assert_eq!(daemon.ended().await.code(), Some(64), "{}", daemon.text());
    let text = daemon.text();
    assert!(text.contains("backends.main.host_key: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_ends_it_with_1_and_names_the_key() {
    let around = Surroundings::start(&["main"]).await;
    let taken = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = around.config().replace("127.0.0.1:0", &address);
    std::fs::write(around.path("taken.toml"), text).unwrap();
    let mut daemon = Daemon::start(&around.path("taken.toml"));
    assert_eq!(daemon.ended().await.code(), Some(1));
    let record = daemon.logged("the process ends", |_| true).await;
    let error = record["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("http.listen = \"{address}\": ")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_use_ends_it_with_1_and_is_left_to_its_owner() {
    let around = Surroundings::start(&["main"]).await;
    let (daemon, csi) = around.ready().await;
    let mut second = Daemon::start(&around.path("config").join("rds.toml"));
    assert_eq!(second.ended().await.code(), Some(1));
    let record = second.logged("the process ends", |_| true).await;
    let error = record["error"].as_str().unwrap();
    assert!(error.starts_with("driver.endpoint: "), "{error}");
    assert!(csi.probe().await);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_json_and_no_secret_is_in_any() {
    let mut around = Surroundings::start(&["main"]).await;
    around.tables += "[log]\nlevel = \"trace\"\n";
    let (daemon, csi) = around.ready().await;
    let handle = around.provision(&csi, "pvc-1", &[]).await;
    csi.publish(&handle, "node-a").await.unwrap();
    csi.unpublish(&handle, "node-a").await.unwrap();
    // A refused call says what is wrong with it; a reconnect reads the key again.
    csi.create("pvc-2", &[("no-such", "x")]).await.unwrap_err();
    around.main().rds.power_off();
    daemon.logged("box is not connected", |_| true).await;
    around.main().rds.power_on(Reboot::KeepEverything);
    daemon.ready(true).await;
    csi.delete(&handle).await.unwrap();
    let secret = around.api.get("secrets", "rds-csi/rds-csi-cluster").unwrap();
    let lines = daemon.stop().await;
    assert!(lines.len() > 50, "not much was logged");
    for line in &lines {
        let record: Value = serde_json::from_str(line).unwrap();
        assert!(record["msg"].is_string() && record["level"].is_string(), "{line}");
    }
    let mut hidden = vec![PASSWORD.to_owned(), TOKEN.to_owned()];
    hidden.extend(around.user.private.lines().filter(|l| !l.starts_with("---")).map(str::to_owned));
    for encoded in secret["data"].as_object().unwrap().values() {
        let encoded = encoded.as_str().unwrap();
        let decoded = STANDARD.decode(encoded).unwrap();
        hidden.push(encoded.trim_end_matches('=').to_owned());
        hidden.push(decoded.iter().map(|byte| format!("{byte:02x}")).collect());
        hidden.push(decoded.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        hidden.push(String::from_utf8_lossy(&decoded).into_owned());
    }
    assert!(hidden.len() > 6 && hidden.iter().all(|text| text.len() > 8), "{hidden:?}");
    let text = lines.join("\n");
    for secret in hidden {
        let found = lines.iter().find(|line| line.contains(&secret));
        assert!(!text.contains(&secret), "{secret} in {found:?}");
    }
}
