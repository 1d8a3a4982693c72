//! The facts of one volume, for its verdict. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::memory::Memory;
use super::roster::Member;
use crate::attachment::ledger::{Copy, HOLDERS_MAX, Record, Sharing, State, Unreadable};
use crate::attachment::static_form::Mode;
use crate::attachment::verdict::{
    AgentFacts, AttachmentFacts, ClaimFacts, CopyFacts, DiskFacts, Facts, FirstDriver, Holder, Io,
    Presence,
};
use crate::cluster::agents::Heard;
use crate::cluster::{Attachment, CopyState, Node, Volume};
use crate::operations::agents::{Witnesses, names_of};
use crate::rds::Disk;
use crate::volume::{NodeName, VolumeId};

/// One volume, as found on a box, in Kubernetes, or both. What it was found in is borrowed: there
/// may be very many, and most of them are in order.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub id: VolumeId,
    /// What precedes `:<slot>` in every NQN.
    pub nqn_base: &'a str,
    pub mode: Mode,
    pub first_driver: Option<FirstDriver>,
    pub disk: Option<&'a Disk>,
    pub record: Result<Cow<'a, Record>, Unreadable>,
    pub is_ours: bool,
    pub as_recorded: bool,
    /// Is it exported as the copy says?
    pub as_copied: bool,
    pub volume: Option<&'a Volume>,
    pub copied: Option<Cow<'a, Record>>,
    /// Is a node that holds it by the copy tainted out-of-service?
    pub copied_is_out_of_service: bool,
    pub copy_is_damaged: bool,
    /// What the copy would have said that was never written.
    pub first_copy: Option<Box<Copy>>,
    pub is_going: bool,
    /// The nodes that hold it, or that it was fenced from, as many as are known by name.
    pub holders: [Option<Held<'a>>; HOLDERS_MAX],
    /// Holders whose name nobody knows: no Node and no copy has it.
    pub nameless: usize,
}

/// A node that holds a volume, or from which it was fenced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held<'a> {
    pub name: &'a NodeName,
    /// The node, where it is there.
    pub member: Option<Member<'a>>,
    /// Its VolumeAttachment for the volume, where there is one.
    pub attachment: Option<&'a Attachment>,
    /// Does the copy not name it under the NQN of the record?
    pub is_new: bool,
}

impl Held<'_> {
    /// Its Node object, where there is one.
    pub fn node(&self) -> Option<&Node> {
        self.member.map(|member| member.node)
    }

    fn agent(&self, names: &[String], seen: &Seen) -> AgentFacts {
        match seen.witnesses.get(self.name) {
            None | Some(Heard::Silent(_)) => AgentFacts::Unheard,
            Some(Heard::Alive(_)) => AgentFacts::Answers,
            Some(Heard::Said(word)) => {
                let any = self.node().is_none() && word.is_connected();
                match any || names.iter().any(|name| word.is_connected_to(name)) {
                    true => AgentFacts::Live,
                    false => AgentFacts::Answers,
                }
            }
        }
    }

    fn facts(
        &self,
        id: &VolumeId,
        names: &[String],
        memory: &Memory,
        seen: &Seen,
        now: Instant,
    ) -> Holder {
        let presence = match self.node() {
            None => Presence::Gone(memory.node_gone(self.name, now)),
            Some(node) if node.ready => Presence::Ready,
            Some(_) => Presence::NotReady,
        };
        let attachment = match self.attachment {
            None => AttachmentFacts::Absent(memory.attachment_gone(id, self.name, now)),
            Some(attachment) if attachment.deleting && self.node().is_none() => {
                AttachmentFacts::Going
            }
            Some(_) => AttachmentFacts::Present,
        };
        Holder {
            presence,
            out_of_service: self.node().is_some_and(|node| node.out_of_service),
            attachment,
            io: seen.io.get(self.name).copied().unwrap_or(Io::Unread),
            agent: self.agent(names, seen),
            is_new: self.is_new,
        }
    }
}

/// What was found out beyond the table and the caches.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of nodes whose counters were read.
    pub io: BTreeMap<NodeName, Io>,
    /// Of nodes whose agents were asked.
    pub witnesses: Witnesses,
}

impl<'a> Found<'a> {
    /// The copy, or what the first one would have said.
    pub fn copy(&self) -> Option<&Copy> {
        match self.volume.map(|volume| &volume.copy) {
            _ if self.copy_is_damaged => None,
            Some(CopyState::Present(copy)) => Some(copy),
            _ => self.first_copy.as_deref(),
        }
    }

    /// The nodes that hold it, or that it was fenced from.
    pub fn holders(&self) -> impl Iterator<Item = &Held<'a>> {
        self.holders.iter().flatten()
    }

    /// Their names.
    pub fn holder_names(&self) -> impl Iterator<Item = &'a NodeName> {
        self.holders().map(|held| held.name)
    }

    /// Those of them that are there and not Ready.
    pub fn not_ready(&self) -> impl Iterator<Item = &'a NodeName> {
        let is_there = |held: &&Held<'a>| held.node().is_some_and(|node| !node.ready);
        self.holders().filter(is_there).map(|held| held.name)
    }

    /// Those of them that have no VolumeAttachment for it.
    pub fn without_attachment(&self) -> impl Iterator<Item = &'a NodeName> {
        self.holders().filter(|held| held.attachment.is_none()).map(|held| held.name)
    }

    /// The VolumeAttachments of those of them that are gone.
    pub fn stale(&self) -> impl Iterator<Item = &'a Attachment> {
        self.holders().filter(|held| held.node().is_none()).filter_map(|held| held.attachment)
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

    /// The facts on which the verdict is found. The room for holders is taken from `holders`, so that
    /// one serves many volumes.
    pub fn facts<'f>(
        &'f self,
        memory: &Memory,
        seen: &Seen,
        now: Instant,
        mut holders: Vec<Holder>,
    ) -> Facts<'f> {
        let disk = self.disk.map(|disk| DiskFacts {
            record: self.record.as_deref(),
            is_ours: self.is_ours,
            exported: disk.exported,
            as_recorded: self.as_recorded,
        });
        let claim = match (self.volume, self.is_going) {
            (None, _) => ClaimFacts::Absent(memory.claim_gone(&self.id, now)),
            (Some(_), true) => ClaimFacts::Going,
            (Some(_), false) => ClaimFacts::Present,
        };
        let copy = match self.copied.as_deref() {
            _ if self.copy_is_damaged => CopyFacts::Unreadable,
            Some(record) => CopyFacts::Present(record),
            None => CopyFacts::Absent,
        };
        // Neither a Node, a VolumeAttachment nor the copy has its name.
        let nameless = Holder {
            presence: Presence::Gone(Duration::ZERO),
            out_of_service: false,
            attachment: AttachmentFacts::Absent(Duration::ZERO),
            io: Io::Unread,
            agent: AgentFacts::Unheard,
            is_new: true,
        };
        holders.clear();
        // Mostly nobody was asked: then no name is made for it.
        let names = match seen.witnesses.is_empty() {
            true => Vec::new(),
            false => names_of(self.nqn_base, self.id.slot.as_str()),
        };
        let facts = |held: &Held<'_>| held.facts(&self.id, &names, memory, seen, now);
        holders.extend(self.holders().map(facts));
        holders.extend(std::iter::repeat_n(nameless, self.nameless));
        let first_driver = self.first_driver;
        Facts { mode: self.mode, disk, copy, claim, first_driver, holders }
    }
}
