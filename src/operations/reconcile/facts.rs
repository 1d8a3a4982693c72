//! The facts of one volume, for its verdict. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::memory::Memory;
use crate::attachment::ledger::{Copy, Record, Sharing, State, Unreadable};
use crate::attachment::static_form::Mode;
use crate::attachment::verdict::{
    AttachmentFacts, ClaimFacts, CopyFacts, DiskFacts, Facts, FirstDriver, Holder, Io, Presence,
};
use crate::cluster::{Attachment, CopyState, Volume};
use crate::rds::Disk;
use crate::volume::{NodeName, VolumeId};

/// One volume, as found on a box, in Kubernetes, or both. What it was found in is shared, not
/// copied: there may be very many, and most of them are in order.
#[derive(Debug)]
pub(super) struct Found {
    pub id: VolumeId,
    pub mode: Mode,
    pub first_driver: Option<FirstDriver>,
    pub disk: Option<Arc<Disk>>,
    pub record: Result<Arc<Record>, Unreadable>,
    pub is_ours: bool,
    pub as_recorded: bool,
    /// Is it exported as the copy says?
    pub as_copied: bool,
    pub volume: Option<Arc<Volume>>,
    pub copied: Option<Arc<Record>>,
    /// Is a node that holds it by the copy tainted out-of-service?
    pub copied_is_out_of_service: bool,
    pub copy_is_damaged: bool,
    /// What the copy would have said that was never written.
    pub first_copy: Option<Copy>,
    pub is_going: bool,
    /// The nodes that hold it, or that it was fenced from.
    pub holders: Vec<NodeName>,
    /// Those of them whom the copy does not name under the NQN of the record.
    pub new: Vec<NodeName>,
    /// Those of them that have no VolumeAttachment for it.
    pub without_attachment: Vec<NodeName>,
    /// Those of them that are there and not Ready.
    pub not_ready: Vec<NodeName>,
    /// The VolumeAttachments of those of them that are gone.
    pub stale: Vec<Arc<Attachment>>,
    /// Of each of the holders, in their order: its Node object, and is it tainted out-of-service?
    pub nodes: Vec<(Presence, bool)>,
    /// Holders whose name nobody knows: no Node and no copy has it.
    pub nameless: usize,
}

impl Found {
    /// The copy, or what the first one would have said.
    pub fn copy(&self) -> Option<&Copy> {
        match self.volume.as_deref().map(|volume| &volume.copy) {
            _ if self.copy_is_damaged => None,
            Some(CopyState::Present(copy)) => Some(copy),
            _ => self.first_copy.as_ref(),
        }
    }

    /// The holders whose Node objects are gone, and those who are Ready or not.
    pub fn holders_by_presence(&self) -> impl Iterator<Item = (&NodeName, Presence)> {
        self.holders.iter().zip(self.nodes.iter().map(|(presence, _)| *presence))
    }

    /// Has no PV this handle?
    pub fn is_unclaimed(&self) -> bool {
        self.volume.is_none()
    }

    /// Does the record that counts say that somebody may write?
    pub fn is_attached(&self) -> bool {
        self.counting().is_some_and(|record| record.state == State::Attached)
    }

    /// Is it a volume of one node, whose counters tell of that node alone?
    pub fn is_single(&self) -> bool {
        self.is_attached() && self.counting().is_some_and(|r| r.sharing == Sharing::Single)
    }

    fn counting(&self) -> Option<&Record> {
        if self.is_ours { self.record.as_deref().ok() } else { self.copied.as_deref() }
    }

    /// The facts on which the verdict is found.
    pub fn facts<'a>(
        &'a self,
        memory: &Memory,
        io: &BTreeMap<NodeName, Io>,
        now: Instant,
    ) -> Facts<'a> {
        let disk = self.disk.as_ref().map(|disk| DiskFacts {
            record: self.record.as_deref(),
            is_ours: self.is_ours,
            exported: disk.exported,
            as_recorded: self.as_recorded,
        });
        let claim = match (&self.volume, self.is_going) {
            (None, _) => ClaimFacts::Absent(memory.claim_gone(&self.id, now)),
            (Some(_), true) => ClaimFacts::Going,
            (Some(_), false) => ClaimFacts::Present,
        };
        let copy = match self.copied.as_deref() {
            _ if self.copy_is_damaged => CopyFacts::Unreadable,
            Some(record) => CopyFacts::Present(record),
            None => CopyFacts::Absent,
        };
        let known = self.holders.iter().zip(&self.nodes);
        let known = known.map(|(name, node)| self.holder(name, *node, memory, io, now));
        // Neither a Node, a VolumeAttachment nor the copy has its name.
        let nameless = Holder {
            name: None,
            presence: Presence::Gone(Duration::ZERO),
            out_of_service: false,
            attachment: AttachmentFacts::Absent(Duration::ZERO),
            io: Io::Unread,
            is_new: true,
        };
        let holders = known.chain(std::iter::repeat_n(nameless, self.nameless)).collect();
        let first_driver = self.first_driver;
        Facts { mode: self.mode, disk, copy, claim, first_driver, holders }
    }

    fn holder(
        &self,
        node: &NodeName,
        (presence, out_of_service): (Presence, bool),
        memory: &Memory,
        io: &BTreeMap<NodeName, Io>,
        now: Instant,
    ) -> Holder {
        let presence = match presence {
            Presence::Gone(_) => Presence::Gone(memory.node_gone(node, now)),
            there => there,
        };
        let attachment = if self.without_attachment.contains(node) {
            AttachmentFacts::Absent(memory.attachment_gone(&self.id, node, now))
        } else if self.stale.iter().any(|va| va.node == *node && va.deleting) {
            AttachmentFacts::Going
        } else {
            AttachmentFacts::Present
        };
        let io = io.get(node).copied().unwrap_or(Io::Unread);
        let is_new = self.new.contains(node);
        Holder { name: Some(node.clone()), presence, out_of_service, attachment, io, is_new }
    }
}
