//! What a machine can do.

use std::time::Duration;

use rds_csi_testbed::vm::{Cable, End, Kernel, Network, Vm};

#[tokio::test]
#[ignore = "boots machines: make vm-test"]
async fn both_kernels_boot_and_run_our_commands() {
    let network = Network::start("machine").await.unwrap();
    for (kernel, name) in Kernel::ALL.into_iter().zip(["old", "new"]) {
        let mut vm = Vm::boot(&network, kernel, name).await.unwrap();
        let release = vm.shell("uname -r").await.unwrap();
        assert!(release.starts_with(kernel.series()), "{release}");
        runs_commands(&vm).await;
        keeps_daemons(&vm).await;
        refuses_to_lend_sockets_that_are_not_there(&vm).await;
        let took = vm.reset().await.unwrap();
        eprintln!("{} boots in {took:?}", release.trim());
        let left = vm.command("ls").args(["/root/note"]).output().await.unwrap();
        assert!(!left.is_success(), "what was written is gone with the power: {left:?}");
    }
}

async fn runs_commands(vm: &Vm) {
    assert_eq!(vm.shell("hostname").await.unwrap().trim(), vm.name());
    let said = vm.command("sh").args(["-c", "cat; echo $A >&2; exit 3"]);
    let said = said.env("A", "b").stdin("read").output().await.unwrap();
    assert_eq!((said.end, said.stdout.as_str(), said.stderr.trim()), (End::Exited(3), "read", "b"));
    let slow = vm.command("sleep").args(["60"]).deadline(Duration::from_millis(300));
    assert_eq!(slow.output().await.unwrap().end, End::TimedOut);
    let none = vm.command("no-such-program").output().await.unwrap_err().to_string();
    assert!(none.contains("no-such-program"), "{none}");
    vm.write("/root/note", "kept while it is on").await.unwrap();
    assert_eq!(vm.shell("cat /root/note").await.unwrap(), "kept while it is on");
    let gateway = vm.shell("ip -4 -brief address show eth1").await.unwrap();
    assert!(gateway.contains(&vm.address(Cable::Storage).to_string()), "{gateway}");
}

async fn keeps_daemons(vm: &Vm) {
    let run = vm.command("sh").args(["-c", "echo begun; exec sleep 600"]);
    let mut daemon = vm.start("sleeper", run).await.unwrap();
    rds_csi_testbed::wait::until("it says so", Duration::from_secs(20), async || {
        let said = daemon.said();
        if said.contains("begun") { Ok(()) } else { Err(said) }
    })
    .await
    .unwrap();
    daemon.check().unwrap();
    daemon.kill().await.unwrap();
    let error = daemon.check().unwrap_err().to_string();
    assert!(error.contains("Killed(9)"), "{error}");
}

async fn refuses_to_lend_sockets_that_are_not_there(vm: &Vm) {
    let none = vm.connect("/run/none.sock").await.unwrap_err().to_string();
    assert!(none.contains("/run/none.sock"), "{none}");
}
