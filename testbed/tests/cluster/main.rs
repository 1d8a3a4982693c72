//! The story of a real cluster, told in one go because its machines take long to boot. `make cluster-test`
//! runs it, in a network of its own; plain `cargo test` leaves it out.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]
#![expect(clippy::disallowed_macros, reason = "what was measured is what a person wants to read")]

mod installed;
mod told;

use rds_csi_testbed::vm::VmCluster;
use serde_json::json;

use crate::told::Told;

#[tokio::test]
#[ignore = "boots machines: make cluster-test"]
async fn a_cluster_of_machines_keeps_every_acknowledged_block() {
    let mut told = Told::now();
    let cluster = VmCluster::start("story").await.unwrap();
    told.step("both nodes are Ready");
    cluster.install(&json!({})).await.unwrap();
    told.step("the chart is installed and its controller ready");
    installed::the_node_plugin_registers_itself(&cluster).await;
    told.step("the DaemonSet runs and is registered");
}
