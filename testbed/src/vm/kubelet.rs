//! A node of a real cluster: a machine with a disk, in it containerd and kubelet.

mod files;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::boot::Vm;
use super::daemon::Daemon;
use super::kernel::Kernel;
use super::network::{Cable, Network};
use crate::{Trouble, parts, wait};

/// The label of nodes with a kubelet.
pub const LABEL: (&str, &str) = ("testbed/kubelet", "yes");
/// MiB.
const MEMORY: u32 = 2560;
/// GiB.
const DISK: u64 = 8;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest wait for containerd.
const START: Duration = Duration::from_secs(90);
/// How long an import may take.
const IMPORT: Duration = Duration::from_secs(300);
/// What a machine does at each start: its disk at the three places that outlive a power cut. kubelet
/// syncs nothing of what it notes of a volume; after half a minute it is on the disk, here after a second.
const PREPARE: &str = "modprobe -a virtio_blk ext4 overlay
mkdir -p /run/disk /etc/containerd /etc/cni/net.d /run/udev
blkid /dev/vda >/dev/null || mkfs.ext4 -q -E lazy_itable_init=1 /dev/vda
mount -o nodelalloc,commit=1 /dev/vda /run/disk
for place in lib/kubelet lib/containerd log/pods; do
  mkdir -p /run/disk/$place /var/$place
  mount --bind /run/disk/$place /var/$place
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup";

/// A machine with kubelet.
pub struct KubeletVm {
    /// The machine.
    pub vm: Vm,
    kubeconfig: PathBuf,
    running: Option<Running>,
}

/// What runs while it is on.
struct Running {
    containerd: Daemon,
    kubelet: Daemon,
}

impl KubeletVm {
    /// Boots a new machine, and starts kubelet with this kubeconfig.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(
        network: &Network,
        kernel: Kernel,
        name: &str,
        kubeconfig: &Path,
        images: &[PathBuf],
    ) -> Result<Self, Trouble> {
        let vm = Vm::boot_with_disk(network, kernel, name, MEMORY, DISK).await?;
        let mut node = Self { vm, kubeconfig: kubeconfig.to_owned(), running: None };
        let containerd = node.containerd().await?;
        for image in images {
            node.import(image).await?;
        }
        let kubelet = node.kubelet().await?;
        node.running = Some(Running { containerd, kubelet });
        Ok(node)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.vm.name()
    }

    async fn containerd(&self) -> Result<Daemon, Trouble> {
        self.vm.shell(PREPARE).await?;
        for (path, content) in files::all() {
            self.vm.write(path, content).await?;
        }
        let program = parts::program("containerd")?;
        // Its shim lies beside it.
        let folder = program.parent().unwrap_or(Path::new("/")).display().to_string();
        let run = self.vm.command(&program.display().to_string());
        let run = run.args(["--config", "/etc/containerd/config.toml", "--log-level", "info"]);
        let daemon =
            self.vm.start("containerd", run.env("PATH", format!("{folder}:{PATH}"))).await?;
        wait::until("containerd answers", START, async || {
            daemon.check().map_err(|error| error.to_string())?;
            self.ctr(&["version"]).await.map_err(|error| error.to_string())
        })
        .await?;
        Ok(daemon)
    }

    async fn kubelet(&self) -> Result<Daemon, Trouble> {
        let program = parts::program("kubelet")?.display().to_string();
        let address = self.vm.address(Cable::Control).to_string();
        let labels = format!("{}={}", LABEL.0, LABEL.1);
        let run = self.vm.command(&program);
        let run = run.args(files::arguments(self.name(), &address, &self.kubeconfig, &labels));
        self.vm.start("kubelet", run).await
    }

    /// Runs containerd's client in the namespace of Kubernetes.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub async fn ctr(&self, arguments: &[&str]) -> Result<String, Trouble> {
        let program = parts::program("ctr")?.display().to_string();
        let fixed = ["--address", files::CONTAINERD, "--namespace", "k8s.io"];
        let run = self.vm.command(&program).args(fixed).args(arguments.iter().copied());
        run.deadline(IMPORT).text().await
    }

    /// Takes the images of an archive.
    ///
    /// # Errors
    /// When containerd refuses it.
    pub async fn import(&self, archive: &Path) -> Result<(), Trouble> {
        let path = archive.display().to_string();
        self.ctr(&["images", "import", "--local", &path]).await.map(drop)
    }

    /// Do containerd and kubelet run?
    ///
    /// # Errors
    /// When one does not, with the end of its log.
    pub fn check(&self) -> Result<(), Trouble> {
        let running = self.running.as_ref().ok_or_else(|| format!("{} is off", self.name()))?;
        running.containerd.check()?;
        running.kubelet.check()
    }

    /// kubelet is killed; pods go on.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop_kubelet(&mut self) -> Result<(), Trouble> {
        let running = self.running.as_mut().ok_or("it is off")?;
        running.kubelet.kill().await
    }

    /// kubelet starts again.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start_kubelet(&mut self) -> Result<(), Trouble> {
        let kubelet = self.kubelet().await?;
        self.running.as_mut().ok_or("it is off")?.kubelet = kubelet;
        Ok(())
    }

    /// Its power is cut. What lies on its disk stays.
    ///
    /// # Errors
    /// When it is off.
    pub async fn power_off(&mut self) -> Result<(), Trouble> {
        self.running = None;
        self.vm.power_off().await
    }

    /// Power again: it boots, and containerd and kubelet start.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn power_on(&mut self) -> Result<(), Trouble> {
        self.vm.power_on().await?;
        let containerd = self.containerd().await?;
        let kubelet = self.kubelet().await?;
        self.running = Some(Running { containerd, kubelet });
        Ok(())
    }

    /// What a container of a pod said, from its beginning.
    ///
    /// # Errors
    /// When there is no such log.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<String, Trouble> {
        let line = format!("cat /var/log/pods/{namespace}_{pod}_*/{container}/*.log");
        self.vm.shell(&line).await
    }

    /// Follows what a container says, line by line, without kubelet's times.
    ///
    /// # Errors
    /// When there is no such log.
    pub async fn follow(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<Daemon, Trouble> {
        let line = format!(
            "tail -q -n +1 -F /var/log/pods/{namespace}_{pod}_*/{container}/0.log | sed -u 's/^[^ ]* [^ ]* F //'"
        );
        self.vm.start(pod, self.vm.command("sh").args(["-euc", &line])).await
    }
}
