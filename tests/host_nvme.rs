//! The Linux host on NVMe over TCP: this kernel is target and host at once, over loopback. Run as
//! root in a machine whose kernel has nvmet-tcp, nvme-tcp and loop, such as a VM of the testbed.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rds_csi::host::linux::{Linux, Settings};
use rds_csi::host::{Connect, ControllerState, Device, Error, Host, Kind, Signature, Timing};
use rds_csi::volume::Nqn;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 320 * MIB;
const LONG: Duration = Duration::from_secs(120);
const NONE: &[String] = &[];
const CONFIG: &str = "/sys/kernel/config/nvmet";

async fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn put(file: PathBuf, text: &str) {
    fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// The target: one port, volumes on loop devices. What it made is taken away at the end.
struct Target {
    folder: TempDir,
    port: u16,
    made: Vec<(Nqn, String)>,
    host: Linux,
}

impl Target {
    async fn new(port: u16) -> Self {
        Self::with(port, |_| {}).await
    }

    async fn with(port: u16, change: impl FnOnce(&mut Settings)) -> Self {
        for module in ["nvmet-tcp", "nvme-tcp", "loop"] {
            run("modprobe", &[module]).await;
        }
        if !Path::new(CONFIG).exists() {
            run("mount", &["-t", "configfs", "configfs", "/sys/kernel/config"]).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(folder.path().join("notes"));
        change(&mut settings);
        let host = Linux::new(settings, slog::Logger::root(slog::Discard, slog::o!()));
        let target = Self { folder, port, made: Vec::new(), host };
        let own = target.own_port();
        fs::create_dir_all(&own).unwrap();
        put(own.join("addr_trtype"), "tcp");
        put(own.join("addr_adrfam"), "ipv4");
        put(own.join("addr_traddr"), "127.0.0.1");
        put(own.join("addr_trsvcid"), &port.to_string());
        target
    }

    fn own_port(&self) -> PathBuf {
        Path::new(CONFIG).join("ports").join(self.port.to_string())
    }

    fn subsystem(nqn: &Nqn) -> PathBuf {
        Path::new(CONFIG).join("subsystems").join(nqn.as_str())
    }

    fn image(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn volume(&mut self, name: &str) -> Connect {
        let nqn = Nqn::parse(&format!("nqn.2000-02.com.mikrotik:{name}-{}", self.port)).unwrap();
        let image = self.image(name);
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        let device = run("losetup", &["--find", "--show", image.to_str().unwrap()]).await;
        let subsystem = Self::subsystem(&nqn);
        let namespace = subsystem.join("namespaces/1");
        fs::create_dir_all(&namespace).unwrap();
        put(subsystem.join("attr_allow_any_host"), "1");
        put(namespace.join("device_path"), &device);
        put(namespace.join("enable"), "1");
        self.made.push((nqn.clone(), device));
        self.export(&nqn, true);
        Connect {
            nqn,
            address: "localhost".into(),
            port: self.port,
            host_nqn: Nqn::parse("nqn.2014-08.org.nvmexpress:uuid:host-a").unwrap(),
            host_id: "1b4e28ba-2fa1-11d2-883f-0016d3cca427".into(),
            timing: Timing {
                ctrl_loss: None,
                reconnect_delay: Duration::from_secs(1),
                keep_alive: Duration::from_secs(2),
                fast_io_fail: None,
                io_queues: Some(1),
            },
        }
    }

    fn export(&self, nqn: &Nqn, on: bool) {
        let link = self.own_port().join("subsystems").join(nqn.as_str());
        if on {
            symlink(Self::subsystem(nqn), link).unwrap();
        } else {
            fs::remove_file(link).unwrap();
        }
    }

    /// Connects, and waits for the device as the node does: look, then wait for a change.
    async fn device(&self, wanted: &Connect) -> Device {
        let mut changes = self.host.changes();
        self.host.connect(wanted).await.unwrap();
        let found = async {
            loop {
                changes.mark_unchanged();
                let mut devices = self.host.devices(&wanted.nqn).await.unwrap();
                if let Some(device) = devices.pop() {
                    assert!(devices.is_empty(), "{devices:?}");
                    return device;
                }
                changes.changed().await.unwrap();
            }
        };
        timeout(LONG, found).await.unwrap()
    }

    async fn controller(&self, nqn: &Nqn) -> Option<(String, ControllerState)> {
        let all = self.host.controllers().await.unwrap();
        let mut own = all.into_iter().filter(|controller| controller.nqn == *nqn);
        let first = own.next();
        assert!(own.next().is_none(), "two controllers of {nqn}");
        first.map(|controller| (controller.name, controller.state))
    }

    async fn disconnect(&self, nqn: &Nqn) {
        let (name, _) = self.controller(nqn).await.unwrap();
        self.host.disconnect(&name, nqn).await.unwrap();
        assert_eq!(self.controller(nqn).await, None);
    }

    async fn directory(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        self.host.make_directory(&path).await.unwrap();
        path
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let found = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, found).await.unwrap_or_else(|_| panic!("never {what}"));
    }

    async fn end(self) {
        for (nqn, device) in &self.made {
            let all = self.host.controllers().await.unwrap();
            for own in all.iter().filter(|controller| controller.nqn == *nqn) {
                self.host.disconnect(&own.name, nqn).await.unwrap();
            }
            let _ = fs::remove_file(self.own_port().join("subsystems").join(nqn.as_str()));
            put(Self::subsystem(nqn).join("namespaces/1/enable"), "0");
            fs::remove_dir(Self::subsystem(nqn).join("namespaces/1")).unwrap();
            fs::remove_dir(Self::subsystem(nqn)).unwrap();
            run("losetup", &["--detach", device]).await;
        }
        fs::remove_dir(self.own_port()).unwrap();
    }
}

#[tokio::test]
#[ignore = "NVMe: in a VM"]
async fn a_volume_is_connected_formatted_mounted_grown_and_let_go() {
    let mut target = Target::new(4420).await;
    for kind in ["ext4", "xfs", "btrfs"] {
        let wanted = target.volume(kind).await;
        let device = target.device(&wanted).await;
        let (host, nqn) = (&target.host, &wanted.nqn);
        assert_eq!((device.bytes, device.namespace, &device.nqn), (SIZE, 1, nqn));
        assert!(device.identity.is_some(), "{device:?}");
        assert_eq!(target.controller(nqn).await.unwrap().1, ControllerState::Live);
        host.connect(&wanted).await.unwrap();
        assert!(target.controller(nqn).await.is_some(), "twice is once");

        assert_eq!(host.signature(&device).await.unwrap(), Signature::Zeros);
        host.format(&device, kind).await.unwrap();
        let staging = target.directory(&format!("staging-{kind}")).await;
        host.mount(&device, &staging, kind, NONE).await.unwrap();
        let mounts = host.mounts().await.unwrap();
        let own = mounts.iter().find(|mount| mount.target == staging).unwrap();
        assert_eq!(own.number, device.number, "{kind}");
        fs::write(staging.join("data"), "kept").unwrap();

        File::options().write(true).open(target.image(kind)).unwrap().set_len(2 * SIZE).unwrap();
        let loops = target.made.iter().find(|(own, _)| own == nqn).unwrap();
        run("losetup", &["--set-capacity", &loops.1]).await;
        put(Target::subsystem(nqn).join("namespaces/1/revalidate_size"), "1");
        let (name, _) = target.controller(nqn).await.unwrap();
        host.rescan(&name).await.unwrap();
        let grown = async || host.devices(nqn).await.unwrap()[0].bytes == 2 * SIZE;
        target.until("grown", grown).await;
        let before = host.usage(&staging).await.unwrap().bytes;
        host.grow(&device, kind, &staging).await.unwrap();
        assert!(host.usage(&staging).await.unwrap().bytes > before + SIZE / 2, "{kind}");

        host.unmount(&staging).await.unwrap();
        target.disconnect(nqn).await;
        assert_eq!(host.devices(nqn).await.unwrap(), []);
        host.disconnect(&name, nqn).await.unwrap();

        let again = target.device(&wanted).await;
        let found = host.signature(&again).await.unwrap();
        assert!(
            matches!(&found, Signature::FileSystem { kind: it, .. } if it == kind),
            "{found:?}"
        );
        host.mount(&again, &staging, kind, NONE).await.unwrap();
        assert_eq!(fs::read_to_string(staging.join("data")).unwrap(), "kept");
        host.unmount(&staging).await.unwrap();
        target.disconnect(nqn).await;
    }
    target.end().await;
}

#[tokio::test]
#[ignore = "NVMe: in a VM"]
async fn devices_are_told_apart_by_nqn_whatever_their_numbers() {
    let mut target = Target::new(4421).await;
    let mut all = Vec::new();
    for name in ["a", "b", "c"] {
        let wanted = target.volume(name).await;
        let image = File::options().write(true).open(target.image(name)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&image, name.as_bytes(), 0).unwrap();
        image.sync_all().unwrap();
        all.push((name, wanted));
    }
    // In another order each time: the kernel gives the numbers out anew.
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        for index in order {
            let (name, wanted) = &all[index];
            let device = target.device(wanted).await;
            let read = run("head", &["--bytes=1", device.path.to_str().unwrap()]).await;
            assert_eq!(read, *name);
        }
        let (name, _) = target.controller(&all[0].1.nqn).await.unwrap();
        target.host.disconnect(&name, &all[1].1.nqn).await.unwrap();
        assert!(target.controller(&all[0].1.nqn).await.is_some(), "another one was deleted");
        for (_, wanted) in &all {
            target.disconnect(&wanted.nqn).await;
        }
    }
    target.end().await;
}

#[tokio::test]
#[ignore = "NVMe: in a VM"]
async fn who_does_not_answer_or_refuses_is_told_and_blocks_no_look() {
    let mut target = Target::new(4422).await;
    let good = target.volume("good").await;
    let mut unknown = good.clone();
    unknown.nqn = Nqn::parse("nqn.2000-02.com.mikrotik:unknown").unwrap();
    let refused = target.host.connect(&unknown).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Failed, "{refused:?}");
    assert!(refused.what.contains("the box refused it"), "{refused:?}");

    let mut nobody = good.clone();
    nobody.port = 1;
    let refused = target.host.connect(&nobody).await.unwrap_err();
    assert!(refused.what.contains("nothing listens there"), "{refused:?}");

    // The same host id under another name: the kernel refuses by itself, once one is in use.
    let device = target.device(&good).await;
    let mut other = target.volume("other").await;
    other.host_nqn = Nqn::parse("nqn.2014-08.org.nvmexpress:uuid:host-b").unwrap();
    let refused: Result<(), Error> = target.host.connect(&other).await;
    if let Err(refused) = &refused {
        assert_eq!(refused.kind, Kind::Refused, "{refused:?}");
        assert!(refused.what.contains("host id"), "{refused:?}");
    }

    // Accepts, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut mute = good.clone();
    mute.port = silent.local_addr().unwrap().port();
    mute.nqn = Nqn::parse("nqn.2000-02.com.mikrotik:mute").unwrap();
    let hung = timeout(LONG, target.host.connect(&mute)).await.unwrap().unwrap_err();
    assert!(matches!(hung.kind, Kind::Failed | Kind::Stuck), "{hung:?}");
    assert_eq!(target.host.devices(&good.nqn).await.unwrap(), [device]);
    target.end().await;
}

