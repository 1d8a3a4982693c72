//! What must not be staged, and what staging costs.

use std::collections::HashMap;
use std::time::Duration;

use rds_csi_testbed::vm::{Connect, Kind, Volume};
use tokio::time::{Instant, timeout};

use crate::teller::tell;
use crate::world::{MIB, World, more_than, writes};

/// Below kubelet's own two minutes.
const DEADLINE: Duration = Duration::from_secs(110);

#[test]
#[ignore = "boots machines: make vm-test"]
fn what_is_not_the_volume_is_refused_in_time_and_nothing_else_is_touched() {
    tell(refused);
}

async fn refused(world: &mut World) {
    let bystander = world.driver.provision("w", Kind::Files("ext4"), 64 * MIB).await.unwrap();
    world.runs(&bystander, 0).await;
    let mut writer = writes(&world.nodes[0].0, &bystander, "w").await;

    let volume = world.driver.provision("v", Kind::Files("ext4"), 64 * MIB).await.unwrap();
    let context = world.driver.attach(&volume, "node-a").await.unwrap();
    let changed = |changes: &[(&str, &str)]| {
        let mut context = context.clone();
        context.extend(changes.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        context
    };
    let size = (1_u64 << 30).to_string();
    let other = format!("{}0", context["nqn"]);
    // The guest program accepts, and waits for more than a host ever says.
    for (what, changes) in [
        ("a device of another size", vec![("bytes", size.as_str())]),
        ("a subsystem that is not there", vec![("nqn", other.as_str())]),
        ("a port at which nobody listens", vec![("nvmePort", "4999")]),
        ("a target that never answers", vec![("nvmePort", "7000")]),
    ] {
        refuses(world, &volume, &changed(&changes), what).await;
    }
    signature_is_heeded(world, &volume, &context).await;
    let said = rds_csi_testbed::vm::oracle::acknowledged(&writer.said()).unwrap();
    more_than(&writer, said + 20).await;
    writer.kill().await.unwrap();
    world.gone(&bystander, 0).await;
    world.driver.detach(&volume, "node-a").await.unwrap();
    world.driver.delete(&volume).await.unwrap();
}

async fn refuses(world: &World, volume: &Volume, context: &HashMap<String, String>, what: &str) {
    let (vm, plugin) = &world.nodes[0];
    let began = Instant::now();
    let answer = timeout(DEADLINE, plugin.stage(vm, volume, context)).await;
    let status = answer.expect("an answer in time").expect_err(what);
    eprintln!("{what}, after {:?}: {:?}: {}", began.elapsed(), status.code(), status.message());
    let mounted = vm.shell("cat /proc/self/mounts").await.unwrap();
    assert!(!mounted.contains(&volume.name), "{what}: {mounted}");
    plugin.unstage(volume).await.unwrap();
    let connected = vm.shell("cat /sys/class/nvme/nvme*/subsysnqn").await.unwrap();
    assert_eq!(connected.lines().count(), 1, "{what}: {connected}");
}

/// What somebody else wrote there is not formatted over.
async fn signature_is_heeded(world: &World, volume: &Volume, context: &HashMap<String, String>) {
    let image = world.storage.image(&volume.name);
    let line = format!("printf LABELONE | dd of={image} bs=512 seek=1 conv=notrunc status=none");
    world.storage.vm.shell(&line).await.unwrap();
    refuses(world, volume, context, "a volume that LVM uses").await;
    let sum = format!("dd if={image} bs=512 skip=1 count=1 status=none | head -c 8");
    assert_eq!(world.storage.vm.shell(&sum).await.unwrap(), "LABELONE");
}

/// How often both are measured; the quickest counts, for others use the machine, too.
const TRIES: u32 = 4;

#[test]
#[ignore = "boots machines: make vm-test"]
fn staging_costs_little_more_than_connecting_and_mounting() {
    tell(costs);
}

async fn costs(world: &mut World) {
    let (vm, plugin) = &world.nodes[0];
    let volume = world.driver.provision("c", Kind::Files("ext4"), 64 * MIB).await.unwrap();
    let context = world.driver.attach(&volume, "node-a").await.unwrap();
    plugin.stage(vm, &volume, &context).await.unwrap();
    plugin.unstage(&volume).await.unwrap();
    let (mut bare, mut staged) = (Duration::MAX, Duration::MAX);
    let connect = Connect {
        host_id: Some(context["hostId"].clone()),
        ..Connect::to(&context["nqn"], &context["hostNqn"])
    };
    // All in one shell; the volume's is the only device.
    let bare_line = format!(
        "{}; set -- /dev/nvme*n1; until test -b $1; do set -- /dev/nvme*n1; done; mount $1 /mnt",
        connect.script(world.storage.target())
    );
    for _ in 0..TRIES {
        let began = Instant::now();
        vm.shell(&bare_line).await.unwrap();
        bare = bare.min(began.elapsed());
        vm.shell(
            "umount /mnt; for c in /sys/class/nvme/nvme*; do echo 1 >$c/delete_controller; done",
        )
        .await
        .unwrap();

        let began = Instant::now();
        plugin.stage(vm, &volume, &context).await.unwrap();
        staged = staged.min(began.elapsed());
        plugin.unstage(&volume).await.unwrap();
    }
    let ratio = staged.as_secs_f64() / bare.as_secs_f64();
    eprintln!("connect and mount {bare:?}, NodeStageVolume {staged:?}: {ratio:.2} times as long");
    assert!(ratio < 1.8, "{ratio}");
    world.driver.detach(&volume, "node-a").await.unwrap();
    world.driver.delete(&volume).await.unwrap();
}
