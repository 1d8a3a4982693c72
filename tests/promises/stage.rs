//! Where promises are tested: the whole controller in an actix System, its log, and the doubles.

use std::collections::BTreeMap;
use std::time::Duration;

use rds_csi::config::LogConfig;
use rds_csi::config::log::{Format, Level};
use rds_csi::logging::Logging;
use rds_csi::process::system;
use rds_csi::sandbox::endpoint::sample;
use rds_csi::sandbox::simulated::{Controller, Plan, Simulated};
use rds_csi::sandbox::world::{Provisioned, World as _};
use rds_sim::routeros::RouterOs;
use serde_json::Value;
use slog::Logger;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::records::Records;

const GIB: u64 = 1 << 30;
/// Longest wait for what takes a second or two on an idle machine.
const WITHIN: Duration = Duration::from_secs(30);

/// One test's own place.
pub struct Stage {
    /// Keys and sockets.
    pub scratch: TempDir,
    /// What the driver logs with.
    pub log: Logger,
    /// What it logged.
    pub records: Records,
}

impl Stage {
    /// A world with short intervals, connected.
    pub async fn world(&self) -> Simulated {
        self.world_with(Plan::default().quick()).await
    }

    /// Another one.
    pub async fn world_with(&self, plan: Plan) -> Simulated {
        Simulated::start(plan, self.scratch.path(), self.log.clone()).await.unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let records = self.records.all();
            let lines: Vec<String> = records.iter().map(Value::to_string).collect();
            #[expect(clippy::disallowed_macros, reason = "what a person needs who sees it fail")]
            {
                eprintln!("the driver logged:\n{}", lines.join("\n"));
            }
        }
    }
}

/// Logging of everything from level info on into `records`.
pub fn logging(records: &Records) -> Logging {
    let config = LogConfig { level: Level::Info, format: Format::Json };
    Logging::json(&config, records.clone())
}

/// Runs a test in the System that the controller runs in.
pub fn play(test: impl AsyncFnOnce(&Stage)) {
    let records = Records::default();
    let logging = logging(&records);
    let scratch = tempfile::tempdir().unwrap();
    let stage = Stage { scratch, log: logging.log.clone(), records };
    system(&logging.log).unwrap().block_on(test(&stage));
}

/// Waits until something is so.
pub async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let look = async {
        while !so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WITHIN, look).await.unwrap_or_else(|_| panic!("not within {WITHIN:?}: {what}"));
}

/// Waits for what the doubles announce.
pub async fn soon<T>(what: &str, comes: impl Future<Output = T>) -> T {
    timeout(WITHIN, comes).await.unwrap_or_else(|_| panic!("not within {WITHIN:?}: {what}"))
}

/// One sample of the metrics endpoint.
pub async fn metric(controller: &Controller, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    sample(&controller.get("/metrics").await.unwrap().body, name, labels)
}

/// A volume that is attached to a node, whose machine has written to it.
pub async fn attached(
    world: &Simulated,
    claim: &str,
    node: &str,
) -> (Provisioned, BTreeMap<String, String>) {
    let volume = world.provision(claim, GIB).await.unwrap();
    let context = world.attach(&volume, node, WITHIN).await.unwrap().expect("not attached");
    world.connect_and_write(node, &context).await.unwrap();
    (volume, context)
}

/// Does the box export this disk?
pub fn is_exported(rds: &RouterOs, slot: &str) -> bool {
    let said = rds.exec(&format!(":put [/disk/get [find slot={slot}] nvme-tcp-export]")).text();
    match said.trim() {
        "true" | "yes" => true,
        "false" | "no" => false,
        other => panic!("the box says {other:?}"),
    }
}
