//! DeleteVolume, ControllerGetVolume and ControllerExpandVolume.

use super::{Incoming, capability, size, text};
use crate::grpc::csi as pb;
use crate::operations::{Error, Expand};
use crate::volume::VolumeId;

/// A volume to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteVolume {
    /// Which; `None` where the id names nothing that we could have made.
    pub id: Option<VolumeId>,
}

/// A volume to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetVolume {
    /// Which.
    pub id: VolumeId,
}

impl TryFrom<Incoming<'_, pb::DeleteVolumeRequest>> for DeleteVolume {
    type Error = Error;

    fn try_from(incoming: Incoming<'_, pb::DeleteVolumeRequest>) -> Result<Self, Error> {
        let Incoming { request, places } = incoming;
        let handle = places.handle(&request.volume_id)?;
        text::secrets(&request.secrets)?;
        Ok(Self { id: handle.removable()? })
    }
}

impl TryFrom<Incoming<'_, pb::ControllerGetVolumeRequest>> for GetVolume {
    type Error = Error;

    fn try_from(incoming: Incoming<'_, pb::ControllerGetVolumeRequest>) -> Result<Self, Error> {
        let Incoming { request, places } = incoming;
        Ok(Self { id: places.handle(&request.volume_id)?.existing()? })
    }
}

impl TryFrom<Incoming<'_, pb::ControllerExpandVolumeRequest>> for Expand {
    type Error = Error;

    fn try_from(incoming: Incoming<'_, pb::ControllerExpandVolumeRequest>) -> Result<Self, Error> {
        let Incoming { request, places } = incoming;
        let handle = places.handle(&request.volume_id)?;
        text::secrets(&request.secrets)?;
        let size = size::for_growth(request.capacity_range)?;
        let given = request.volume_capability.as_ref();
        let capability =
            given.map(|one| capability::single("volume_capability", one, None)).transpose()?;
        Ok(Self { id: handle.existing()?, required: size.required, limit: size.limit, capability })
    }
}
