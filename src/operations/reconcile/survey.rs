//! Table and caches -> every volume, with what was found of it. Pure.
//!
//! There may be a hundred thousand volumes, and mostly all are in order: they are handed on one by
//! one and not kept, and nothing is hashed, read or copied that was so before.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::facts::{Found, Held};
use super::roster::{Names, Roster};
use super::settled::Settled;
use super::{Sight, Table};
use crate::attachment::export::{Place, is_exported};
use crate::attachment::first_driver::claim;
use crate::attachment::ledger::{
    ClusterTag, Copy, Further, HOLDERS_MAX, PREFIX, Record, Unreadable,
};
use crate::attachment::static_form::Mode;
use crate::attachment::verdict::FirstDriver;
use crate::cluster::{Attachment, CopyState, Deleting, Identity, View, Volume};
use crate::operations::first_driver::attached_nodes;
use crate::operations::ground::{is_made_by, mode, nvme_port, shown};
use crate::operations::{Backend, Backends};
use crate::rds::Disk;
use crate::volume::{NodeName, Slot, VolumeId, VolumePath};

/// How many volumes are looked up at a time.
const ABREAST: usize = 32;

/// What all volumes are judged against.
pub(super) struct Survey<'a> {
    pub identity: &'a Identity,
    pub cluster: ClusterTag,
    pub view: &'a View,
    pub tables: &'a [Table],
    /// Of the box of each table, asked once: connections come and go while a pass goes on.
    pub modes: Vec<Mode>,
    pub deleting: &'a [Deleting],
    pub roster: Roster<'a>,
    pub backends: &'a Backends,
}

/// Which row of which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub table: usize,
    pub row: usize,
}

impl<'a> Survey<'a> {
    /// All of it, as of now.
    pub fn new(
        sight: Sight<'a>,
        view: &'a View,
        names: &mut Names,
        backends: &'a Backends,
    ) -> Self {
        Self {
            identity: sight.identity,
            cluster: ClusterTag::of(&sight.identity.cluster_id),
            view,
            tables: sight.tables,
            modes: sight.tables.iter().map(|(backend, _)| mode(backend)).collect(),
            deleting: sight.deleting,
            roster: Roster::new(sight.identity, view, names),
            backends,
        }
    }

