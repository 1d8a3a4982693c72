//! The box as a machine: rds-sim's console over the kernel's NVMe/TCP target.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rds_sim::routeros::UserKey;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use super::boot::Vm;
use super::daemon::Daemon;
use super::kernel::Kernel;
use super::network::{Cable, Network};
use crate::cluster::Backend;
use crate::{Trouble, parts, wait};

/// The folder of the images, on the box.
pub const VOLUMES: &str = "storage-pool/volumes";
/// The user of the driver.
pub const USER: &str = "rds-csi";
/// Where NVMe/TCP hosts connect.
pub const NVME_PORT: u16 = 4420;
/// Where images lie in the machine.
const IMAGES: &str = "/images";
const CONTROL: &str = "/run/rds-sim.sock";
const KEY: &str = "/run/authorized";
const SIM: &str = "debug/rds-sim";
/// MiB; three quarters may become images.
const MEMORY: u32 = 1536;
/// Longest wait for the box to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A box.
pub struct StorageVm {
    /// The machine.
    pub vm: Vm,
    /// Who may log in.
    pub key: UserKey,
    host_key: String,
    daemon: Daemon,
}

impl StorageVm {
    /// Boots it and starts the box in it. Besides what people configure it listens on
    /// [`NVME_PORT`] while nothing is exported, as a box with other volumes does.
    ///
    /// # Errors
    /// When a part is missing or does not start.
    pub async fn start(network: &Network, kernel: Kernel) -> Result<Self, Trouble> {
        Self::start_with(network, kernel, &[]).await
    }

    /// Like [`StorageVm::start`], with these switches of rds-sim on.
    ///
    /// # Errors
    /// As there.
    pub async fn start_with(
        network: &Network,
        kernel: Kernel,
        switches: &[&str],
    ) -> Result<Self, Trouble> {
        let vm = Vm::boot_with(network, kernel, "box", MEMORY).await?;
        vm.shell(&format!(
            "modprobe -a nvmet-tcp loop; mount -t configfs configfs /sys/kernel/config; \
             mkdir {IMAGES}; mount -t tmpfs -o size=75% tmpfs {IMAGES}"
        ))
        .await?;
        let key = UserKey::generate()?;
        vm.write(KEY, key.public.clone()).await?;
        let daemon = Self::box_in(&vm, switches).await?;
        let host_key = wait::until("the box tells its host key", PATIENCE, async || {
            daemon.check().map_err(|error| error.to_string())?;
            let said = daemon.said();
            let found = said.lines().find_map(|line| line.strip_prefix("host key ssh-"));
            found.map(|rest| format!("ssh-{rest}")).ok_or(said)
        })
        .await?;
        let started = Self { vm, key, host_key, daemon };
        wait::until("the box takes orders", PATIENCE, async || {
            started.order("disarm").await.map_err(|error| error.to_string())
        })
        .await?;
        started.exec(&format!("/file/add name={VOLUMES} type=directory")).await?;
        Ok(started)
    }

    async fn box_in(vm: &Vm, switches: &[&str]) -> Result<Daemon, Trouble> {
        let program = parts::target().join(SIM);
        let run = vm.command(&program.display().to_string()).args([
            "--listen",
            "0.0.0.0:22",
            "--ed25519",
            "--authorized-key",
            KEY,
            "--user",
            &format!("{USER}=ssh,read,write,test"),
            "--latency",
            "20",
            "--login-latency",
            "50",
            "--nvmet",
            IMAGES,
            "--keep-port",
            &NVME_PORT.to_string(),
            "--control",
            CONTROL,
        ]);
        let run = switches.iter().fold(run, |run, switch| run.args(["--switch", switch]));
        vm.start("rds-sim", run).await
    }

