//! What a machine can do, and what a node has after it lost its power.

use std::time::Duration;

use rds_csi_testbed::vm::{Cable, End, Kernel, Kind, Vm};

use crate::teller::tell;
use crate::world::{MIB, POD, World};

#[test]
#[ignore = "boots machines: make vm-test"]
fn a_node_that_lost_its_power_has_its_volume_again_with_what_was_written() {
    tell(loses_power);
}

async fn loses_power(world: &mut World) {
    for (node, kernel) in Kernel::ALL.into_iter().enumerate() {
        let vm = &world.nodes[node].0;
        let release = vm.shell("uname -r").await.unwrap();
        assert!(release.starts_with(kernel.series()), "{release}");
        runs_commands(vm).await;
        keeps_daemons(vm).await;
        refuses_to_lend_sockets_that_are_not_there(vm).await;
        let volume = world.driver.provision("p", Kind::Files("ext4"), 64 * MIB).await.unwrap();
        let context = world.runs(&volume, node).await;
        let sum = world.data(&volume, node, true).await;

        let took = world.power_cut(node).await;
        eprintln!("{} boots in {took:?}", release.trim());
        let (vm, plugin) = &world.nodes[node];
        let left = vm.command("ls").args(["/root/note"]).output().await.unwrap();
        assert!(!left.is_success(), "what was written is gone with the power: {left:?}");
        // As kubelet does, for whom nothing has changed: the volume is attached.
        plugin.stage(vm, &volume, &context).await.unwrap();
        plugin.publish(vm, &volume, &context, POD).await.unwrap();
        assert_eq!(world.data(&volume, node, false).await, sum, "{kernel:?}");
        world.gone(&volume, node).await;
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
