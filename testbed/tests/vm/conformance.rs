//! csi-sanity in a node's machine, against the controller, the node plugin there and the box.

mod report;

use std::net::IpAddr;
use std::time::Duration;

use rds_csi_testbed::parts;
use rds_csi_testbed::vm::{
    Cable, Driver, Kernel, Network, NodePlugin, Provisioner, StorageVm, Vm, driver,
};
use report::{LEFT_OUT, Report};

/// Where kubelet keeps the plugin's socket.
const SOCKET: &str = "/var/lib/kubelet/plugins/rds.csi.srvlab.io/csi.sock";
/// What a volume is in each round. Nothing is cleaned between them.
const ROUNDS: [&str; 3] = ["mount", "mount", "block"];

#[tokio::test]
#[ignore = "boots machines: make conformance"]
async fn csi_sanity_passes_again_and_again_on_one_box() {
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
    for (at, access) in ROUNDS.iter().enumerate() {
        let began = tokio::time::Instant::now();
        let round = format!("csi-sanity-{}-{access}", at + 1);
        let report = csi_sanity(&network, &vm, &provisioner, &round, access).await;
        eprintln!(
            "{round}: {} of {} specs passed in {:?}",
            report.passed(),
            report.count(),
            began.elapsed()
        );
        for (reason, names) in report.left_out() {
            eprintln!("  {} left out: {reason}", names.len());
        }
        let complaints = report.complaints(&LEFT_OUT);
        assert!(complaints.is_empty(), "{round}: {}", complaints.join("\n"));
        driver::nothing_left(&storage).await.unwrap();
    }
}

/// Runs all specs; what they say lies beside the logs of the machines.
async fn csi_sanity(
    network: &Network,
    vm: &Vm,
    provisioner: &Provisioner,
    round: &str,
    access: &str,
) -> Report {
    let program = parts::program("csi-sanity").unwrap().display().to_string();
    let report = format!("/tmp/{round}.json");
    let run = vm.command(&program).deadline(Duration::from_secs(900)).args([
        format!("--csi.endpoint=unix://{SOCKET}"),
        format!("--csi.controllerendpoint=dns:///{}", provisioner.address),
        format!("--csi.testvolumeaccesstype={access}"),
        "--csi.testvolumesize=67108864".into(),
        "--csi.testvolumeexpandsize=134217728".into(),
        "--csi.mountdir=/tmp/csi-mount".into(),
        "--csi.stagingdir=/tmp/csi-staging".into(),
        format!("--ginkgo.json-report={report}"),
        "--ginkgo.no-color".into(),
        "--ginkgo.v".into(),
    ]);
    let output = run.output().await.unwrap();
    let log = network.folder().join(format!("{round}.log"));
    std::fs::write(&log, format!("{}{}", output.stdout, output.stderr)).unwrap();
    let read = vm.command("cat").args([report]).output().await.unwrap();
    let end = &output.end;
    assert!(read.is_success(), "no report, {end:?}: {}, see {}", read.stderr, log.display());
    std::fs::write(network.folder().join(format!("{round}.json")), &read.stdout).unwrap();
    let report = Report::read(&read.stdout).unwrap();
    let complaints = report.complaints(&LEFT_OUT);
    let fine = output.is_success() || !complaints.is_empty();
    assert!(fine, "{end:?}, and every spec passed: see {}", log.display());
    report
}
