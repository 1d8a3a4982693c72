//! The next step of staging, from what is seen: a pure function.
//!
//! ```text
//! end other generations ─▶ note ─▶ connect ─▶ device, live, large enough ─▶ take stale mounts away
//!   ─▶ signature ─▶ (zeros, and never formatted: note, mkfs, signature) ─▶ note ─▶ mount ─▶ done
//! ```

use std::path::{Path, PathBuf};

use super::identity::{as_it_is, changed_identity, identity};
use crate::host::{Controller, ControllerState, Device, Mount, Signature};
use crate::node::context::Context;
use crate::node::look::{Seen, is_nvme, is_of};
use crate::node::staged::{Formatting, Note, Use};
use crate::node::{Point, foreign, precondition, shown};
use crate::operations::{Error, Kind};
use crate::volume::Handle;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Which volume.
    pub volume: &'a Handle,
    /// What the controller said of it.
    pub context: &'a Context,
    /// Where.
    pub staging: &'a Path,
    /// What for.
    pub used: Use,
    /// Options for mount(8).
    pub options: &'a [String],
}

/// What this call has learned of the device, beside what is seen.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What lies on it.
    pub signature: Option<Signature>,
    /// Has mkfs come to its end in this call?
    pub formatted: bool,
    /// Was its size asked for anew in this call?
    pub rescanned: bool,
    /// Was it said in this call that the box calls the device otherwise than before?
    pub is_renamed: bool,
    /// Targets that somebody uses, so that a stale mount stays there for now.
    pub busy: Vec<PathBuf>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// End this connection.
    Disconnect(Controller),
    /// Take this mount away.
    Unmount(Mount),
    /// Write this note; then this is done.
    Note(Box<Note>, Point),
    /// Connect.
    Connect,
    /// Look again after a change. What is missing, for whom it takes too long.
    Wait(String),
    /// Have these controllers look at their namespaces anew.
    Rescan(Vec<String>),
    /// Read what lies on the device.
    ReadSignature(Device),
    /// Make this kind of file system.
    Format(Device, String),
    /// Mount this kind with these options.
    Mount(Device, String, Vec<String>),
    /// Nothing: it is staged, and this is the device.
    Done(Device),
}

/// The next step.
///
/// # Errors
/// Where no step leads on: the state forbids it.
pub fn next(wanted: &Wanted<'_>, seen: &Seen, known: &Known) -> Result<Step, Error> {
    let (id, nqn) = (shown(wanted.volume), &wanted.context.connect.nqn);
    if let Some(other) = seen.claimed_by_another(wanted.volume, nqn) {
        return Err(precondition(format!(
            "volume {id} has the NQN {nqn}, under which volume {} is staged on this node; two \
             boxes must not export volumes under one name",
            other.volume
        )));
    }
    if let Some(other) = seen.owner_of(wanted.staging, None) {
        return Err(foreign(wanted.volume, wanted.staging, other));
    }
    if let Some(controller) = seen.other_generation(wanted.volume, nqn) {
        return Ok(Step::Disconnect(controller.clone()));
    }
    let intent = intent(wanted, seen)?;
    if seen.note.as_ref() != Some(&intent) {
        return Ok(Step::Note(Box::new(intent), Point::StageNoted));
    }
    let device = match connection(wanted, seen, known)? {
        Connection::Step(step) => return Ok(step),
        Connection::Device(device) => device,
    };
    if let Some(stale) = stale(wanted, seen, device, &intent, &known.busy)? {
        return Ok(Step::Unmount(stale.clone()));
    }
    let Use::Mount { kind, read_only } = &wanted.used else {
        return as_it_is(wanted, device, intent);
    };
    if let Some(mount) = seen.topmost(wanted.staging) {
        if mount.read_only != *read_only || !is_same_kind(&mount.kind, kind) {
            return Err(Error::new(
                Kind::Exists,
                format!(
                    "volume {id} is staged at {} as {} ({}), {} ({kind}) is asked for",
                    wanted.staging.display(),
                    word(mount.read_only),
                    mount.kind,
                    word(*read_only),
                ),
            ));
        }
        return Ok(Step::Done(device.clone()));
    }
    if !seen.is_live(nqn) {
        return Ok(Step::Wait(format!("the box did not answer for volume {id}")));
    }
    match &known.signature {
        None => Ok(Step::ReadSignature(device.clone())),
        Some(found) => file_system(wanted, seen, device, &intent, found, known.formatted),
    }
}

