//! The Linux host on this machine's own kernel: real file systems on loop devices. Run by
//! `make host-test`, as root, in a mount namespace of its own. NVMe is for the VMs.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rds_csi::host::linux::{Linux, Settings};
use rds_csi::host::{Device, DeviceNumber, Entry, Host, Kind, Mount, Signature};
use rds_csi::volume::Nqn;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

const MIB: u64 = 1 << 20;
/// Enough for the smallest xfs.
const SIZE: u64 = 320 * MIB;
const LONG: Duration = Duration::from_secs(60);
const NONE: &[String] = &[];

async fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A loop device, and a directory for mounts. Whatever is mounted there is taken away at the end.
struct Bench {
    folder: TempDir,
    image: PathBuf,
    device: Device,
    host: Linux,
}

impl Bench {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        let path = run("losetup", &["--find", "--show", image.to_str().unwrap()]).await;
        let number = fs::metadata(&path).unwrap().rdev();
        let number =
            DeviceNumber { major: rustix::fs::major(number), minor: rustix::fs::minor(number) };
        let device = Device {
            nqn: Nqn::parse("nqn.2000-02.com.mikrotik:pvc-1").unwrap(),
            path: path.into(),
            number,
            namespace: 1,
            identity: None,
            bytes: SIZE,
            read_only: false,
        };
        let mut settings = Settings::new(folder.path().join("notes"));
        change(&mut settings);
        let host = Linux::new(settings, slog::Logger::root(slog::Discard, slog::o!()));
        Self { folder, image, device, host }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn directory(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        self.host.make_directory(&path).await.unwrap();
        path
    }

    async fn mounted(&self, target: &Path) -> Vec<Mount> {
        let mounts = self.host.mounts().await.unwrap();
        mounts.into_iter().filter(|mount| mount.target == target).collect()
    }

    async fn end(self) {
        for mount in self.host.mounts().await.unwrap().iter().rev() {
            if mount.target.starts_with(self.folder.path()) {
                self.host.unmount(&mount.target).await.unwrap();
            }
        }
        run("losetup", &["--detach", self.device.path.to_str().unwrap()]).await;
    }
}

/// `ext4_resize_begin` wants the capability CAP_SYS_RESOURCE (24), which not every sandbox grants.
fn may_resize() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> 24 & 1 == 1
}

#[tokio::test]
#[ignore = "mounts: see the Makefile"]
async fn every_kind_of_file_system_is_made_mounted_bound_grown_and_found_again() {
    for kind in ["ext4", "ext3", "xfs", "btrfs"] {
        let bench = Bench::new().await;
        let (host, device) = (&bench.host, &bench.device);
        assert_eq!(host.signature(device).await.unwrap(), Signature::Zeros);
        host.format(device, kind).await.unwrap();
        let found = host.signature(device).await.unwrap();
        assert!(
            matches!(&found, Signature::FileSystem { kind: it, .. } if it == kind),
            "{found:?}"
        );

        let staging = bench.directory("staging").await;
        let options = ["noatime,nosuid".to_owned(), "nodev".to_owned()];
        assert!(!host.is_claimed(device).await.unwrap(), "{kind}");
        host.mount(device, &staging, kind, &options).await.unwrap();
        assert!(host.is_claimed(device).await.unwrap(), "{kind}");
        let mounted = bench.mounted(&staging).await;
        assert_eq!(mounted.len(), 1);
        assert_eq!(mounted[0].number, device.number, "{kind}");
        assert_eq!((mounted[0].kind.as_str(), mounted[0].read_only), (kind, false));
        fs::write(staging.join("data"), "kept").unwrap();

        let target = bench.directory("pods/target").await;
        host.bind(&staging, &target, false).await.unwrap();
        fs::write(target.join("more"), "kept, too").unwrap();
        let shown = bench.directory("pods/read-only").await;
        host.bind(&staging, &shown, true).await.unwrap();
        let refused = fs::write(shown.join("data"), "lost").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        assert!(bench.mounted(&shown).await[0].read_only);
        let line = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = line.lines().find(|line| line.contains("/read-only ")).unwrap().to_owned();
        for flag in ["noatime", "nosuid", "nodev"] {
            assert!(line.contains(flag), "{kind}: {line}");
        }

        let before = host.usage(&staging).await.unwrap();
        File::options().write(true).open(&bench.image).unwrap().set_len(2 * SIZE).unwrap();
        run("losetup", &["--set-capacity", device.path.to_str().unwrap()]).await;
        if kind.starts_with("ext") && !may_resize() {
            let refused = host.grow(device, kind, &staging).await.unwrap_err();
            assert!(refused.what.contains("Permission denied to resize"), "{refused}");
        } else {
            for _ in 0..2 {
                host.grow(device, kind, &staging).await.unwrap();
            }
            let after = host.usage(&target).await.unwrap();
            assert!(after.bytes > before.bytes + SIZE / 2, "{kind}: {before:?} {after:?}");
        }

        assert_eq!(host.remove(&staging).await.unwrap_err().kind, Kind::Busy);
        for path in [&shown, &target, &staging, &staging] {
            host.unmount(path).await.unwrap();
        }
        assert!(bench.mounted(&staging).await.is_empty());
        assert!(!host.is_claimed(device).await.unwrap(), "{kind}");
        host.mount(device, &staging, kind, &["ro".to_owned()]).await.unwrap();
        let again = bench.mounted(&staging).await;
        assert!(again[0].read_only && again[0].file_system_read_only);
        assert_eq!(fs::read_to_string(staging.join("data")).unwrap(), "kept");
        assert_eq!(fs::read_to_string(staging.join("more")).unwrap(), "kept, too");
        bench.end().await;
    }
}

