//! csi-sanity in a node's machine, against the controller, the node plugin there and the box.

use std::net::IpAddr;
use std::time::Duration;

use rds_csi_testbed::parts;
use rds_csi_testbed::vm::{
    Cable, Driver, Kernel, Network, NodePlugin, Provisioner, StorageVm, Vm, driver,
};

/// Where kubelet keeps the plugin's socket.
const SOCKET: &str = "/var/lib/kubelet/plugins/rds.csi.srvlab.io/csi.sock";

#[tokio::test]
#[ignore = "boots machines: make conformance"]
async fn csi_sanity_passes_twice_on_one_box() {
    let network = Network::start("conformance").await.unwrap();
    let (storage, vm) = tokio::join!(
        StorageVm::start(&network, Kernel::Debian12),
        Vm::boot_with(&network, Kernel::Debian12, "node-a", 1024),
    );
    let (storage, vm) = (storage.unwrap(), vm.unwrap());
    let driver = Driver::start(&network, &storage, &["node-a"]).await.unwrap();
    let _plugin = NodePlugin::start(&vm, &driver, "").await.unwrap();
    let address = IpAddr::V4(network.gateway(Cable::Control));
    let provisioner = Provisioner::start(&driver, address).await.unwrap();
    for round in 1..=2 {
        let began = tokio::time::Instant::now();
        let program = parts::program("csi-sanity").unwrap().display().to_string();
        let run = vm.command(&program).deadline(Duration::from_secs(900)).args([
            format!("--csi.endpoint=unix://{SOCKET}"),
            format!("--csi.controllerendpoint=dns:///{}", provisioner.address),
            "--csi.testvolumesize=67108864".into(),
            "--csi.testvolumeexpandsize=134217728".into(),
            "--csi.mountdir=/tmp/csi-mount".into(),
            "--csi.stagingdir=/tmp/csi-staging".into(),
            "--ginkgo.no-color".into(),
            "--ginkgo.v".into(),
        ]);
        let output = run.output().await.unwrap();
        let log = network.folder().join(format!("csi-sanity-{round}.log"));
        std::fs::write(&log, format!("{}{}", output.stdout, output.stderr)).unwrap();
        for line in output.stdout.lines().filter(|line| tells(line)) {
            eprintln!("{line}");
        }
        assert!(output.is_success(), "{:?}: see {}", output.end, log.display());
        eprintln!("round {round} took {:?}", began.elapsed());
        driver::nothing_left(&storage).await.unwrap();
    }
}

/// Counts and failures.
fn tells(line: &str) -> bool {
    ["Ran ", "[FAIL] ", "FAIL!", "SUCCESS!"].iter().any(|mark| line.contains(mark))
}
