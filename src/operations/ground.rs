//! What is known of a volume before anything is asked of the box.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Backend, Error, Kind, Operations};
use crate::attachment::export::{Hosts, Place, Shown, Terms, terms};
use crate::attachment::first_driver::{Claim, claim};
use crate::attachment::ledger::{
    COPY_ANNOTATION, ClusterTag, Copy, NodeTag, Nonce, Record, State, Unreadable,
};
use crate::attachment::standing::{Standing, standing};
use crate::attachment::static_form::Mode;
use crate::cluster::{CopyState, Identity, View, Volume};
use crate::rds::{Disk, Link, version};
use crate::volume::turns::Turn;
use crate::volume::{BackendName, ImagePath, NodeName, Refused, VolumeId, VolumePath};

/// The volume attribute that names the cluster which made the volume, by its tag.
pub(super) const MADE_BY: &str = "cluster";
/// How long an operation waits for the turn of its volume.
const TURN_WITHIN: Duration = Duration::from_secs(1);
/// How often it looks meanwhile.
const TURN_POLL: Duration = Duration::from_millis(10);

/// The ground on which an operation stands: the box, the cluster, the PV and its copy. Holds the
/// volume's turn.
pub(super) struct Ground {
    pub id: VolumeId,
    pub backend: Backend,
    pub turn: Turn,
    pub cluster_id: String,
    pub cluster: ClusterTag,
    pub hosts: Hosts,
    pub volume: Option<Arc<Volume>>,
    pub copy: Option<Copy>,
    /// The record in the copy.
    pub copied: Option<Record>,
}

impl Operations {
    /// Takes the volume's turn and looks up what Kubernetes says of it.
    pub(super) async fn ground(&self, id: &VolumeId) -> Result<Ground, Error> {
        let turn = self.turn(id).await?;
        let backend = self.backend(&id.backend)?.clone();
        let identity = self.known_cluster().await?;
        let volume = self.cluster.volume(&id.handle(&self.backends.bare_ids)).await?;
        Ground::new(id, backend, turn, &identity, volume)
    }

    /// The volume's turn. A step of a pass holds it for an exec and a write of the copy: that is
    /// waited for, since a caller that is sent away comes back after a second at the earliest.
    pub(super) async fn turn(&self, id: &VolumeId) -> Result<Turn, Error> {
        let end = Instant::now() + TURN_WITHIN;
        loop {
            if let Some(turn) = self.turns.take(id) {
                return Ok(turn);
            }
            if Instant::now() >= end {
                let message = format!("another operation on volume {id} is running");
                return Err(Error::new(Kind::Contended, message));
            }
            sleep(TURN_POLL).await;
        }
    }

    /// Cluster id and Secret, once the caches can be trusted.
    pub(super) async fn known_cluster(&self) -> Result<Identity, Error> {
        let unsynced = self.cluster.unsynced();
        if !unsynced.is_empty() {
            let message = format!("not synced with the API server yet: {}", unsynced.join(", "));
            return Err(Error::new(Kind::Unavailable, message));
        }
        Ok(self.cluster.identity().await?)
    }

    /// Why what the watches have shown is too old for a pass to act on. RPCs go on, because what
    /// they change is guarded, but take no node for Ready on its word.
    pub(super) fn blindness(&self) -> Option<String> {
        let max_age = self.limits.borrow().max_age;
        let old = self.cluster.failing().into_iter().find(|(_, age)| *age > max_age);
        old.map(|(watch, age)| {
            format!("the watch of {watch} has been failing for {} s", age.as_secs())
        })
    }

    /// Refuses to act on a record that its copy contradicts: the box has gone back in time, or two
    /// writers met. Whatever were written on top of it would replace the newer copy, and with it
    /// who holds the volume and whether it may be formatted.
    pub(super) fn check_current(&self, ground: &Ground, record: &Record) -> Result<(), Error> {
        let standing = standing(record, ground.copied.as_ref());
        if matches!(standing, Standing::Current | Standing::Ahead) {
            return Ok(());
        }
        Err(self.contradiction(ground, standing))
    }

