//! The incident, told by the code of the sandbox.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rds_csi::sandbox::incident::incident;
use rds_csi::sandbox::narrator::Narrator;
use rds_csi::sandbox::world::Patience;
use rds_csi_testbed::cluster::world::Told;
use serde_json::json;

use crate::support::{finish, installed};

/// What was told.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(bytes)?;
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
#[ignore = "needs the parts: make e2e"]
async fn the_box_crashes_and_returns_a_node_is_gone_and_nobody_is_needed() {
    let values = json!({
        // Not on the node that goes: the story counts what one controller did.
        "controller": {"replicas": 1, "nodeSelector": {"kubernetes.io/hostname": "node-b"}},
        "config": {
            "reconcile": {"grace": "1s"},
            "backend_defaults": {
                "poll_interval": "500ms", "poll_deadline": "1s", "connect_deadline": "1s",
                "backoff_min": "200ms", "backoff_max": "1s",
            },
        },
    });
    let cluster = installed("incident", &values).await;
    let patience = Patience {
        detect: Duration::from_secs(10),
        reconnect: Duration::from_secs(15),
        // The controller-manager notices that a VolumeAttachment is gone at its next sync.
        recover: Duration::from_secs(90),
        // The grace time, and two reads of counters.
        recover_earliest: Duration::from_secs(2),
    };
    let page = Page::default();
    let narrator = Narrator::new(Box::new(page.clone()), false);
    let told = incident(&Told::new(&cluster, patience), &narrator).await;
    let tally = narrator.end();
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert!(told.is_ok() && tally.all_held(), "{told:?}\n{text}");
    finish(cluster).await;
}
