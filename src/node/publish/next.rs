//! The next step of publishing, from what is seen: a pure function.

use std::path::{Path, PathBuf};

use crate::host::{Device, Entry, Mount};
use crate::node::look::{Seen, is_nvme, is_of};
use crate::node::staged::Note;
use crate::node::{precondition, shown};
use crate::operations::{Error, Kind};
use crate::volume::Handle;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Which volume.
    pub volume: &'a Handle,
    /// Where it is staged.
    pub staging: &'a Path,
    /// Where it shall be seen.
    pub target: &'a Path,
    /// As a device?
    pub block: bool,
    /// Read-only?
    pub read_only: bool,
    /// At this target alone (SINGLE_NODE_SINGLE_WRITER)?
    pub alone: bool,
    /// Its device.
    pub device: &'a Device,
}

/// What is known of the target beside the mounts.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// What the target is; with a device bound to it, that device.
    pub entry: Entry,
    /// Where the volume is published.
    pub published: &'a [PathBuf],
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Take the topmost mount away.
    Unmount(PathBuf),
    /// Write this note.
    Note(Box<Note>),
    /// Make the target a directory.
    MakeDirectory,
    /// Make the target a file.
    MakeFile,
    /// Let this be seen at the target.
    Bind(PathBuf),
    /// Nothing: it is published.
    Done,
}

/// The next step; the volume is staged.
///
/// # Errors
/// Where no step leads on.
pub fn next(wanted: &Wanted<'_>, seen: &Seen, target: Target<'_>) -> Result<Step, Error> {
    if let Some(mount) = seen.topmost(wanted.target) {
        return mounted(wanted, seen, mount, target.entry);
    }
    let elsewhere = target.published.iter().find(|path| *path != wanted.target);
    if let Some(other) = elsewhere.filter(|_| wanted.alone) {
        return Err(precondition(format!(
            "volume {} is for one workload (SINGLE_NODE_SINGLE_WRITER) and is published at {}",
            shown(wanted.volume),
            other.display()
        )));
    }
    if let Some(note) = &seen.note
        && note.targets.get(wanted.target) != Some(&wanted.read_only)
    {
        let mut note = note.clone();
        note.targets.insert(wanted.target.to_owned(), wanted.read_only);
        return Ok(Step::Note(Box::new(note)));
    }
    match (target.entry, wanted.block) {
        (Entry::Absent, true) => Ok(Step::MakeFile),
        (Entry::Absent, false) => Ok(Step::MakeDirectory),
        (Entry::File, true) => Ok(Step::Bind(wanted.device.path.clone())),
        (Entry::Directory, false) => Ok(Step::Bind(wanted.staging.to_owned())),
        (found, _) => Err(precondition(format!(
            "the target {} is {}; volume {} needs {} there",
            wanted.target.display(),
            word(found),
            shown(wanted.volume),
            if wanted.block { "a file" } else { "a directory" },
        ))),
    }
}

/// Something is mounted at the target: this volume as asked for, this volume otherwise, a device that
/// was the volume's once, or something else.
fn mounted(wanted: &Wanted<'_>, seen: &Seen, mount: &Mount, entry: Entry) -> Result<Step, Error> {
    let (is_volume, is_stale) = match entry {
        Entry::Block(number) => {
            let same = number == wanted.device.number;
            (wanted.block && same, wanted.block && !same)
        }
        _ => {
            let same = is_of(mount, wanted.device);
            (!wanted.block && same, !wanted.block && !same && is_nvme(mount))
        }
    };
    if is_stale {
        return Ok(Step::Unmount(wanted.target.to_owned()));
    }
    let place = wanted.target.display();
    if !is_volume {
        return Err(precondition(format!(
            "{} ({}) is mounted at {place}, which is not volume {}; unmount it",
            mount.source,
            mount.kind,
            shown(wanted.volume)
        )));
    }
    // A bind that was cut off is writable where read-only was asked for, as the note says.
    let noted = seen.note.as_ref().and_then(|note| note.targets.get(wanted.target));
    let is_unfinished = wanted.read_only && noted == Some(&true) && !mount.read_only;
    if is_unfinished {
        return Ok(Step::Unmount(wanted.target.to_owned()));
    }
    if mount.read_only != wanted.read_only {
        let word = |read_only| if read_only { "read-only" } else { "read-write" };
        let message = format!(
            "volume {} is published at {place} {}, {} is asked for",
            shown(wanted.volume),
            word(mount.read_only),
            word(wanted.read_only)
        );
        return Err(Error::new(Kind::Exists, message));
    }
    Ok(Step::Done)
}

fn word(entry: Entry) -> &'static str {
    match entry {
        Entry::Absent => "absent",
        Entry::Directory => "a directory",
        Entry::File => "a file",
        Entry::Block(_) => "a device",
        Entry::Other => "neither file nor directory",
        Entry::Unreadable => "unreadable",
    }
}

#[cfg(test)]
mod test;
