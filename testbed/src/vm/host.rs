//! A bare NVMe/TCP host: the kernel's own interface, without the driver.

use std::net::SocketAddr;
use std::time::Duration;

use super::boot::Vm;
use crate::Trouble;

/// How a host connects.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The subsystem.
    pub nqn: String,
    /// The host's name.
    pub host: String,
    /// The host's id; made from its name where none is given. Linux wants one id for one name.
    pub host_id: Option<String>,
    /// Seconds between attempts.
    pub reconnect_delay: u32,
}

/// A controller that the kernel made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// `nvme0`.
    pub name: String,
}

impl Connect {
    /// For ever, every two seconds.
    pub fn to(nqn: &str, host: &str) -> Self {
        Self { nqn: nqn.into(), host: host.into(), host_id: None, reconnect_delay: 2 }
    }

    /// A line of shell that connects, and prints what the kernel says.
    pub fn script(&self, target: SocketAddr) -> String {
        let line = format!(
            "transport=tcp,traddr={},trsvcid={},nqn={},hostnqn={},hostid={},ctrl_loss_tmo=-1,\
             reconnect_delay={},keep_alive_tmo=5,nr_io_queues=1",
            target.ip(),
            target.port(),
            self.nqn,
            self.host,
            self.host_id.clone().unwrap_or_else(|| host_id(&self.host)),
            self.reconnect_delay,
        );
        format!(
            "modprobe nvme-tcp; exec 3<>/dev/nvme-fabrics; echo '{line}' >&3; read said <&3; echo $said"
        )
    }

    /// Connects and waits for the device.
    ///
    /// # Errors
    /// What the kernel said.
    pub async fn from(&self, vm: &Vm, target: SocketAddr) -> Result<Controller, Trouble> {
        let said = vm.shell(&self.script(target)).await?;
        let number = said.trim().split(',').find_map(|word| word.strip_prefix("instance="));
        let number = number.ok_or_else(|| format!("the kernel said {said}"))?;
        let controller = Controller { name: format!("nvme{number}") };
        let within = Duration::from_secs(20);
        crate::wait::until("the device is there", within, async || {
            controller.device(vm).await.map(drop)
        })
        .await?;
        Ok(controller)
    }
}

/// An id for a name.
fn host_id(name: &str) -> String {
    let hash = |sum: u128, byte: u8| sum.wrapping_mul(257).wrapping_add(byte.into());
    let id = format!("{:032x}", name.bytes().fold(7, hash));
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

impl Controller {
    /// Its device: `/dev/nvme0n1`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn device(&self, vm: &Vm) -> Result<String, Trouble> {
        // A multipath head has the number of its subsystem, which the controller's folder names.
        let script = format!(
            "cd /sys/class/nvme/{0}; for head in nvme*n*; do test -e \"$head\" || exit 1; \
             case $head in *c*n*) echo ${{head%%c*}}n${{head##*n}};; *) echo $head;; esac; done",
            self.name
        );
        let name = vm.shell(&script).await?;
        let device = format!("/dev/{}", name.trim());
        vm.shell(&format!("test -b {device}")).await?;
        Ok(device)
    }

    /// `live`, `connecting`, or `none` where the kernel has removed it.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub async fn state(&self, vm: &Vm) -> Result<String, Trouble> {
        let path = format!("/sys/class/nvme/{}/state", self.name);
        let said = vm.shell(&format!("cat {path} 2>/dev/null || echo none")).await?;
        Ok(said.trim().to_owned())
    }

    /// Removes it. What it had queued fails.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub async fn delete(&self, vm: &Vm) -> Result<(), Trouble> {
        vm.shell(&format!("echo 1 >/sys/class/nvme/{}/delete_controller", self.name))
            .await
            .map(drop)
    }
}