#[tokio::test]
#[ignore = "mounts: see the Makefile"]
async fn what_the_kernel_refuses_is_told_in_its_own_words() {
    let bench = Bench::new().await;
    let (host, device) = (&bench.host, &bench.device);
    let staging = bench.directory("staging").await;
    host.format(device, "ext4").await.unwrap();

    let option = host.mount(device, &staging, "ext4", &["bogus".to_owned()]).await.unwrap_err();
    assert_eq!(option.kind, Kind::Refused);
    assert!(option.what.contains("option bogus") && option.what.contains("nknown"), "{option}");
    let wrong = host.mount(device, &staging, "xfs", NONE).await.unwrap_err();
    assert!(wrong.what.contains("(xfs)"), "{wrong}");
    let unknown = host.mount(device, &staging, "nonefs", NONE).await.unwrap_err();
    assert_eq!(unknown.kind, Kind::Missing);
    assert!(unknown.what.contains("the kernel has no nonefs"), "{unknown}");
    let denied = host.mount(device, &staging, "ext4", &["bind".to_owned()]).await.unwrap_err();
    assert_eq!(denied.kind, Kind::Refused);
    let nowhere = host.mount(device, &bench.at("absent"), "ext4", NONE).await.unwrap_err();
    assert_eq!(nowhere.kind, Kind::Missing);
    assert!(bench.mounted(&staging).await.is_empty());
    bench.end().await;
}

#[tokio::test]
#[ignore = "mounts: see the Makefile"]
async fn another_device_under_the_same_name_is_neither_read_nor_formatted_nor_mounted() {
    let bench = Bench::new().await;
    let host = &bench.host;
    let mut other = bench.device.clone();
    other.number.minor += 1;
    let staging = bench.directory("staging").await;
    let before = fs::read(&bench.image).unwrap();
    assert_eq!(host.signature(&other).await.unwrap_err().kind, Kind::Missing);
    assert_eq!(host.format(&other, "ext4").await.unwrap_err().kind, Kind::Missing);
    assert!(fs::read(&bench.image).unwrap() == before);
    host.format(&bench.device, "ext4").await.unwrap();
    assert_eq!(host.mount(&other, &staging, "ext4", NONE).await.unwrap_err().kind, Kind::Missing);
    bench.end().await;
}

#[tokio::test]
#[ignore = "mounts: see the Makefile"]
async fn what_is_in_use_is_not_unmounted_and_a_symbolic_link_leads_nowhere() {
    let bench = Bench::new().await;
    let (host, device) = (&bench.host, &bench.device);
    host.format(device, "ext4").await.unwrap();
    let staging = bench.directory("staging").await;
    host.mount(device, &staging, "ext4", NONE).await.unwrap();
    let open = File::create(staging.join("open")).unwrap();
    assert_eq!(host.unmount(&staging).await.unwrap_err().kind, Kind::Busy);
    assert_eq!(bench.mounted(&staging).await.len(), 1);

    let outside = bench.directory("outside").await;
    std::os::unix::fs::symlink(&outside, bench.at("link")).unwrap();
    assert!(host.bind(&staging, &bench.at("link"), false).await.is_err());
    assert!(bench.mounted(&outside).await.is_empty());

    drop(open);
    host.unmount(&staging).await.unwrap();
    bench.end().await;
}

