//! The story of a real cluster, told in one go because its machines take long to boot. `make cluster-test`
//! runs it, in a network of its own; plain `cargo test` leaves it out.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]
#![expect(clippy::panic, reason = "likewise")]
#![expect(clippy::disallowed_macros, reason = "what was measured is what a person wants to read")]

mod installed;
mod plugin;
mod power;
mod rights;
mod told;
mod writer;

use rds_csi_testbed::vm::VmCluster;
use serde_json::json;

use crate::told::Told;

#[tokio::test]
#[ignore = "boots machines: make cluster-test"]
async fn a_cluster_of_machines_keeps_every_acknowledged_block() {
    let mut told = Told::now();
    let mut cluster = VmCluster::start("story").await.unwrap();
    told.step("both nodes are Ready");
    cluster.install(&json!({})).await.unwrap();
    told.step("the chart is installed and its controller ready");
    installed::the_node_plugin_registers_itself(&cluster).await;
    told.step("the DaemonSet runs and is registered");

    writer::start(&cluster).await;
    let (_, node) = writer::runs(&cluster, None).await;
    told.step("a pod of a StatefulSet has its volume");
    let (old, new, says) =
        power::the_volume_moves_with_every_acknowledged_block(&mut cluster, &mut told).await;
    assert_eq!(old, node);
    power::the_old_node_comes_back_clean(&mut cluster, &old, &says).await;
    told.step(&format!("{old} is back, and clean"));

    plugin::registration_is_renewed(&mut cluster, &new).await;
    told.step("kubelet was restarted, its folder emptied, the driver registered again");
    plugin::the_writer_does_not_notice(&cluster, &new, &says).await;
    told.step("the node plugin was killed and replaced under a pod that went on writing");
    rights::nothing_forbidden_and_nothing_too_much(&cluster);
}