    /// The box of this name.
    pub(super) fn backend(&self, name: &BackendName) -> Result<&Backend, Error> {
        self.backends.by_name.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.backends.by_name.keys().map(BackendName::as_str).collect();
            let known = known.join(", ");
            Error::new(Kind::NotFound, format!("backend {name} is not configured; known: {known}"))
        })
    }
}

impl Ground {
    /// From parts that are at hand.
    pub fn new(
        id: &VolumeId,
        backend: Backend,
        turn: Turn,
        identity: &Identity,
        volume: Option<Arc<Volume>>,
    ) -> Result<Self, Error> {
        let mut ground = Self {
            id: id.clone(),
            backend,
            turn,
            cluster: ClusterTag::of(&identity.cluster_id),
            cluster_id: identity.cluster_id.clone(),
            hosts: Hosts::new(identity.secret.clone()),
            volume: None,
            copy: None,
            copied: None,
        };
        ground.stand_on(volume)?;
        Ok(ground)
    }

    /// Takes over what a PV says.
    pub fn stand_on(&mut self, volume: Option<Arc<Volume>>) -> Result<(), Error> {
        let state = volume.as_ref().map(|volume| &volume.copy);
        let copy = match state {
            None | Some(CopyState::Absent) => None,
            Some(CopyState::Present(copy)) => Some((**copy).clone()),
            Some(CopyState::Unreadable(why)) => return Err(self.damaged_copy(&volume, why)),
        };
        let copied = match copy.as_ref().map(|copy| Record::parse(&copy.record)) {
            None => None,
            Some(Ok(record)) => Some(record),
            Some(Err(why)) => return Err(self.damaged_copy(&volume, &why.to_string())),
        };
        // Somebody has copied the PV of another cluster. What that says of its box is not ours to
        // act on, least of all as a guess at the record that stands there.
        let foreign = copied.as_ref().is_some_and(|record| record.cluster != self.cluster);
        let (copy, copied) = if foreign { (None, None) } else { (copy, copied) };
        (self.volume, self.copy, self.copied) = (volume, copy, copied);
        Ok(())
    }

    fn damaged_copy(&self, volume: &Option<Arc<Volume>>, why: &str) -> Error {
        let message = format!(
            "the annotation {COPY_ANNOTATION} of PersistentVolume {} cannot be read ({why}); \
             restore it, or remove it once you know that no node uses volume {}",
            volume.as_ref().map_or("", |volume| &volume.name),
            self.id
        );
        Error::new(Kind::Precondition, message)
    }

    /// The tag of a node.
    pub fn tag(&self, node: &NodeName) -> NodeTag {
        NodeTag::of(&self.cluster_id, node)
    }

    /// The full names of nodes in a record, as far as the copy, a Node or a VolumeAttachment knows
    /// them.
    pub fn names(&self, tags: &[NodeTag], view: &View) -> Vec<NodeName> {
        let copied = self.copy.iter().flat_map(|copy| &copy.nodes);
        let attached = view.attachments.values().map(|va| &va.node);
        let known = copied.chain(view.nodes.keys()).chain(attached);
        let name_of = |tag: &NodeTag| known.clone().find(|name| self.tag(name) == *tag).cloned();
        tags.iter().filter_map(name_of).collect()
    }

    /// How the disk must be exported for this record, held by these nodes.
    pub fn terms(&self, record: &Record, holders: &[NodeName]) -> Result<Terms, Error> {
        terms(record, self.place(), &self.hosts, holders.first())
            .map_err(|refused| Error::new(Kind::Precondition, refused.to_string()))
    }

    /// The same, but closed where this RouterOS cannot export what the record says.
    pub fn possible_terms(&self, record: &Record, holders: &[NodeName]) -> Result<Terms, Error> {
        match self.mode() {
            Mode::Static if record.state == State::Attached && !record.is_static() => {
                self.terms(&record.detach(), &[])
            }
            _ => self.terms(record, holders),
        }
    }

