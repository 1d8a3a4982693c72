//! A call that comes late: of a generation that is older than one that is known here.

use super::next::Wanted;
use crate::agent::generation;
use crate::node::look::{Seen, is_generation_of};
use crate::node::{precondition, shown};
use crate::operations::Error;
use crate::volume::Nqn;

/// The newest generation of the volume that this start of the kernel knows, where it is newer than
/// the one that is asked for: then the call is a late one, or the volume was made anew.
pub fn newer<'a>(wanted: &Wanted<'_>, seen: &'a Seen) -> Option<(u64, &'a Nqn)> {
    let asked = wanted.context.generation?;
    let note = seen.note.iter().filter(|note| note.boot == seen.boot);
    let noted = note.filter_map(|note| Some((note.generation?, &note.nqn)));
    let of_volume = |nqn: &Nqn| is_generation_of(nqn, &wanted.volume.slot);
    let controllers = seen.controllers.iter().map(|one| &one.nqn);
    let connected = controllers
        .filter(|nqn| of_volume(nqn) && !seen.may_be_anothers(nqn))
        .filter_map(|nqn| Some((generation(nqn.as_str())?.0, nqn)));
    let newest = noted.chain(connected).max_by_key(|(number, _)| *number)?;
    (newest.0 > asked).then_some(newest)
}

/// Why a call of an older generation is refused: both are named.
pub fn older(wanted: &Wanted<'_>, (number, nqn): (u64, &Nqn)) -> Error {
    let connect = &wanted.context.connect;
    precondition(format!(
        "generation {} of volume {} ({}) was asked for, and generation {number} ({nqn}) is known on \
         this node: a late call does not end a newer attachment, and Kubernetes does not say that \
         the older one is current",
        wanted.context.generation.unwrap_or_default(),
        shown(wanted.volume),
        connect.nqn,
    ))
}
