//! CreateVolume: one exec that makes disk and image, or finds what was made before.

use super::change::cut_off;
use super::ground::MADE_BY;
use super::{CreateVolume, Error, Kind, Operations, VolumeInfo};
use crate::attachment::ledger::{ClusterTag, Record, State};
use crate::rds::{Command, Disk, NewDisk, Reply};
use crate::volume::{ImagePath, VolumeId};

impl Operations {
    /// Makes a volume, or finds the one that was made before under the same name.
    pub async fn create(&self, wanted: CreateVolume) -> Result<VolumeInfo, Error> {
        let id = VolumeId { backend: wanted.backend.clone(), slot: wanted.slot.clone() };
        let turn = self.turn(&id).await?;
        let rds = self.backend(&id.backend)?.rds.clone();
        let cluster = ClusterTag::of(&self.known_cluster().await?.cluster_id);
        let image = wanted.volume_path.image(&wanted.slot);
        let disk = NewDisk {
            slot: wanted.slot.clone(),
            image: image.clone(),
            bytes: wanted.required,
            comment: Record::created(cluster).text(),
        };
        let reply = rds.execute(Command::Create(disk), Some(turn.clone())).await?;
        let found = reply.disks.iter().find(|disk| disk.slot == wanted.slot.as_str());
        let Some(disk) = found else {
            return Err(self.not_made(&wanted, &id, &reply).await);
        };
        let bytes = same(disk, &wanted, &image, cluster).map_err(|(kind, what)| {
            Error::new(kind, format!("volume {id} exists already: {what}"))
        })?;
        let mut context = wanted.context;
        context.insert(MADE_BY.to_owned(), cluster.to_string());
        Ok(VolumeInfo { id, bytes, context, published: Vec::new() })
    }

    /// Why there is no disk although it was asked for. Error texts classify nothing, so the state
    /// is looked at: is the image in the way, is the pool full?
    async fn not_made(&self, wanted: &CreateVolume, id: &VolumeId, reply: &Reply) -> Error {
        let said = reply.complaint.as_deref().unwrap_or("it said nothing");
        let path = &wanted.volume_path;
        if reply.image == Some(true) {
            let image = path.image(&wanted.slot);
            let message = format!(
                "the image {image} of volume {id} is there already, and no disk refers to it; \
                 remove it with /file/remove \"{image}\" once you know that nobody needs it"
            );
            return Error::new(Kind::Exists, message);
        }
        match self.capacity(&id.backend, path).await {
            Ok(capacity) if capacity.available < wanted.required => {
                let free = capacity.available;
                let message = format!(
                    "{path} on {} has {free} bytes free, volume {id} needs {}",
                    id.backend, wanted.required
                );
                Error::new(Kind::Full, message)
            }
            Ok(_) => Error::new(Kind::Refused, format!("volume {id} was not made: {said}")),
            Err(error) => error,
        }
    }
}

/// Is the disk what is wanted? Its exact size, or what contradicts the request.
fn same(
    disk: &Disk,
    wanted: &CreateVolume,
    image: &ImagePath,
    cluster: ClusterTag,
) -> Result<u64, (Kind, String)> {
    if let Some(length) = cut_off(&Record::created(cluster).text(), &disk.comment) {
        let what = format!("the box cut its record off after {length} bytes; it cannot hold one");
        return Err((Kind::Refused, what));
    }
    let record = match Record::parse(&disk.comment) {
        Ok(record) if record.cluster == cluster => record,
        Ok(_) => return Err((Kind::Exists, "another cluster holds this name".into())),
        Err(why) => return Err((Kind::Exists, format!("its disk is not ours ({why})"))),
    };
    if record.state == State::Deleting {
        return Err((Kind::Contended, "and is being deleted".into()));
    }
    if let Some(other) = disk.image.as_ref().filter(|other| *other != image) {
        return Err((Kind::Exists, format!("its image is {other}, not {image}")));
    }
    let Some(bytes) = disk.bytes else {
        return Err((Kind::Refused, "the box does not tell its size".into()));
    };
    let fits = bytes >= wanted.required && wanted.limit.is_none_or(|limit| bytes <= limit);
    if !fits {
        let limit = wanted.limit.map_or("no limit".to_owned(), |limit| format!("limit {limit}"));
        let what = format!("it has {bytes} bytes, {} are required, {limit}", wanted.required);
        return Err((Kind::Exists, what));
    }
    Ok(bytes)
}
