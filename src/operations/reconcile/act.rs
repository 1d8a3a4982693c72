//! Carrying out a verdict, under the volume's turn.

use super::facts::Found;
use crate::attachment::ledger::{Nonce, Record, State};
use crate::attachment::verdict::{Action, FenceCause, Verdict};
use crate::cluster::{About, ClusterError, Identity, Notice, Reason};
use crate::mandate::Mandate;
use crate::operations::change::{Wanted, lost, row};
use crate::operations::delete::is_own;
use crate::operations::ground::Ground;
use crate::operations::{Error, Happened, Kind, Operations};
use crate::rds::{Command, Disk, NewDisk};

/// What became of a verdict.
pub(super) enum Done {
    /// Nothing was to be done.
    Nothing,
    /// It cannot be done yet: somebody else changes the volume or has just changed it, or the
    /// caches are behind.
    Later,
    /// It was told to people (the word of the metric label).
    Reported(&'static str),
    /// The volume was changed (the word of the metric label).
    Changed(&'static str),
}

/// Carries out verdicts.
#[derive(Clone, Copy)]
pub(super) struct Act<'a> {
    pub operations: &'a Operations,
    pub identity: &'a Identity,
    /// Without it nothing is changed.
    pub mandate: &'a Mandate,
}

impl Act<'_> {
    /// Closes an export, if the comment still is what was judged. One that is just what the copy
    /// wants stays open: a host that loses its connection may lose its disk.
    pub async fn close(self, found: &Found<'_>) -> Result<Done, Error> {
        let is_open = |disk: &&Disk| disk.exported != Some(false);
        let Some(disk) = found.disk.filter(is_open).filter(|_| !found.as_copied) else {
            return Ok(Done::Nothing);
        };
        let Some(ground) = self.ground(found)? else {
            return Ok(Done::Later);
        };
        let slot = ground.id.slot.clone();
        let command = Command::Unexport { slot, expect: disk.comment.clone() };
        let reply = self.operations.run(&ground, command).await?;
        match row(reply.disks, &ground) {
            Some(now) if now.comment != disk.comment => Err(lost(&ground)),
            Some(now) if now.exported != Some(false) => {
                let said = reply.complaint.unwrap_or_else(|| "it said nothing".into());
                let message = format!("the export of volume {} was not closed: {said}", ground.id);
                Err(Error::new(Kind::Refused, message))
            }
            _ => Ok(Done::Changed("close")),
        }
    }

    /// Does what the verdict says.
    pub async fn carry_out(self, found: &Found<'_>, verdict: &Verdict) -> Result<Done, Error> {
        match verdict.action {
            Action::Report => return Ok(self.report(found, verdict)),
            Action::Static => return Ok(Done::Reported("static")),
            Action::Hold => return Ok(self.hold(found, verdict)),
            Action::Release if found.stale().all(|va| va.deleting) => {
                return Ok(self.report_going(found));
            }
            _ => {}
        }
        if let Action::Fence(cause) = verdict.action
            && self.is_behind(found, cause).await?
        {
            return Ok(Done::Later);
        }
        let Some(mut ground) = self.ground(found)? else {
            return Ok(Done::Later);
        };
        match verdict.action {
            Action::Restore => self.restore(&mut ground, found, verdict).await,
            Action::Rebuild => self.rebuild(&mut ground, found).await,
            Action::FollowRecord => self.follow(&mut ground, found).await,
            Action::Undo => self.undo(&mut ground, found).await,
            Action::Repair => self.repair(&mut ground, found).await,
            Action::Fence(cause) => {
                let judged = record(found)?;
                let fenced = self.operations.fence(&mut ground, judged, cause).await?;
                self.release(&ground, found, &fenced).await?;
                Ok(Done::Changed("fence"))
            }
            Action::Release => {
                let fenced = record(found)?;
                self.operations.confirm(&ground, fenced).await?;
                self.release(&ground, found, fenced).await?;
                Ok(Done::Changed("release"))
            }
            _ => Ok(Done::Nothing),
        }
    }

