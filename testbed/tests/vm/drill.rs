//! `rds-csi doctor --drill` on real kernels, as a person runs it on a node.

use std::time::Duration;

use rds_csi_testbed::parts;
use rds_csi_testbed::vm::driver::nothing_left;
use rds_csi_testbed::vm::{Driver, End, Kernel, Network, StorageVm, Vm};
use rds_sim::apiserver::ApiServer;
use serde_json::Value;
use tokio::time::Instant;

use crate::teller::tell;
use crate::world::{World, clean};

/// Longest wait for a drill: some waits of its own, on an emulated machine.
const DRILL: Duration = Duration::from_secs(400);

/// Runs it on a node; how it ended and what it printed.
async fn drill(vm: &Vm, driver: &Driver) -> (End, Value) {
    vm.shell("modprobe nvme-tcp").await.unwrap();
    vm.write("/etc/drill.toml", driver.config()).await.unwrap();
    let program = parts::driver().unwrap().display().to_string();
    let run =
        vm.command(&program).args(["doctor", "--config", "/etc/drill.toml", "--drill", "--json"]);
    let began = Instant::now();
    let output = run.deadline(DRILL).output().await.unwrap();
    let told: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let rows = told["backends"][0]["rows"].as_array().unwrap();
    eprintln!("{} has drilled for {:?}:", vm.name(), began.elapsed());
    for row in rows.iter().filter(|row| row["check"].as_str().unwrap().starts_with("drill")) {
        eprintln!("  {:17} {:12} {}", row["check"], row["state"], row["found"]);
    }
    (output.end, told)
}

fn row<'a>(told: &'a Value, check: &str) -> &'a Value {
    let mut rows = told["backends"][0]["rows"].as_array().unwrap().iter();
    rows.find(|row| row["check"] == check).unwrap()
}

/// What the controller finds of the box `main`.
fn remembered(api: &ApiServer) -> Value {
    let all = api.list("configmaps");
    let map = all.iter().find(|map| map["metadata"]["name"] == "rds-csi-drills").unwrap();
    serde_json::from_str(map["data"]["main"].as_str().unwrap()).unwrap()
}

#[test]
#[ignore = "boots machines: make vm-test"]
fn a_drill_passes_on_both_kernels_and_leaves_nothing_but_its_result() {
    tell(passes);
}

async fn passes(world: &mut World) {
    let driver = &world.driver;
    for ((vm, _), comeback) in world.nodes.iter().zip(["by itself", "connected again"]) {
        let (end, told) = drill(vm, driver).await;
        assert_eq!((end, &told["faults"]), (End::Exited(0), &0.into()), "{told:#}");
        let repair = row(&told, "drill repair")["found"].as_str().unwrap();
        assert!(repair.contains(comeback), "{repair}");
        let kept = remembered(&driver.api);
        assert_eq!(kept["passed"], true, "{kept:#}");
        assert!(kept["kernel"].as_str().unwrap().starts_with(vm.kernel().series()), "{kept:#}");
        clean(vm).await;
        nothing_left(&world.storage).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "boots machines: make vm-test"]
async fn a_drill_fails_on_a_target_that_keeps_writing_after_export_no() {
    let network = Network::start("drill-unsafe").await.unwrap();
    let (storage, node) = tokio::join!(
        StorageVm::start_with(&network, Kernel::Debian12, &["unexport-keeps-hosts"]),
        Vm::boot_with(&network, Kernel::Debian12Linux612, "node-a", 768),
    );
    let (storage, node) = (storage.unwrap(), node.unwrap());
    let driver = Driver::start(&network, &storage, &["node-a"]).await.unwrap();
    let (end, told) = drill(&node, &driver).await;
    assert_eq!(end, End::Exited(1));
    let silence = row(&told, "drill silence");
    assert_eq!(silence["state"], "fault", "{told:#}");
    assert!(silence["found"].as_str().unwrap().contains("goes on writing after export=no"));
    let kept = remembered(&driver.api);
    assert_eq!((&kept["passed"], &kept["faults"][0]), (&false.into(), &"drill silence".into()));
    clean(&node).await;
    nothing_left(&storage).await.unwrap();
}
