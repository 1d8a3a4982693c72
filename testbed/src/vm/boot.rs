//! A machine: QEMU, from power-on to the guest's answer, and what may happen to its power and cables.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::command::{self, Run};
use super::daemon::Daemon;
use super::kernel::Kernel;
use super::network::{Cable, Network, Socket};
use super::wire::Request;
use crate::process::{Process, tail};
use crate::{Trouble, parts};

/// Longest time from power-on to the guest's first answer; 8 to 12 s where nobody else works, and minutes
/// where many others do.
const BOOT: Duration = Duration::from_secs(300);
/// How often it is asked meanwhile.
const GLANCE: Duration = Duration::from_millis(100);
/// What the kernel measures of processor and timers at boot is wrong where others use the machine, too:
/// the emulated HPET alone says how fast it is.
const CLOCK: &str = "tsc=unstable clocksource=hpet nolapic_timer no_timer_check";
/// The program that init starts.
const GUEST: &str = "debug/rds-vm-guest";

/// A virtual machine. Dropping it is a power cut, and nobody switches it on again.
pub struct Vm {
    name: String,
    kernel: Kernel,
    memory: u32,
    disk: Option<PathBuf>,
    socket: Socket,
    logs: PathBuf,
    process: Option<Process>,
}

impl Vm {
    /// Plugs a machine in, switches it on, and waits until it answers.
    ///
    /// # Errors
    /// When a part is missing, or it does not answer.
    pub async fn boot(network: &Network, kernel: Kernel, name: &str) -> Result<Self, Trouble> {
        Self::boot_with(network, kernel, name, 1024).await
    }

    /// Like [`Vm::boot`], with so many MiB of memory; half of it may become files.
    ///
    /// # Errors
    /// As there.
    pub async fn boot_with(
        network: &Network,
        kernel: Kernel,
        name: &str,
        memory: u32,
    ) -> Result<Self, Trouble> {
        Self::boot_from(network, kernel, name, memory, None).await
    }

    /// Like [`Vm::boot_with`], with a disk of so many GiB, `/dev/vda`, which a power cut leaves as it is.
    ///
    /// # Errors
    /// As there, and when the disk cannot be made.
    pub async fn boot_with_disk(
        network: &Network,
        kernel: Kernel,
        name: &str,
        memory: u32,
        disk: u64,
    ) -> Result<Self, Trouble> {
        let path = network.folder().join(format!("{name}.disk"));
        std::fs::File::create(&path)?.set_len(disk << 30)?;
        Self::boot_from(network, kernel, name, memory, Some(path)).await
    }

    async fn boot_from(
        network: &Network,
        kernel: Kernel,
        name: &str,
        memory: u32,
        disk: Option<PathBuf>,
    ) -> Result<Self, Trouble> {
        let (socket, logs) = (network.socket().await?, network.folder().to_owned());
        let name = name.to_owned();
        let mut vm = Self { name, kernel, memory, disk, socket, logs, process: None };
        vm.power_on().await?;
        Ok(vm)
    }

    /// The kernel that it boots.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on that cable.
    pub fn address(&self, cable: Cable) -> Ipv4Addr {
        self.socket.address(cable)
    }

    /// Where its console and the logs of its daemons lie.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Switches it on and waits until it answers.
    ///
    /// # Errors
    /// When it is on, or does not answer.
    pub async fn power_on(&mut self) -> Result<Duration, Trouble> {
        if self.process.is_some() {
            return Err(format!("{} is on", self.name).into());
        }
        let began = Instant::now();
        let arguments = self.arguments()?;
        let program = Path::new("qemu-system-x86_64");
        let name = format!("{}.qemu", self.name);
        let process = self.process.insert(Process::start(&name, &self.logs, program, &arguments)?);
        let address = self.socket.address(Cable::Control);
        while began.elapsed() < BOOT {
            process.check()?;
            if Run::probe(address).await {
                return Ok(began.elapsed());
            }
            sleep(GLANCE).await;
        }
        let said = tail(&self.console());
        Err(format!("{} does not answer within {BOOT:?}:\n{said}", self.name).into())
    }

