//! The next step of unstaging, from what is seen: a pure function.

use std::path::{Path, PathBuf};

use crate::host::{Controller, Mount};
use crate::node::look::{Seen, is_generation_of, is_nvme, is_of, uses};
use crate::node::staged::Note;
use crate::node::{Point, foreign, precondition, shown};
use crate::operations::Error;
use crate::volume::{Handle, Nqn};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Which volume.
    pub volume: &'a Handle,
    /// Where it was staged.
    pub staging: &'a Path,
    /// The subsystem of what is mounted there, where it is another one than the note's.
    pub stranger: Option<&'a Nqn>,
    /// The targets of the note at which the volume is still to be seen.
    pub published: &'a [PathBuf],
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write this note of what was found without one; then this is done.
    Note(Box<Note>, Point),
    /// Take away the topmost mount here.
    Unmount(PathBuf),
    /// End this connection.
    Disconnect(Controller),
    /// Remove the note.
    Forget,
    /// Nothing: nothing is left.
    Done,
}

/// The next step.
///
/// # Errors
/// Where the volume is in use still, or where something else is mounted.
pub fn next(wanted: &Wanted<'_>, seen: &Seen) -> Result<Step, Error> {
    let Wanted { volume, staging, stranger, published } = *wanted;
    if let Some(other) = seen.owner_of(staging, stranger) {
        return Err(foreign(volume, staging, other));
    }
    if let Some(target) = published.first() {
        return Err(precondition(format!(
            "volume {} is published at {} still; unpublish it first",
            shown(volume),
            target.display()
        )));
    }
    if let Some(mount) = seen.topmost(staging) {
        return mounted(wanted, seen, mount);
    }
    let elsewhere = |mount: &&Mount| seen.devices.iter().any(|one| uses(mount, one));
    if let Some(mount) = seen.mounts.iter().find(elsewhere) {
        return Err(precondition(format!(
            "volume {} is still mounted at {}; its connection is kept",
            shown(volume),
            mount.target.display()
        )));
    }
    if let Some(controller) = seen.to_be_ended(volume) {
        return Ok(Step::Disconnect(controller.clone()));
    }
    Ok(if seen.note.is_some() { Step::Forget } else { Step::Done })
}

/// Something is mounted at the staging path: the volume's device, one that is gone, or something
/// else. Without a note, the device says under which name the volume is connected; that is noted
/// before it is unmounted, because nothing else tells it afterwards.
fn mounted(wanted: &Wanted<'_>, seen: &Seen, mount: &Mount) -> Result<Step, Error> {
    let (volume, staging) = (wanted.volume, wanted.staging);
    let is_device = seen.devices.iter().any(|device| is_of(mount, device));
    if !is_nvme(mount) && !is_device {
        return Err(precondition(format!(
            "{} ({}) is mounted at {}, which is not volume {}; unmount it",
            mount.source,
            mount.kind,
            staging.display(),
            shown(volume)
        )));
    }
    let found = wanted.stranger.and_then(|nqn| seen.to(nqn).next());
    if let Some(note) = found.filter(|_| seen.note.is_none()).and_then(|one| seen.veiled(&one.nqn))
    {
        return Err(note.error());
    }
    match (found, &seen.note) {
        (Some(found), None) => {
            let note = Note::found(volume, found, mount, &seen.boot);
            Ok(Step::Note(Box::new(note), Point::FoundNoted))
        }
        (Some(found), Some(note)) if !is_generation_of(&found.nqn, &volume.slot) => {
            Err(precondition(format!(
                "{} of {} is mounted at {}, and volume {} is staged there under {}; unmount it",
                mount.source,
                found.nqn,
                staging.display(),
                shown(volume),
                note.nqn
            )))
        }
        _ => Ok(Step::Unmount(staging.to_owned())),
    }
}

#[cfg(test)]
mod test;
