//! What a pass does with one volume: facts in, first match wins, action and reason out.
//!
//! No I/O and no clock: ages come in as durations. Rows that need a ping from the box are not here
//! yet; a node that is only NotReady is reported, with what its agent says, and nothing more.

mod attached;

use std::time::Duration;

use self::attached::attached;
use super::ledger::{Record, State, Unreadable};
use super::standing::{Standing, standing};
use super::static_form::Mode;

/// Everything that is known of one volume.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Can the box be told an NQN? Where it cannot, automatic recovery only reports, and orders are
    /// followed.
    pub mode: Mode,
    /// The disk, or `None` where the box has none.
    pub disk: Option<DiskFacts<'a>>,
    /// The record in the copy.
    pub copy: CopyFacts<'a>,
    /// The PV.
    pub claim: ClaimFacts,
    /// Where there is no record: what its PV and its VolumeAttachments say, if the PV is in the
    /// first driver's form.
    pub first_driver: Option<FirstDriver>,
    /// The holders of the record that counts: of the disk, or where that has none, of the copy.
    pub holders: Vec<Holder>,
}

/// What the box says.
#[derive(Debug, Clone)]
pub struct DiskFacts<'a> {
    /// Its record, or why there is none.
    pub record: Result<&'a Record, &'a Unreadable>,
    /// Does the record name this cluster? Damaged and absent records do not say.
    pub is_ours: bool,
    /// Is it exported? `None` where the box did not say.
    pub exported: Option<bool>,
    /// Is it exported just as the record says?
    pub as_recorded: bool,
}

/// A volume of the first driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstDriver {
    /// It is as its PV names it, and nothing is amiss.
    Well,
    /// Its PV names something else.
    NamesOther,
    /// It is attached, and its export is closed.
    Closed,
    /// It is attached to a node that is gone or not Ready.
    Silent,
}

/// What the copy says.
#[derive(Debug, Clone, Copy)]
pub enum CopyFacts<'a> {
    /// No copy was written yet.
    Absent,
    /// The record in the copy.
    Present(&'a Record),
    /// Somebody damaged it.
    Unreadable,
}

/// What is known of the PV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimFacts {
    /// There is a PV.
    Present,
    /// There is one, and it is going; or the volume is on the list of those being deleted.
    Going,
    /// There is none, for so long.
    Absent(Duration),
}

/// What is known of one node that holds the volume.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Its Node object.
    pub presence: Presence,
    /// Does it carry the taint out-of-service?
    pub out_of_service: bool,
    /// Its VolumeAttachment for this volume.
    pub attachment: AttachmentFacts,
    /// Do counters of any of its volumes still move?
    pub io: Io,
    /// What its agent says.
    pub agent: AgentFacts,
    /// Does the copy not say yet that it holds the volume, under this NQN?
    pub is_new: bool,
}

/// A Node object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Ready.
    Ready,
    /// There, and not Ready.
    NotReady,
    /// Gone, for so long.
    Gone(Duration),
}

/// A VolumeAttachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachmentFacts {
    /// There.
    Present,
    /// There, deleted, and held by a finalizer.
    Going,
    /// Not there, for so long.
    Absent(Duration),
}

/// Does anybody write?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// Nobody looked yet.
    Unread,
    /// The box does not tell.
    Untold,
    /// Counters stood still.
    Still,
    /// Counters moved.
    Moving,
}

/// What the agent of a node says. Its silence says nothing here: it never speaks for acting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFacts {
    /// Nothing was heard, or nobody asked.
    Unheard,
    /// It answers, or its kernel refuses to.
    Answers,
    /// It answers, and its host has a connection that works: to this volume, and where its Node
    /// object is gone, to any of ours.
    Live,
}