    fn arguments(&self) -> Result<Vec<String>, Trouble> {
        let folder = self.kernel.folder()?;
        let guest = parts::target().join(GUEST);
        if !guest.is_file() {
            return Err(
                format!("{} is not there; `make vm-test` builds it", guest.display()).into()
            );
        }
        let line = format!(
            "console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off {CLOCK} vm.hostname={} vm.control={} \
             vm.storage={} vm.gateway={} vm.modules={} vm.guest={}",
            self.name,
            self.socket.address(Cable::Control),
            self.socket.address(Cable::Storage),
            self.socket.gateway(Cable::Control),
            folder.join("modules").display(),
            guest.display(),
        );
        // /dev/kvm may be there and hang, so it is not tried.
        let mut words: Vec<String> =
            "-accel tcg,thread=multi -cpu max -smp 1 -nodefaults -no-reboot \
            -display none -monitor none -serial chardev:console"
                .split_whitespace()
                .map(Into::into)
                .collect();
        let pairs = [
            ("-m", self.memory.to_string()),
            ("-kernel", folder.join("vmlinuz").display().to_string()),
            ("-initrd", folder.join("initramfs.cpio").display().to_string()),
            ("-append", line),
            ("-chardev", format!("file,id=console,append=on,path={}", self.console().display())),
            (
                "-virtfs",
                "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
                    .into(),
            ),
        ];
        words.extend(pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        if let Some(disk) = &self.disk {
            words.push("-drive".into());
            // What the machine has flushed is safe from its power cut: this machine keeps it in memory.
            words.push(format!("if=virtio,format=raw,cache=unsafe,file={}", disk.display()));
        }
        for cable in [Cable::Control, Cable::Storage] {
            let (tap, mac) = (self.socket.tap(cable), self.socket.mac(cable));
            words.push("-netdev".into());
            words.push(format!("tap,id={tap},ifname={tap},script=no,downscript=no"));
            words.push("-device".into());
            words.push(format!("virtio-net-pci,netdev={tap},mac={mac},romfile="));
        }
        Ok(words)
    }

    /// What its kernel said.
    pub fn console(&self) -> PathBuf {
        self.logs.join(format!("{}.console.log", self.name))
    }

    /// Cuts its power.
    ///
    /// # Errors
    /// When it is off.
    pub async fn power_off(&mut self) -> Result<(), Trouble> {
        let mut process = self.process.take().ok_or_else(|| format!("{} is off", self.name))?;
        process.kill().await
    }

    /// A power cut, and power again. Everything that it had in memory is gone.
    ///
    /// # Errors
    /// When it is off, or does not come back.
    pub async fn reset(&mut self) -> Result<Duration, Trouble> {
        self.power_off().await?;
        self.power_on().await
    }

    /// It stands still, as a machine whose hypervisor stopped it, or goes on.
    ///
    /// # Errors
    /// When it is off.
    pub fn freeze(&self, on: bool) -> Result<(), Trouble> {
        let process = self.process.as_ref().ok_or_else(|| format!("{} is off", self.name))?;
        process.signal(if on { Signal::STOP } else { Signal::CONT })
    }

    /// Pulls a cable, or puts it in again.
    ///
    /// # Errors
    /// When the system refuses it.
    pub async fn plug(&self, cable: Cable, on: bool) -> Result<(), Trouble> {
        self.socket.plug(cable, on).await
    }

    /// A program of this machine: found in PATH, or a path.
    pub fn command(&self, program: &str) -> Run {
        Run::new(&self.name, self.socket.address(Cable::Control), program)
    }

    /// Runs a line of shell; any command of it that fails ends it.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub async fn shell(&self, line: &str) -> Result<String, Trouble> {
        self.command("sh").args(["-euc", line]).text().await
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write(&self, path: &str, content: impl Into<Vec<u8>>) -> Result<(), Trouble> {
        self.command("dd")
            .args([&format!("of={path}"), "status=none"])
            .stdin(content)
            .text()
            .await?;
        Ok(())
    }

    /// Starts a program that goes on; what it says goes to `<machine>.<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(&self, name: &str, run: Run) -> Result<Daemon, Trouble> {
        Daemon::start(run, &self.logs, name).await
    }

    /// A connection to a unix socket of this machine.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(&self, socket: &str) -> Result<TcpStream, Trouble> {
        let request = Request::Forward { socket: socket.to_owned() };
        command::ask(self.socket.address(Cable::Control), &request).await
    }
}
