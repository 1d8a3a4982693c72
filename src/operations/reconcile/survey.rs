//! Table and caches -> every volume, with what was found of it. Pure.
//!
//! There may be a hundred thousand volumes, and mostly all are in order: per volume nothing is
//! hashed, read or copied that was so before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::facts::Found;
use crate::attachment::export::{Hosts, Place, terms};
use crate::attachment::first_driver::claim;
use crate::attachment::ledger::{ClusterTag, Copy, NodeTag, PREFIX, Record, Unreadable};
use crate::attachment::static_form::Mode;
use crate::attachment::verdict::{FirstDriver, Presence};
use crate::cluster::{Attachment, CopyState, Deleting, Identity, Node, View, Volume};
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

impl Survey<'_> {
    /// Every volume on this box, and every PV that should be on it.
    pub fn volumes(
        &self,
        backend: &Backend,
        disks: &[Arc<Disk>],
        backends: &Backends,
    ) -> Vec<Found> {
        let context = self.context(backend);
        let mut claims = self.claims(backend, backends);
        let mut found = Vec::with_capacity(disks.len());
        for disk in disks {
            let Ok(slot) = Slot::parse(&disk.slot) else {
                continue;
            };
            let volume = claims.remove(disk.slot.as_str());
            if volume.is_none() && !disk.comment.starts_with(PREFIX) {
                continue;
            }
            let id = VolumeId { backend: backend.name.clone(), slot };
            found.push(self.found(&context, id, Some(disk), volume));
        }
        let missing = claims.into_iter().filter_map(|(slot, volume)| {
            let slot = Slot::parse(slot).ok()?;
            Some((VolumeId { backend: backend.name.clone(), slot }, volume))
        });
        let missing: BTreeMap<VolumeId, &Arc<Volume>> = missing.collect();
        let lost = missing.into_iter();
        found.extend(lost.map(|(id, volume)| self.found(&context, id, None, Some(volume))));
        found
    }

    /// The PVs whose handles name this box, by slot. Where two name one volume, the same counts as
    /// for RPCs: the one that has its name, else the first.
    fn claims(&self, backend: &Backend, backends: &Backends) -> HashMap<&str, &Arc<Volume>> {
        let is_bare = backend.name == backends.bare_ids;
        let mut claims = HashMap::with_capacity(self.view.volumes.len());
        for volume in self.view.volumes.values() {
            let slot = match volume.handle.split_once('/') {
                None if is_bare => volume.handle.as_str(),
                Some((name, slot)) if !is_bare && name == backend.name.as_str() => slot,
                _ => continue,
            };
            if volume.name == slot {
                claims.insert(slot, volume);
            } else {
                claims.entry(slot).or_insert(volume);
            }
        }
        claims
    }

    fn context<'a>(&'a self, backend: &'a Backend) -> Context<'a> {
        let view = self.view;
        let mut attachments = HashMap::with_capacity(view.attachments.len());
        for attachment in view.attachments.values() {
            let of = (attachment.volume.as_str(), &attachment.node);
            attachments.entry(of).or_insert(attachment);
        }
        let attached = view.attachments.values().map(|attachment| &attachment.node);
        let attached: HashSet<&NodeName> = attached.collect();
        let gone = attached.into_iter().filter(|node| !view.nodes.contains_key(*node));
        let known = view.nodes.keys().chain(gone);
        Context {
            backend,
            mode: mode(backend),
            cluster: ClusterTag::of(&self.identity.cluster_id),
            attachments,
            hosts: Hosts::new(self.identity.secret.clone()).knowing(view.nodes.keys()),
            nodes: known.map(|node| (self.tag(node), (node, view.nodes.get(node)))).collect(),
            any_out_of_service: view.nodes.values().any(|node| node.out_of_service),
        }
    }

    fn tag(&self, node: &NodeName) -> NodeTag {
        NodeTag::of(&self.identity.cluster_id, node)
    }

    fn found(
        &self,
        context: &Context<'_>,
        id: VolumeId,
        disk: Option<&Arc<Disk>>,
        volume: Option<&Arc<Volume>>,
    ) -> Found {
        let written = volume.map_or(Written::Nothing, |volume| written(volume, context.cluster));
        let (copied, first_copy) = match (written, volume) {
            (Written::Copy(_, record), _) => (Some(Arc::clone(record)), None),
            (Written::Nothing, Some(volume)) if disk.is_none() => {
                first_copy_of(&id, volume, context.cluster).unzip()
            }
            _ => (None, None),
        };
        let copied_names = match written {
            Written::Copy(copy, _) => copy.nodes.as_slice(),
            _ => &[],
        };
        let record = record_of(disk, written);
        let is_ours = record.as_ref().is_ok_and(|record| record.cluster == context.cluster);
        let records =
            Records { on_box: record.as_deref().ok(), copied: copied.as_deref(), is_ours };
        let held = self.held(context, volume, records, copied_names);
        let of_volume = (disk.map(Arc::as_ref), volume.map(Arc::as_ref));
        let is_as = |record: Option<&Record>, holders: &[NodeName]| {
            record.is_some_and(|r| context.is_exported_for(&id.slot, of_volume, r, holders))
        };
        let as_recorded = is_as(records.on_box, &held.names);
        let agreed = records.on_box == records.copied && held.names == copied_names;
        let listed = |entry: &Deleting| entry.backend == id.backend && entry.slot == id.slot;
        Found {
            mode: context.mode,
            first_driver: self.first_driver(context, &id.slot, of_volume),
            as_copied: if agreed { as_recorded } else { is_as(records.copied, copied_names) },
            as_recorded,
            copied_is_out_of_service: context.any_out_of_service
                && copied_names.iter().any(|name| self.is_out_of_service(name)),
            is_going: volume.is_some_and(|pv| pv.going) || self.deleting.iter().any(listed),
            copy_is_damaged: matches!(written, Written::Damaged),
            disk: disk.cloned(),
            volume: volume.cloned(),
            holders: held.names,
            new: held.new,
            without_attachment: held.without_attachment,
            not_ready: held.not_ready,
            stale: held.stale,
            nodes: held.nodes,
            nameless: held.nameless,
            id,
            record,
            is_ours,
            copied,
            first_copy,
        }
    }

    /// The holders of the record that counts.
    fn held(
        &self,
        context: &Context<'_>,
        volume: Option<&Arc<Volume>>,
        records: Records<'_>,
        copied_names: &[NodeName],
    ) -> Held {
        let counts = if records.is_ours { records.on_box } else { records.copied };
        let both = records.on_box.zip(records.copied);
        let known = both.filter(|(record, copied)| record.shares_nqn(copied));
        let mut held = Held::default();
        for tag in counts.map_or(&[][..], |record| &record.nodes) {
            let Some((name, node)) = self.named(context, *tag, copied_names) else {
                held.nameless += 1;
                continue;
            };
            let attachment =
                volume.and_then(|pv| context.attachments.get(&(pv.name.as_str(), name)));
            let is_new = known.is_none_or(|(_, copied)| !copied.nodes.contains(tag));
            held.add(name, node, attachment.copied(), is_new);
        }
        held
    }

    /// The node behind a tag, and its Node object: known to Kubernetes, or named in the copy.
    fn named<'a>(
        &self,
        context: &Context<'a>,
        tag: NodeTag,
        copied: &'a [NodeName],
    ) -> Option<(&'a NodeName, Option<&'a Node>)> {
        let known = context.nodes.get(&tag).copied();
        known.or_else(|| copied.iter().find(|name| self.tag(name) == tag).map(|name| (name, None)))
    }

    /// A volume of the first driver has no record: its PV says which disk is its own.
    fn first_driver(
        &self,
        context: &Context<'_>,
        slot: &Slot,
        (disk, volume): (Option<&Disk>, Option<&Volume>),
    ) -> Option<FirstDriver> {
        let (disk, volume) = (disk?, volume?);
        let claim = claim(&volume.attributes, slot, &context.backend.address)?;
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

    fn is_out_of_service(&self, node: &NodeName) -> bool {
        self.view.nodes.get(node).is_some_and(|node| node.out_of_service)
    }
}