/// The note as it must stand before anything is done.
///
/// # Errors
/// Where what is known of the file system cannot be read.
fn intent(wanted: &Wanted<'_>, seen: &Seen) -> Result<Note, Error> {
    let context = wanted.context;
    let used = wanted.used.clone();
    let mut note = Note::new(wanted.volume, &context.connect, &seen.boot, wanted.staging, used);
    note.generation = context.generation;
    let before = match (&seen.note, &seen.left) {
        (Some(note), _) => Some(note),
        (None, Ok(left)) => left.as_ref(),
        (None, Err(unreadable)) => return Err(unreadable.error()),
    };
    Ok(match before {
        Some(before) => note.after(before),
        None => note,
    })
}

/// What becomes of the connection.
enum Connection<'a> {
    Step(Step),
    Device(&'a Device),
}

/// Leads to the one device of the exact NQN, of the right size.
fn connection<'a>(
    wanted: &Wanted<'_>,
    seen: &'a Seen,
    known: &Known,
) -> Result<Connection<'a>, Error> {
    let (id, nqn) = (shown(wanted.volume), &wanted.context.connect.nqn);
    if let Some(dead) = seen.to(nqn).find(|one| one.state == ControllerState::Dead) {
        return Ok(Connection::Step(Step::Disconnect(dead.clone())));
    }
    let mut usable = seen.to(nqn).filter(|one| one.state != ControllerState::Deleting).peekable();
    if usable.peek().is_none() {
        let step = match seen.to(nqn).next() {
            None => Step::Connect,
            Some(_) => Step::Wait(format!("the old connection of volume {id} did not end")),
        };
        return Ok(Connection::Step(step));
    }
    let device = match seen.devices.as_slice() {
        [] => {
            let what = format!("no device of volume {id} appeared");
            return Ok(Connection::Step(Step::Wait(what)));
        }
        [device] => device,
        several => {
            return Err(precondition(format!(
                "the subsystem {nqn} of volume {id} has {} namespaces ({}); a volume has one",
                several.len(),
                several
                    .iter()
                    .map(|one| one.path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            )));
        }
    };
    let least = wanted.context.bytes.unwrap_or(1).max(1);
    if device.bytes < least {
        let what = format!(
            "{} of volume {id} has {} bytes, and not the {least} of the volume",
            device.path.display(),
            device.bytes
        );
        let controllers = usable.map(|one| one.name.clone()).collect();
        let step = if known.rescanned { Step::Wait(what) } else { Step::Rescan(controllers) };
        return Ok(Connection::Step(step));
    }
    let writes = !matches!(wanted.used, Use::Mount { read_only: true, .. });
    if device.read_only && writes && matches!(wanted.used, Use::Mount { .. }) {
        let device = device.path.display();
        return Err(precondition(format!("{device} of volume {id} is write-protected by the box")));
    }
    Ok(Connection::Device(device))
}

/// A mount of this volume whose device is not the volume's any more: at the staging path, or where
/// the note has a target. A device at a target is publishing's to compare.
fn stale<'a>(
    wanted: &Wanted<'_>,
    seen: &'a Seen,
    device: &Device,
    note: &Note,
    busy: &[PathBuf],
) -> Result<Option<&'a Mount>, Error> {
    let Use::Mount { .. } = wanted.used else { return Ok(None) };
    if let Some(mount) = seen.topmost(wanted.staging).filter(|mount| !is_of(mount, device)) {
        if is_nvme(mount) {
            return Ok(Some(mount));
        }
        return Err(precondition(format!(
            "{} ({}) is mounted at {}, which is not volume {}; unmount it",
            mount.source,
            mount.kind,
            wanted.staging.display(),
            shown(wanted.volume)
        )));
    }
    let targets = note.targets.keys().filter(|path| !busy.contains(path));
    let mut mounted = targets.filter_map(|path| seen.topmost(path));
    Ok(mounted.find(|mount| is_nvme(mount) && !is_of(mount, device)))
}

