//! NodeExpandVolume: have the kernel look at the size anew, wait for it, let the file system follow.

use std::path::PathBuf;

use slog::info;
use tokio::time::Instant;

use super::look::{Seen, is_of};
use super::{Node, changed, shown};
use crate::host::{Device, Mount};
use crate::operations::{Error, Kind};
use crate::volume::Handle;

/// A volume that has grown on the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expand {
    /// Which.
    pub volume: Handle,
    /// Where it is published or staged.
    pub path: PathBuf,
    /// To at least so many bytes; 0 where the caller does not say.
    pub required: u64,
}

impl Node {
    /// Lets the device show its new size and the file system fill it; returns the size. Also when
    /// the box had grown it long before: every step is done again, and costs nothing then.
    ///
    /// # Errors
    /// `NotFound` where the volume is not staged here.
    pub async fn expand(&self, wanted: Expand) -> Result<u64, Error> {
        let _turn = self.turn(&wanted.volume)?;
        let id = shown(&wanted.volume);
        let seen = self.look(&wanted.volume, None).await?;
        let Some(note) = &seen.note else {
            let what = format!("volume {id} is not staged on this node");
            return Err(Error::new(Kind::NotFound, what));
        };
        if wanted.path != note.staging && !note.targets.contains_key(&wanted.path) {
            let what = format!("volume {id} is not to be seen at {}", wanted.path.display());
            return Err(Error::new(Kind::NotFound, what));
        }
        for controller in seen.to(&note.nqn) {
            self.parts.host.rescan(&controller.name).await?;
        }
        let (seen, device) = self.wait_for_size(&wanted).await?;
        let Some(kind) = seen.note.as_ref().and_then(|note| note.kind()) else {
            return Ok(device.bytes);
        };
        let is_here = |mount: &&Mount| is_of(mount, &device) && !mount.read_only;
        let Some(mount) = seen.mounts.iter().find(is_here) else {
            let what = format!("volume {id} is nowhere mounted for writing; its file system stays");
            return Err(Error::new(Kind::Precondition, what));
        };
        self.parts.host.grow(&device, kind, &mount.target).await?;
        info!(self.parts.log, "volume has its new size"; "volume" => id, "bytes" => device.bytes);
        Ok(device.bytes)
    }

    async fn wait_for_size(&self, wanted: &Expand) -> Result<(Seen, Device), Error> {
        let mut changes = self.parts.host.changes();
        let by = Instant::now() + self.parts.deadlines.device;
        loop {
            changes.mark_unchanged();
            let seen = self.look(&wanted.volume, None).await?;
            let bytes = seen.devices.first().map(|device| device.bytes);
            if let Some(device) = seen.devices.first()
                && device.bytes >= wanted.required.max(1)
            {
                let device = device.clone();
                return Ok((seen, device));
            }
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let id = shown(&wanted.volume);
                let what = match bytes {
                    None => format!("volume {id} has no device on this node"),
                    Some(bytes) => format!(
                        "the device of volume {id} still has {bytes} bytes, and not {}",
                        wanted.required
                    ),
                };
                return Err(Error::new(Kind::Unavailable, what));
            }
            changed(&mut changes, left).await;
        }
    }
}