/// What is the same for all volumes of a box.
struct Context<'a> {
    backend: &'a Backend,
    mode: Mode,
    cluster: ClusterTag,
    attachments: HashMap<(&'a str, &'a NodeName), &'a Arc<Attachment>>,
    hosts: Hosts,
    nodes: HashMap<NodeTag, (&'a NodeName, Option<&'a Node>)>,
    any_out_of_service: bool,
}

impl Context<'_> {
    fn is_exported_for(
        &self,
        slot: &Slot,
        (disk, volume): (Option<&Disk>, Option<&Volume>),
        record: &Record,
        holders: &[NodeName],
    ) -> bool {
        let Some(disk) = disk else {
            return false;
        };
        let (nqn_base, port) = (&self.backend.nqn_base, nvme_port(volume, self.backend));
        let place = Place { slot, nqn_base, port, mode: self.mode };
        let terms = terms(record, place, &self.hosts, holders.first());
        terms.is_ok_and(|terms| terms.hold(shown(disk)))
    }
}

/// What the box says, what the copy says, and whether the box's is ours.
#[derive(Clone, Copy)]
struct Records<'a> {
    on_box: Option<&'a Record>,
    copied: Option<&'a Record>,
    is_ours: bool,
}

/// The holders of a volume, sorted by what is known of them.
#[derive(Default)]
struct Held {
    names: Vec<NodeName>,
    nodes: Vec<(Presence, bool)>,
    new: Vec<NodeName>,
    without_attachment: Vec<NodeName>,
    not_ready: Vec<NodeName>,
    stale: Vec<Arc<Attachment>>,
    nameless: usize,
}

