//! Requests as they come in become requests that cannot be wrong: one `TryFrom` each, and the only
//! place where a request is judged. What passes here goes to [`crate::operations`] as it is.
//!
//! An error names the field, shows the value (shortened, escaped) and says the way out. Nothing is
//! sent to a box or to Kubernetes before the whole request has been read.
//!
//! Fields that this driver does not use are bounded and looked through all the same: a hostile
//! value is refused wherever it stands. Secrets are only bounded, and never shown.

mod capability;
mod create;
mod list;
mod node;
mod parameters;
mod places;
mod publish;
mod size;
mod text;
mod validate;
mod volume;

#[cfg(test)]
mod test;

pub use list::{CapacityQuery, ENTRIES_MAX, ListVolumes};
pub use node::{Taken, ToNode};
pub use places::{Handle, Place, Places};
pub use publish::Unpublish;
pub use size::{DEFAULT_BYTES, GRANULE, LARGEST_BYTES};
pub use validate::Validate;
pub use volume::{DeleteVolume, GetVolume};

use crate::operations::{Error, Kind};

/// A request, and what it is judged against.
#[derive(Debug)]
pub struct Incoming<'a, T> {
    /// The request as it came.
    pub request: T,
    /// The boxes of the configuration.
    pub places: &'a Places,
}

/// The refusal of a field: `field: what is wrong with it and the way out`.
fn invalid(field: &str, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Invalid, format!("{field}: {what}"))
}
