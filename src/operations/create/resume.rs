//! What an earlier CreateVolume left half made is taken up again, where it can only be that.

use super::Making;
use crate::attachment::ledger::Record;
use crate::attachment::leftover::{Keep, LeftImage, make_anew, take_image};
use crate::cluster::{CopyState, Volume};
use crate::operations::{Error, Kind, Operations};
use crate::rds::{Change, Command, Disk, Reply};

impl Operations {
    /// The image is there and its slot is empty: makes a disk for it, whose record says that it is
    /// not through yet.
    pub(super) async fn take_image(&self, making: &Making) -> Result<Disk, Error> {
        let is_claimed = self.is_claimed(making).await?;
        let is_going = self.cluster.deleting().await?.iter().any(|entry| {
            entry.image == making.image
                || (entry.backend == making.id.backend && entry.slot == making.id.slot)
        });
        let shown = making.run(Command::Image(making.image.clone())).await?;
        let left = LeftImage {
            slot: making.id.slot.as_str(),
            bytes: shown.image_bytes,
            required: making.wanted.required,
            other_disk: shown.disks.first().map(|disk| disk.slot.as_str()),
            is_claimed,
            is_going,
        };
        take_image(&left).map_err(|keep| self.kept(making, &left, keep))?;
        let reply = making.run(Command::Rebuild(making.disk(Record::begun))).await?;
        let disk = making.row(&reply).ok_or_else(|| making.not_resumed(&reply))?;
        slog::warn!(self.log, "image of an interrupted create taken up again";
            "volume" => %making.id, "image" => %making.image, "bytes" => shown.image_bytes);
        Ok(disk)
    }

    /// The disk is there and its image is not: makes both anew, where there was nothing to lose.
    pub(super) async fn remake(&self, making: &Making, disk: Disk) -> Result<Disk, Error> {
        let is_claimed = self.is_claimed(making).await?;
        let record = Record::parse(&disk.comment);
        let may = record.as_ref().is_ok_and(|it| make_anew(it, making.cluster, is_claimed));
        if !may {
            let Making { id, image, .. } = making;
            let message =
                format!("the disk of volume {id} is there, and its image {image} is gone");
            return Err(Error::new(Kind::Exists, message));
        }
        let new = crate::rds::NewDisk { comment: disk.comment, ..making.disk(Record::created) };
        let reply = making.run(Command::Remake(new)).await?;
        let made = making.row(&reply).filter(|_| reply.image == Some(true));
        let made = made.ok_or_else(|| making.not_resumed(&reply))?;
        slog::warn!(self.log, "disk of an interrupted create made anew"; "volume" => %making.id);
        Ok(made)
    }

    /// Does Kubernetes know the volume, or another one with its image? Also one whose PV is gone
    /// while a VolumeAttachment still names it.
    async fn is_claimed(&self, making: &Making) -> Result<bool, Error> {
        let handle = making.id.handle(&self.backends.bare_ids);
        if self.cluster.volume(&handle).await?.is_some() {
            return Ok(true);
        }
        let view = self.cluster.view();
        let has_image = |volume: &Volume| match &volume.copy {
            CopyState::Present(copy) => copy.image == making.image,
            CopyState::Absent | CopyState::Unreadable(_) => false,
        };
        let slot = making.id.slot.as_str();
        Ok(view.volumes.values().any(|volume| has_image(volume))
            || !view.attachments_of(slot).is_empty())
    }

    fn kept(&self, making: &Making, left: &LeftImage<'_>, keep: Keep) -> Error {
        let Making { id, image, wanted, .. } = making;
        let there = format!("the image {image} of volume {id} is there already");
        let way_out =
            format!("remove it with /file/remove \"{image}\" once you know that nobody needs it");
        match keep {
            Keep::Claimed => {
                (self.ask_for_pass)();
                let message =
                    format!("{there} and its PersistentVolume, too; a pass makes its disk");
                Error::new(Kind::Unavailable, message)
            }
            Keep::Going => {
                Error::new(Kind::Contended, format!("{there}, and volume {id} is being deleted"))
            }
            Keep::InUse => {
                let other = left.other_disk.unwrap_or_default();
                Error::new(Kind::Exists, format!("{there}, and disk {other} refers to it"))
            }
            Keep::NameNotUnique => {
                Error::new(Kind::Exists, format!("{there}, and no disk refers to it; {way_out}"))
            }
            Keep::OtherSize => {
                let bytes =
                    left.bytes.map_or("a size that the box does not tell".into(), |bytes| {
                        format!("{bytes} bytes")
                    });
                let message =
                    format!("{there} and has {bytes}, {} are required; {way_out}", wanted.required);
                Error::new(Kind::Exists, message)
            }
        }
    }
}

impl Making {
    /// A disk whose image was found gets its size and then, by itself, its first record: until that
    /// is there every retry comes by here.
    pub(super) async fn finish(&self, disk: Disk) -> Result<Disk, Error> {
        let begun = Record::begun(self.cluster).text();
        let required = self.wanted.required;
        if disk.comment != begun {
            return Ok(disk);
        }
        if disk.bytes.is_none_or(|bytes| bytes < required) {
            let grown = self.change(&begun, begun.clone(), Some(required)).await?;
            if grown.0.bytes.is_none_or(|bytes| bytes < required) {
                return Err(self.not_resumed(&grown.1));
            }
        }
        let created = Record::created(self.cluster).text();
        let (disk, reply) = self.change(&begun, created, None).await?;
        if disk.comment == begun {
            return Err(self.not_resumed(&reply));
        }
        Ok(disk)
    }

    async fn change(
        &self,
        expect: &str,
        comment: String,
        grow_to: Option<u64>,
    ) -> Result<(Disk, Reply), Error> {
        let (slot, expect) = (self.id.slot.clone(), expect.to_owned());
        let change = Change { slot, expect, comment, export: None, grow_to };
        let reply = self.run(Command::Change(change)).await?;
        let disk = self.row(&reply).ok_or_else(|| self.not_resumed(&reply))?;
        Ok((disk, reply))
    }

    fn not_resumed(&self, reply: &Reply) -> Error {
        let said = reply.complaint.as_deref().unwrap_or("it said nothing");
        let message = format!("volume {} was found half made and not finished: {said}", self.id);
        Error::new(Kind::Refused, message)
    }
}