impl Held {
    fn add(
        &mut self,
        name: &NodeName,
        node: Option<&Node>,
        attachment: Option<&Arc<Attachment>>,
        is_new: bool,
    ) {
        self.names.push(name.clone());
        let presence = presence(node);
        self.nodes.push((presence, node.is_some_and(|node| node.out_of_service)));
        if is_new {
            self.new.push(name.clone());
        }
        match (attachment, presence) {
            (None, _) => self.without_attachment.push(name.clone()),
            (Some(attachment), Presence::Gone(_)) => self.stale.push(Arc::clone(attachment)),
            _ => {}
        }
        if presence == Presence::NotReady {
            self.not_ready.push(name.clone());
        }
    }
}

fn presence(node: Option<&Node>) -> Presence {
    match node {
        None => Presence::Gone(Duration::ZERO),
        Some(node) if node.ready => Presence::Ready,
        Some(_) => Presence::NotReady,
    }
}

/// What stands in the annotation.
#[derive(Clone, Copy)]
enum Written<'a> {
    Nothing,
    Copy(&'a Copy, &'a Arc<Record>),
    /// It cannot be used: damaged, or that of another cluster, from which somebody copied the PV.
    Damaged,
}

fn written(volume: &Volume, cluster: ClusterTag) -> Written<'_> {
    match (&volume.copy, &volume.copied) {
        (CopyState::Absent, _) => Written::Nothing,
        (CopyState::Present(copy), Some(record)) if record.cluster == cluster => {
            Written::Copy(copy, record)
        }
        _ => Written::Damaged,
    }
}

/// The record on the disk. Mostly it is, letter by letter, the one in the copy, which was read
/// when the copy arrived.
fn record_of(disk: Option<&Arc<Disk>>, written: Written<'_>) -> Result<Arc<Record>, Unreadable> {
    let comment = &disk.ok_or(Unreadable::Absent)?.comment;
    match written {
        Written::Copy(copy, record) if copy.record == *comment => Ok(Arc::clone(record)),
        _ => Record::parse(comment).map(Arc::new),
    }
}

/// A volume that has no copy yet was never attached. Where we made it (its attributes say so)
/// and the box has lost it before any pass wrote the first copy, that would have said this.
fn first_copy_of(
    id: &VolumeId,
    volume: &Volume,
    cluster: ClusterTag,
) -> Option<(Arc<Record>, Copy)> {
    if !is_made_by(volume, cluster) {
        return None;
    }
    let path = VolumePath::parse(volume.attributes.get("volumePath")?).ok()?;
    let record = Record::created(cluster);
    let copy = Copy {
        record: record.text(),
        nodes: Vec::new(),
        image: path.image(&id.slot),
        bytes: volume.bytes,
        file_system: String::new(),
        fenced_from: Vec::new(),
    };
    Some((Arc::new(record), copy))
}