    pub(super) fn ground(self, found: &Found<'_>) -> Result<Option<Ground>, Error> {
        let Some(turn) = self.operations.turns.take(&found.id) else {
            return Ok(None);
        };
        let turn = turn.under(self.mandate.clone());
        let view = self.operations.cluster.view();
        let handle = found.id.handle(&self.operations.backends.bare_ids);
        let now = view.with_handle(&handle).cloned();
        // Whoever had the turn until now may have finished what the verdict found half done.
        let copies = [found.volume, now.as_deref()].map(|volume| volume.map(|pv| &pv.copy));
        if copies[0] != copies[1] {
            return Ok(None);
        }
        let backend = self.operations.backend(&found.id.backend)?.clone();
        Ground::new(&found.id, backend, turn, self.identity, now).map(Some)
    }

    /// A watch that has fallen silent shows neither what was made a moment ago nor what came back,
    /// and RPCs do not wait for it: before anybody is shut out because something is gone, the API
    /// server is asked whether it is.
    async fn is_behind(self, found: &Found<'_>, cause: FenceCause) -> Result<bool, Error> {
        let cluster = &self.operations.cluster;
        match cause {
            FenceCause::NoVolume => {
                let handle = found.id.handle(&self.operations.backends.bare_ids);
                return Ok(cluster.volume(&handle).await?.is_some());
            }
            FenceCause::NodeGone => {
                let known = cluster.view().nodes;
                for node in found.holder_names().filter(|node| !known.contains_key(*node)) {
                    if cluster.node(node).await?.is_some() {
                        return Ok(true);
                    }
                }
            }
            FenceCause::AttachmentGone => {
                for node in found.without_attachment() {
                    let Some(volume) = found.volume else { break };
                    if cluster.has_attachment(&volume.name, node).await? {
                        return Ok(true);
                    }
                }
            }
            FenceCause::OutOfService | FenceCause::Unpublished => {}
        }
        Ok(false)
    }

    /// Puts exactly the record of the copy back; for a node that is tainted out-of-service, as
    /// fenced under a new generation.
    async fn restore(
        self,
        ground: &mut Ground,
        found: &Found<'_>,
        verdict: &Verdict,
    ) -> Result<Done, Error> {
        let (Some(disk), Some(copied)) = (found.disk, found.copied.as_deref()) else {
            return Ok(Done::Nothing);
        };
        self.has_image_of_copy(ground, disk)?;
        let seen = found.record.as_ref().map_or(0, |record| record.generation);
        let fence = found.copied_is_out_of_service && copied.state == State::Attached;
        let next = match fence {
            true => copied.fence(seen, Nonce::random()),
            false => self.operations.announce(ground, copied).await?,
        };
        if found.as_copied && !fence {
            // Only the comment went back; whoever is connected stays so.
            let wanted = Wanted { from: &disk.comment, to: &next, terms: None, grow_to: None };
            self.operations.must_change(ground, wanted).await?;
        } else {
            self.put(ground, &disk.comment, &next, fence).await?;
        }
        self.operations.cluster.post(Notice {
            reason: Reason::RDSRolledBack,
            about: About::Driver,
            note: format!(
                "volume {}: {}; the newest record was put back",
                found.id, verdict.reason
            ),
        });
        Ok(Done::Changed("restore"))
    }

    /// Somebody may have made a disk of the same name by hand: a host that waits for its NQN would
    /// find other data under its file system.
    fn has_image_of_copy(self, ground: &Ground, disk: &Disk) -> Result<(), Error> {
        let (Some(copy), Some(image)) = (&ground.copy, &disk.image) else {
            return Ok(());
        };
        if copy.image == *image {
            return Ok(());
        }
        let message = format!(
            "the disk of volume {} has the image {image}, its copy names {}; it stays closed until \
             somebody puts that right",
            ground.id, copy.image
        );
        self.operations.tell(ground, Reason::RecoveryFailed, message.clone());
        Err(Error::new(Kind::Precondition, message))
    }