/// What limits a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a Node object or a VolumeAttachment must be gone.
    pub grace: Duration,
    /// How long an item may be without a PV before it is reported.
    pub orphan_grace: Duration,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Tell a person.
    Report,
    /// Nothing, and count it as a volume of the first driver.
    Static,
    /// Make the disk again for its image, with the record of the copy.
    Rebuild,
    /// Close the export, then put the record of the copy back.
    Restore,
    /// Write the copy as the record says.
    FollowRecord,
    /// Close the export and detach: an attachment that nobody asked for.
    Undo,
    /// Close an export that nobody may have.
    Close,
    /// Export exactly as the record says.
    Repair,
    /// Shut the holders out.
    Fence(FenceCause),
    /// The fence is confirmed again; then VolumeAttachments of nodes that are gone are deleted.
    Release,
    /// A grace time runs; look again when it is over.
    Wait(Duration),
    /// Something speaks against acting. Say so and look again.
    Hold,
    /// The node is NotReady. Say so.
    Suspect,
    /// Before a fence: do the node's counters move?
    ReadIo(FenceCause),
}

/// Why a volume is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceCause {
    /// An operator's order: the taint out-of-service.
    OutOfService,
    /// The Node object is gone.
    NodeGone,
    /// The VolumeAttachment is gone and nobody unpublished.
    AttachmentGone,
    /// No PV names the item.
    NoVolume,
    /// Kubernetes took it from a node that is not Ready.
    Unpublished,
}

impl FenceCause {
    /// For metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::OutOfService => "out_of_service",
            Self::NodeGone => "node_gone",
            Self::AttachmentGone => "attachment_gone",
            Self::NoVolume => "no_volume",
            Self::Unpublished => "unpublished",
        }
    }

    /// For a person.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::OutOfService => "the node is tainted out-of-service",
            Self::NodeGone => "the Node object is gone",
            Self::AttachmentGone => "the VolumeAttachment is gone",
            Self::NoVolume => "no PersistentVolume names it",
            Self::Unpublished => "it was unpublished, and the node is not Ready",
        }
    }
}

/// An action and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// Why, in words for a person.
    pub reason: &'static str,
}

fn verdict_of(action: Action, reason: &'static str) -> Verdict {
    Verdict { action, reason }
}

/// Judges one volume.
pub fn verdict(facts: &Facts<'_>, rules: Rules) -> Verdict {
    use Action::{FollowRecord, Hold, Nothing, Report, Restore, Undo};
    let Some(disk) = &facts.disk else {
        return missing(facts);
    };
    let record = match disk.record {
        Ok(record) if disk.is_ours => record,
        Ok(_) if matches!(facts.claim, ClaimFacts::Absent(_)) => {
            return verdict_of(Nothing, "the item belongs to another cluster");
        }
        Ok(_) => return verdict_of(Report, "the PV's item belongs to another cluster"),
        Err(unreadable) => return unreadable_record(facts, unreadable),
    };
    if let ClaimFacts::Absent(since) = facts.claim {
        return unclaimed(record, disk, since, rules);
    }
    let copy = match facts.copy {
        CopyFacts::Unreadable => {
            return verdict_of(Hold, "the copy on the PV cannot be read");
        }
        CopyFacts::Present(copy) => Some(copy),
        CopyFacts::Absent => None,
    };
    let standing = standing(record, copy);
    if standing != Standing::Current && copy.is_some_and(|copy| copy.state == State::Deleting) {
        return verdict_of(Restore, "the volume is being deleted; the copy counts");
    }
    match standing {
        Standing::RolledBack => verdict_of(Restore, "the box has gone back in time"),
        Standing::Differs => verdict_of(Restore, "record and copy differ; the copy counts"),
        Standing::Ahead if record.state != State::Attached => {
            verdict_of(FollowRecord, "the copy of a finished write was not written")
        }
        // Only who is new may be an attachment that nobody asked for.
        Standing::Ahead if !facts.holders.iter().any(Holder::is_unasked) => {
            verdict_of(FollowRecord, "the copy of an attachment was not written")
        }
        Standing::Ahead if copy.is_none() => {
            verdict_of(Report, "attached, with neither a copy nor a VolumeAttachment")
        }
        Standing::Ahead => verdict_of(Undo, "an attachment that nobody waits for"),
        Standing::Current => current(record, disk, facts, rules),
    }
}