    /// Every volume on these boxes with its place there, then every PV that should be on one and is
    /// not. Volumes that are `settled` are left out: each has a PV of its own, and no other row has
    /// its name.
    pub fn volumes(&self, settled: &Settled, mut each: impl FnMut(Option<At>, Found<'a>)) {
        let mut claimed = vec![false; self.view.volumes.places()];
        for (table, (backend, disks)) in self.tables.iter().enumerate() {
            let context = self.context(table);
            let open = disks.iter().enumerate().map(|(row, disk)| (At { table, row }, &**disk));
            let open: Vec<(At, &'a Disk)> = open.filter(|(at, _)| !settled.has(*at)).collect();
            for rows in open.chunks(ABREAST) {
                for ((at, disk), claim) in rows.iter().copied().zip(self.claims(rows, backend)) {
                    // Of two disks of one name the first is meant.
                    let is_first =
                        |claim: &Claim<'_>| !std::mem::replace(&mut claimed[claim.place], true);
                    let claim = claim.filter(is_first);
                    let Some(slot) = slot_of(disk, claim.as_ref()) else { continue };
                    let id = VolumeId { backend: backend.name.clone(), slot };
                    each(Some(at), self.found(&context, id, Some(disk), claim));
                }
            }
        }
        self.each_lost(settled, claimed, |found| each(None, found));
    }

    /// Every PV that should be on one of these boxes and is not.
    fn each_lost(
        &self,
        settled: &Settled,
        mut claimed: Vec<bool>,
        mut each: impl FnMut(Found<'a>),
    ) {
        let open = claimed.iter().filter(|is_claimed| **is_claimed).count();
        if open + settled.count() == self.view.volumes.len() {
            return;
        }
        for (at, disk) in self.rows().filter(|(at, _)| settled.has(*at)) {
            if let Some(claim) = self.claimed(&disk.slot, &self.tables[at.table].0) {
                claimed[claim.place] = true;
            }
        }
        for (table, (backend, _)) in self.tables.iter().enumerate() {
            let context = self.context(table);
            for (id, claim) in self.lost(backend, &claimed) {
                each(self.found(&context, id, None, Some(claim)));
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = (At, &'a Disk)> {
        self.tables.iter().enumerate().flat_map(|(table, (_, disks))| {
            disks.iter().enumerate().map(move |(row, disk)| (At { table, row }, &**disk))
        })
    }

    /// The PVs that name this box and were not claimed.
    fn lost(&self, backend: &Backend, claimed: &[bool]) -> BTreeMap<VolumeId, Claim<'a>> {
        let names = self.view.volumes.values().filter_map(|volume| volume.names.as_ref());
        let claims = names.filter_map(|names| self.claim(names.slot.as_str(), backend));
        let lost = claims.filter(|claim| !claimed[claim.place]);
        let id = |slot: &Slot| VolumeId { backend: backend.name.clone(), slot: slot.clone() };
        lost.map(|claim| (id(claim.slot), claim)).collect()
    }

    /// The PVs that name these disks. All of them are looked up before one is judged, and all their
    /// VolumeAttachments then: a processor that waits for memory goes on with the next.
    fn claims(&self, rows: &[(At, &Disk)], backend: &Backend) -> [Option<Claim<'a>>; ABREAST] {
        let mut claims = [None; ABREAST];
        for (claim, (_, disk)) in claims.iter_mut().zip(rows) {
            *claim = self.claimed(&disk.slot, backend);
        }
        for claim in claims.iter_mut().flatten() {
            claim.attached = Attached::of(claim.volume, self.view);
        }
        claims
    }

    /// The PV that names this disk.
    fn claim(&self, slot: &'a str, backend: &Backend) -> Option<Claim<'a>> {
        let claim = self.claimed(slot, backend)?;
        Some(Claim { attached: Attached::of(claim.volume, self.view), ..claim })
    }

    fn claimed(&self, slot: &str, backend: &Backend) -> Option<Claim<'a>> {
        let (place, volume) = self.view.claim(slot, &backend.name, &self.backends.bare_ids)?;
        let slot = &volume.names.as_ref()?.slot;
        Some(Claim { place, slot, volume, attached: Attached::default() })
    }

    fn context(&self, table: usize) -> Context<'a> {
        Context { backend: &self.tables[table].0, mode: self.modes[table] }
    }

    fn found(
        &self,
        context: &Context<'a>,
        id: VolumeId,
        disk: Option<&'a Disk>,
        claim: Option<Claim<'a>>,
    ) -> Found<'a> {
        let volume = claim.map(|claim| claim.volume);
        let written = volume.map_or(Written::Nothing, |volume| written(volume, self.cluster));
        let (copied, first_copy) = match (written, volume) {
            (Written::Copy(_, record), _) => (Some(Cow::Borrowed(record)), None),
            (Written::Nothing, Some(volume)) if disk.is_none() => {
                first_copy_of(&id, volume, self.cluster).unzip()
            }
            _ => (None, None),
        };
        let copied_names = match written {
            Written::Copy(copy, _) => copy.nodes.as_slice(),
            _ => &[],
        };
        let record = record_of(disk, written);
        let is_ours = record.as_ref().is_ok_and(|record| record.cluster == self.cluster);
        let records =
            Records { on_box: record.as_deref().ok(), copied: copied.as_deref(), is_ours };
        let holders = self.holders(claim, records, copied_names);
        let names = holders.known.iter().flatten().map(|held| held.name);
        let is_as = |record: Option<&Record>, holder: Option<&NodeName>| {
            record
                .is_some_and(|r| self.is_exported_for(context, &id.slot, (disk, volume), r, holder))
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
            copied_is_out_of_service: self.roster.is_any_out_of_service(copied_names),
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

    fn is_exported_for(
        &self,
        context: &Context<'_>,
        slot: &Slot,
        (disk, volume): (Option<&Disk>, Option<&Volume>),
        record: &Record,
        holder: Option<&NodeName>,
    ) -> bool {
        let (nqn_base, port) = (&context.backend.nqn_base, nvme_port(volume, context.backend));
        let place = Place { slot, nqn_base, port, mode: context.mode };
        let hosts = &self.roster.hosts;
        disk.is_some_and(|disk| is_exported(record, place, hosts, holder, shown(disk)))
    }

    /// The holders of the record that counts.
    fn holders(
        &self,
        claim: Option<Claim<'a>>,
        records: Records<'_>,
        copied_names: &'a [NodeName],
    ) -> Holders<'a> {
        let counts = if records.is_ours { records.on_box } else { records.copied };
        let both = records.on_box.zip(records.copied);
        let known = both.filter(|(record, copied)| record.shares_nqn(copied));
        let mut holders = Holders::default();
        let mut room = holders.known.iter_mut();
        for tag in counts.map_or(&[][..], |record| &record.nodes) {
            let named = self.roster.named(*tag, copied_names);
            // No record has more nodes than there is room for.
            let Some(((name, member), room)) = named.zip(room.next()) else {
                holders.nameless += 1;
                continue;
            };
            let attachment = claim.and_then(|claim| claim.attached.to(name));
            let is_new = known.is_none_or(|(_, copied)| !copied.nodes.contains(tag));
            *room = Some(Held { name, member, attachment, is_new });
        }
        holders
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
}

/// The PV of a disk.
#[derive(Clone, Copy)]
struct Claim<'a> {
    /// A number that no other PV has.
    place: usize,
    slot: &'a Slot,
    volume: &'a Volume,
    attached: Attached<'a>,
}

/// The slot of a disk that is a volume: a PV names it, or it has a record.
fn slot_of(disk: &Disk, claim: Option<&Claim<'_>>) -> Option<Slot> {
    match claim {
        Some(claim) => Some(claim.slot.clone()),
        None if !disk.comment.starts_with(PREFIX) => None,
        None => Slot::parse(&disk.slot).ok(),
    }
}

/// The VolumeAttachments of one PV.
#[derive(Clone, Copy, Default)]
struct Attached<'a> {
    /// Some of them,
    some: [Option<&'a Attachment>; HOLDERS_MAX],
    /// and where the others are found, if there are any.
    more: Option<(&'a View, &'a Volume)>,
}

impl<'a> Attached<'a> {
    fn of(volume: &'a Volume, view: &'a View) -> Self {
        let mut attached = Self::default();
        let mut room = attached.some.iter_mut();
        for attachment in view.attachments.sought(&volume.name) {
            match room.next() {
                Some(room) => *room = Some(attachment),
                None => attached.more = Some((view, volume)),
            }
        }
        attached
    }

    /// The one for this node.
    fn to(self, node: &NodeName) -> Option<&'a Attachment> {
        match self.more {
            Some((view, volume)) => view.attachment(&volume.name, node).map(AsRef::as_ref),
            None => {
                let to_it = |attachment: &&Attachment| attachment.node == *node;
                let all = self.some.into_iter().flatten().filter(to_it);
                all.min_by(|a, b| a.name.cmp(&b.name))
            }
        }
    }
}

/// What is the same for all volumes of a box.
struct Context<'a> {
    backend: &'a Backend,
    mode: Mode,
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
        readers: Vec::new(),
        fenced_from: Vec::new(),
        further: Further::default(),
    };
    Some((Cow::Owned(record), Box::new(copy)))
}