#[tokio::test]
#[ignore = "NVMe: in a VM"]
async fn a_box_that_is_away_holds_an_unmount_until_the_controller_is_deleted() {
    let soon = Duration::from_secs(15);
    let mut target = Target::with(4423, |settings| settings.deadlines.mount = soon).await;
    let (away, other) = (target.volume("away").await, target.volume("other").await);
    let device = target.device(&away).await;
    target.host.format(&device, "ext4").await.unwrap();
    let staging = target.directory("staging").await;
    target.host.mount(&device, &staging, "ext4", NONE).await.unwrap();
    fs::write(staging.join("data"), vec![7; 1 << 20]).unwrap();

    // The port goes with all its exports: TCP answers with a refusal.
    target.export(&away.nqn, false);
    target.export(&other.nqn, false);
    let hung = timeout(LONG, target.host.unmount(&staging)).await.unwrap();
    let gone = target.controller(&away.nqn).await.is_none();
    eprintln_state(&hung, gone);
    if !gone {
        let hung = hung.unwrap_err();
        assert_eq!(hung.kind, Kind::Stuck, "{hung:?}");
        assert!(hung.what.contains(staging.to_str().unwrap()), "{hung:?}");
        let again = target.host.unmount(&staging).await.unwrap_err();
        assert!(again.kind == Kind::Stuck && again.what.contains("was not tried"), "{again:?}");
        target.disconnect(&away.nqn).await;
    }
    // Another volume of the same box, meanwhile and after.
    target.export(&other.nqn, true);
    let second = target.device(&other).await;
    assert_eq!(target.host.signature(&second).await.unwrap(), Signature::Zeros);
    let free = async || {
        let mounts = target.host.mounts().await.unwrap();
        let mounted = mounts.iter().any(|mount| mount.target == staging);
        if mounted && target.host.stuck().is_empty() {
            target.host.unmount(&staging).await.unwrap();
        }
        !mounted
    };
    target.until("unmounted", free).await;
    target.host.remove(&staging).await.unwrap();
    target.export(&away.nqn, true);
    target.end().await;
}

#[expect(clippy::disallowed_macros, reason = "says what this kernel did")]
fn eprintln_state(outcome: &Result<(), Error>, gone: bool) {
    eprintln!("unmount without the box: {outcome:?}; controller gone: {gone}");
}
