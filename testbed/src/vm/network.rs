//! Two networks of machines: one for control, of which stories never lose sight, and one for storage,
//! which they cut.
//!
//! Both are bridges in the network namespace of this process, which must be one of its own
//! (`unshare --net`).

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use crate::network::{ip, own_namespace};
use crate::{Trouble, parts};

/// Networks of this process so far: each has a third byte of its own.
static NETWORKS: AtomicU16 = AtomicU16::new(0);
/// The last byte of the first machine's addresses.
const FIRST: u8 = 10;

/// One of the two cables of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// To whoever commands it: the test, and the controller.
    Control,
    /// To the box.
    Storage,
}

/// Both networks, and the folder where the machines' logs lie.
pub struct Network {
    number: u8,
    machines: AtomicU8,
    folder: PathBuf,
}

/// Where a machine is plugged in.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    network: u8,
    machine: u8,
}

impl Network {
    /// Makes the networks of a story; logs lie in `target/vm/<story>/`.
    ///
    /// # Errors
    /// When this process is in the network namespace of the machine, or `ip` fails.
    pub async fn start(story: &str) -> Result<Self, Trouble> {
        Self::start_in(parts::target().join("vm").join(story)).await
    }

    /// Makes the networks of a story whose logs lie in this folder.
    ///
    /// # Errors
    /// As there.
    pub async fn start_in(folder: PathBuf) -> Result<Self, Trouble> {
        own_namespace(&std::fs::read_to_string("/proc/self/net/dev")?)?;
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let number = u8::try_from(number).map_err(|_| "256 networks are enough")?;
        let network = Self { number, machines: AtomicU8::new(FIRST), folder };
        let mut lines = vec!["link set lo up".to_owned()];
        for cable in [Cable::Control, Cable::Storage] {
            let (bridge, address) = (bridge(number, cable), network.gateway(cable));
            lines.push(format!("link add {bridge} type bridge"));
            lines.push(format!("address add {address}/24 dev {bridge}"));
            lines.push(format!("link set {bridge} up"));
        }
        ip(&lines).await?;
        Ok(network)
    }

    /// The address of the test itself.
    pub fn gateway(&self, cable: Cable) -> Ipv4Addr {
        address(self.number, cable, 1)
    }

    /// Where logs lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A place for one more machine.
    pub(super) async fn socket(&self) -> Result<Socket, Trouble> {
        let machine = self.machines.fetch_add(1, Ordering::Relaxed);
        if !(FIRST..250).contains(&machine) {
            return Err("a network has room for 240 machines".into());
        }
        let socket = Socket { network: self.number, machine };
        let mut lines = Vec::new();
        for cable in [Cable::Control, Cable::Storage] {
            let (tap, bridge) = (socket.tap(cable), bridge(self.number, cable));
            lines.push(format!("tuntap add dev {tap} mode tap"));
            lines.push(format!("link set {tap} master {bridge} up"));
        }
        ip(&lines).await?;
        Ok(socket)
    }
}

impl Socket {
    /// The machine's address.
    pub(super) fn address(&self, cable: Cable) -> Ipv4Addr {
        address(self.network, cable, self.machine)
    }

    /// The test's address.
    pub(super) fn gateway(&self, cable: Cable) -> Ipv4Addr {
        address(self.network, cable, 1)
    }

    /// The interface on our side.
    pub(super) fn tap(&self, cable: Cable) -> String {
        format!("rdst{}-{}{}", self.network, letter(cable), self.machine)
    }

    /// The address of the card.
    pub(super) fn mac(&self, cable: Cable) -> String {
        let card = if cable == Cable::Control { 0 } else { 1 };
        format!("52:54:00:{:02x}:{card:02x}:{:02x}", self.network, self.machine)
    }

    /// Pulls the cable, or puts it in again.
    pub(super) async fn plug(&self, cable: Cable, on: bool) -> Result<(), Trouble> {
        let state = if on { "up" } else { "down" };
        ip(&[format!("link set {} {state}", self.tap(cable))]).await
    }
}

fn letter(cable: Cable) -> char {
    match cable {
        Cable::Control => 'c',
        Cable::Storage => 's',
    }
}

fn bridge(network: u8, cable: Cable) -> String {
    format!("rdsb{network}-{}", letter(cable))
}

fn address(network: u8, cable: Cable, last: u8) -> Ipv4Addr {
    let second = if cable == Cable::Control { 78 } else { 79 };
    Ipv4Addr::new(10, second, network, last)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_of_interfaces_are_short_enough_for_the_kernel() {
        let socket = Socket { network: 255, machine: 249 };
        for cable in [Cable::Control, Cable::Storage] {
            // IFNAMSIZ is 16, with the zero at the end.
            assert!(socket.tap(cable).len() < 16, "{}", socket.tap(cable));
            assert!(bridge(255, cable).len() < 16);
        }
    }

    #[test]
    fn the_cables_of_machines_never_share_a_name_or_an_address() {
        let (a, b) = (Socket { network: 1, machine: 10 }, Socket { network: 1, machine: 11 });
        let all = |of: &dyn Fn(&Socket, Cable) -> String| {
            let pairs = [(&a, Cable::Control), (&a, Cable::Storage), (&b, Cable::Control)];
            let names: std::collections::BTreeSet<_> =
                pairs.iter().map(|(socket, cable)| of(socket, *cable)).collect();
            assert_eq!(names.len(), 3, "{names:?}");
        };
        all(&|socket, cable| socket.tap(cable));
        all(&|socket, cable| socket.mac(cable));
        all(&|socket, cable| socket.address(cable).to_string());
    }
}