/// The device is there and nothing of it is mounted: is there a file system to be mounted, or one to
/// be made?
fn file_system(
    wanted: &Wanted<'_>,
    seen: &Seen,
    device: &Device,
    note: &Note,
    signature: &Signature,
    formatted: bool,
) -> Result<Step, Error> {
    let Use::Mount { kind, read_only } = &wanted.used else {
        return Ok(Step::Done(device.clone()));
    };
    let may_format = wanted.context.may_format && !read_only;
    // What mkfs left when it was interrupted is nobody's data: it was noted under this very NQN
    // before it began, nothing was mounted since, and this kernel has been up all the while.
    let is_begun = matches!(&note.formatting, Formatting::Begun { boot } if *boot == seen.boot);
    let is_empty = match signature {
        Signature::Zeros | Signature::Unfinished(_) => true,
        Signature::Other(_) => is_begun,
        Signature::FileSystem { .. } => false,
    };
    match signature {
        Signature::FileSystem { kind: found, uuid } if found == kind => {
            let mut known = note.clone();
            known.formatting = Formatting::Done;
            known.uuid = Some(uuid.clone());
            if let Some((was, is)) = changed_identity(note, device)
                && note.uuid != known.uuid
            {
                return Err(precondition(format!(
                    "{} has become another device under {} ({is}, it was {was}), and the file system \
                     on it is another one, too ({uuid}); volume {} is not mounted from it",
                    device.path.display(),
                    device.nqn,
                    shown(wanted.volume)
                )));
            }
            known.identity = identity(device).or(known.identity);
            if known != *note {
                return Ok(Step::Note(Box::new(known), Point::FileSystemNoted));
            }
            let options = options(wanted, kind, *read_only);
            Ok(Step::Mount(device.clone(), kind.clone(), options))
        }
        _ if is_empty && formatted => {
            let what = format!("mkfs.{kind} ended, and no file system is to be seen");
            Err(Error::new(Kind::Unavailable, what))
        }
        _ if is_empty && may_format && note.formatting != Formatting::Done => {
            if is_begun {
                return Ok(Step::Format(device.clone(), kind.clone()));
            }
            let mut begun = note.clone();
            begun.formatting = Formatting::Begun { boot: seen.boot.clone() };
            Ok(Step::Note(Box::new(begun), Point::FormatNoted))
        }
        other => Err(precondition(objection(wanted, device, note, kind, other))),
    }
}

/// Why what lies on the device can neither be mounted nor be formatted over: both facts.
fn objection(
    wanted: &Wanted<'_>,
    device: &Device,
    note: &Note,
    kind: &str,
    signature: &Signature,
) -> String {
    let id = shown(wanted.volume);
    let device = device.path.display();
    match signature {
        Signature::FileSystem { kind: found, .. } => {
            format!(
                "volume {id} holds {found} and is asked for as {kind}; it is not formatted over"
            )
        }
        Signature::Unfinished(found) => format!(
            "volume {id} holds a {found} whose making was interrupted, and the publish context has \
             no format=allowed; it is not formatted over ({device})"
        ),
        Signature::Other(what) => format!(
            "volume {id} holds {what} where {kind} is asked for; it is not formatted over ({device})"
        ),
        Signature::Zeros if note.formatting == Formatting::Done => format!(
            "volume {id} was formatted on this node, and {device} reads zeros: it is not formatted \
             again, since data may be lost already"
        ),
        Signature::Zeros if wanted.context.may_format => format!(
            "volume {id} has never been formatted and is asked for read-only; use it once for \
             writing first"
        ),
        Signature::Zeros => format!(
            "the ledger says that volume {id} may have been formatted (no format=allowed in the \
             publish context), and {device} reads zeros: it is not formatted, since data may be lost \
             already"
        ),
    }
}

/// Options for mount(8).
fn options(wanted: &Wanted<'_>, kind: &str, read_only: bool) -> Vec<String> {
    let mut options = wanted.options.to_vec();
    let mut add = |option: &str| {
        if !options.iter().any(|given| given == option) {
            options.push(option.to_owned());
        }
    };
    if read_only {
        add("ro");
    }
    // XFS refuses a second file system of one UUID: a clone, what was restored beside its origin, and
    // the same one beside its own dead mount. Which device it is, NQN and number say.
    if kind == "xfs" {
        add("nouuid");
    }
    options
}

/// ext3 is mounted by the driver of ext4, and the kernel says so or not.
fn is_same_kind(found: &str, asked: &str) -> bool {
    found == asked || found == "ext4" && asked == "ext3"
}

fn word(read_only: bool) -> &'static str {
    if read_only { "read-only" } else { "read-write" }
}

#[cfg(test)]
mod test;
