//! NodeUnpublishVolume: take away every mount at the target, then the target itself, if it is empty.

use std::path::Path;

use super::look::{DEVTMPFS, is_nvme};
use super::staged::name_of;
use super::{Node, Point, Unpublish, foreign, precondition, shown};
use crate::host::Entry;
use crate::operations::{Error, Kind};
use crate::volume::Handle;

/// Most mounts on one target that are taken away in one call.
const MOUNTS_MAX: usize = 64;

impl Node {
    /// Takes a volume away from a path; what is gone already is no error.
    ///
    /// # Errors
    /// Where the target cannot be unmounted, is no empty place, or belongs to another volume.
    pub async fn unpublish(&self, wanted: Unpublish) -> Result<(), Error> {
        let _turn = self.turn(&wanted.volume)?;
        self.is_ours(&wanted).await?;
        self.uncover(&wanted.target).await?;
        self.clear(&wanted).await?;
        self.parts.faults.pass(Point::TargetRemoved)?;
        self.forget_target(&wanted.volume, &wanted.target).await
    }

    /// Refuses a target of another volume: one that its note names, or where its device is to be
    /// seen. What our own note names is ours, whatever lies there by now.
    async fn is_ours(&self, wanted: &Unpublish) -> Result<(), Error> {
        let (volume, target) = (&wanted.volume, &wanted.target);
        let seen = self.look(volume, None).await?;
        if seen.note.as_ref().is_some_and(|note| note.targets.contains_key(target)) {
            return Ok(());
        }
        let number = match seen.topmost(target) {
            Some(mount) if is_nvme(mount) => Some(mount.number),
            // Nothing else is touched here: a file system whose box is away would hang.
            Some(mount) if mount.kind == DEVTMPFS => match self.parts.host.entry(target).await? {
                Entry::Block(number) => Some(number),
                _ => None,
            },
            _ => None,
        };
        let mounted = match number {
            Some(number) => self.nqn_of(&seen, number).await?,
            None => None,
        };
        if let Some(other) = seen.owner_of(target, mounted.as_ref()) {
            return Err(foreign(volume, target, other));
        }
        // Nor one that may be: our own device is known by our note.
        let own = seen.note.as_ref().map(|note| &note.nqn);
        match mounted.filter(|nqn| Some(nqn) != own).and_then(|nqn| seen.veiled(&nqn)) {
            Some(note) => Err(note.error()),
            None => Ok(()),
        }
    }

    async fn uncover(&self, target: &Path) -> Result<(), Error> {
        let host = &self.parts.host;
        for _ in 0..MOUNTS_MAX {
            if !host.mounts().await?.iter().any(|mount| mount.target == target) {
                return Ok(());
            }
            let unmounted = host.unmount(target).await;
            self.count_mount("unmount", unmounted.is_ok());
            unmounted?;
            self.parts.faults.pass(Point::TargetUnmounted)?;
        }
        let what = format!("more than {MOUNTS_MAX} mounts lie on {}", target.display());
        Err(Error::new(Kind::Unavailable, what))
    }

    /// Removes the target. Never what is in it: with nothing mounted there, that is somebody's data
    /// on the node itself.
    async fn clear(&self, wanted: &Unpublish) -> Result<(), Error> {
        let host = &self.parts.host;
        match host.entry(&wanted.target).await? {
            Entry::Absent => Ok(()),
            Entry::Directory | Entry::File => Ok(host.remove(&wanted.target).await?),
            Entry::Block(_) | Entry::Other | Entry::Unreadable => Err(precondition(format!(
                "the target {} of volume {} is neither a directory nor a file, and nothing is \
                 mounted there; it is not removed",
                wanted.target.display(),
                shown(&wanted.volume)
            ))),
        }
    }

    async fn forget_target(&self, volume: &Handle, target: &Path) -> Result<(), Error> {
        let Some(mut note) = self.notes().await?.remove(&name_of(volume)) else {
            return Ok(());
        };
        if note.targets.remove(target).is_some() {
            self.write(volume, &note).await?;
            self.parts.faults.pass(Point::TargetForgotten)?;
        }
        Ok(())
    }
}
