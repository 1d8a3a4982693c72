//! A ConfigMap that is swapped under the running controller.

use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE};
use crate::surroundings::Surroundings;

/// Longer than the quiet time after which the file is read.
const A_LOOK: Duration = Duration::from_millis(600);

fn with(around: &Surroundings, reconcile: &str, level: &str) -> String {
    let table = format!("[log]\nlevel = \"{level}\"\n[reconcile]\n{reconcile}\n");
    around.config().replace("[reconcile]\n", &table)
}

async fn refusal(daemon: &Daemon) -> Value {
    daemon.json("/statusz").await["configuration_refused"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn level_and_intervals_follow_and_an_invalid_file_keeps_the_old_values() {
    let around = Surroundings::start(&["main"]).await;
    let mut map = around.config_map();
    let daemon = Daemon::start(&map.file());
    let csi = around.csi().await;
    daemon.ready(true).await;
    csi.probe().await;
    let debug = |record: &Value| record["level"] == "DEBG";
    assert!(!daemon.records().iter().any(debug));
    let on_timer = |record: &Value| record["causes"].as_str().unwrap().contains("timer");
    assert!(!daemon.said("pass ended").iter().any(on_timer));

    map.swap(&with(&around, "interval = \"1s\"", "debug"));
    daemon.logged("configuration changed", |record| record["key"] == "log.level").await;
    daemon.logged("configuration changed", |record| record["key"] == "reconcile.interval").await;
    // The period is followed, and it does not fire only once.
    daemon.logged("pass ended", on_timer).await;
    let again = |_: &Value| daemon.said("pass ended").iter().filter(|r| on_timer(r)).count() > 1;
    daemon.logged("pass ended", again).await;
    csi.probe().await;
    daemon.logged("rpc answered", debug).await;

    let invalid = with(&around, "interval = \"1\"", "error");
    map.swap(&invalid);
    let said = daemon.logged("new configuration refused, the old values stay", |_| true).await;
    let error = said["error"].as_str().unwrap();
    assert!(error.contains("reconcile.interval = \"1\""), "{error}");
    assert!(refusal(&daemon).await.as_str().unwrap().contains("reconcile.interval"));
    assert_eq!(daemon.metric("rds_csi_config_reload_total", "refused").await, 1.0);
    let posted = posted(&around).await;
    assert!(posted["message"].as_str().unwrap().contains("reconcile.interval"), "{posted}");
    // The old level and the old interval stay.
    let passes = daemon.said("pass ended").len();
    daemon.logged("pass ended", |_| daemon.said("pass ended").len() > passes + 1).await;

    map.swap(&invalid);
    tokio::time::sleep(A_LOOK).await;
    map.swap(&with(&around, "interval = \"2m\"", "info"));
    let two = |record: &Value| record["to"] == "2m" || record["to"].to_string().contains("2m");
    daemon.logged("configuration changed", two).await;
    assert_eq!(daemon.said("new configuration refused, the old values stay").len(), 1);
    assert_eq!(daemon.metric("rds_csi_config_reload_total", "refused").await, 1.0);
    assert_eq!(events(&around).len(), 1);
    assert_eq!(events(&around)[0]["count"], 1);
    assert_eq!(refusal(&daemon).await, Value::Null);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_file_after_an_invalid_one_is_no_longer_refused() {
    let around = Surroundings::start(&["main"]).await;
    let mut map = around.config_map();
    let daemon = Daemon::start(&map.file());
    daemon.ready(true).await;
    map.swap("nothing = 1\n");
    daemon.logged("new configuration refused, the old values stay", |_| true).await;
    assert!(refusal(&daemon).await.is_string());
    map.swap(&around.config());
    daemon.logged("configuration is valid again, nothing has changed", |_| true).await;
    assert_eq!(refusal(&daemon).await, Value::Null);
    daemon.stop().await;
}

fn events(around: &Surroundings) -> Vec<Value> {
    let events = around.api.list("events").into_iter();
    events.filter(|event| event["reason"] == "ConfigurationRejected").collect()
}

/// Waits for the event.
async fn posted(around: &Surroundings) -> Value {
    let mut posted = around.api.subscribe("events").unwrap();
    let found = async {
        loop {
            if let Some(event) = events(around).pop() {
                return event;
            }
            posted.next().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap()
}
