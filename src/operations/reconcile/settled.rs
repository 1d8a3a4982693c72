//! What the last pass found in order, so that this one need not look at it again.
//!
//! Mostly nothing has changed between two passes. A verdict is made of four things: the row of the
//! box, the PV that names it, that PV's VolumeAttachments, and what is the same for all volumes
//! ([`Grounds`]). Where all four are as they were, so is the verdict. That is relied on only where it
//! was that there is nothing to do, and where no age went into it: see [`Entry::of`].
//!
//! Rows are compared byte by byte, [`Grounds`] whole. What the watches show is never changed in place:
//! a PV that is the very same object is the same.

mod grounds;
mod row;
#[cfg(test)]
mod test;

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use self::grounds::Grounds;
use self::row::Row;
use super::facts::Found;
use super::survey::{At, Survey};
use crate::attachment::ledger::HOLDERS_MAX;
use crate::attachment::verdict::{Action, Rules, Verdict};
use crate::cluster::{Attachment, Volume};
use crate::rds::Disk;
use crate::volume::VolumeId;

/// How far ahead a row is looked for in what is known: so many may have gone from the table in one
/// place before the rest of it is judged anew.
const AHEAD: usize = 16;

/// Slots whose rows are judged anew.
type Slots = HashSet<Box<str>, RandomState>;

/// A volume with which there was nothing to do.
#[derive(Debug)]
pub(super) struct Entry {
    row: Row,
    /// Why there is nothing to do.
    pub reason: &'static str,
    /// Does somebody hold it?
    pub is_attached: bool,
    /// The numbers of the nodes that do.
    pub holders: [Option<u32>; HOLDERS_MAX],
}

impl Entry {
    /// Of a volume that stays as it is until something comes to pass: it has a row, a record of ours,
    /// a PV with a copy, and the nodes that it names are there and well and have their
    /// VolumeAttachments. Ages are asked for only where one of these is missing.
    pub fn of(found: &Found<'_>, verdict: &Verdict) -> Option<Self> {
        let is_plain = verdict.action == Action::Nothing
            && found.record.is_ok()
            && found.is_ours
            && found.volume.is_some()
            && found.copied.is_some()
            && found.first_copy.is_none()
            && found.first_driver.is_none()
            && found.nameless == 0
            && !found.copy_is_damaged
            && !found.is_going;
        let disk = found.disk.filter(|_| is_plain)?;
        let is_attached = found.is_attached();
        let mut holders = [None; HOLDERS_MAX];
        for (number, held) in holders.iter_mut().zip(found.holders()) {
            let member = held.member.filter(|member| member.node.ready)?;
            held.attachment.filter(|attachment| !attachment.deleting)?;
            *number = Some(u32::try_from(member.number).ok()?);
        }
        Some(Self { row: Row::of(disk), reason: verdict.reason, is_attached, holders })
    }
}

/// The volumes of a pass with which there is still nothing to do, by table and row.
#[derive(Debug, Default)]
pub(super) struct Settled {
    tables: Vec<Vec<Option<Entry>>>,
    count: usize,
}

impl Settled {
    /// Is it one of them?
    pub fn has(&self, at: At) -> bool {
        self.tables.get(at.table).and_then(|rows| rows.get(at.row)).is_some_and(Option::is_some)
    }

