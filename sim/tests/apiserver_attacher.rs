//! The attacher double against a sidecar that a story could have written.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rds_sim::apiserver::attacher::{Attacher, Sidecar};
use rds_sim::apiserver::{ApiServer, world};
use serde_json::{Value, json};
use tokio::time::Instant;

const DRIVER: &str = "rds.csi.example.com";

/// Notes its calls and fails the first few.
#[derive(Default)]
struct Driver {
    calls: Mutex<Vec<String>>,
    failures: Mutex<u32>,
}

impl Driver {
    fn failing(times: u32) -> Arc<Self> {
        Arc::new(Self { failures: Mutex::new(times), ..Self::default() })
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn call(&self, what: &str, attachment: &Value) -> Result<(), String> {
        let name = attachment["metadata"]["name"].as_str().unwrap();
        self.calls.lock().unwrap().push(format!("{what} {name}"));
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err("the box is away".into());
        }
        Ok(())
    }
}

#[async_trait]
impl Sidecar for Driver {
    async fn publish(&self, attachment: &Value) -> Result<BTreeMap<String, String>, String> {
        self.call("publish", attachment)?;
        Ok(BTreeMap::from([("nqn".to_owned(), "x".to_owned())]))
    }

    async fn unpublish(&self, attachment: &Value) -> Result<(), String> {
        self.call("unpublish", attachment)
    }
}

#[tokio::test(start_paused = true)]
async fn an_attachment_is_published_held_and_let_go_after_unpublish() {
    let api = ApiServer::new();
    api.create(world::attachment("va", DRIVER, "n1", "pv")).unwrap();
    api.create(world::attachment("foreign", "other.example.com", "n1", "pv")).unwrap();
    let driver = Driver::failing(0);
    let _attacher = Attacher::start(&api, DRIVER, driver.clone()).unwrap();
    let attached = |va: &Value| va["status"]["attached"] == true;
    let va = api.wait_for("volumeattachments", "va", attached).await.unwrap();
    assert_eq!(va["status"]["attachmentMetadata"]["nqn"], "x");
    assert_eq!(va["metadata"]["finalizers"][0], world::attacher_finalizer(DRIVER));
    api.delete("volumeattachments", "va").unwrap();
    assert!(api.get("volumeattachments", "va").is_some(), "the finalizer holds it");
    api.wait_gone("volumeattachments", "va").await.unwrap();
    assert_eq!(driver.calls(), ["publish va", "unpublish va"]);
    assert!(api.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_unpublish_is_reported_and_tried_again_later_and_later() {
    let api = ApiServer::new();
    api.create(world::attached("va", DRIVER, "n1", "pv", &[])).unwrap();
    api.delete("volumeattachments", "va").unwrap();
    let driver = Driver::failing(3);
    let began = Instant::now();
    let _attacher = Attacher::start(&api, DRIVER, driver.clone()).unwrap();
    let failed = |va: &Value| va["status"]["detachError"]["message"] == "the box is away";
    api.wait_for("volumeattachments", "va", failed).await.unwrap();
    api.wait_gone("volumeattachments", "va").await.unwrap();
    assert_eq!(driver.calls().len(), 4);
    assert_eq!(began.elapsed().as_secs(), 1 + 2 + 4);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_does_not_wait_for_the_next_publish() {
    let api = ApiServer::new();
    let driver = Driver::failing(5);
    let _attacher = Attacher::start(&api, DRIVER, driver.clone()).unwrap();
    api.create(world::attachment("va", DRIVER, "n1", "pv")).unwrap();
    tokio::time::sleep(Duration::from_millis(15_500)).await;
    assert_eq!(driver.calls().len(), 5, "at 0, 1, 3, 7 and 15 seconds");
    api.delete("volumeattachments", "va").unwrap();
    let began = Instant::now();
    api.wait_gone("volumeattachments", "va").await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(driver.calls().last().map(String::as_str), Some("unpublish va"));
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_finalizer_keeps_the_attachment() {
    let api = ApiServer::new();
    let mut va = world::attached("va", DRIVER, "n1", "pv", &[]);
    let both = json!([world::attacher_finalizer(DRIVER), "example.com/other"]);
    va["metadata"]["finalizers"] = both;
    api.create(va).unwrap();
    api.delete("volumeattachments", "va").unwrap();
    let _attacher = Attacher::start(&api, DRIVER, Driver::failing(0)).unwrap();
    let one = |va: &Value| va["metadata"]["finalizers"] == json!(["example.com/other"]);
    let left = api.wait_for("volumeattachments", "va", one).await.unwrap();
    assert_eq!(left["status"]["attached"], false);
}