#[tokio::test]
#[ignore = "mounts: see the Makefile"]
async fn a_device_is_bound_to_a_file() {
    let bench = Bench::new().await;
    let host = &bench.host;
    let target = bench.at("device");
    host.make_file(&target).await.unwrap();
    host.bind(&bench.device.path, &target, false).await.unwrap();
    assert_eq!(host.entry(&target).await.unwrap(), Entry::Block(bench.device.number));
    assert!(host.remove(&target).await.is_err());
    host.unmount(&target).await.unwrap();
    assert_eq!(host.entry(&target).await.unwrap(), Entry::File);
    host.remove(&target).await.unwrap();
    bench.end().await;
}

#[tokio::test]
#[ignore = "mounts: see the Makefile"]
async fn a_dirty_journal_is_mounted() {
    for kind in ["ext4", "xfs"] {
        let bench = Bench::new().await;
        let (host, device) = (&bench.host, &bench.device);
        host.format(device, kind).await.unwrap();
        let staging = bench.directory("staging").await;
        host.mount(device, &staging, kind, NONE).await.unwrap();
        fs::write(staging.join("data"), "kept").unwrap();
        run("sync", &["--file-system", staging.to_str().unwrap()]).await;
        // As it lies there now it would be after a loss of power.
        let copy = bench.at("copy");
        fs::copy(&bench.image, &copy).unwrap();
        host.unmount(&staging).await.unwrap();
        fs::copy(&copy, &bench.image).unwrap();
        let found = host.signature(device).await.unwrap();
        assert!(
            matches!(&found, Signature::FileSystem { kind: it, .. } if it == kind),
            "{found:?}"
        );
        host.mount(device, &staging, kind, NONE).await.unwrap();
        assert_eq!(fs::read_to_string(staging.join("data")).unwrap(), "kept");
        bench.end().await;
    }
}

/// A frozen file system holds whoever writes in state D, as a volume does whose box is away.
#[tokio::test]
#[ignore = "mounts: see the Makefile"]
async fn what_hangs_in_the_kernel_is_told_and_blocks_nothing_else() {
    let bench = Bench::with(|settings| {
        settings.deadlines.look = Duration::from_secs(1);
        settings.deadlines.format = Duration::from_secs(1);
    })
    .await;
    let (host, device) = (&bench.host, &bench.device);
    run("mkfs.xfs", &["-q", device.path.to_str().unwrap()]).await;
    let staging = bench.directory("staging").await;
    host.mount(device, &staging, "xfs", NONE).await.unwrap();
    File::options().write(true).open(&bench.image).unwrap().set_len(2 * SIZE).unwrap();
    run("losetup", &["--set-capacity", device.path.to_str().unwrap()]).await;
    run("fsfreeze", &["--freeze", staging.to_str().unwrap()]).await;

    let program = host.grow(device, "xfs", &staging).await.unwrap_err();
    assert_eq!(program.kind, Kind::Stuck);
    assert!(program.what.contains("xfs_growfs of /dev/loop"), "{program}");
    assert!(program.what.contains("state D"), "{program}");
    let again = host.grow(device, "xfs", &staging).await.unwrap_err();
    assert!(again.kind == Kind::Stuck && again.what.contains("was not tried"), "{again}");

    let file = staging.join("file");
    let thread = host.make_file(&file).await.unwrap_err();
    assert_eq!(thread.kind, Kind::Stuck);
    assert!(thread.what.contains(file.to_str().unwrap()), "{thread}");
    assert_eq!(host.remove(&file).await.unwrap_err().kind, Kind::Stuck);
    assert_eq!(host.stuck().len(), 2);

    assert!(!bench.mounted(&staging).await.is_empty());
    host.make_file(&bench.at("other")).await.unwrap();
    run("fsfreeze", &["--unfreeze", staging.to_str().unwrap()]).await;
    let thawed = async {
        while !host.stuck().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, thawed).await.unwrap();
    assert_eq!(host.entry(&file).await.unwrap(), Entry::File);
    host.grow(device, "xfs", &staging).await.unwrap();
    bench.end().await;
}

#[tokio::test]
#[ignore = "mounts: see the Makefile"]
async fn a_change_of_a_device_is_heard() {
    let bench = Bench::new().await;
    let mut changes = bench.host.changes();
    let name = bench.device.path.file_name().unwrap();
    let file = PathBuf::from("/sys/class/block").join(name).join("uevent");
    // The socket is opened by a task of its own: until then nobody hears.
    let heard = async {
        loop {
            fs::write(&file, "change").unwrap();
            if timeout(Duration::from_millis(200), changes.changed()).await.is_ok() {
                break;
            }
        }
    };
    timeout(LONG, heard).await.unwrap();
    bench.end().await;
}
