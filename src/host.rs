//! What we ask of the kernel of this node: a trait, its types and its error.
//!
//! [`Host`] is small on purpose: each method is one thing that the kernel does, or one thing that
//! it shows. What follows from what, in which order, is decided above. Every method ends by a
//! deadline of its own; what hangs in the kernel beyond it is told as [`Kind::Stuck`] and never
//! waited for.

pub mod blocking;
pub mod blocks;
pub mod command;
pub mod fabrics;
pub mod files;
pub mod format;
pub mod grow;
mod kind;
pub mod linux;
pub mod module;
pub mod mount;
pub mod mountinfo;
pub mod notes;
pub mod options;
pub mod signature;
pub mod stuck;
pub mod sysfs;
pub mod uevent;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::volume::Nqn;

/// Everything that a connection to a volume needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The subsystem: the one of the publish context, and no other.
    pub nqn: Nqn,
    /// Address of the box's storage side; a name is resolved by the host.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// As whom the host connects.
    pub host_nqn: Nqn,
    /// The UUID that belongs to `host_nqn`.
    pub host_id: String,
    /// How long the kernel waits for what.
    pub timing: Timing,
}

/// The options of a connection that are about time and queues (`Documentation/nvme`, and the option
/// table of `drivers/nvme/host/fabrics.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// After this long without the box the kernel gives up; `None`: never (`ctrl_loss_tmo=-1`).
    pub ctrl_loss: Option<Duration>,
    /// Time between two attempts to connect again.
    pub reconnect_delay: Duration,
    /// Time between two signs of life.
    pub keep_alive: Duration,
    /// After this long I/O fails while the kernel goes on trying; `None`: it waits.
    pub fast_io_fail: Option<Duration>,
    /// Number of I/O queues; `None`: as the kernel chooses (one for each CPU).
    pub io_queues: Option<u16>,
}

/// How far a connection is: `/sys/class/nvme/nvmeN/state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControllerState {
    /// Connected.
    Live,
    /// Tries to connect, for the first time or again.
    Connecting,
    /// Being reset or made.
    Changing,
    /// Going away.
    Deleting,
    /// Given up.
    Dead,
}

/// One connection of this host to a subsystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// The kernel's name, such as `nvme3`. Never the key to anything: it is given out again.
    pub name: String,
    /// The subsystem.
    pub nqn: Nqn,
    /// As whom it is connected; absent where the kernel does not show it.
    pub host_nqn: Option<String>,
    /// Address and port as the kernel shows them, such as `traddr=10.0.0.1,trsvcid=4420`.
    pub address: String,
    /// How far it is.
    pub state: ControllerState,
}

/// Major and minor number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceNumber {
    /// Kind of device.
    pub major: u32,
    /// Which one.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The block device of a volume: the namespace's head (`nvme0n1`), never a path of it
/// (`nvme0c1n1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The subsystem that it belongs to.
    pub nqn: Nqn,
    /// Its node, such as `/dev/nvme0n1`.
    pub path: PathBuf,
    /// Its number, which says what the node really is.
    pub number: DeviceNumber,
    /// The namespace's number in its subsystem, from 1.
    pub namespace: u32,
    /// What the box calls the namespace all over the world (`wwid`: `uuid.…`, `eui.…` or
    /// `nvme.…`); absent where the kernel does not show it.
    pub identity: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
    /// Is it marked read-only?
    pub read_only: bool,
}

/// What lies at the places where file systems and partition tables are recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// All of them were read, and all are zero.
    Zeros,
    /// A file system that we know.
    FileSystem {
        /// As mount(8) calls it.
        kind: String,
        /// Its UUID.
        uuid: String,
    },
    /// A file system (as mount(8) calls it) whose mkfs did not end, as its own superblock says. No
    /// kernel mounts it, so nobody's data can be in it. Only xfs and btrfs say so; mkfs of the
    /// others leaves zeros, or [`Signature::Other`].
    Unfinished(String),
    /// Something: other than zeros, and nothing that we know.
    Other(String),
}

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Number of the mounted device; for btrfs, which shows one of its own there, the number of
    /// the device that `source` names, where it still exists.
    pub number: DeviceNumber,
    /// What of that file system is the root of the mount; `/` for all of it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Is this mount read-only?
    pub read_only: bool,
    /// Is the file system itself read-only, whatever this mount says? It is after
    /// `errors=remount-ro`.
    pub file_system_read_only: bool,
    /// The file system's type.
    pub kind: String,
    /// What was mounted, as the kernel tells it.
    pub source: String,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is there.
    Absent,
    /// A directory.
    Directory,
    /// An ordinary file.
    File,
    /// A block device.
    Block(DeviceNumber),
    /// Something else, a symbolic link among it.
    Other,
    /// What is mounted there does not even say what it is: XFS answers EIO to everything once its
    /// device is gone and it has shut itself down (ext4 goes on answering from memory).
    Unreadable,
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that an ordinary user may still write.
    pub bytes_available: u64,
    /// Bytes in use.
    pub bytes_used: u64,
    /// Inodes in all; zero where the file system has no such bound.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
}

