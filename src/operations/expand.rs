//! ControllerExpandVolume: exact bytes, and only ever more of them.

use super::change::Details;
use super::ground::Ground;
use super::{Error, Expand, Expanded, Kind, Operations};
use crate::attachment::ledger::State;
use crate::rds::Disk;
use crate::volume::VolumePath;

impl Operations {
    /// Grows a volume.
    pub async fn expand(&self, wanted: Expand) -> Result<Expanded, Error> {
        let mut ground = self.ground(&wanted.id).await?;
        if let Some(old) = self.adopted(&ground).await? {
            let bytes = size_within(&ground, &old.disk, wanted.limit)?;
            let bytes = self.expand_old(&ground, &old, bytes, wanted.required).await?;
            return Ok(Expanded { bytes });
        }
        let disk = self.show(&ground).await?.ok_or_else(|| ground.no_disk())?;
        let record = self.settled(&ground, &disk)?;
        if record.state == State::Deleting {
            let message = format!("volume {} is being deleted", ground.id);
            return Err(Error::new(Kind::Precondition, message));
        }
        let bytes = size_within(&ground, &disk, wanted.limit)?;
        if bytes >= wanted.required {
            if ground.copied.as_ref() != Some(&record) {
                self.follow(&mut ground, &record, &disk).await?;
            }
            if ground.copy.as_ref().is_some_and(|copy| copy.bytes < bytes) {
                // The record went back with the box; the image, which had grown, did not.
                self.touch(&mut ground, &record, None, Details::of(&disk)).await?;
            }
            return Ok(Expanded { bytes });
        }
        let grown =
            self.touch(&mut ground, &record, Some(wanted.required), Details::of(&disk)).await;
        let disk = match grown {
            Err(error) if error.kind == Kind::Refused => {
                return Err(self.not_grown(&ground, &disk, wanted.required - bytes, error).await);
            }
            grown => grown?,
        };
        let bytes = disk.bytes.unwrap_or(wanted.required);
        slog::info!(self.log, "volume expanded"; "volume" => %ground.id, "bytes" => bytes);
        Ok(Expanded { bytes })
    }

    /// Why the disk has not grown by `more` bytes. Error texts classify nothing, so the pool is
    /// looked at.
    pub(super) async fn not_grown(
        &self,
        ground: &Ground,
        disk: &Disk,
        more: u64,
        error: Error,
    ) -> Error {
        let folder = disk.image.as_ref().and_then(|image| image.as_str().rsplit_once('/'));
        let Some(path) = folder.and_then(|(folder, _)| VolumePath::parse(folder).ok()) else {
            return error;
        };
        match self.capacity(&ground.id.backend, &path).await {
            Ok(capacity) if capacity.available < more => {
                let (id, free) = (&ground.id, capacity.available);
                let message =
                    format!("{path} has {free} bytes free, volume {id} needs {more} more");
                Error::new(Kind::Full, message)
            }
            _ => error,
        }
    }
}

/// The size that the disk has, where that is no more than the limit.
fn size_within(ground: &Ground, disk: &Disk, limit: Option<u64>) -> Result<u64, Error> {
    let Some(bytes) = disk.bytes else {
        let message = format!("the box does not tell the size of volume {}", ground.id);
        return Err(Error::new(Kind::Refused, message));
    };
    if let Some(limit) = limit.filter(|limit| bytes > *limit) {
        let message =
            format!("volume {} has {bytes} bytes, more than the limit {limit}", ground.id);
        return Err(Error::new(Kind::Range, message));
    }
    Ok(bytes)
}