    /// Where its SSH service is, for whoever is on the control network.
    pub fn console(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.vm.address(Cable::Control)), 22)
    }

    /// Where NVMe/TCP hosts connect.
    pub fn target(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.vm.address(Cable::Storage)), NVME_PORT)
    }

    /// Its host key, as in `known_hosts`, without names.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// Runs a line of its console, as another administrator would: no latency, no faults.
    ///
    /// # Errors
    /// When the box does not answer, or answers with an error.
    pub async fn exec(&self, line: &str) -> Result<String, Trouble> {
        let said = self.order(&format!("exec {line}")).await?;
        let is_error = |said: &str| {
            [
                "failure:",
                "expected",
                "bad",
                "no such",
                "syntax",
                "input does not",
                "invalid",
                "missing",
            ]
            .iter()
            .any(|word| said.starts_with(word))
        };
        if is_error(&said) { Err(format!("{line}: {said}").into()) } else { Ok(said) }
    }

    /// Orders a fault, as `rds-sim --control` takes it; returns what was printed.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn order(&self, order: &str) -> Result<String, Trouble> {
        let ordered = async {
            let mut stream = BufReader::new(self.vm.connect(CONTROL).await?);
            stream.write_all(format!("{order}\n").as_bytes()).await?;
            let mut printed = String::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Err(Trouble::from("the box hung up"));
                }
                if line == "done\n" {
                    return Ok(printed);
                }
                if line.starts_with("refused: ") {
                    return Err(line.trim().to_owned().into());
                }
                printed.push_str(&line);
            }
        };
        let answer = timeout(PATIENCE, ordered).await.map_err(|_| Trouble::from("no answer"));
        answer.and_then(|a| a).map_err(|error| format!("the box: {order}: {error}").into())
    }

    /// Makes a disk of an image of so many MiB.
    ///
    /// # Errors
    /// When the box refuses it.
    pub async fn add_disk(&self, slot: &str, mebibytes: u32) -> Result<(), Trouble> {
        let path = format!("{VOLUMES}/{slot}.img");
        let line =
            format!("/disk/add type=file slot={slot} file-path={path} file-size={mebibytes}M");
        self.exec(&line).await.map(drop)
    }

    /// Exports it under this name, for that host alone.
    ///
    /// # Errors
    /// When the box refuses it.
    pub async fn export(&self, slot: &str, nqn: &str, host: &str) -> Result<(), Trouble> {
        let line = format!(
            "/disk/set {slot} nvme-tcp-export=yes nvme-tcp-server-nqn=\"{nqn}\" \
             nvme-tcp-server-allow-host-name=\"{host}\""
        );
        self.exec(&line).await.map(drop)
    }

    /// Exports it no more.
    ///
    /// # Errors
    /// When the box refuses it.
    pub async fn unexport(&self, slot: &str) -> Result<(), Trouble> {
        self.exec(&format!("/disk/set {slot} nvme-tcp-export=no")).await.map(drop)
    }

    /// A property of the disk in a slot, as it is printed.
    ///
    /// # Errors
    /// When there is no such disk.
    pub async fn property(&self, slot: &str, name: &str) -> Result<String, Trouble> {
        let line = format!(":put [/disk/get {slot} {name}]");
        Ok(self.exec(&line).await?.trim().to_owned())
    }

    /// The image of a slot, in the machine.
    pub fn image(&self, slot: &str) -> String {
        format!("{IMAGES}/{VOLUMES}/{slot}.img")
    }

    /// Names of the subsystems that the kernel exports; not the one that keeps the port.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub async fn subsystems(&self) -> Result<Vec<String>, Trouble> {
        let listed = self.vm.shell("ls /sys/kernel/config/nvmet/subsystems").await?;
        let names = listed.lines().filter(|name| !name.contains("keeper"));
        Ok(names.map(Into::into).collect())
    }

    /// Names of the images that are there.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub async fn images(&self) -> Result<Vec<String>, Trouble> {
        let listed = self.vm.shell(&format!("cd {IMAGES}; find . -type f")).await?;
        Ok(listed.lines().map(Into::into).collect())
    }

    /// The box's process, which a story may kill.
    pub fn process(&self) -> &Daemon {
        &self.daemon
    }
}

impl Backend for StorageVm {
    fn values(&self) -> Value {
        json!({
            "address": self.console().to_string(),
            "user": USER,
            "host_key": [self.host_key],
            "volume_paths": [VOLUMES],
            "nvme_address": self.target().ip().to_string(),
            "nvme_port": NVME_PORT,
            // An emulated box may take its time.
            "poll_deadline": "15s",
            "private_key": {"value": self.key.private},
        })
    }
}
