//! DeleteVolume: one exec that removes disk and image.
//!
//! The image must go, too, and RouterOS leaves it. A delete that was cut between the two would
//! leave an image that no later call can explain, so an entry in the list of volumes that are
//! being deleted is written before the line and taken away after it.
//!
//! A line of another controller may come between any two commands of this one, so the compare does
//! not decide whether a volume is deleted or given to a node: the copy does. It says `deleting`
//! before anything is destroyed, and then no publish can write its own any more.

use super::change::{Details, Wanted, lost, row};
use super::ground::{Ground, is_made_by};
use super::{Error, Kind, Operations};
use crate::attachment::ledger::{Record, State};
use crate::cluster::{Deleting, Volume};
use crate::rds::{Command, Disk};
use crate::volume::{ImagePath, VolumeId, VolumePath};

/// How often a record is judged anew that changed under us.
const ROUNDS: usize = 3;

impl Operations {
    /// Removes a volume and its image. One that is not there is no error.
    pub async fn delete(&self, id: VolumeId) -> Result<(), Error> {
        let mut ground = self.ground(&id).await?;
        if let Some(Err(why)) = ground.first_driver() {
            let message = format!("volume {id} is not touched: {why}");
            return Err(Error::new(Kind::Precondition, message));
        }
        if let Some(old) = self.adopted(&ground).await? {
            return self.delete_old(&ground, &old).await;
        }
        let mut judged = guess(&ground);
        for _ in 0..ROUNDS {
            let (record, image) = match judged.take() {
                Some(judged) => judged,
                None => match self.show(&ground).await? {
                    Some(disk) => match self.deletable(&mut ground, &disk).await? {
                        Some(judged) => judged,
                        None => return Ok(()),
                    },
                    None => return self.delete_image(&ground).await,
                },
            };
            match self.remove(&mut ground, &record, &image).await? {
                Removed::All => return Ok(()),
                Removed::AllButImage => return self.delete_image(&ground).await,
                Removed::Nothing => {}
            }
        }
        Err(lost(&ground))
    }

    /// The record and the image of a disk that may be deleted; `None` for a disk that belongs to
    /// another cluster and so does not exist for us.
    async fn deletable(
        &self,
        ground: &mut Ground,
        disk: &Disk,
    ) -> Result<Option<(Record, ImagePath)>, Error> {
        let claimed = is_claimed(ground);
        let record = if claimed { ground.record(disk) } else { self.settled(ground, disk) };
        let record = match record {
            Err(error) if error.kind == Kind::NotFound => return Ok(None),
            record => record?,
        };
        if record.state == State::Attached && !claimed {
            let names = ground.names(&record.nodes, &self.cluster.view());
            let message = format!("volume {} is attached to {names:?}", ground.id);
            return Err(Error::new(Kind::Precondition, message));
        }
        if record.state == State::Fenced && !claimed {
            self.confirm(ground, &record).await?;
        }
        let image = disk.image.clone().ok_or_else(|| {
            let message = format!("the disk of volume {} names no image", ground.id);
            Error::new(Kind::Refused, message)
        })?;
        Ok(Some((record, image)))
    }

    /// Removes disk and image, unless the disk is there with another record or image.
    async fn remove(
        &self,
        ground: &mut Ground,
        record: &Record,
        image: &ImagePath,
    ) -> Result<Removed, Error> {
        let deleting = match &ground.copied {
            Some(copied) if is_claimed(ground) => copied.clone(),
            _ if record.state == State::Deleting => record.clone(),
            _ => record.delete(),
        };
        if ground.copied.as_ref() != Some(&deleting) {
            let details = Details { image: Some(image.clone()), ..Details::default() };
            self.write_copy(ground, &deleting, Vec::new(), details).await?;
        }
        let entry = entry(ground, image);
        self.cluster.begin_deleting(&entry).await?;
        let reply = self
            .run(
                ground,
                Command::Delete {
                    slot: ground.id.slot.clone(),
                    expect: record.text(),
                    deleting: deleting.text(),
                    image: image.clone(),
                },
            )
            .await?;
        // An earlier try may have come as far as the comment; then this line did nothing.
        let stood = reply.complaint.is_none() && record.state != State::Deleting;
        let said = reply.complaint.unwrap_or_else(|| "it said nothing".into());
        let left = match (row(reply.disks, ground), reply.image) {
            (None, Some(false)) => {
                self.cluster.end_deleting(&entry).await?;
                return Ok(Removed::All);
            }
            (None, Some(true)) => return Ok(Removed::AllButImage),
            (Some(disk), _) if stood || disk.comment != deleting.text() => {
                let is = Record::parse(&disk.comment).map(|record| record.state);
                if is != Ok(State::Deleting) {
                    // The list is not to say of a volume that lives that it is going.
                    self.cluster.end_deleting(&entry).await?;
                }
                return Ok(Removed::Nothing);
            }
            (Some(_), _) => "the disk",
            (None, None) => "the image",
        };
        let message = format!(
            "{} did not remove {left} of volume {}: {said}",
            ground.backend.address, ground.id
        );
        Err(Error::new(Kind::Refused, message))
    }

