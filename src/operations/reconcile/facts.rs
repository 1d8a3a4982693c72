//! Table and caches -> the facts of each volume. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::memory::Memory;
use crate::attachment::export::{Hosts, Place, terms};
use crate::attachment::first_driver::claim;
use crate::attachment::ledger::{ClusterTag, Copy, NodeTag, Record, Sharing, State, Unreadable};
use crate::attachment::static_form::Mode;
use crate::attachment::verdict::{
    AttachmentFacts, ClaimFacts, CopyFacts, DiskFacts, Facts, FirstDriver, Holder, Io, Presence,
};
use crate::cluster::{Attachment, CopyState, Deleting, Identity, View, Volume};
use crate::operations::first_driver::attached_nodes;
use crate::operations::ground::{is_made_by, mode, nvme_port, shown};
use crate::operations::{Backend, Backends};
use crate::rds::Disk;
use crate::volume::{NodeName, Slot, VolumeId, VolumePath};

/// What all volumes are judged against.
pub(super) struct Survey<'a> {
    pub identity: &'a Identity,
    pub view: &'a View,
    pub deleting: &'a [Deleting],
}

/// One volume, as found on a box, in Kubernetes, or both.
#[derive(Debug)]
pub(super) struct Found {
    pub id: VolumeId,
    mode: Mode,
    first_driver: Option<FirstDriver>,
    pub disk: Option<Disk>,
    pub record: Result<Record, Unreadable>,
    pub is_ours: bool,
    pub as_recorded: bool,
    /// Is it exported as the copy says?
    pub as_copied: bool,
    pub volume: Option<Arc<Volume>>,
    pub copy: Option<Copy>,
    pub copied: Option<Record>,
    /// Is a node that holds it by the copy tainted out-of-service?
    pub copied_is_out_of_service: bool,
    copy_is_damaged: bool,
    is_going: bool,
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
    nodes: BTreeMap<NodeName, (Presence, bool)>,
    /// Holders whose name nobody knows: no Node and no copy has it.
    nameless: usize,
}

