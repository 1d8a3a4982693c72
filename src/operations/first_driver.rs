//! Volumes of the first driver, in the static form: see [`crate::attachment::first_driver`].

mod delete;
mod expand;
mod publish;
mod unpublish;

use super::change::{lost, row};
use super::ground::{Ground, nvme_port};
use super::{Error, Kind, Operations};
use crate::attachment::export::Terms;
use crate::attachment::first_driver::Claim;
use crate::attachment::ledger::{Record, Unreadable};
use crate::attachment::static_form::Mode;
use crate::cluster::{View, Volume};
use crate::rds::{self, Command, Disk, Treatment};
use crate::volume::{NodeName, Nqn};

/// A disk without a record that its PV names exactly.
pub(super) struct Adopted {
    pub claim: Claim,
    pub disk: Disk,
}

impl Operations {
    /// The disk, where the volume is one of the first driver. Asked only where the PV has its form.
    pub(super) async fn adopted(&self, ground: &Ground) -> Result<Option<Adopted>, Error> {
        let Some(claim) = ground.first_driver() else {
            return Ok(None);
        };
        let Some(disk) = self.show(ground).await? else {
            return Ok(None);
        };
        if Record::parse(&disk.comment) != Err(Unreadable::Absent) {
            return Ok(None);
        }
        let named = claim.and_then(|claim| claim.check(disk.image.as_ref()).map(|()| claim));
        let claim = named.map_err(|why| {
            let id = &ground.id;
            let message =
                format!("the disk of volume {id} has no record and is not touched: {why}");
            Error::new(Kind::Precondition, message)
        })?;
        Ok(Some(Adopted { claim, disk }))
    }

    /// Does this to the disk, if it still is the one that was judged; `is_done` judges the row that
    /// is read back.
    async fn treat(
        &self,
        ground: &Ground,
        old: &Adopted,
        what: Treatment,
        is_done: impl Fn(&Disk) -> bool,
    ) -> Result<Disk, Error> {
        let reply = self.run(ground, old.command(ground, what)).await?;
        let disk = row(reply.disks, ground).ok_or_else(|| lost(ground))?;
        let is_same =
            disk.comment == old.disk.comment && old.claim.check(disk.image.as_ref()).is_ok();
        match reply.complaint {
            _ if is_same && is_done(&disk) => Ok(disk),
            Some(said) if is_same => {
                let (address, id) = (&ground.backend.address, &ground.id);
                let message =
                    format!("{address} did not change the disk of volume {id} as asked: {said}");
                Err(Error::new(Kind::Refused, message))
            }
            _ => Err(lost(ground)),
        }
    }

    async fn close_old(
        &self,
        ground: &Ground,
        old: &Adopted,
        what: Treatment,
    ) -> Result<(), Error> {
        self.treat(ground, old, what, |disk| disk.exported == Some(false)).await.map(|_| ())
    }
}

impl Adopted {
    fn command(&self, ground: &Ground, what: Treatment) -> Command {
        Command::Unrecorded(rds::Unrecorded {
            slot: ground.id.slot.clone(),
            image: self.claim.image.clone(),
            comment: self.disk.comment.clone(),
            allow_host: self.disk.allow_host.clone(),
            what,
        })
    }

    /// How the disk is exported while it is for this host alone, or for all.
    fn terms(&self, ground: &Ground, allow_host: Option<Nqn>) -> Terms {
        let names = ground.mode() == Mode::Usual;
        let nqn = if names { self.claim.nqn.clone() } else { Nqn::of_slot(&ground.id.slot) };
        let port = nvme_port(ground.volume.as_deref(), &ground.backend);
        Terms { on: true, nqn, names, allow_host, port }
    }
}

/// The nodes whose VolumeAttachments say that they have this volume.
pub(super) fn attached_nodes(volume: &Volume, view: &View) -> Vec<NodeName> {
    let attached = view.attachments_of(&volume.name).into_iter().filter(|va| va.attached);
    attached.map(|va| va.node.clone()).collect()
}

/// The nodes that the cluster knows by name.
pub(super) fn known_nodes(view: &View) -> impl Iterator<Item = &NodeName> {
    view.nodes.keys().chain(view.attachments.values().map(|va| &va.node))
}
