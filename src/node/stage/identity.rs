//! What the box calls a device, compared with what it called it at first.

use super::next::{Step, Wanted};
use crate::agent::generation;
use crate::host::Device;
use crate::node::staged::Note;
use crate::node::{Point, precondition, shown};
use crate::operations::Error;

/// A device that is used as it is: nothing on it says whose it is.
pub fn as_it_is(wanted: &Wanted<'_>, device: &Device, note: Note) -> Result<Step, Error> {
    let nqn = &device.nqn;
    // A name with a nonce is only ever given to this volume, whatever the box calls its device.
    if let Some((was, is)) = changed_identity(&note, device)
        && generation(nqn.as_str()).is_none()
    {
        return Err(precondition(format!(
            "{} has become another device under {nqn} ({is}, it was {was}), and that name is not \
             volume {}'s alone; once nothing on this node uses the volume it is taken as it is",
            device.path.display(),
            shown(wanted.volume)
        )));
    }
    let mut known = note.clone();
    known.identity = identity(device).or(known.identity);
    if known == note {
        return Ok(Step::Done(device.clone()));
    }
    Ok(Step::Note(Box::new(known), Point::DeviceNoted))
}

/// What the box calls the device, where it says so itself. The kernel makes up a name of the form
/// `nvme.` from model and serial number, and Linux' own target draws the latter anew with every start
/// (`nvmet_subsys_alloc` in `drivers/nvme/target/core.c`).
pub fn identity(device: &Device) -> Option<String> {
    let given = |name: &&String| name.starts_with("uuid.") || name.starts_with("eui.");
    device.identity.as_ref().filter(given).cloned()
}

/// What the box called the device at first and what it calls it now, where that differs. By itself it
/// proves nothing: a box may give a disk that it made again after a repair, or that it exports again
/// after a restart, another name under the same NQN. Then what lies on it has to tell.
pub fn changed_identity(note: &Note, device: &Device) -> Option<(String, String)> {
    let (was, is) = (note.identity.clone()?, identity(device)?);
    (note.nqn == device.nqn && was != is).then_some((was, is))
}
