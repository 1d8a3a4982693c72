//! What the box exports, by the NVMe target of the Linux kernel.
//!
//! Images are files, best on a tmpfs; each is a loop device, whose statistics are the disk's counters;
//! an export is a subsystem below `/sys/kernel/config/nvmet` with one namespace, linked to a port of TCP
//! on every address. The modules `nvmet-tcp` and `loop` must be loaded, and this takes root.
//!
//! What else lies in that configfs is left alone: a subsystem of ours says the model `rds-sim`.

mod configfs;
mod loops;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::routeros::{Counters, Export, Exports, Image, Outside, Step, plan};
pub use configfs::{Configfs, Tree};
pub use loops::{Loops, Losetup};

/// Where the kernel shows it.
pub const CONFIGFS: &str = "/sys/kernel/config/nvmet";

/// The kernel's NVMe target, as the outside of a box.
pub struct Nvmet<T, L> {
    folder: PathBuf,
    target: Configfs<T>,
    loops: L,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was done so far.
    done: Outside,
    devices: BTreeMap<u32, Attached>,
}

/// A device, and what it had counted when it became one.
struct Attached {
    device: PathBuf,
    before: Counters,
}

impl<T: Tree, L: Loops> Nvmet<T, L> {
    /// Takes the target over: what an earlier one of ours left there is removed. Images lie in
    /// `folder`.
    ///
    /// # Errors
    /// When there is no target, or what is left cannot be removed.
    pub fn take_over(folder: &Path, tree: T, loops: L) -> Result<Self, String> {
        let target = Configfs::new(tree);
        target.clear()?;
        loops.clear(folder)?;
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let folder = folder.to_owned();
        Ok(Self { folder, target, loops, state: Mutex::default() })
    }

    fn step(&self, state: &mut State, step: &Step) -> Result<(), String> {
        let State { done, devices } = state;
        match step {
            Step::Unexport(id) => match done.exports.get(id) {
                Some(export) => self.target.unexport(export),
                None => Ok(()),
            },
            Step::ClosePort(port) => self.target.close(*port),
            Step::Detach(id) => match devices.remove(id) {
                Some(attached) => self.loops.detach(&attached.device),
                None => Ok(()),
            },
            Step::RemoveImage(name) => self.remove(name),
            Step::MakeImage(name, image) => self.make(name, image, true),
            Step::SizeImage(name, image) => self.make(name, image, false),
            Step::Attach(id, image) => {
                let device = self.loops.attach(&self.folder.join(image))?;
                let before = self.loops.counters(&device).unwrap_or_default();
                devices.insert(*id, Attached { device, before });
                Ok(())
            }
            Step::Resize(id) => match devices.get(id) {
                Some(attached) => self.loops.resize(&attached.device),
                None => Ok(()),
            },
            Step::OpenPort(port) => self.target.open(*port),
            Step::Export(id, export) => {
                let attached = devices.get(id).ok_or("the disk has no device")?;
                self.target.export(export, &attached.device, self.identity(done, *id, export))
            }
            Step::Allow(id, export) => {
                let before = done.exports.get(id).and_then(|export| export.host.as_deref());
                self.target.allow(&export.nqn, before, export.host.as_deref())
            }
        }
    }

    /// The identity of a namespace: the same for one content of one slot, under whatever NQN.
    fn identity(&self, done: &Outside, id: u32, export: &Export) -> u128 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};

        let content = done.devices.get(&id).and_then(|name| done.images.get(name));
        let half = |salt: u8| {
            let mut hash = DefaultHasher::new();
            (salt, &export.slot, content.map(|image| image.content)).hash(&mut hash);
            u128::from(hash.finish())
        };
        half(1) << 64 | half(2)
    }

    fn make(&self, name: &str, image: &Image, is_new: bool) -> Result<(), String> {
        let path = self.folder.join(name);
        let made = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = File::options().create(true).write(true).truncate(is_new).open(&path)?;
            file.set_len(image.size)
        };
        made().map_err(|error| format!("{}: {error}", path.display()))
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl<T: Tree, L: Loops> Exports for Nvmet<T, L> {
    fn follow(&self, wanted: &Outside) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for step in plan(&state.done, wanted) {
            self.step(&mut state, &step)?;
            state.done.take(&step);
        }
        Ok(())
    }

    fn counters(&self, disk: u32) -> Option<Counters> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let attached = state.devices.get(&disk)?;
        let (now, before) = (self.loops.counters(&attached.device)?, attached.before);
        Some(Counters {
            read_ops: now.read_ops.saturating_sub(before.read_ops),
            read_bytes: now.read_bytes.saturating_sub(before.read_bytes),
            write_ops: now.write_ops.saturating_sub(before.write_ops),
            write_bytes: now.write_bytes.saturating_sub(before.write_bytes),
            in_flight_ops: now.in_flight_ops,
        })
    }
}

#[cfg(test)]
mod test;
