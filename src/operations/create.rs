//! CreateVolume: one exec that makes disk and image, or finds what was made before.

mod resume;

use std::sync::Arc;

use super::change::cut_off;
use super::ground::MADE_BY;
use super::{CreateVolume, Error, Kind, Operations, VolumeInfo};
use crate::attachment::ledger::{ClusterTag, Record, State};
use crate::rds::{Command, Disk, NewDisk, Rds, Reply};
use crate::volume::turns::Turn;
use crate::volume::{ImagePath, VolumeId};

/// A volume that is being made.
struct Making {
    wanted: CreateVolume,
    id: VolumeId,
    image: ImagePath,
    cluster: ClusterTag,
    rds: Arc<dyn Rds>,
    turn: Turn,
}

impl Operations {
    /// Makes a volume, or finds the one that was made before under the same name.
    pub async fn create(&self, wanted: CreateVolume) -> Result<VolumeInfo, Error> {
        let id = VolumeId { backend: wanted.backend.clone(), slot: wanted.slot.clone() };
        let making = Making {
            turn: self.turn(&id).await?,
            rds: self.backend(&id.backend)?.rds.clone(),
            cluster: ClusterTag::of(&self.known_cluster().await?.cluster_id),
            image: wanted.volume_path.image(&wanted.slot),
            id,
            wanted,
        };
        let reply = making.run(Command::Create(making.disk(Record::created))).await?;
        let disk = match (making.row(&reply), reply.image) {
            (Some(disk), Some(false)) if making.is_own(&disk) => self.remake(&making, disk).await?,
            (Some(disk), _) => disk,
            (None, Some(true)) => self.take_image(&making).await?,
            (None, _) => return Err(self.not_made(&making, &reply).await),
        };
        let disk = making.finish(disk).await?;
        let bytes = making.same(&disk).map_err(|(kind, what)| {
            Error::new(kind, format!("volume {} exists already: {what}", making.id))
        })?;
        let Making { id, mut wanted, cluster, .. } = making;
        wanted.context.insert(MADE_BY.to_owned(), cluster.to_string());
        Ok(VolumeInfo { id, bytes, context: wanted.context, published: Vec::new() })
    }

    /// Why there is no disk although it was asked for. Error texts classify nothing, so the state
    /// is looked at: is the pool full?
    async fn not_made(&self, making: &Making, reply: &Reply) -> Error {
        let said = reply.complaint.as_deref().unwrap_or("it said nothing");
        let Making { id, wanted, .. } = making;
        let path = &wanted.volume_path;
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

impl Making {
    async fn run(&self, command: Command) -> Result<Reply, Error> {
        Ok(self.rds.execute(command, Some(self.turn.clone())).await?)
    }

    /// The disk as it is asked for, with its first record.
    fn disk(&self, record: impl Fn(ClusterTag) -> Record) -> NewDisk {
        NewDisk {
            slot: self.id.slot.clone(),
            image: self.image.clone(),
            bytes: self.wanted.required,
            comment: record(self.cluster).text(),
        }
    }

    fn row(&self, reply: &Reply) -> Option<Disk> {
        reply.disks.iter().find(|disk| disk.slot == self.id.slot.as_str()).cloned()
    }

    /// Is it this cluster's disk for the image that is asked for, and not on its way out?
    fn is_own(&self, disk: &Disk) -> bool {
        let record = Record::parse(&disk.comment);
        let lives =
            record.is_ok_and(|it| it.cluster == self.cluster && it.state != State::Deleting);
        lives && disk.image.as_ref() == Some(&self.image)
    }

    /// Is the disk what is wanted? Its exact size, or what contradicts the request.
    fn same(&self, disk: &Disk) -> Result<u64, (Kind, String)> {
        if let Some(length) = cut_off(&Record::created(self.cluster).text(), &disk.comment) {
            let what =
                format!("the box cut its record off after {length} bytes; it cannot hold one");
            return Err((Kind::Refused, what));
        }
        let record = match Record::parse(&disk.comment) {
            Ok(record) if record.cluster == self.cluster => record,
            Ok(_) => return Err((Kind::Exists, "another cluster holds this name".into())),
            Err(why) => return Err((Kind::Exists, format!("its disk is not ours ({why})"))),
        };
        if record.state == State::Deleting {
            return Err((Kind::Contended, "and is being deleted".into()));
        }
        if let Some(other) = disk.image.as_ref().filter(|other| **other != self.image) {
            return Err((Kind::Exists, format!("its image is {other}, not {}", self.image)));
        }
        let wanted = &self.wanted;
        let Some(bytes) = disk.bytes else {
            return Err((Kind::Refused, "the box does not tell its size".into()));
        };
        let fits = bytes >= wanted.required && wanted.limit.is_none_or(|limit| bytes <= limit);
        if !fits {
            let limit =
                wanted.limit.map_or("no limit".to_owned(), |limit| format!("limit {limit}"));
            let what = format!("it has {bytes} bytes, {} are required, {limit}", wanted.required);
            return Err((Kind::Exists, what));
        }
        Ok(bytes)
    }
}
