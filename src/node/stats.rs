//! NodeGetVolumeStats: statvfs for file systems, the size for devices.

use std::path::PathBuf;

use super::look::is_of;
use super::{Node, shown};
use crate::host::{Entry, Usage};
use crate::operations::{Error, Kind};
use crate::volume::Handle;

/// Whose use is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsQuery {
    /// Which volume.
    pub volume: Handle,
    /// Where it is published or staged.
    pub path: PathBuf,
}

/// How much of a volume is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Of a file system.
    FileSystem(Usage),
    /// Of a device, of which nobody knows what is in use.
    Device {
        /// Its size.
        bytes: u64,
    },
}

impl Node {
    /// Measures a volume. Takes no turn: kubelet asks once a minute, whatever else goes on.
    ///
    /// # Errors
    /// `NotFound` where the volume is not to be seen at the path.
    pub async fn stats(&self, wanted: StatsQuery) -> Result<Amount, Error> {
        let host = &self.parts.host;
        let absent = || {
            let (id, path) = (shown(&wanted.volume), wanted.path.display());
            Error::new(Kind::NotFound, format!("volume {id} is not to be seen at {path}"))
        };
        let seen = self.look(&wanted.volume, None).await?;
        let entry = host.entry(&wanted.path).await?;
        let mount = seen.topmost(&wanted.path).ok_or_else(absent)?;
        if let Entry::Block(number) = entry {
            let device = seen.devices.iter().find(|device| device.number == number);
            return Ok(Amount::Device { bytes: device.ok_or_else(absent)?.bytes });
        }
        if !seen.devices.iter().any(|device| is_of(mount, device)) {
            let (id, path) = (shown(&wanted.volume), wanted.path.display());
            let what = format!("what is mounted at {path} is not the device of volume {id}");
            return Err(Error::new(
                if seen.note.is_some() { Kind::Unavailable } else { Kind::NotFound },
                what,
            ));
        }
        Ok(Amount::FileSystem(host.usage(&wanted.path).await?))
    }
}