fn missing(facts: &Facts<'_>) -> Verdict {
    match (facts.claim, facts.copy) {
        (ClaimFacts::Absent(_), _) => verdict_of(Action::Nothing, "neither item nor PV"),
        (ClaimFacts::Going, _) => verdict_of(Action::Nothing, "the volume is being deleted"),
        (ClaimFacts::Present, CopyFacts::Present(copy)) if copy.state == State::Deleting => {
            verdict_of(Action::Nothing, "the volume is being deleted")
        }
        (ClaimFacts::Present, CopyFacts::Present(_)) => {
            verdict_of(Action::Rebuild, "the box has lost the item of a PV")
        }
        (ClaimFacts::Present, _) => {
            verdict_of(Action::Report, "the box has no item for the PV, and the PV has no copy")
        }
    }
}

fn unreadable_record(facts: &Facts<'_>, unreadable: &Unreadable) -> Verdict {
    let claimed = !matches!(facts.claim, ClaimFacts::Absent(_));
    match (unreadable, facts.copy, claimed) {
        (Unreadable::Absent, CopyFacts::Absent, true) => first_driver(facts.first_driver),
        (Unreadable::Absent, _, false) => verdict_of(Action::Nothing, "not ours"),
        (_, CopyFacts::Present(_), true) => {
            verdict_of(Action::Restore, "the record was damaged; the copy counts")
        }
        _ => verdict_of(Action::Report, "the record is damaged, and there is no copy"),
    }
}

/// Volumes of the first driver are never acted on.
fn first_driver(seen: Option<FirstDriver>) -> Verdict {
    let report = |reason| verdict_of(Action::Report, reason);
    match seen {
        Some(FirstDriver::Well) => verdict_of(Action::Static, "a volume of the first driver"),
        Some(FirstDriver::NamesOther) => {
            report("no record, and the PV names another NQN, image or box; not touched")
        }
        Some(FirstDriver::Closed) => report(
            "a volume of the first driver is attached and not exported; it is opened when the \
             external-attacher publishes it again",
        ),
        Some(FirstDriver::Silent) => report(
            "a volume of the first driver is attached to a node that is not Ready; it is never \
             fenced: delete the Node or taint it out-of-service once it is off",
        ),
        None => report("no record, and the PV is not in the first driver's form; not touched"),
    }
}

fn unclaimed(record: &Record, disk: &DiskFacts<'_>, since: Duration, rules: Rules) -> Verdict {
    if record.state == State::Attached {
        return verdict_of(Action::Fence(FenceCause::NoVolume), "attached, and no PV names it");
    }
    if disk.exported != Some(false) {
        return verdict_of(Action::Close, "exported, and no PV names it");
    }
    if since >= rules.orphan_grace {
        return verdict_of(Action::Report, "no PV names the item");
    }
    verdict_of(Action::Nothing, "no PV names the item yet")
}

fn current(record: &Record, disk: &DiskFacts<'_>, facts: &Facts<'_>, rules: Rules) -> Verdict {
    match record.state {
        State::Attached => attached(record, disk, facts, rules),
        _ if disk.exported != Some(false) => {
            verdict_of(Action::Close, "exported, and nobody holds it")
        }
        State::Fenced if facts.holders.iter().any(Holder::is_released_by_us) => {
            verdict_of(Action::Release, "fenced, and the VolumeAttachment is still there")
        }
        State::Fenced if facts.holders.iter().any(Holder::is_kept_by_finalizer) => verdict_of(
            Action::Report,
            "fenced from a node that is gone; the VolumeAttachment is deleted, and a finalizer \
             that is not ours keeps it",
        ),
        _ => verdict_of(Action::Nothing, "nobody holds it"),
    }
}

impl Holder {
    fn has_attachment(&self) -> bool {
        !matches!(self.attachment, AttachmentFacts::Absent(_))
    }

    /// Is the Node object gone?
    pub fn is_gone(&self) -> bool {
        matches!(self.presence, Presence::Gone(_))
    }

    /// A node that is there releases by itself: the external-attacher unpublishes.
    fn is_released_by_us(&self) -> bool {
        self.attachment == AttachmentFacts::Present && self.is_gone()
    }

    fn is_unasked(&self) -> bool {
        self.is_new && !self.has_attachment()
    }

    fn is_kept_by_finalizer(&self) -> bool {
        self.attachment == AttachmentFacts::Going && self.is_gone()
    }
}

#[cfg(test)]
mod test;
