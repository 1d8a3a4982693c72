//! ControllerPublishVolume.

use super::{Adopted, attached_nodes, known_nodes};
use crate::attachment::first_driver::publish::{Answer, Refusal, Seen, judge};
use crate::attachment::first_driver::{Allowed, allowed};
use crate::attachment::ledger::Sharing;
use crate::cluster::{Reason, View};
use crate::operations::ground::{Ground, shown};
use crate::operations::publish::{PublishContext, address_of, other_use, sharing, usage};
use crate::operations::{Error, Happened, Kind, Operations, Publish};
use crate::rds::{Disk, Export, Treatment};
use crate::volume::Refused;

/// The node has the volume already, and asks again. Nothing is written down for these volumes, and
/// VolumeAttachments do not say it. But whoever has one has the volume as its PV says.
fn check_use(ground: &Ground, wanted: &Publish, seen: &Seen) -> Result<(), Error> {
    let said = ground.volume.as_ref().filter(|_| seen.was_attached).map(|volume| volume.usage);
    match said {
        Some(said) if said.contradicts(usage(wanted), said) => Err(other_use(ground, wanted, said)),
        _ => Ok(()),
    }
}

impl Operations {
    /// Lets a node write; returns the publish context.
    pub(in crate::operations) async fn publish_old(
        &self,
        ground: &Ground,
        wanted: &Publish,
        old: &Adopted,
    ) -> Result<PublishContext, Error> {
        let view = self.cluster.view();
        let sharing = sharing(wanted);
        let seen = self.seen_by(ground, wanted, old, &old.disk, &view);
        match judge(&seen, sharing) {
            Answer::Held => check_use(ground, wanted, &seen)?,
            Answer::Reopen => {
                check_use(ground, wanted, &seen)?;
                self.reopen(ground, wanted, old, &view).await?;
            }
            Answer::Export => self.export(ground, wanted, old, sharing).await?,
            Answer::ExportAfter(node) => {
                self.vouch_by_order(ground, &node).await?;
                self.export(ground, wanted, old, sharing).await?;
            }
            Answer::Refuse(refusal) => return Err(self.refuse(ground, &refusal)),
        }
        let nqn = old.terms(ground, None).nqn;
        let mut context = address_of(ground, &wanted.node)?;
        context.insert("nqn".into(), nqn.to_string());
        Ok(context)
    }

    fn seen_by(
        &self,
        ground: &Ground,
        wanted: &Publish,
        old: &Adopted,
        disk: &Disk,
        view: &View,
    ) -> Seen {
        let attached = ground.volume.iter().flat_map(|volume| attached_nodes(volume, view));
        let (own, others): (Vec<_>, Vec<_>) = attached.partition(|node| *node == wanted.node);
        let asking = std::slice::from_ref(&wanted.node);
        let mut terms = old.terms(ground, None);
        let shown = shown(disk);
        if !shown.allow_host.is_empty() {
            // Who may connect is judged by itself.
            terms.allow_host = crate::volume::Nqn::parse(shown.allow_host).ok();
        }
        Seen {
            exported: disk.exported,
            as_named: terms.hold(shown),
            allowed: allowed(&disk.allow_host, asking, known_nodes(view), &ground.hosts),
            was_attached: !own.is_empty(),
            others_are_well: others
                .iter()
                .all(|node| self.is_ready(ground, view, ground.tag(node))),
            others,
        }
    }

    /// Somebody may wait for the export just as it was. A box may tell only then for whom that is.
    async fn reopen(
        &self,
        ground: &Ground,
        wanted: &Publish,
        old: &Adopted,
        view: &View,
    ) -> Result<(), Error> {
        let is_open = |disk: &Disk| disk.exported == Some(true);
        let disk = self.treat(ground, old, Treatment::Reopen, is_open).await?;
        let seen = self.seen_by(ground, wanted, old, &disk, view);
        if seen.as_named && matches!(seen.allowed, Allowed::All | Allowed::Asking) {
            slog::info!(self.log, "volume of the first driver exported again"; "volume" => %ground.id);
            return Ok(());
        }
        self.close_old(ground, old, Treatment::Close).await?;
        let message = format!(
            "the export of volume {} was for {:?} under {}, not as its PV says; it is closed again",
            ground.id, disk.allow_host, disk.nqn
        );
        Err(Error::new(Kind::Precondition, message))
    }

    async fn export(
        &self,
        ground: &Ground,
        wanted: &Publish,
        old: &Adopted,
        sharing: Sharing,
    ) -> Result<(), Error> {
        let refused = |why: Refused| Error::new(Kind::Precondition, why.to_string());
        let host = ground.hosts.host(&wanted.node).map_err(refused)?.nqn;
        let terms = old.terms(ground, (sharing == Sharing::Single).then_some(host));
        let export = Export {
            on: true,
            nqn: terms.names.then(|| terms.nqn.clone()),
            allow_host: terms.allow_host.clone(),
            port: terms.port,
        };
        let is_done = |disk: &Disk| terms.hold(shown(disk));
        self.treat(ground, old, Treatment::Export(export), is_done).await?;
        slog::info!(self.log, "volume of the first driver attached"; "volume" => %ground.id,
            "node" => %wanted.node);
        self.tell(ground, Reason::VolumeAttached, format!("attached to node {}", wanted.node));
        Ok(())
    }

    fn refuse(&self, ground: &Ground, refusal: &Refusal) -> Error {
        let (id, slot) = (&ground.id, &ground.id.slot);
        let message = match refusal {
            Refusal::HeldBy(nodes) => {
                self.observer.happened(Happened::Conflict);
                let note = format!("volume {id} is attached to {nodes:?} and wanted elsewhere");
                self.tell(ground, Reason::AttachmentConflict, note);
                format!("volume {id} is attached to {nodes:?}; it must be detached there first")
            }
            Refusal::NotWell(nodes) => format!(
                "volume {id} is held by {nodes:?}, of which not all are known to be Ready; no \
                 second node is let in before that is settled"
            ),
            Refusal::Stranger => format!(
                "the disk of volume {id} is (or was) exported for a host that no node of this \
                 cluster has; once you know that it is off: /disk/set {slot} nvme-tcp-export=no \
                 nvme-tcp-server-allow-host-name=\"\""
            ),
        };
        Error::new(Kind::Precondition, message)
    }
}
