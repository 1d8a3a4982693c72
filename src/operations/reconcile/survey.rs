//! Table and caches -> every volume, with what was found of it. Pure.
//!
//! There may be a hundred thousand volumes, and mostly all are in order: per volume nothing is
//! hashed, read or copied that was so before.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::facts::{Found, Held};
use crate::attachment::export::{Hosts, Place, is_exported};
use crate::attachment::first_driver::claim;
use crate::attachment::ledger::{
    ClusterTag, Copy, HOLDERS_MAX, NodeTag, PREFIX, Record, Unreadable,
};
use crate::attachment::static_form::Mode;
use crate::attachment::verdict::FirstDriver;
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

impl<'a> Survey<'a> {
    /// Every volume on this box, and every PV that should be on it, added to `found`.
    pub fn volumes(
        &self,
        backend: &'a Backend,
        disks: &'a [Arc<Disk>],
        backends: &Backends,
        found: &mut Vec<Found<'a>>,
    ) {
        let context = self.context(backend);
        let mut claims = self.claims(backend, backends);
        found.reserve(disks.len());
        for disk in disks {
            let (slot, volume) = match claims.remove(disk.slot.as_str()) {
                Some((slot, volume)) => (slot.clone(), Some(volume)),
                None if !disk.comment.starts_with(PREFIX) => continue,
                None => match Slot::parse(&disk.slot) {
                    Ok(slot) => (slot, None),
                    Err(_) => continue,
                },
            };
            let id = VolumeId { backend: backend.name.clone(), slot };
            found.push(self.found(&context, id, Some(disk), volume));
        }
        let missing = claims.into_values().map(|(slot, volume)| {
            (VolumeId { backend: backend.name.clone(), slot: slot.clone() }, volume)
        });
        let missing: BTreeMap<VolumeId, &Volume> = missing.collect();
        let lost = missing.into_iter();
        found.extend(lost.map(|(id, volume)| self.found(&context, id, None, Some(volume))));
    }

    /// The PVs whose handles name this box, by slot. Where two name one volume, the same counts as
    /// for RPCs: the one that has its name, else the first.
    fn claims(&self, backend: &Backend, backends: &Backends) -> Claims<'a> {
        let mut claims = Claims::default();
        claims.reserve(self.view.volumes.len());
        for volume in self.view.volumes.values() {
            let names = volume.names.as_ref();
            let Some(names) = names.filter(|it| it.is_on(&backend.name, &backends.bare_ids)) else {
                continue;
            };
            match claims.entry(names.slot.as_str()) {
                Entry::Vacant(place) => {
                    place.insert((&names.slot, volume.as_ref()));
                }
                Entry::Occupied(mut place) if volume.name == names.slot.as_str() => {
                    place.insert((&names.slot, volume.as_ref()));
                }
                Entry::Occupied(_) => {}
            }
        }
        claims
    }

    fn context(&self, backend: &'a Backend) -> Context<'a> {
        let view = self.view;
        let mut attachments = Attachments::default();
        attachments.reserve(view.attachments.len());
        for attachment in view.attachments.values() {
            let of = (attachment.volume.as_str(), &attachment.node);
            attachments.entry(of).or_insert(attachment);
        }
        Context {
            backend,
            mode: mode(backend),
            cluster: ClusterTag::of(&self.identity.cluster_id),
            attachments,
            hosts: Hosts::new(self.identity.secret.clone()).knowing(view.nodes.keys()),
            nodes: view.nodes.iter().map(|(name, node)| (self.tag(name), (name, node))).collect(),
            gone: OnceCell::new(),
            any_out_of_service: view.nodes.values().any(|node| node.out_of_service),
        }
    }

    fn tag(&self, node: &NodeName) -> NodeTag {
        NodeTag::of(&self.identity.cluster_id, node)
    }

    fn found(
        &self,
        context: &Context<'a>,
        id: VolumeId,
        disk: Option<&'a Disk>,
        volume: Option<&'a Volume>,
    ) -> Found<'a> {
        let written = volume.map_or(Written::Nothing, |volume| written(volume, context.cluster));
        let (copied, first_copy) = match (written, volume) {
            (Written::Copy(_, record), _) => (Some(Cow::Borrowed(record)), None),
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
        let holders = self.holders(context, volume, records, copied_names);
        let names = holders.known.iter().flatten().map(|held| held.name);
        let is_as = |record: Option<&Record>, holder: Option<&NodeName>| {
            record.is_some_and(|r| context.is_exported_for(&id.slot, (disk, volume), r, holder))
        };
        let as_recorded = is_as(records.on_box, names.clone().next());
        let agreed = records.are_equal() && names.eq(copied_names);
        let listed = |entry: &Deleting| entry.backend == id.backend && entry.slot == id.slot;
        Found {
            mode: context.mode,
            nqn_base: &context.backend.nqn_base,
            // Where there is a record, nobody asks.
            first_driver: match record {
                Ok(_) => None,
                Err(_) => self.first_driver(context, &id.slot, (disk, volume)),
            },
            as_copied: if agreed {
                as_recorded
            } else {
                is_as(records.copied, copied_names.first())
            },
            as_recorded,
            copied_is_out_of_service: context.any_out_of_service
                && copied_names.iter().any(|name| self.is_out_of_service(name)),
            is_going: volume.is_some_and(|pv| pv.going) || self.deleting.iter().any(listed),
            copy_is_damaged: matches!(written, Written::Damaged),
            disk,
            volume,
            holders: holders.known,
            nameless: holders.nameless,
            id,
            record,
            is_ours,
            copied,
            first_copy,
        }
    }

    /// The holders of the record that counts.
    fn holders(
        &self,
        context: &Context<'a>,
        volume: Option<&'a Volume>,
        records: Records<'_>,
        copied_names: &'a [NodeName],
    ) -> Holders<'a> {
        let counts = if records.is_ours { records.on_box } else { records.copied };
        let both = records.on_box.zip(records.copied);
        let known = both.filter(|(record, copied)| record.shares_nqn(copied));
        let mut holders = Holders::default();
        let mut room = holders.known.iter_mut();
        for tag in counts.map_or(&[][..], |record| &record.nodes) {
            let named = self.named(context, *tag, copied_names);
            // No record has more nodes than there is room for.
            let Some(((name, node), room)) = named.zip(room.next()) else {
                holders.nameless += 1;
                continue;
            };
            let attachment =
                volume.and_then(|pv| context.attachments.get(&(pv.name.as_str(), name)));
            let is_new = known.is_none_or(|(_, copied)| !copied.nodes.contains(tag));
            *room = Some(Held { name, node, attachment: attachment.copied(), is_new });
        }
        holders
    }

    /// The node behind a tag, and its Node object: known to Kubernetes, or named in the copy.
    fn named(
        &self,
        context: &Context<'a>,
        tag: NodeTag,
        copied: &'a [NodeName],
    ) -> Option<(&'a NodeName, Option<&'a Node>)> {
        if let Some((name, node)) = context.nodes.get(&tag) {
            return Some((name, Some(node)));
        }
        let gone = context.gone.get_or_init(|| self.gone());
        let known = gone.get(&tag).copied();
        known.or_else(|| copied.iter().find(|name| self.tag(name) == tag)).map(|name| (name, None))
    }

    /// The nodes that only VolumeAttachments know.
    fn gone(&self) -> HashMap<NodeTag, &'a NodeName, RandomState> {
        let attached = self.view.attachments.values().map(|attachment| &attachment.node);
        let attached: HashSet<&NodeName, RandomState> = attached.collect();
        let gone = attached.into_iter().filter(|node| !self.view.nodes.contains_key(*node));
        gone.map(|node| (self.tag(node), node)).collect()
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

