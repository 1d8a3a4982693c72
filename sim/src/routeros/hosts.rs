//! NVMe/TCP hosts: who is connected, who writes, who is refused.
//!
//! Stories use them to prove that a fenced host no longer writes and that never two hosts wrote to
//! one image. What cuts a live host off follows what was measured on a Linux 6.1 target: taking the
//! export away does, a changed list of allowed hosts alone does not; both have a switch.

use super::machine::RouterOs;
use super::quirks::Quirks;
use super::store::Store;
use super::version::Version;

/// Why a host was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The box is off, or nothing is exported on that port.
    #[error("connection refused")]
    NoListener,
    /// No export of that NQN on that port. A Linux host of 6.12 or later does not retry.
    #[error("connect request for invalid subsystem")]
    InvalidSubsystem,
    /// The export names another host.
    #[error("connect by a host that is not allowed")]
    HostNotAllowed,
    /// The export is there, its image is gone.
    #[error("the namespace has no image")]
    NoImage,
}

/// A write that did not arrive: the connection was cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection to the subsystem is gone")]
pub struct Cut;

/// One write that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Counts from 1 over the life of the box.
    pub number: u64,
    /// The host that wrote.
    pub host_nqn: String,
    /// The image, without a leading slash.
    pub image: String,
    /// Bytes.
    pub bytes: u64,
}

/// A live connection of one host to one export.
#[derive(Debug, Clone)]
pub struct Connection {
    os: RouterOs,
    number: u64,
}

impl Connection {
    pub(super) fn new(os: RouterOs, number: u64) -> Self {
        Connection { os, number }
    }

    /// Writes; moves the counters of the disk and of its pool.
    pub fn write(&self, bytes: u64) -> Result<(), Cut> {
        self.os.host_write(self.number, bytes)
    }

    /// Reads; moves the counters of the disk.
    pub fn read(&self, bytes: u64) -> Result<(), Cut> {
        self.os.host_read(self.number, bytes)
    }

    /// Whether the connection still stands.
    pub fn is_live(&self) -> bool {
        self.os.host_is_live(self.number)
    }

    /// Ends the connection from the host's side.
    pub fn disconnect(self) {
        self.os.host_disconnect(self.number);
    }
}

#[derive(Debug, Clone)]
struct Attached {
    number: u64,
    host_nqn: String,
    nqn: String,
    port: i64,
    disk: u32,
}

/// Every connection and every write.
#[derive(Debug, Default)]
pub struct Hosts {
    attached: Vec<Attached>,
    writes: Vec<Write>,
    last_connection: u64,
    last_write: u64,
}

impl Hosts {
    /// Writes kept; older ones go.
    const BOUND: usize = 65_536;

    /// Lets a host in, or says why not.
    pub(super) fn connect(
        &mut self,
        store: &Store,
        version: Version,
        host_nqn: &str,
        nqn: &str,
        port: u16,
    ) -> Result<u64, Refusal> {
        let port = i64::from(port);
        let mut on_port =
            store.disks.iter().filter(|(_, disk)| disk.exported() && disk.port() == port);
        if on_port.clone().next().is_none() {
            return Err(Refusal::NoListener);
        }
        let (id, disk) =
            on_port.find(|(_, disk)| disk.nqn(version) == nqn).ok_or(Refusal::InvalidSubsystem)?;
        let allowed = disk.text("nvme-tcp-server-allow-host-name");
        if !allowed.is_empty() && allowed != host_nqn {
            return Err(Refusal::HostNotAllowed);
        }
        if disk.image().is_some_and(|image| store.file(&image).is_none()) {
            return Err(Refusal::NoImage);
        }
        self.last_connection += 1;
        self.attached.push(Attached {
            number: self.last_connection,
            host_nqn: host_nqn.to_owned(),
            nqn: nqn.to_owned(),
            port,
            disk: *id,
        });
        Ok(self.last_connection)
    }

    /// Cuts off whom the exports no longer allow. Runs after every change.
    pub(super) fn follow(&mut self, store: &Store, version: Version, quirks: &Quirks) {
        self.attached.retain(|host| {
            let Some(disk) = store.disks.get(&host.disk) else {
                return false;
            };
            if !disk.exported() {
                return quirks.unexport_keeps_hosts;
            }
            let same = disk.nqn(version) == host.nqn && disk.port() == host.port;
            if !same && !quirks.new_nqn_keeps_hosts {
                return false;
            }
            let allowed = disk.text("nvme-tcp-server-allow-host-name");
            !quirks.acl_change_cuts || allowed.is_empty() || allowed == host.host_nqn
        });
    }

    /// Whether a host is connected to that disk.
    pub fn is_busy(&self, disk: u32) -> bool {
        self.attached.iter().any(|host| host.disk == disk)
    }

    /// Host NQNs connected to that disk.
    pub fn of_disk(&self, disk: u32) -> Vec<String> {
        let here = self.attached.iter().filter(|host| host.disk == disk);
        here.map(|host| host.host_nqn.clone()).collect()
    }

    /// Everything that was written, oldest first.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The power went, or the network.
    pub(super) fn cut_all(&mut self) {
        self.attached.clear();
    }

    pub(super) fn end(&mut self, number: u64) {
        self.attached.retain(|host| host.number != number);
    }

    pub(super) fn is_live(&self, number: u64) -> bool {
        self.attached.iter().any(|host| host.number == number)
    }

    /// Counts a write of a live connection.
    pub(super) fn write(&mut self, store: &mut Store, number: u64, bytes: u64) -> Result<(), Cut> {
        let host = self.attached.iter().find(|host| host.number == number).ok_or(Cut)?;
        let disk = store.disk_mut(host.disk).ok_or(Cut)?;
        disk.counters.write_ops += 1;
        disk.counters.write_bytes = disk.counters.write_bytes.saturating_add(bytes);
        let image = disk.image().unwrap_or_else(|| disk.text("slot"));
        let pool = image.split('/').next().unwrap_or_default().to_owned();
        if let Some((id, _)) = store.slot(&pool)
            && let Some(pool) = store.disk_mut(id)
        {
            pool.counters.write_ops += 1;
            pool.counters.write_bytes = pool.counters.write_bytes.saturating_add(bytes);
        }
        self.last_write += 1;
        if self.writes.len() >= Self::BOUND {
            self.writes.drain(..Self::BOUND / 2);
        }
        let (number, host_nqn) = (self.last_write, host.host_nqn.clone());
        self.writes.push(Write { number, host_nqn, image, bytes });
        Ok(())
    }

    /// Counts a read of a live connection.
    pub(super) fn read(&mut self, store: &mut Store, number: u64, bytes: u64) -> Result<(), Cut> {
        let host = self.attached.iter().find(|host| host.number == number).ok_or(Cut)?;
        let disk = store.disk_mut(host.disk).ok_or(Cut)?;
        disk.counters.read_ops += 1;
        disk.counters.read_bytes = disk.counters.read_bytes.saturating_add(bytes);
        Ok(())
    }
}
