//! A kernel in memory: a [`Host`] with boxes behind it whose disks hold file systems with files.
//!
//! It outlives the driver's process, as a kernel does. What no driver may ever do is noted in
//! [`Kernel::violations`]: mkfs over data, and binding a directory on which nothing is mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use rds_csi::host::{
    Connect, Controller, ControllerState, Device, DeviceNumber, Entry, Error, Host, Kind, Mount,
    Signature, Usage,
};
use rds_csi::volume::Nqn;
use tokio::sync::watch;

/// What lies on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing was ever written.
    Zeros,
    /// What an interrupted mkfs leaves; true where the superblock says so.
    HalfMade(String, bool),
    /// A file system.
    Files { kind: String, uuid: String, bytes: u64, files: BTreeMap<String, String> },
    /// Something else.
    Foreign(String),
}

/// A disk of a box.
#[derive(Debug, Clone)]
pub struct Disk {
    pub bytes: u64,
    pub content: Content,
}

/// A connection.
#[derive(Debug, Clone)]
struct Link {
    nqn: Nqn,
    host_nqn: String,
    address: String,
    state: ControllerState,
    disk: String,
    number: DeviceNumber,
    /// The size as the kernel saw it last.
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Mounted {
    mount: Mount,
    disk: String,
    /// The device that opens here, where it is one.
    device: Option<DeviceNumber>,
}

/// Everything.
#[derive(Debug, Default)]
pub struct World {
    pub boot: u32,
    /// What the boxes export: NQN and disk.
    pub exports: BTreeMap<String, String>,
    pub disks: BTreeMap<String, Disk>,
    /// Do the boxes answer?
    pub away: bool,
    /// Is a connection removed at the first refusal (Linux 6.12)?
    pub drops: bool,
    /// Targets that somebody has open.
    pub busy: BTreeSet<PathBuf>,
    /// mkfs is cut off and leaves this.
    pub cut_mkfs: Option<Content>,
    /// The signature cannot be read.
    pub unreadable: bool,
    /// Connections show no device.
    pub no_device: bool,
    /// A part of every path is a symbolic link, and mounts show where it leads.
    pub linked: bool,
    /// The same of this path alone.
    pub linked_below: Option<PathBuf>,
    /// What the boxes call disks, where it is not the usual.
    pub identities: BTreeMap<String, String>,
    pub violations: Vec<String>,
    /// The connections that were ended while a file system had something to write.
    pub lost: Vec<String>,
    /// Minor numbers of devices that an unmount has still to write to.
    claimed: BTreeSet<u32>,
    /// Counts of calls, by name.
    pub calls: BTreeMap<&'static str, usize>,
    links: BTreeMap<String, Link>,
    mounts: Vec<Mounted>,
    /// Directories and files outside of all mounts; a directory has no text.
    tree: BTreeMap<PathBuf, Option<String>>,
    notes: BTreeMap<String, String>,
    made: u32,
}

/// The kernel of one node. Clones share it.
#[derive(Clone)]
pub struct Kernel {
    world: Arc<Mutex<World>>,
    told: Arc<watch::Sender<u64>>,
}

const DEVTMPFS: DeviceNumber = DeviceNumber { major: 0, minor: 5 };

fn fail<T>(kind: Kind, what: impl Into<String>) -> Result<T, Error> {
    Err(Error::new(kind, what))
}

impl World {
    fn call(&mut self, name: &'static str) {
        *self.calls.entry(name).or_default() += 1;
    }

    fn topmost(&self, target: &Path) -> Option<&Mounted> {
        self.mounts.iter().rev().find(|one| one.mount.target == target)
    }

    fn link_of(&self, number: DeviceNumber) -> Option<&Link> {
        self.links.values().find(|link| link.number == number)
    }

    fn live(&self, device: &Device) -> Result<Link, Error> {
        match self.link_of(device.number) {
            None => fail(Kind::Missing, "the device is gone"),
            Some(link) if link.state != ControllerState::Live || self.away => {
                fail(Kind::Stuck, "I/O waits for the box")
            }
            Some(link) => Ok(link.clone()),
        }
    }

    /// Connections follow what the boxes do.
    fn settle(&mut self) {
        let (away, drops, exports) = (self.away, self.drops, self.exports.clone());
        self.links.retain(|_, link| {
            let exported = exports.get(link.nqn.as_str()) == Some(&link.disk);
            if !away && exported {
                link.state = ControllerState::Live;
            } else {
                link.state = ControllerState::Connecting;
            }
            away || exported || !drops
        });
    }