    async fn put(
        self,
        ground: &mut Ground,
        from: &str,
        next: &Record,
        with_copy: bool,
    ) -> Result<Disk, Error> {
        let nodes = ground.names(&next.nodes, &self.operations.cluster.view());
        let terms = ground.possible_terms(next, &nodes)?;
        let wanted = Wanted { from, to: next, terms: Some(&terms), grow_to: None };
        let disk = self.operations.must_change(ground, wanted).await?;
        if with_copy {
            self.operations.follow(ground, next, &disk).await?;
        }
        Ok(disk)
    }

    /// Makes the lost disk again for its image, closed; the next step exports it as recorded.
    async fn rebuild(self, ground: &mut Ground, found: &Found<'_>) -> Result<Done, Error> {
        let (Some(copy), Some(copied)) = (found.copy(), found.copied.as_deref()) else {
            return Ok(Done::Nothing);
        };
        if !is_own(ground, &copy.image) {
            let message = format!(
                "the disk of volume {} is lost, and its copy names the image {}, which lies in no \
                 directory of volume_paths for it",
                found.id, copy.image
            );
            self.operations.tell(ground, Reason::RecoveryFailed, message.clone());
            return Err(Error::new(Kind::Precondition, message));
        }
        let fence = found.copied_is_out_of_service && copied.state == State::Attached;
        let new = NewDisk {
            slot: ground.id.slot.clone(),
            image: copy.image.clone(),
            bytes: copy.bytes,
            comment: copied.text(),
        };
        let reply = self.operations.run(ground, Command::Rebuild(new)).await?;
        if row(reply.disks, ground).is_none() {
            let said = reply.complaint.unwrap_or_else(|| "it said nothing".into());
            let note =
                format!("the disk of volume {} is lost and was not made again: {said}", found.id);
            self.operations.tell(ground, Reason::RecoveryFailed, note.clone());
            return Err(Error::new(Kind::Refused, note));
        }
        if fence {
            let fenced = copied.fence(0, Nonce::random());
            self.put(ground, &copied.text(), &fenced, true).await?;
        } else if copied.state == State::Attached {
            let next = self.operations.announce(ground, copied).await?;
            self.put(ground, &copied.text(), &next, false).await?;
        }
        let note = format!("the disk of volume {} was lost and is made again", found.id);
        self.operations.tell(ground, Reason::VolumeRepaired, note);
        Ok(Done::Changed("rebuild"))
    }

    /// The record is what counts; only its copy was not written.
    async fn follow(self, ground: &mut Ground, found: &Found<'_>) -> Result<Done, Error> {
        let (Some(disk), record) = (found.disk, record(found)?) else {
            return Ok(Done::Nothing);
        };
        self.operations.follow(ground, record, disk).await?;
        Ok(Done::Changed("follow"))
    }

    /// Takes back an attachment that nobody waits for. Where somebody else holds the volume under
    /// the same NQN, the export stays as it is.
    async fn undo(self, ground: &mut Ground, found: &Found<'_>) -> Result<Done, Error> {
        let record = record(found)?;
        let unasked = found.holders().filter(|held| held.is_new && held.attachment.is_none());
        let leaving: Vec<_> = unasked.map(|held| ground.tag(held.name)).collect();
        let before = found.copied.as_ref().is_some_and(|copied| record.shares_nqn(copied));
        let all_known = found.holders().count() == record.nodes.len();
        if before && !all_known {
            // Somebody who is not known may be writing: nothing is closed under his feet.
            let message = format!("nodes of volume {} are not known by name", found.id);
            return Err(Error::new(Kind::Precondition, message));
        }
        if before && leaving.len() < record.nodes.len() {
            let next = leaving.iter().fold(record.clone(), |record, node| record.leave(*node));
            let from = record.text();
            let wanted = Wanted { from: &from, to: &next, terms: None, grow_to: None };
            let disk = self.operations.must_change(ground, wanted).await?;
            self.operations.follow(ground, &next, &disk).await?;
            return Ok(Done::Changed("undo"));
        }
        self.put(ground, &record.text(), &record.detach(), true).await?;
        Ok(Done::Changed("undo"))
    }

