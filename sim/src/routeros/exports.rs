//! What of the box can be seen on a real network: images, devices, exports, open ports.
//!
//! [`Outside::of`] reads it from the state, [`plan`] tells what leads from one to another, and an
//! [`Exports`] does it. Without one, the box has no hosts but those of
//! [`super::RouterOs::connect_host`].

use std::collections::{BTreeMap, BTreeSet};

use super::quirks::Quirks;
use super::store::{Counters, Store};
use super::version::Version;

/// Makes real what the box exports.
pub trait Exports: Send + Sync {
    /// Makes the outside equal to this. Called after every change, with the box locked: nobody sees
    /// the box changed and the outside not.
    ///
    /// # Errors
    /// What could not be done; what was done until then stays.
    fn follow(&self, wanted: &Outside) -> Result<(), String>;

    /// I/O of the disk with that id since it was attached; none where nothing counts it.
    fn counters(&self, disk: u32) -> Option<Counters>;
}

/// How the box answers hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// As configured.
    #[default]
    Serving,
    /// It listens, and exports nothing, as a box whose configuration is still being applied.
    Bare,
    /// Nobody listens.
    Closed,
}

/// All that hosts can see, and what lies behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Files with data, by their names without a leading slash.
    pub images: BTreeMap<String, Image>,
    /// Images that are block devices, by the ids of their disks.
    pub devices: BTreeMap<u32, String>,
    /// Devices that hosts may reach, by the ids of their disks.
    pub exports: BTreeMap<u32, Export>,
    /// TCP ports that are open.
    pub ports: BTreeSet<u16>,
}

/// A file with data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Bytes.
    pub size: u64,
    /// Another number means other data.
    pub content: u64,
}

/// A disk that hosts may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The subsystem's name.
    pub nqn: String,
    /// The TCP port.
    pub port: u16,
    /// The one host that may connect; none lets everybody.
    pub host: Option<String>,
    /// The disk's slot: what the identity of the namespace is made from.
    pub slot: String,
}

/// One step from one outside to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ends an export; whoever is connected is cut off.
    Unexport(u32),
    /// Nobody listens on that port any more.
    ClosePort(u16),
    /// The image is a device no more.
    Detach(u32),
    /// The file goes.
    RemoveImage(String),
    /// The file is made, or made anew without data.
    MakeImage(String, Image),
    /// The file has another size.
    SizeImage(String, Image),
    /// The image becomes a device.
    Attach(u32, String),
    /// The device has the size of its image again.
    Resize(u32),
    /// Somebody listens on that port.
    OpenPort(u16),
    /// Hosts may connect.
    Export(u32, Export),
    /// Other hosts may connect; who is connected stays.
    Allow(u32, Export),
}

impl Outside {
    /// What is to be seen of a box that is on. `keep` are ports that are open whatever is exported;
    /// `before` is what was to be seen, for boxes that leave hosts connected to what they unexported.
    pub fn of(
        (store, version, quirks): (&Store, Version, &Quirks),
        target: Target,
        keep: &BTreeSet<u16>,
        before: &Outside,
    ) -> Self {
        let is_data = |kind: &str| !matches!(kind, "directory" | "disk");
        let images: BTreeMap<String, Image> = store
            .files
            .values()
            .filter(|file| is_data(&file.kind))
            .map(|file| {
                let size = u64::try_from(file.size).unwrap_or(0);
                (file.name.clone(), Image { size, content: file.content })
            })
            .collect();
        let devices: BTreeMap<u32, String> = store
            .disks
            .iter()
            .filter(|(_, disk)| !disk.is("disabled"))
            .filter_map(|(id, disk)| Some((*id, disk.image()?)))
            .filter(|(_, image)| images.contains_key(image))
            .collect();
        let mut exports = BTreeMap::new();
        for id in devices.keys() {
            let Some(disk) = store.disks.get(id) else { continue };
            let kept = before.exports.get(id).filter(|_| quirks.unexport_keeps_hosts);
            let host = Some(disk.text("nvme-tcp-server-allow-host-name"));
            let named = || Export {
                nqn: disk.nqn(version),
                port: u16::try_from(disk.port()).unwrap_or(0),
                host: host.filter(|host| !host.is_empty()),
                slot: disk.text("slot"),
            };
            let export = if disk.exported() { Some(named()) } else { kept.cloned() };
            exports.extend(export.map(|export| (*id, export)));
        }
        let mut ports: BTreeSet<u16> = exports.values().map(|export| export.port).collect();
        ports.extend(keep);
        if target != Target::Serving {
            exports.clear();
        }
        if target == Target::Closed {
            ports.clear();
        }
        Outside { images, devices, exports, ports }
    }

