//! What the node says of volumes that are well, that are not, and that were never there.

use std::time::Duration;

use rds_csi_testbed::vm::{Kind, NodePlugin, Volume};
use rds_csi_testbed::wait;
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::teller::tell;
use crate::world::{MIB, POD, STEP, World};

/// Longest answer to a question that kubelet asks once a minute.
const SOON: Duration = Duration::from_secs(20);

#[test]
#[ignore = "boots machines: make vm-test"]
fn health_and_stats_tell_the_truth_of_volumes_that_are_well_broken_and_not_there() {
    tell(tells_the_truth);
}

async fn tells_the_truth(world: &mut World) {
    for node in [0, 1] {
        let files = world.driver.provision("f", Kind::Files("ext4"), 64 * MIB).await.unwrap();
        let block = world.driver.provision("b", Kind::Block, 64 * MIB).await.unwrap();
        let context = world.runs(&files, node).await;
        world.runs(&block, node).await;
        let sum = world.data(&files, node, true).await;
        let (vm, plugin) = &world.nodes[node];
        is_well(plugin, &files, &block).await;
        unknown_is_told(world, node).await;

        // The box goes: what waits is told, and asking does not wait.
        world.storage.order("target closed").await.unwrap();
        for volume in [&files, &block] {
            becomes(plugin, volume, &["Connecting"]).await;
        }
        let boxes = plugin.storage_health().await.unwrap();
        assert!(boxes[0].starts_with("Unreachable: 0 of 2 volumes"), "{boxes:?}");
        let began = Instant::now();
        let answered = timeout(SOON, plugin.stats(&files, POD)).await;
        let stats = answered.expect("an answer in time");
        eprintln!("stats while the box is away, after {:?}: {stats:?}", began.elapsed());
        world.storage.order("target serving").await.unwrap();
        for volume in [&files, &block] {
            becomes(plugin, volume, &[]).await;
        }
        assert!(plugin.storage_health().await.unwrap().is_empty());
        assert_eq!(world.data(&files, node, false).await, sum);

        // One device goes and does not come back as it was.
        vm.shell(&format!(
            "for c in /sys/class/nvme/nvme*; do if grep -qx '{}' $c/subsysnqn; then \
             echo 1 >$c/delete_controller; fi; done",
            context["nqn"]
        ))
        .await
        .unwrap();
        let lost = wait::until("it is told", STEP, async || {
            let found = plugin.health(&files, POD).await.map_err(|status| status.to_string())?;
            if found.is_empty() { Err("it is said to be well".to_owned()) } else { Ok(found) }
        });
        eprintln!("a device that was taken away: {:?}", lost.await.unwrap());
        becomes(plugin, &files, &["StaleMount", "StaleTarget"]).await;
        let stats = plugin.stats(&files, POD).await.unwrap_err();
        assert_eq!(stats.code(), Code::Unavailable, "{stats:?}");
        assert!(plugin.health(&block, POD).await.unwrap().is_empty(), "the other one is well");

        plugin.publish(vm, &files, &context, POD).await.unwrap();
        is_well(plugin, &files, &block).await;
        assert_eq!(world.data(&files, node, false).await, sum);
        world.gone(&files, node).await;
        world.gone(&block, node).await;
    }
}

async fn is_well(plugin: &NodePlugin, files: &Volume, block: &Volume) {
    for volume in [files, block] {
        assert!(plugin.health(volume, POD).await.unwrap().is_empty(), "{:?}", volume.kind);
    }
    assert!(plugin.storage_health().await.unwrap().is_empty());
    let totals = async |volume| {
        let usage = plugin.stats(volume, POD).await.unwrap().usage;
        usage.into_iter().map(|usage| u64::try_from(usage.total).unwrap()).max().unwrap()
    };
    assert_eq!(totals(block).await, 64 * MIB);
    let files = totals(files).await;
    assert!((40 * MIB..64 * MIB).contains(&files), "{files}");
}

/// A volume that was attached and never staged, and one whose staging failed.
async fn unknown_is_told(world: &World, node: usize) {
    let (vm, plugin) = &world.nodes[node];
    let volume = world.driver.provision("n", Kind::Files("ext4"), 64 * MIB).await.unwrap();
    let context = world.driver.attach(&volume, vm.name()).await.unwrap();
    assert_eq!(plugin.health(&volume, POD).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(plugin.stats(&volume, POD).await.unwrap_err().code(), Code::NotFound);
    let mut wrong = context.clone();
    wrong.insert("nvmePort".into(), "4999".into());
    plugin.stage(vm, &volume, &wrong).await.unwrap_err();
    let found = plugin.health(&volume, POD).await.unwrap();
    assert!(found.contains(&"NotMounted".to_owned()), "{found:?}");
    plugin.unstage(&volume).await.unwrap();
    world.driver.detach(&volume, vm.name()).await.unwrap();
    world.driver.delete(&volume).await.unwrap();
}

async fn becomes(plugin: &NodePlugin, volume: &Volume, wanted: &[&str]) {
    wait::until("its health", STEP, async || {
        let found = plugin.health(volume, POD).await.map_err(|status| status.to_string())?;
        let same = found == wanted;
        if same { Ok(()) } else { Err(format!("{found:?}, wanted {wanted:?}")) }
    })
    .await
    .unwrap();
}
