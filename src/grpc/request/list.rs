//! ListVolumes and GetCapacity.

use super::parameters::Parameters;
use super::{Incoming, capability, invalid, text};
use crate::grpc::csi as pb;
use crate::operations::Error;
use crate::volume::{BackendName, VolumePath};

/// Longest page token in bytes. Ours are shorter; whether one is ours is not judged here.
const TOKEN_LENGTH_MAX: usize = 1024;
/// Most entries of one page, whatever is asked for. An entry has about 400 bytes, and sidecars
/// refuse answers beyond 4 MiB (the default of grpc-go); they all follow the page token.
pub const ENTRIES_MAX: usize = 5000;

/// A page of all volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListVolumes {
    /// Where it starts; empty at the beginning.
    pub token: String,
    /// At most so many entries: what was asked for, and never more than [`ENTRIES_MAX`].
    pub max: usize,
}

impl TryFrom<Incoming<'_, pb::ListVolumesRequest>> for ListVolumes {
    type Error = Error;

    fn try_from(incoming: Incoming<'_, pb::ListVolumesRequest>) -> Result<Self, Error> {
        let request = incoming.request;
        let max = usize::try_from(request.max_entries).map_err(|_| {
            let what = format!("{} is negative; 0 means no bound", request.max_entries);
            invalid("max_entries", what)
        })?;
        text::text("starting_token", &request.starting_token, TOKEN_LENGTH_MAX)?;
        Ok(Self {
            token: request.starting_token,
            max: if max == 0 { ENTRIES_MAX } else { max.min(ENTRIES_MAX) },
        })
    }
}

/// How much could be provisioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityQuery {
    /// On which box.
    pub backend: BackendName,
    /// In which of its directories.
    pub volume_path: VolumePath,
    /// Can volumes of this kind be made at all?
    pub serviceable: bool,
}

impl TryFrom<Incoming<'_, pb::GetCapacityRequest>> for CapacityQuery {
    type Error = Error;

    fn try_from(incoming: Incoming<'_, pb::GetCapacityRequest>) -> Result<Self, Error> {
        let Incoming { request, places } = incoming;
        let parameters = Parameters::parse(&request.parameters, places)?;
        text::topology("accessible_topology", &request.accessible_topology)?;
        let class = parameters.fs_type.as_deref();
        let capabilities = match request.volume_capabilities.as_slice() {
            [] => Vec::new(),
            some => capability::several("volume_capabilities", some, class)?,
        };
        Ok(Self {
            backend: parameters.backend,
            volume_path: parameters.volume_path,
            serviceable: capabilities.iter().all(|one| one.unsupported().is_none()),
        })
    }
}