    /// All of them.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.tables.iter().flatten().flatten()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// What the last pass leaves to the next.
#[derive(Debug, Default)]
pub(super) struct Past {
    grounds: Option<Grounds>,
    /// What the watches showed, by name.
    volumes: Vec<Arc<Volume>>,
    attachments: Vec<Arc<Attachment>>,
    /// In the order of the rows, for each of the boxes in `grounds`.
    tables: Vec<Vec<Entry>>,
}

impl Past {
    /// The volumes that are as the last pass left them. Those that are `open` are judged anew in any
    /// case. Until [`Past::keep`] nothing is settled for another pass.
    pub fn settled<'i>(
        &mut self,
        survey: &Survey<'_>,
        rules: Rules,
        open: impl Iterator<Item = &'i VolumeId>,
    ) -> Settled {
        let grounds = Grounds::of(survey, rules);
        let tables = std::mem::take(&mut self.tables);
        let view = survey.view;
        if self.grounds.as_ref() != Some(&grounds) {
            self.grounds = Some(grounds);
            self.volumes = view.volumes.values().cloned().collect();
            self.attachments = view.attachments.values().cloned().collect();
            return Settled::default();
        }
        let mut unsettled = Slots::default();
        let mut unsettle = |volume: &Volume| {
            unsettled.extend(volume.names.as_ref().map(|names| names.slot.as_str().into()));
        };
        follow(&mut self.volumes, view.volumes.values(), |volume| &volume.name, &mut unsettle);
        follow(
            &mut self.attachments,
            view.attachments.values(),
            |it| &it.name,
            |attachment| {
                // One that is no more is found in what it was before.
                if let Some(volume) = view.volumes.get(&attachment.volume) {
                    unsettle(volume);
                }
            },
        );
        unsettled.extend(open.map(|id| id.slot.as_str().into()));
        let disks = survey.tables.iter().map(|(_, disks)| disks);
        let matched = tables.into_iter().zip(disks);
        let mut tables: Vec<_> =
            matched.map(|(known, disks)| still_there(known, disks, &mut unsettled)).collect();
        let entries = tables.iter_mut().flatten();
        if !unsettled.is_empty() {
            entries.for_each(|entry| {
                entry.take_if(|entry| unsettled.contains(entry.row.slot()));
            });
        }
        let count = tables.iter().flatten().flatten().count();
        Settled { tables, count }
    }

    /// What is settled for the next pass: what was so for this one, and what it found so.
    pub fn keep(&mut self, settled: Settled, fresh: Vec<(At, Entry)>, survey: &Survey<'_>) {
        let mut tables = settled.tables;
        let rows = survey.tables.iter().map(|(_, disks)| disks.len());
        tables.resize_with(survey.tables.len(), Vec::new);
        tables.iter_mut().zip(rows).for_each(|(table, rows)| table.resize_with(rows, || None));
        for (at, entry) in fresh {
            tables[at.table][at.row] = Some(entry);
        }
        self.tables = tables.into_iter().map(|rows| rows.into_iter().flatten().collect()).collect();
    }
}

/// What is known of each row, where it is as it was. The slots of the others are `unsettled`: there may
/// be two rows of one name, and it counts which comes first.
fn still_there(
    known: Vec<Entry>,
    disks: &[Arc<Disk>],
    unsettled: &mut Slots,
) -> Vec<Option<Entry>> {
    if known.is_empty() {
        return Vec::new();
    }
    let mut known = known.into_iter();
    let entry = |disk: &Arc<Disk>| {
        let mut ahead = known.as_slice().iter().take(AHEAD);
        let at = ahead.position(|entry| entry.row.is_of(&disk.slot));
        let entry = at.and_then(|at| known.nth(at)).filter(|entry| entry.row.shows(disk));
        if entry.is_none() {
            unsettled.insert(disk.slot.as_str().into());
        }
        entry
    };
    disks.iter().map(entry).collect()
}

/// Makes `known` what there is `now`, both in the order of their names, and tells what has gone and
/// what has come; of what has changed, both the old and the new.
fn follow<'n, T: Eq + 'n>(
    known: &mut Vec<Arc<T>>,
    now: impl ExactSizeIterator<Item = &'n Arc<T>> + Clone,
    name: impl Fn(&T) -> &String,
    mut changed: impl FnMut(&T),
) {
    if known.len() == now.len() && known.iter().zip(now.clone()).all(|(a, b)| Arc::ptr_eq(a, b)) {
        return;
    }
    let mut before = std::mem::take(known).into_iter().peekable();
    for value in now {
        // A list that was made anew shows the same in new objects.
        if let Some(same) = before.next_if(|old| Arc::ptr_eq(old, value) || *old == *value) {
            known.push(if Arc::ptr_eq(&same, value) { same } else { Arc::clone(value) });
            continue;
        }
        while let Some(gone) = before.next_if(|old| name(old) <= name(value)) {
            changed(&gone);
        }
        changed(value);
        known.push(Arc::clone(value));
    }
    before.for_each(|gone| changed(&gone));
}