impl Survey<'_> {
    /// Every volume on this box, and every PV that should be on it.
    pub fn volumes(&self, backend: &Backend, disks: &[Disk], backends: &Backends) -> Vec<Found> {
        let mut claims: BTreeMap<VolumeId, Arc<Volume>> = BTreeMap::new();
        for volume in self.view.volumes.values() {
            match VolumeId::parse(&volume.handle, &backends.bare_ids) {
                Ok(id) if id.backend == backend.name => {
                    // Where two PVs name one volume, the same counts as for RPCs: the one that
                    // has its name, else the first.
                    let is_named = volume.name == id.slot.as_str();
                    if is_named || !claims.contains_key(&id) {
                        claims.insert(id, volume.clone());
                    }
                }
                _ => {}
            }
        }
        let mut by_pv: BTreeMap<&str, Vec<&Arc<Attachment>>> = BTreeMap::new();
        for attachment in self.view.attachments.values() {
            by_pv.entry(&attachment.volume).or_default().push(attachment);
        }
        let hosts = Hosts::new(self.identity.secret.clone());
        let attached = self.view.attachments.values().map(|attachment| &attachment.node);
        let known = self.view.nodes.keys().chain(attached);
        let tags = known.map(|node| (self.tag(node), node)).collect();
        let context = Context { backend, by_pv: &by_pv, hosts: &hosts, tags: &tags };
        let mut found = Vec::new();
        for disk in disks {
            let Ok(slot) = Slot::parse(&disk.slot) else {
                continue;
            };
            let id = VolumeId { backend: backend.name.clone(), slot };
            let volume = claims.remove(&id);
            let record = Record::parse(&disk.comment);
            if volume.is_none() && record == Err(Unreadable::Absent) {
                continue;
            }
            found.push(self.found(&context, id, Some((disk.clone(), record)), volume));
        }
        let missing = claims.into_iter();
        found.extend(missing.map(|(id, volume)| self.found(&context, id, None, Some(volume))));
        found
    }

    fn tag(&self, node: &NodeName) -> NodeTag {
        NodeTag::of(&self.identity.cluster_id, node)
    }

    fn found(
        &self,
        context: &Context<'_>,
        id: VolumeId,
        disk: Option<(Disk, Result<Record, Unreadable>)>,
        volume: Option<Arc<Volume>>,
    ) -> Found {
        let (disk, record) = match disk {
            Some((disk, record)) => (Some(disk), record),
            None => (None, Err(Unreadable::Absent)),
        };
        let cluster = ClusterTag::of(&self.identity.cluster_id);
        let (copy, copied, copy_is_damaged) = match copy_of(volume.as_deref(), cluster) {
            (None, _, false) if disk.is_none() => first_copy(&id, volume.as_deref(), cluster),
            written => written,
        };
        let is_ours = record.as_ref().is_ok_and(|record| record.cluster == cluster);
        let counts = if is_ours { record.as_ref().ok() } else { copied.as_ref() };
        let tags = counts.map(|record| record.nodes.clone()).unwrap_or_default();
        let copied_names = copy.as_ref().map(|copy| copy.nodes.clone()).unwrap_or_default();
        let name_of = |tag: &NodeTag| {
            let known = context.tags.get(tag).map(|name| (*name).clone());
            known.or_else(|| copied_names.iter().find(|name| self.tag(name) == *tag).cloned())
        };
        let holders: Vec<NodeName> = tags.iter().filter_map(name_of).collect();
        let attachments = volume.as_ref().and_then(|pv| context.by_pv.get(pv.name.as_str()));
        let of_node = |node: &NodeName| {
            attachments.into_iter().flatten().find(|va| va.node == *node).map(|va| Arc::clone(va))
        };
        let is_gone = |node: &&NodeName| !self.view.nodes.contains_key(*node);
        let is_late = |node: &&NodeName| self.view.nodes.get(*node).is_some_and(|n| !n.ready);
        let is_as = |record: Option<&Record>, holders: &[NodeName]| {
            is_exported_for(context, &id, disk.as_ref(), volume.as_deref(), record, holders)
        };
        let known = record.as_ref().ok().zip(copied.as_ref()).filter(|(r, c)| r.shares_nqn(c));
        let is_new = |node: &&NodeName| {
            known.is_none_or(|(_, copied)| !copied.nodes.contains(&self.tag(node)))
        };
        let listed = |entry: &Deleting| entry.backend == id.backend && entry.slot == id.slot;
        Found {
            mode: mode(context.backend),
            first_driver: self.first_driver(context, &id, disk.as_ref(), volume.as_deref()),
            copied_is_out_of_service: copied_names.iter().any(|name| self.presence(name).1),
            as_recorded: is_as(record.as_ref().ok(), &holders),
            as_copied: is_as(copied.as_ref(), &copied_names),
            without_attachment: holders.iter().filter(|n| of_node(n).is_none()).cloned().collect(),
            new: holders.iter().filter(is_new).cloned().collect(),
            not_ready: holders.iter().filter(is_late).cloned().collect(),
            stale: holders.iter().filter(is_gone).filter_map(of_node).collect(),
            is_going: volume.as_ref().is_some_and(|pv| pv.going)
                || self.deleting.iter().any(listed),
            nodes: holders.iter().map(|node| (node.clone(), self.presence(node))).collect(),
            nameless: tags.len() - holders.len(),
            id,
            disk,
            record,
            is_ours,
            volume,
            copy,
            copied,
            copy_is_damaged,
            holders,
        }
    }

    fn first_driver(
        &self,
        context: &Context<'_>,
        id: &VolumeId,
        disk: Option<&Disk>,
        volume: Option<&Volume>,
    ) -> Option<FirstDriver> {
        let (disk, volume) = (disk?, volume?);
        let claim = claim(&volume.attributes, &id.slot, &context.backend.address)?;
        if claim.and_then(|claim| claim.check(disk.image.as_ref())).is_err() {
            return Some(FirstDriver::NamesOther);
        }
        let nodes = attached_nodes(volume, self.view);
        let is_ready = |node: &NodeName| self.view.nodes.get(node).is_some_and(|node| node.ready);
        Some(match disk.exported {
            _ if !nodes.iter().all(is_ready) => FirstDriver::Silent,
            Some(true) => FirstDriver::Well,
            _ if nodes.is_empty() => FirstDriver::Well,
            _ => FirstDriver::Closed,
        })
    }

    fn presence(&self, node: &NodeName) -> (Presence, bool) {
        match self.view.nodes.get(node) {
            None => (Presence::Gone(Duration::ZERO), false),
            Some(node) if node.ready => (Presence::Ready, node.out_of_service),
            Some(node) => (Presence::NotReady, node.out_of_service),
        }
    }
}

