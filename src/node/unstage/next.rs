//! The next step of unstaging, from what is seen: a pure function.

use std::path::{Path, PathBuf};

use crate::host::{Controller, ControllerState};
use crate::node::look::{Seen, is_generation_of, is_nvme, is_of};
use crate::node::{precondition, shown};
use crate::operations::Error;
use crate::volume::{Handle, Nqn};

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Take away the topmost mount here.
    Unmount(PathBuf),
    /// End this connection.
    Disconnect(Controller),
    /// Remove the note.
    Forget,
    /// Nothing: nothing is left.
    Done,
}

/// The next step. `published` are the targets of the note at which the volume is still to be seen.
///
/// # Errors
/// Where the volume is in use still, or where something else is mounted.
pub fn next(
    volume: &Handle,
    staging: &Path,
    seen: &Seen,
    published: &[PathBuf],
) -> Result<Step, Error> {
    if let Some(target) = published.first() {
        return Err(precondition(format!(
            "volume {} is published at {} still; unpublish it first",
            shown(volume),
            target.display()
        )));
    }
    if let Some(mount) = seen.topmost(staging) {
        if !is_nvme(mount) && !seen.devices.iter().any(|device| is_of(mount, device)) {
            return Err(precondition(format!(
                "{} ({}) is mounted at {}, which is not volume {}; unmount it",
                mount.source,
                mount.kind,
                staging.display(),
                shown(volume)
            )));
        }
        return Ok(Step::Unmount(staging.to_owned()));
    }
    let elsewhere = |mount: &&crate::host::Mount| seen.devices.iter().any(|one| is_of(mount, one));
    if let Some(mount) = seen.mounts.iter().find(elsewhere) {
        return Err(precondition(format!(
            "volume {} is still mounted at {}; its connection is kept",
            shown(volume),
            mount.target.display()
        )));
    }
    let is_ours = |nqn: &Nqn| match &seen.note {
        Some(note) => note.nqn == *nqn,
        // Without a note: by the form of the name, and only what no other volume's note claims.
        None => {
            is_generation_of(nqn, &volume.slot) && seen.others.iter().all(|one| one.nqn != *nqn)
        }
    };
    let still = |one: &&Controller| one.state != ControllerState::Deleting && is_ours(&one.nqn);
    if let Some(controller) = seen.controllers.iter().find(still) {
        return Ok(Step::Disconnect(controller.clone()));
    }
    Ok(if seen.note.is_some() { Step::Forget } else { Step::Done })
}

#[cfg(test)]
mod test;