    /// There is no disk. What an earlier delete may have left is its image: it is removed where
    /// the PV or the list says that it is this volume's, and no other disk refers to it.
    pub(super) async fn delete_image(&self, ground: &Ground) -> Result<(), Error> {
        let listed: Vec<Deleting> = self.cluster.deleting().await?;
        let listed = listed
            .into_iter()
            .filter(|entry| entry.backend == ground.id.backend && entry.slot == ground.id.slot);
        let mut images: Vec<ImagePath> = listed.map(|entry| entry.image).collect();
        images.extend(ground.volume.as_deref().and_then(|volume| named(ground, volume)));
        images.retain(|image| is_own(ground, image));
        images.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        images.dedup();
        if images.is_empty() {
            return Ok(());
        }
        let table = self.run(ground, Command::Table).await?.disks;
        for image in images {
            if let Some(other) = table.iter().find(|disk| disk.image.as_ref() == Some(&image)) {
                if other.slot == ground.id.slot.as_str() {
                    // A line that was long on its way has made the lost disk again.
                    return Err(lost(ground));
                }
                slog::warn!(self.log, "image kept, another disk refers to it";
                    "volume" => %ground.id, "image" => %image, "slot" => &other.slot);
                self.cluster.end_deleting(&entry(ground, &image)).await?;
                continue;
            }
            let slot = ground.id.slot.clone();
            let reply =
                self.run(ground, Command::RemoveImage { slot, image: image.clone() }).await?;
            if reply.image != Some(false) {
                let said = reply.complaint.unwrap_or_else(|| "it said nothing".into());
                let message = format!("the image {image} was not removed: {said}");
                return Err(Error::new(Kind::Refused, message));
            }
            self.cluster.end_deleting(&entry(ground, &image)).await?;
        }
        Ok(())
    }

    /// Writes the next revision of a record, as it is, so that the copy follows: for changes of
    /// what only the copy holds.
    pub(super) async fn touch(
        &self,
        ground: &mut Ground,
        record: &Record,
        grow_to: Option<u64>,
        details: Details,
    ) -> Result<Disk, Error> {
        let next = record.next();
        let from = record.text();
        let wanted = Wanted { from: &from, to: &next, terms: None, grow_to };
        let disk = self.must_change(ground, wanted).await?;
        let nodes = ground.names(&next.nodes, &self.cluster.view());
        let details = Details { bytes: disk.bytes, ..details };
        self.write_copy(ground, &next, nodes, details).await?;
        Ok(disk)
    }
}

/// Does the copy say that the volume is being deleted? That decides, whatever the box says: an
/// earlier try came no further, or the line of somebody who lost came after it.
fn is_claimed(ground: &Ground) -> bool {
    ground.copied.as_ref().is_some_and(|copied| copied.state == State::Deleting)
}

/// What became of disk and image.
enum Removed {
    All,
    AllButImage,
    Nothing,
}

/// Record and image of a volume that was never attached or is detached, as its PV has them: good
/// for a compare-and-set, which makes one exec enough. Without a PV nothing says which image is
/// the volume's own, so the box is asked first.
fn guess(ground: &Ground) -> Option<(Record, ImagePath)> {
    let image = named(ground, ground.volume.as_deref()?)?;
    let record = ground.copied.clone().unwrap_or(Record::created(ground.cluster));
    (record.state == State::Detached && is_own(ground, &image)).then_some((record, image))
}

/// Does the image lie where the driver puts this volume's? People may edit a PV: what it names
/// counts only there.
pub(super) fn is_own(ground: &Ground, image: &ImagePath) -> bool {
    ground.backend.volume_paths.iter().any(|path| path.image(&ground.id.slot) == *image)
}

/// The image that a PV names: by its copy, or by its attribute `volumePath`. One that was copied
/// from another cluster names that cluster's image.
fn named(ground: &Ground, volume: &Volume) -> Option<ImagePath> {
    if let Some(copy) = &ground.copy {
        return Some(copy.image.clone());
    }
    if !is_made_by(volume, ground.cluster) {
        return None;
    }
    let path = VolumePath::parse(volume.attributes.get("volumePath")?).ok()?;
    Some(path.image(&ground.id.slot))
}

pub(super) fn entry(ground: &Ground, image: &ImagePath) -> Deleting {
    Deleting {
        backend: ground.id.backend.clone(),
        slot: ground.id.slot.clone(),
        image: image.clone(),
    }
}