/// What is the same for all volumes of a box.
struct Context<'a> {
    backend: &'a Backend,
    by_pv: &'a BTreeMap<&'a str, Vec<&'a Arc<Attachment>>>,
    hosts: &'a Hosts,
    tags: &'a BTreeMap<NodeTag, &'a NodeName>,
}

/// The copy, the record in it, and whether it is there and cannot be used: damaged, or that of
/// another cluster, from which somebody copied the PV.
fn copy_of(volume: Option<&Volume>, cluster: ClusterTag) -> (Option<Copy>, Option<Record>, bool) {
    match volume.map(|volume| &volume.copy) {
        None | Some(CopyState::Absent) => (None, None, false),
        Some(CopyState::Unreadable(_)) => (None, None, true),
        Some(CopyState::Present(copy)) => match Record::parse(&copy.record) {
            Ok(record) if record.cluster == cluster => {
                (Some((**copy).clone()), Some(record), false)
            }
            _ => (None, None, true),
        },
    }
}

/// A volume that has no copy yet was never attached. Where we made it (its attributes say so)
/// and the box has lost it before any pass wrote the first copy, that would have said this.
fn first_copy(
    id: &VolumeId,
    volume: Option<&Volume>,
    cluster: ClusterTag,
) -> (Option<Copy>, Option<Record>, bool) {
    let made = volume.filter(|volume| is_made_by(volume, cluster));
    let path = made.and_then(|volume| volume.attributes.get("volumePath"));
    let (Some(volume), Some(Ok(path))) = (made, path.map(|path| VolumePath::parse(path))) else {
        return (None, None, false);
    };
    let record = Record::created(cluster);
    let copy = Copy {
        record: record.text(),
        nodes: Vec::new(),
        image: path.image(&id.slot),
        bytes: volume.bytes,
        file_system: String::new(),
        fenced_from: Vec::new(),
    };
    (Some(copy), Some(record), false)
}

fn is_exported_for(
    context: &Context<'_>,
    id: &VolumeId,
    disk: Option<&Disk>,
    volume: Option<&Volume>,
    record: Option<&Record>,
    holders: &[NodeName],
) -> bool {
    let (Some(disk), Some(record)) = (disk, record) else {
        return false;
    };
    let place = Place {
        slot: &id.slot,
        nqn_base: &context.backend.nqn_base,
        port: nvme_port(volume, context.backend),
        mode: mode(context.backend),
    };
    terms(record, place, context.hosts, holders.first()).is_ok_and(|terms| terms.hold(shown(disk)))
}

impl Found {
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
        if self.is_ours { self.record.as_ref().ok() } else { self.copied.as_ref() }
    }

    /// The facts on which the verdict is found.
    pub fn facts<'a>(
        &'a self,
        memory: &Memory,
        io: &BTreeMap<NodeName, Io>,
        now: Instant,
    ) -> Facts<'a> {
        let disk = self.disk.as_ref().map(|disk| DiskFacts {
            record: self.record.as_ref(),
            is_ours: self.is_ours,
            exported: disk.exported,
            as_recorded: self.as_recorded,
        });
        let claim = match (&self.volume, self.is_going) {
            (None, _) => ClaimFacts::Absent(memory.claim_gone(&self.id, now)),
            (Some(_), true) => ClaimFacts::Going,
            (Some(_), false) => ClaimFacts::Present,
        };
        let copy = match &self.copied {
            _ if self.copy_is_damaged => CopyFacts::Unreadable,
            Some(record) => CopyFacts::Present(record),
            None => CopyFacts::Absent,
        };
        let known = self.holders.iter().map(|node| self.holder(node, memory, io, now));
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
        memory: &Memory,
        io: &BTreeMap<NodeName, Io>,
        now: Instant,
    ) -> Holder {
        let (presence, out_of_service) =
            self.nodes.get(node).copied().unwrap_or((Presence::NotReady, false));
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