    fn name_of(&self, number: DeviceNumber) -> PathBuf {
        PathBuf::from(format!("/dev/nvme{}n1", number.minor))
    }
}

impl Kernel {
    /// One without any box.
    pub fn new() -> Self {
        let world = World { boot: 1, ..World::default() };
        Self { world: Arc::new(Mutex::new(world)), told: Arc::new(watch::channel(0).0) }
    }

    /// To look at, or to change.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Changes something and tells of it.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        let mut world = self.world();
        change(&mut world);
        world.settle();
        self.told.send_modify(|count| *count += 1);
    }

    /// A disk of zeros.
    pub fn make_disk(&self, disk: &str, bytes: u64) {
        self.change(|world| {
            world.disks.insert(disk.into(), Disk { bytes, content: Content::Zeros });
        });
    }

    /// A box exports a disk under this name alone.
    pub fn export(&self, disk: &str, nqn: &str) {
        self.change(|world| {
            world.exports.retain(|_, exported| exported != disk);
            world.exports.insert(nqn.into(), disk.into());
        });
    }

    /// A box exports a disk no more.
    pub fn unexport(&self, disk: &str) {
        self.change(|world| world.exports.retain(|_, exported| exported != disk));
    }

    /// What lies on a disk.
    pub fn content(&self, disk: &str) -> Content {
        self.world().disks[disk].content.clone()
    }

    /// Puts something on a disk.
    pub fn put(&self, disk: &str, content: Content) {
        self.change(|world| world.disks.get_mut(disk).unwrap().content = content);
    }

    /// The node is started anew: mounts and connections are gone, notes and directories stay.
    pub fn reboot(&self) {
        self.change(|world| {
            world.boot += 1;
            world.links.clear();
            world.mounts.clear();
        });
    }

    /// The connection to this subsystem is lost, and comes back under another number.
    pub fn renumber(&self, nqn: &str) {
        self.change(|world| {
            world.made += 1;
            let number = DeviceNumber { major: 259, minor: world.made };
            for link in world.links.values_mut().filter(|link| link.nqn.as_str() == nqn) {
                link.number = number;
            }
        });
    }

    /// The NQNs that are connected.
    pub fn connected(&self) -> Vec<String> {
        self.world().links.values().map(|link| link.nqn.to_string()).collect()
    }

    /// How many mounts lie on a path.
    pub fn mounted(&self, target: &Path) -> usize {
        self.world().mounts.iter().filter(|one| one.mount.target == target).count()
    }

    /// Is there anything under this path?
    pub fn exists(&self, path: &Path) -> bool {
        self.world().tree.contains_key(path)
    }

    /// Mounts something of somebody else's.
    pub fn mount_foreign(&self, target: &Path) {
        let mount = Mount {
            number: DeviceNumber { major: 0, minor: 99 },
            root: "/".into(),
            target: target.to_owned(),
            read_only: false,
            file_system_read_only: false,
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
        };
        self.change(|world| {
            world.mounts.push(Mounted { mount, disk: String::new(), device: None });
        });
    }

    /// Somebody binds what is mounted at a path to another one, too.
    pub fn rebind(&self, from: &Path, to: &Path) {
        self.change(|world| {
            let mut found = world.topmost(from).unwrap().clone();
            found.mount.target = to.to_owned();
            world.mounts.push(found);
        });
    }

    /// What a pod does: writes a file below `target`, and reads it back.
    pub fn write(&self, target: &Path, name: &str, text: &str) -> Result<(), String> {
        let mut world = self.world();
        let Some(found) = world.topmost(target).cloned() else {
            world.tree.insert(target.join(name), Some(text.into()));
            return Ok(());
        };
        if found.mount.read_only {
            return Err("read-only".into());
        }
        let link = world.link_of(found.mount.number).ok_or("EIO")?;
        if link.state != ControllerState::Live {
            return Err("waits".into());
        }
        match world.disks.get_mut(&found.disk).map(|disk| &mut disk.content) {
            Some(Content::Files { files, .. }) => {
                files.insert(name.into(), text.into());
                Ok(())
            }
            _ => Err("no file system".into()),
        }
    }