    fn place(&self) -> Place<'_> {
        let port = nvme_port(self.volume.as_deref(), &self.backend);
        let (slot, nqn_base) = (&self.id.slot, self.backend.nqn_base.as_str());
        Place { slot, nqn_base, port, mode: self.mode() }
    }

    /// What the PV claims, where it is in the first driver's form and nothing was ever written to it
    /// by us.
    pub fn first_driver(&self) -> Option<Result<Claim, Refused>> {
        let volume = self.volume.as_ref().filter(|volume| volume.copy == CopyState::Absent)?;
        claim(&volume.attributes, &self.id.slot, &self.backend.address)
    }

    /// Whether the box can be told an NQN.
    pub fn mode(&self) -> Mode {
        mode(&self.backend)
    }

    /// The nonce of a new attachment.
    pub fn nonce(&self) -> Nonce {
        match self.mode() {
            Mode::Usual => Nonce::random(),
            Mode::Static => Nonce::ZERO,
        }
    }

    /// The record of a disk that is ours to work with.
    pub fn record(&self, disk: &Disk) -> Result<Record, Error> {
        let id = &self.id;
        match Record::parse(&disk.comment) {
            Ok(record) if record.cluster == self.cluster => Ok(record),
            Ok(_) => {
                let message = format!("the disk of volume {id} belongs to another cluster");
                Err(Error::new(Kind::NotFound, message))
            }
            Err(Unreadable::Absent) => {
                let message = format!(
                    "the disk of volume {id} has no ledger record, and no PersistentVolume in the \
                     first driver's form names it: this driver does not touch it"
                );
                Err(Error::new(Kind::Precondition, message))
            }
            Err(damaged) => {
                let message = format!(
                    "volume {id}: {damaged}; it is put right from its copy where there is one"
                );
                Err(Error::new(Kind::Unavailable, message))
            }
        }
    }

    /// Where the image lies: as the copy says, else as the PV's attributes say, else in the
    /// backend's first directory.
    pub fn image(&self) -> Option<ImagePath> {
        if let Some(copy) = &self.copy {
            return Some(copy.image.clone());
        }
        let attribute = self.volume.as_ref().and_then(|pv| pv.attributes.get("volumePath"));
        let path = match attribute {
            Some(path) => VolumePath::parse(path).ok(),
            None => self.backend.volume_paths.first().cloned(),
        };
        path.map(|path| path.image(&self.id.slot))
    }

    /// Where nodes reach the export: as the StorageClass said when the volume was made, else as
    /// the configuration says.
    pub fn nvme_address(&self) -> &str {
        let attribute = self.volume.as_ref().and_then(|pv| pv.attributes.get("nvmeAddress"));
        attribute.unwrap_or(&self.backend.nvme_address)
    }

    /// The disk is not on the box.
    pub fn no_disk(&self) -> Error {
        let id = &self.id;
        if self.copy.is_none() {
            return Error::new(Kind::NotFound, format!("volume {id} does not exist"));
        }
        let address = &self.backend.address;
        let message = format!("{address} has lost the disk of volume {id}; it is being made again");
        Error::new(Kind::Unavailable, message)
    }
}

/// Did this cluster make the volume? People copy PVs from one cluster to another; attributes cannot
/// be changed once a PV is there.
pub(super) fn is_made_by(volume: &Volume, cluster: ClusterTag) -> bool {
    volume.attributes.get(MADE_BY).is_some_and(|tag| *tag == cluster.to_string())
}

/// Whether the box can be told an NQN: by the version that it named when it was connected. It does
/// not change while a connection lasts. Where none is known, nothing can be asked of the box either;
/// and a line with an NQN is not even read by a box that has no such property.
pub(super) fn mode(backend: &Backend) -> Mode {
    match backend.rds.link() {
        Link::Up { system, .. } => version::mode(&system.version),
        Link::Down { .. } => Mode::Usual,
    }
}

/// The port of the exports of a volume: as the StorageClass said when it was made, else as the
/// configuration says.
pub(super) fn nvme_port(volume: Option<&Volume>, backend: &Backend) -> u16 {
    volume.and_then(|volume| volume.nvme_port).unwrap_or(backend.nvme_port)
}

/// The export of a disk, as the box shows it.
pub(super) fn shown(disk: &Disk) -> Shown<'_> {
    Shown { on: disk.exported, nqn: &disk.nqn, allow_host: &disk.allow_host, port: disk.port }
}