    async fn repair(self, ground: &mut Ground, found: &Found<'_>) -> Result<Done, Error> {
        let record = record(found)?;
        let terms = ground.terms(record, &found.holder_names().cloned().collect::<Vec<_>>())?;
        let next = self.operations.announce(ground, record).await?;
        let text = record.text();
        let wanted = Wanted { from: &text, to: &next, terms: Some(&terms), grow_to: None };
        self.operations.must_change(ground, wanted).await?;
        let note = format!("the export of volume {} was put back as recorded", found.id);
        self.operations.tell(ground, Reason::VolumeRepaired, note);
        Ok(Done::Changed("repair"))
    }

    /// The fence is confirmed, so nodes that are gone hold nothing any more.
    async fn release(
        self,
        ground: &Ground,
        found: &Found<'_>,
        fenced: &Record,
    ) -> Result<(), Error> {
        let stale = found.stale().filter(|va| !va.deleting);
        for attachment in stale.filter(|va| fenced.nodes.contains(&ground.tag(&va.node))) {
            if !self.mandate.holds() {
                return Err(Error::new(Kind::Unavailable, "another replica reconciles"));
            }
            match self.operations.cluster.delete_attachment(attachment).await {
                Ok(()) | Err(ClusterError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
            slog::warn!(self.operations.log, "stale attachment cleared"; "volume" => %found.id,
                "node" => %attachment.node, "attachment" => &attachment.name);
            self.operations.observer.happened(Happened::StaleCleared);
            let note = format!(
                "VolumeAttachment {} deleted: node {} is gone and volume {} is fenced from it",
                attachment.name, attachment.node, found.id
            );
            self.operations.tell(ground, Reason::StaleAttachmentCleared, note);
        }
        Ok(())
    }

    fn report(self, found: &Found<'_>, verdict: &Verdict) -> Done {
        let about = match found.volume {
            Some(volume) => About::Volume(volume.name.clone()),
            None => About::Driver,
        };
        let orphan = found.volume.is_none();
        let reason = if orphan { Reason::OrphanDetected } else { Reason::RecoveryHeld };
        let note = format!("{}: {}", found.id, verdict.reason);
        self.operations.cluster.post(Notice { reason, about, note });
        Done::Reported(if orphan { "orphan" } else { "report" })
    }

    /// Fenced and released; somebody else's finalizer keeps the VolumeAttachment.
    fn report_going(self, found: &Found<'_>) -> Done {
        let names: Vec<&str> = found.stale().map(|va| va.name.as_str()).collect();
        if let Some(volume) = found.volume {
            let note = format!(
                "VolumeAttachment {} is deleted and waits for finalizers that are not ours",
                names.join(", ")
            );
            let about = About::Volume(volume.name.clone());
            self.operations.cluster.post(Notice { reason: Reason::RecoveryHeld, about, note });
        }
        Done::Reported("attachment_going")
    }

    fn hold(self, found: &Found<'_>, verdict: &Verdict) -> Done {
        if let Some(volume) = found.volume {
            let about = About::Volume(volume.name.clone());
            let note = format!("volume {} is not fenced: {}", found.id, verdict.reason);
            self.operations.cluster.post(Notice { reason: Reason::RecoveryHeld, about, note });
        }
        Done::Reported("hold")
    }
}

fn record<'a>(found: &'a Found<'_>) -> Result<&'a Record, Error> {
    found
        .record
        .as_deref()
        .map_err(|why| Error::new(Kind::Unavailable, format!("volume {}: {why}", found.id)))
}
