//! A node that is fenced while it writes.

use std::time::Duration;

use rds_csi_testbed::vm::{Kind, oracle};
use rds_csi_testbed::wait;
use rds_sim::apiserver::world::set_taint;

use crate::world::{MIB, STEP, World, writes};

#[tokio::test]
#[ignore = "boots machines: make vm-test"]
async fn after_a_fence_the_image_holds_only_what_the_new_node_wrote() {
    for node in [0, 1] {
        let world = World::start(&format!("fenced-{node}")).await;
        let volume = world.driver.provision("f", Kind::Block, 64 * MIB).await.unwrap();
        world.runs(&volume, node).await;
        let (old, other) = (&world.nodes[node].0, 1 - node);
        let mut writer = writes(old, &volume, "old").await;
        let began = tokio::time::Instant::now();
        world
            .driver
            .api
            .modify("nodes", old.name(), |object| {
                set_taint(object, "node.kubernetes.io/out-of-service", "NoExecute");
            })
            .unwrap();
        wait::until("the export is closed", STEP, async || {
            let exported = world.storage.property(&volume.name, "nvme-tcp-export").await;
            match exported {
                Ok(exported) if exported == "false" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
        // As the attach/detach controller does for a node with this taint.
        world.driver.detach(&volume, old.name()).await.unwrap();
        eprintln!("{} is fenced and released after {:?}", old.name(), began.elapsed());
        let stopped = oracle::acknowledged(&writer.said());

        world.runs(&volume, other).await;
        let new = writes(&world.nodes[other].0, &volume, "new").await;
        let wanted = 4096;
        wait::until("the new node has written everywhere", STEP * 4, async || {
            let said = oracle::acknowledged(&new.said());
            if said > Some(wanted) { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(oracle::acknowledged(&writer.said()), stopped, "a write after the fence");
        old.shell("for c in /sys/class/nvme/nvme*; do echo 1 >$c/delete_controller || true; done")
            .await
            .unwrap();
        writer.wait(STEP).await.unwrap();
        let image = world.storage.image(&volume.name);
        let found = oracle::found(&world.storage.vm, &image).await.unwrap();
        let of_old = found.iter().filter(|block| block.writer == "old").count();
        assert_eq!((of_old, found.len()), (0, 4096), "blocks of the old writer, and all");
    }
}