/// PVs by slot.
type Claims<'a> = HashMap<&'a str, (&'a Slot, &'a Volume), RandomState>;
/// VolumeAttachments by PV and node.
type Attachments<'a> = HashMap<(&'a str, &'a NodeName), &'a Attachment, RandomState>;

/// What is the same for all volumes of a box.
struct Context<'a> {
    backend: &'a Backend,
    mode: Mode,
    cluster: ClusterTag,
    attachments: Attachments<'a>,
    hosts: Hosts,
    nodes: HashMap<NodeTag, (&'a NodeName, &'a Node), RandomState>,
    /// Found when the first tag of none of these nodes is met.
    gone: OnceCell<HashMap<NodeTag, &'a NodeName, RandomState>>,
    any_out_of_service: bool,
}

impl Context<'_> {
    fn is_exported_for(
        &self,
        slot: &Slot,
        (disk, volume): (Option<&Disk>, Option<&Volume>),
        record: &Record,
        holder: Option<&NodeName>,
    ) -> bool {
        let (nqn_base, port) = (&self.backend.nqn_base, nvme_port(volume, self.backend));
        let place = Place { slot, nqn_base, port, mode: self.mode };
        disk.is_some_and(|disk| is_exported(record, place, &self.hosts, holder, shown(disk)))
    }
}

/// What the box says, what the copy says, and whether the box's is ours.
#[derive(Clone, Copy)]
struct Records<'a> {
    on_box: Option<&'a Record>,
    copied: Option<&'a Record>,
    is_ours: bool,
}

impl Records<'_> {
    fn are_equal(&self) -> bool {
        match (self.on_box, self.copied) {
            // Mostly they are one.
            (Some(record), Some(copied)) => std::ptr::eq(record, copied) || record == copied,
            (record, copied) => record == copied,
        }
    }
}

/// The holders of a volume, and how many have no name.
#[derive(Default)]
struct Holders<'a> {
    known: [Option<Held<'a>>; HOLDERS_MAX],
    nameless: usize,
}

/// What stands in the annotation.
#[derive(Clone, Copy)]
enum Written<'a> {
    Nothing,
    Copy(&'a Copy, &'a Record),
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
fn record_of<'a>(
    disk: Option<&'a Disk>,
    written: Written<'a>,
) -> Result<Cow<'a, Record>, Unreadable> {
    let comment = &disk.ok_or(Unreadable::Absent)?.comment;
    match written {
        Written::Copy(copy, record) if copy.record == *comment => Ok(Cow::Borrowed(record)),
        _ => Record::parse(comment).map(Cow::Owned),
    }
}

/// A volume that has no copy yet was never attached. Where we made it (its attributes say so)
/// and the box has lost it before any pass wrote the first copy, that would have said this.
fn first_copy_of(
    id: &VolumeId,
    volume: &Volume,
    cluster: ClusterTag,
) -> Option<(Cow<'static, Record>, Box<Copy>)> {
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
        uuid: String::new(),
        fenced_from: Vec::new(),
    };
    Some((Cow::Owned(record), Box::new(copy)))
}