    /// What is to be seen of a box that is off: its images, to whoever takes its disks out.
    pub fn off(&self) -> Self {
        Outside { images: self.images.clone(), ..Outside::default() }
    }

    /// What it is after a step.
    pub fn take(&mut self, step: &Step) {
        match step.clone() {
            Step::Unexport(id) => drop(self.exports.remove(&id)),
            Step::ClosePort(port) => drop(self.ports.remove(&port)),
            Step::Detach(id) => drop(self.devices.remove(&id)),
            Step::RemoveImage(name) => drop(self.images.remove(&name)),
            Step::MakeImage(name, image) | Step::SizeImage(name, image) => {
                self.images.insert(name, image);
            }
            Step::Attach(id, image) => drop(self.devices.insert(id, image)),
            Step::Resize(_) => {}
            Step::OpenPort(port) => drop(self.ports.insert(port)),
            Step::Export(id, export) | Step::Allow(id, export) => {
                self.exports.insert(id, export);
            }
        }
    }
}

/// What leads from one outside to another: first what closes, then images, then what opens.
pub fn plan(before: &Outside, after: &Outside) -> Vec<Step> {
    let emptied = |name: &String| match (before.images.get(name), after.images.get(name)) {
        (Some(was), Some(is)) => was.content != is.content,
        _ => false,
    };
    let stays = |id: &u32| {
        let (was, is) = (before.devices.get(id), after.devices.get(id));
        was.is_some() && was == is && !was.is_some_and(&emptied)
    };
    let same_name = |id: &u32| match (before.exports.get(id), after.exports.get(id)) {
        (Some(was), Some(is)) => {
            stays(id) && (&was.nqn, was.port, &was.slot) == (&is.nqn, is.port, &is.slot)
        }
        _ => false,
    };
    let mut steps = Vec::new();
    steps.extend(before.exports.keys().filter(|id| !same_name(id)).map(|id| Step::Unexport(*id)));
    steps.extend(before.ports.difference(&after.ports).map(|port| Step::ClosePort(*port)));
    steps.extend(before.devices.keys().filter(|id| !stays(id)).map(|id| Step::Detach(*id)));
    let gone = before.images.keys().filter(|name| !after.images.contains_key(*name));
    steps.extend(gone.map(|name| Step::RemoveImage(name.clone())));
    let mut sized = BTreeSet::new();
    for (name, image) in &after.images {
        match before.images.get(name) {
            Some(was) if was == image => {}
            Some(was) if was.content == image.content => {
                sized.insert(name);
                steps.push(Step::SizeImage(name.clone(), image.clone()));
            }
            _ => steps.push(Step::MakeImage(name.clone(), image.clone())),
        }
    }
    for (id, image) in &after.devices {
        if !stays(id) {
            steps.push(Step::Attach(*id, image.clone()));
        } else if sized.contains(image) {
            steps.push(Step::Resize(*id));
        }
    }
    steps.extend(after.ports.difference(&before.ports).map(|port| Step::OpenPort(*port)));
    for (id, export) in &after.exports {
        if !same_name(id) {
            steps.push(Step::Export(*id, export.clone()));
        } else if before.exports.get(id) != Some(export) {
            steps.push(Step::Allow(*id, export.clone()));
        }
    }
    steps
}

#[cfg(test)]
mod test;