    /// The disk that is to be seen at a path, as a file system or as a device that can be opened.
    pub fn disk_at(&self, target: &Path) -> Option<String> {
        let world = self.world();
        let found = world.topmost(target)?;
        let number = found.device.unwrap_or(found.mount.number);
        world.link_of(number).map(|link| link.disk.clone())
    }

    /// How often a method was called.
    pub fn calls(&self, name: &str) -> usize {
        self.world().calls.get(name).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Host for Kernel {
    async fn boot_id(&self) -> Result<String, Error> {
        Ok(format!("boot-{}", self.world().boot))
    }

    async fn controllers(&self) -> Result<Vec<Controller>, Error> {
        let world = self.world();
        let shown = |(name, link): (&String, &Link)| Controller {
            name: name.clone(),
            nqn: link.nqn.clone(),
            host_nqn: Some(link.host_nqn.clone()),
            address: link.address.clone(),
            state: link.state,
        };
        Ok(world.links.iter().map(shown).collect())
    }

    async fn connect(&self, wanted: &Connect) -> Result<(), Error> {
        let mut world = self.world();
        world.call("connect");
        if world.away {
            return fail(Kind::Deadline, "no answer from the box");
        }
        if world.links.values().any(|link| link.nqn == wanted.nqn) {
            return Ok(());
        }
        let Some(disk) = world.exports.get(wanted.nqn.as_str()).cloned() else {
            return fail(Kind::Refused, "invalid subsystem");
        };
        world.made += 1;
        let (name, bytes) = (format!("nvme{}", world.made), world.disks[&disk].bytes);
        let link = Link {
            nqn: wanted.nqn.clone(),
            host_nqn: wanted.host_nqn.to_string(),
            address: format!("traddr={},trsvcid={}", wanted.address, wanted.port),
            state: ControllerState::Live,
            disk,
            number: DeviceNumber { major: 259, minor: world.made },
            bytes,
        };
        world.links.insert(name, link);
        drop(world);
        self.told.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn disconnect(&self, controller: &str, nqn: &Nqn) -> Result<(), Error> {
        let mut world = self.world();
        world.call("disconnect");
        if world.links.get(controller).is_some_and(|link| link.nqn == *nqn) {
            let link = world.links.remove(controller);
            if let Some(link) = link.filter(|link| world.claimed.remove(&link.number.minor)) {
                world.lost.push(link.nqn.to_string());
            }
        }
        Ok(())
    }

    async fn devices(&self, nqn: &Nqn) -> Result<Vec<Device>, Error> {
        let world = self.world();
        if world.no_device {
            return Ok(Vec::new());
        }
        let of_nqn = world.links.values().filter(|link| link.nqn == *nqn);
        let device = |link: &Link| Device {
            nqn: link.nqn.clone(),
            path: world.name_of(link.number),
            number: link.number,
            namespace: 1,
            identity: Some(match world.identities.get(&link.disk) {
                Some(identity) => identity.clone(),
                None => format!("uuid.{}", link.disk),
            }),
            bytes: link.bytes,
            read_only: false,
        };
        Ok(of_nqn.map(device).collect())
    }

    async fn rescan(&self, controller: &str) -> Result<(), Error> {
        let mut world = self.world();
        world.call("rescan");
        let disks: BTreeMap<_, _> =
            world.disks.iter().map(|(name, disk)| (name.clone(), disk.bytes)).collect();
        if let Some(link) = world.links.get_mut(controller) {
            link.bytes = disks[&link.disk];
        }
        Ok(())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    async fn is_claimed(&self, device: &Device) -> Result<bool, Error> {
        let mut world = self.world();
        let writes = |link: &Link| link.state == ControllerState::Live;
        if world.link_of(device.number).is_none_or(writes) {
            world.claimed.remove(&device.number.minor);
        }
        Ok(world.claimed.contains(&device.number.minor))
    }

    async fn signature(&self, device: &Device) -> Result<Signature, Error> {
        let mut world = self.world();
        world.call("signature");
        let link = world.live(device)?;
        if world.unreadable {
            return fail(Kind::Broken, "the signature cannot be read");
        }
        Ok(match &world.disks[&link.disk].content {
            Content::Zeros => Signature::Zeros,
            Content::HalfMade(kind, true) => Signature::Unfinished(kind.clone()),
            Content::HalfMade(kind, false) => Signature::Other(format!("a piece of {kind}")),
            Content::Files { kind, uuid, .. } => {
                Signature::FileSystem { kind: kind.clone(), uuid: uuid.clone() }
            }
            Content::Foreign(what) => Signature::Other(what.clone()),
        })
    }

    async fn format(&self, device: &Device, kind: &str) -> Result<(), Error> {
        let mut world = self.world();
        world.call("format");
        let link = world.live(device)?;
        world.made += 1;
        let uuid = format!("uuid-{}", world.made);
        let found = world.disks[&link.disk].content.clone();
        if !matches!(found, Content::Zeros | Content::HalfMade(..)) {
            world.violations.push(format!("mkfs over {found:?}"));
        }
        let cut = world.cut_mkfs.take();
        let ended = cut.is_none();
        let bytes = link.bytes;
        let made = Content::Files { kind: kind.into(), uuid, bytes, files: BTreeMap::new() };
        if let Some(disk) = world.disks.get_mut(&link.disk) {
            disk.content = cut.unwrap_or(made);
        }
        if ended { Ok(()) } else { fail(Kind::Deadline, "mkfs was killed") }
    }

    async fn grow(&self, device: &Device, kind: &str, at: &Path) -> Result<(), Error> {
        let mut world = self.world();
        world.call("grow");
        let link = world.live(device)?;
        if world.topmost(at).is_none_or(|found| found.mount.number != device.number) {
            return fail(Kind::Missing, "not mounted there");
        }
        match world.disks.get_mut(&link.disk).map(|disk| &mut disk.content) {
            Some(Content::Files { kind: found, bytes, .. }) if found == kind => {
                *bytes = link.bytes;
                Ok(())
            }
            _ => fail(Kind::Refused, "another file system"),
        }
    }

    async fn mounts(&self) -> Result<Vec<Mount>, Error> {
        let world = self.world();
        let mut shown: Vec<_> = world.mounts.iter().map(|one| one.mount.clone()).collect();
        let below =
            |target: &Path| world.linked_below.as_ref().is_some_and(|at| target.starts_with(at));
        for mount in shown.iter_mut().filter(|one| world.linked || below(&one.target)) {
            mount.target = Path::new("/data").join(mount.target.strip_prefix("/").unwrap());
        }
        Ok(shown)
    }

    async fn mount(
        &self,
        device: &Device,
        target: &Path,
        kind: &str,
        options: &[String],
    ) -> Result<(), Error> {
        let mut world = self.world();
        world.call("mount");
        let link = world.live(device)?;
        if world.tree.get(target) != Some(&None) {
            return fail(Kind::Missing, "no directory");
        }
        let twin = |uuid: &str| {
            world.mounts.iter().any(|one| {
                let content = world.disks.get(&one.disk).map(|disk| &disk.content);
                one.disk != link.disk
                    && matches!(content, Some(Content::Files { uuid: other, .. }) if other == uuid)
            })
        };
        match &world.disks[&link.disk].content {
            Content::Files { kind: found, uuid, .. } if found == kind => {
                let excused = options.iter().any(|option| option == "nouuid");
                if kind == "xfs" && !excused && twin(uuid) {
                    return fail(Kind::Refused, "a file system of this UUID is mounted");
                }
            }
            _ => return fail(Kind::Refused, "wrong fs type, bad superblock"),
        }
        let read_only = options.iter().any(|option| option == "ro");
        let mount = Mount {
            number: device.number,
            root: "/".into(),
            target: target.to_owned(),
            read_only,
            file_system_read_only: read_only,
            kind: kind.into(),
            source: device.path.display().to_string(),
        };
        world.mounts.push(Mounted { mount, disk: link.disk, device: None });
        Ok(())
    }

    async fn bind(&self, source: &Path, target: &Path, read_only: bool) -> Result<(), Error> {
        let mut world = self.world();
        world.call("bind");
        let device = world.links.values().find(|link| world.name_of(link.number) == source);
        let found = match (device.cloned(), world.topmost(source).cloned()) {
            (Some(link), _) => {
                if !matches!(world.tree.get(target), Some(Some(_))) {
                    return fail(Kind::Missing, "no file");
                }
                let mount = Mount {
                    number: DEVTMPFS,
                    root: Path::new("/").join(source.file_name().unwrap()),
                    target: target.to_owned(),
                    read_only,
                    file_system_read_only: false,
                    kind: "devtmpfs".into(),
                    source: "udev".into(),
                };
                Mounted { mount, disk: link.disk, device: Some(link.number) }
            }
            (None, Some(mut found)) => {
                if world.tree.get(target) != Some(&None) {
                    return fail(Kind::Missing, "no directory");
                }
                found.mount.target = target.to_owned();
                found.mount.read_only |= read_only;
                found
            }
            (None, None) => {
                world.violations.push(format!("bound {source:?}, where nothing is mounted"));
                return fail(Kind::Missing, "nothing there");
            }
        };
        world.mounts.push(found);
        Ok(())
    }

    async fn unmount(&self, target: &Path) -> Result<(), Error> {
        let mut world = self.world();
        world.call("unmount");
        let Some(at) = world.mounts.iter().rposition(|one| one.mount.target == target) else {
            return Ok(());
        };
        if world.busy.contains(target) {
            return fail(Kind::Busy, format!("{} is in use", target.display()));
        }
        let number = world.mounts[at].mount.number;
        let last = world.mounts.iter().filter(|one| one.mount.number == number).count() == 1;
        let waits = world.link_of(number).is_some_and(|link| link.state != ControllerState::Live);
        world.mounts.remove(at);
        if last && waits {
            world.claimed.insert(number.minor);
            return fail(Kind::Stuck, "the unmount waits for the box");
        }
        Ok(())
    }

    async fn entry(&self, path: &Path) -> Result<Entry, Error> {
        let world = self.world();
        if let Some(found) = world.topmost(path) {
            // Which has shut itself down.
            let is_dead = world.link_of(found.mount.number).is_none();
            if is_dead && found.device.is_none() && found.mount.kind == "xfs" {
                return Ok(Entry::Unreadable);
            }
            return Ok(found.device.map_or(Entry::Directory, Entry::Block));
        }
        Ok(match world.tree.get(path) {
            None => Entry::Absent,
            Some(None) => Entry::Directory,
            Some(Some(_)) => Entry::File,
        })
    }

    async fn make_directory(&self, path: &Path) -> Result<(), Error> {
        let mut world = self.world();
        for above in path.ancestors() {
            world.tree.entry(above.to_owned()).or_insert(None);
        }
        Ok(())
    }

    async fn make_file(&self, path: &Path) -> Result<(), Error> {
        let mut world = self.world();
        for above in path.ancestors().skip(1) {
            world.tree.entry(above.to_owned()).or_insert(None);
        }
        world.tree.entry(path.to_owned()).or_insert(Some(String::new()));
        Ok(())
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        let mut world = self.world();
        world.call("remove");
        let full = world.tree.keys().any(|other| other != path && other.starts_with(path));
        let text = world.tree.get(path).cloned().flatten().unwrap_or_default();
        if world.topmost(path).is_some() || full || !text.is_empty() {
            return fail(Kind::Busy, format!("{} is not empty", path.display()));
        }
        world.tree.remove(path);
        Ok(())
    }

    async fn usage(&self, path: &Path) -> Result<Usage, Error> {
        let world = self.world();
        let Some(found) = world.topmost(path) else {
            return fail(Kind::Missing, "nothing is mounted there");
        };
        match world.disks.get(&found.disk).map(|disk| &disk.content) {
            Some(Content::Files { bytes, files, .. }) => {
                let used = files.values().map(|text| text.len() as u64).sum();
                let count = files.len() as u64;
                Ok(Usage {
                    bytes: *bytes,
                    bytes_available: bytes - used,
                    bytes_used: used,
                    inodes: 1000,
                    inodes_free: 1000 - count,
                })
            }
            _ => fail(Kind::Broken, "no file system"),
        }
    }

    async fn notes(&self) -> Result<BTreeMap<String, Result<String, Error>>, Error> {
        let notes = self.world().notes.clone();
        Ok(notes.into_iter().map(|(name, text)| (name, Ok(text))).collect())
    }

    async fn write_note(&self, name: &str, text: &str) -> Result<(), Error> {
        let mut world = self.world();
        world.call("write_note");
        world.notes.insert(name.into(), text.into());
        Ok(())
    }

    async fn remove_note(&self, name: &str) -> Result<(), Error> {
        self.world().notes.remove(name);
        Ok(())
    }
}
