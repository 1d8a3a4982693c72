//! Carrying out a verdict, under the volume's turn.

use std::sync::Arc;

use super::facts::Found;
use crate::attachment::ledger::{Nonce, Record, State};
use crate::attachment::verdict::{Action, Verdict};
use crate::cluster::{About, ClusterError, Identity, Notice, Reason, Volume};
use crate::operations::change::{Details, Wanted, lost, row};
use crate::operations::ground::Ground;
use crate::operations::{Error, Happened, Kind, Operations};
use crate::rds::{Command, Disk, NewDisk};
use crate::volume::NodeName;

/// What became of a verdict.
pub(super) enum Done {
    /// Nothing was to be done, or somebody else has the turn.
    Nothing,
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
}

impl Act<'_> {
    /// Closes an export, if the comment still is what was judged.
    pub async fn close(self, found: &Found) -> Result<Done, Error> {
        let Some(disk) = found.disk.as_ref().filter(|disk| disk.exported != Some(false)) else {
            return Ok(Done::Nothing);
        };
        let Some(ground) = self.ground(found)? else {
            return Ok(Done::Nothing);
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
    pub async fn carry_out(self, found: &Found, verdict: &Verdict) -> Result<Done, Error> {
        match verdict.action {
            Action::Report => return Ok(self.report(found, verdict)),
            Action::Hold => return Ok(self.hold(found, verdict)),
            _ => {}
        }
        let Some(mut ground) = self.ground(found)? else {
            return Ok(Done::Nothing);
        };
        match verdict.action {
            Action::Restore => self.restore(&mut ground, found, verdict).await,
            Action::Rebuild => self.rebuild(&mut ground, found).await,
            Action::FollowRecord => self.follow(&mut ground, found).await,
            Action::Undo => self.undo(&mut ground, found).await,
            Action::Repair => self.repair(&ground, found).await,
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

    fn ground(self, found: &Found) -> Result<Option<Ground>, Error> {
        let Some(turn) = self.operations.turns.take(&found.id) else {
            return Ok(None);
        };
        if self.is_outdated(found) {
            return Ok(None);
        }
        let backend = self.operations.backend(&found.id.backend)?.clone();
        Ground::new(&found.id, backend, turn, self.identity, found.volume.clone()).map(Some)
    }

    /// Was another copy written since this volume was looked at? What would be done then was judged
    /// on what is no longer so, and a disk that is made again has no comment to compare.
    fn is_outdated(self, found: &Found) -> bool {
        let view = self.operations.cluster.view();
        let is_other = |seen: &Arc<Volume>| {
            view.volumes.get(&seen.name).is_none_or(|now| now.copy != seen.copy)
        };
        found.volume.as_ref().is_some_and(is_other)
    }

    /// Puts exactly the record of the copy back; for a node that is tainted out-of-service, as
    /// fenced under a new generation.
    async fn restore(
        self,
        ground: &mut Ground,
        found: &Found,
        verdict: &Verdict,
    ) -> Result<Done, Error> {
        let (Some(disk), Some(copied)) = (&found.disk, &found.copied) else {
            return Ok(Done::Nothing);
        };
        let seen = found.record.as_ref().map_or(0, |record| record.generation);
        let fence = found.is_out_of_service() && copied.state == State::Attached;
        let next = if fence { copied.fence(seen, Nonce::random()) } else { copied.clone() };
        self.put(ground, &disk.comment, &next, fence).await?;
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

    async fn put(
        self,
        ground: &mut Ground,
        from: &str,
        next: &Record,
        with_copy: bool,
    ) -> Result<Disk, Error> {
        let nodes = self.nodes(ground, next);
        let terms = ground.terms(next, &nodes)?;
        let wanted = Wanted { from, to: next, terms: Some(&terms), grow_to: None };
        let disk = self.operations.must_change(ground, wanted).await?;
        if with_copy {
            self.operations.write_copy(ground, next, nodes, Details::of(&disk)).await?;
        }
        Ok(disk)
    }

    /// Makes the lost disk again for its image, closed; the next step exports it as recorded.
    async fn rebuild(self, ground: &mut Ground, found: &Found) -> Result<Done, Error> {
        let (Some(copy), Some(copied)) = (&found.copy, &found.copied) else {
            return Ok(Done::Nothing);
        };
        let fence = found.is_out_of_service() && copied.state == State::Attached;
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
        let next = if fence { copied.fence(0, Nonce::random()) } else { copied.clone() };
        if next.state == State::Attached || fence {
            self.put(ground, &copied.text(), &next, fence).await?;
        }
        let note = format!("the disk of volume {} was lost and is made again", found.id);
        self.operations.tell(ground, Reason::VolumeRepaired, note);
        Ok(Done::Changed("rebuild"))
    }

    /// The record is what counts; only its copy was not written.
    async fn follow(self, ground: &mut Ground, found: &Found) -> Result<Done, Error> {
        let (Some(disk), record) = (&found.disk, record(found)?) else {
            return Ok(Done::Nothing);
        };
        let nodes = self.nodes(ground, record);
        if record.state != State::Attached {
            self.operations.catch_up(ground, record, disk).await?;
            return Ok(Done::Changed("follow"));
        }
        if nodes.len() != record.nodes.len() {
            let message = format!("nodes of volume {} are not known by name", found.id);
            return Err(Error::new(Kind::Precondition, message));
        }
        self.operations.write_copy(ground, record, nodes, Details::of(disk)).await?;
        Ok(Done::Changed("follow"))
    }

    async fn undo(self, ground: &mut Ground, found: &Found) -> Result<Done, Error> {
        let record = record(found)?;
        self.put(ground, &record.text(), &record.detach(), true).await?;
        Ok(Done::Changed("undo"))
    }

    async fn repair(self, ground: &Ground, found: &Found) -> Result<Done, Error> {
        let record = record(found)?;
        let terms = ground.terms(record, &found.holders)?;
        let text = record.text();
        let wanted = Wanted { from: &text, to: record, terms: Some(&terms), grow_to: None };
        self.operations.must_change(ground, wanted).await?;
        let note = format!("the export of volume {} was put back as recorded", found.id);
        self.operations.tell(ground, Reason::VolumeRepaired, note);
        Ok(Done::Changed("repair"))
    }

    /// The fence is confirmed, so nodes that are gone hold nothing any more.
    async fn release(self, ground: &Ground, found: &Found, fenced: &Record) -> Result<(), Error> {
        let stale = found.stale.iter().filter(|va| !va.deleting);
        for attachment in stale.filter(|va| fenced.nodes.contains(&ground.tag(&va.node))) {
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

    fn report(self, found: &Found, verdict: &Verdict) -> Done {
        let about = match &found.volume {
            Some(volume) => About::Volume(volume.name.clone()),
            None => About::Driver,
        };
        let orphan = found.volume.is_none();
        let reason = if orphan { Reason::OrphanDetected } else { Reason::RecoveryHeld };
        let note = format!("{}: {}", found.id, verdict.reason);
        self.operations.cluster.post(Notice { reason, about, note });
        Done::Reported(if orphan { "orphan" } else { "report" })
    }

    fn hold(self, found: &Found, verdict: &Verdict) -> Done {
        if let Some(volume) = &found.volume {
            let about = About::Volume(volume.name.clone());
            let note = format!("volume {} is not fenced: {}", found.id, verdict.reason);
            self.operations.cluster.post(Notice { reason: Reason::RecoveryHeld, about, note });
        }
        Done::Reported("hold")
    }

    fn nodes(self, ground: &Ground, record: &Record) -> Vec<NodeName> {
        let view = self.operations.cluster.view();
        ground.names(&record.nodes, view.node_names())
    }
}

fn record(found: &Found) -> Result<&Record, Error> {
    found
        .record
        .as_ref()
        .map_err(|why| Error::new(Kind::Unavailable, format!("volume {}: {why}", found.id)))
}