/// The kernel of a node, and the programs that go with it.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Changes with every start of the kernel (`/proc/sys/kernel/random/boot_id`).
    async fn boot_id(&self) -> Result<String, Error>;
    /// Every connection to a subsystem over fabrics; whose they are is told by the NQN.
    async fn controllers(&self) -> Result<Vec<Controller>, Error>;
    /// Connects. Ends when the kernel has accepted or refused it; the device comes later. That
    /// exactly this connection exists is no error.
    async fn connect(&self, wanted: &Connect) -> Result<(), Error>;
    /// Ends a connection: what is queued on it fails. Nothing is done, and it is no error, when
    /// the controller is gone or is one to another subsystem by now.
    async fn disconnect(&self, controller: &str, nqn: &Nqn) -> Result<(), Error>;
    /// The devices of a subsystem, one for each namespace, by NQN through sysfs.
    async fn devices(&self, nqn: &Nqn) -> Result<Vec<Device>, Error>;
    /// Asks the controller to look at its namespaces anew, for a changed size.
    async fn rescan(&self, controller: &str) -> Result<(), Error>;
    /// Changes whenever the kernel tells of a change of an NVMe or block device. Taken before one
    /// looks, nothing is missed between the look and the wait. What the kernel does not tell (a
    /// controller from live to connecting) has to be looked for from time to time.
    fn changes(&self) -> watch::Receiver<u64>;
    /// Reads the places where signatures lie, past every cache. A place that cannot be read is an
    /// error, never zeros.
    async fn signature(&self, device: &Device) -> Result<Signature, Error>;
    /// Makes a file system, over whatever is there. Whoever asks has made sure that nothing is
    /// lost. What is killed in the middle leaves [`Signature::Zeros`], [`Signature::Unfinished`]
    /// or [`Signature::Other`].
    async fn format(&self, device: &Device, kind: &str) -> Result<(), Error>;
    /// Does a file system, or a program, hold the device for itself? An unmount takes the mount out of
    /// [`Host::mounts`] first, and writes what is left only then (`cleanup_mnt` in `fs/namespace.c`):
    /// while this says yes, ending the connection loses it. A device that is gone is held by nobody.
    async fn is_claimed(&self, device: &Device) -> Result<bool, Error>;
    /// Lets a mounted file system grow to the size of its device. Nothing to do is no error.
    async fn grow(&self, device: &Device, kind: &str, mounted_at: &Path) -> Result<(), Error>;
    /// All mounts of this process's namespace.
    async fn mounts(&self) -> Result<Vec<Mount>, Error>;
    /// Mounts a device's file system. `options` as for mount(8).
    async fn mount(
        &self,
        device: &Device,
        target: &Path,
        kind: &str,
        options: &[String],
    ) -> Result<(), Error>;
    /// Shows what is at `source` (directory or device) at `target`, too. Two steps where
    /// `read_only`: what is killed between them leaves a mount that is not.
    async fn bind(&self, source: &Path, target: &Path, read_only: bool) -> Result<(), Error>;
    /// Takes away the topmost mount at `target`. Never lazily, never by force. That nothing is
    /// mounted there is no error. After [`Kind::Stuck`] it may still happen, for instance when the
    /// controller is deleted; [`Host::mounts`] does not show it any more, [`Host::is_claimed`] does.
    async fn unmount(&self, target: &Path) -> Result<(), Error>;
    /// What a path is, without following a symbolic link at its end.
    async fn entry(&self, path: &Path) -> Result<Entry, Error>;
    /// Makes a directory, and those above it.
    async fn make_directory(&self, path: &Path) -> Result<(), Error>;
    /// Makes an empty file where nothing is, for a device to be bound to.
    async fn make_file(&self, path: &Path) -> Result<(), Error>;
    /// Removes an empty directory or an empty file; what is absent is no error. Never recursive.
    async fn remove(&self, path: &Path) -> Result<(), Error>;
    /// How full the file system at `path` is (statvfs).
    async fn usage(&self, path: &Path) -> Result<Usage, Error>;
    /// The small files of a directory of ours, by name; of one that cannot be read, why.
    async fn notes(&self) -> Result<BTreeMap<String, Result<String, Error>>, Error>;
    /// Writes one of them so that it survives the loss of power: whole, or not at all.
    async fn write_note(&self, name: &str, text: &str) -> Result<(), Error>;
    /// Removes one; an absent one is no error.
    async fn remove_note(&self, name: &str) -> Result<(), Error>;
}

/// What kind of failure it was: what a caller may conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is not there: a device, a path, a kernel module.
    Missing,
    /// Somebody uses it.
    Busy,
    /// The device or the file system answers with errors: it is dead, or cut off.
    Broken,
    /// The box or the kernel refused it; trying again the same way cannot help.
    Refused,
    /// The deadline passed; whether it still happens is not known.
    Deadline,
    /// A thread or a program of ours hangs in the kernel, in a state that no signal ends. What is
    /// asked of the same thing meanwhile ends so at once.
    Stuck,
    /// Anything else.
    Failed,
}

/// Why the host did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// What a caller may conclude.
    pub kind: Kind,
    /// What was asked, of what, and what came of it, in words for a person.
    pub what: String,
    /// The error below, where there is one.
    #[source]
    pub source: Option<std::io::Error>,
}

impl Error {
    /// One with nothing below it.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), source: None }
    }

    /// One that says `what` was tried, and the kernel's answer below it.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self { kind: kind::of(&source), what: what.into(), source: Some(source) }
    }
}
