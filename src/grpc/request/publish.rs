//! ControllerPublishVolume and ControllerUnpublishVolume.

use super::{Incoming, capability, invalid, text};
use crate::grpc::csi as pb;
use crate::operations::{Error, Publish};
use crate::volume::capability::{AccessMode, Capability};
use crate::volume::{NodeName, VolumeId};

/// A volume to be taken from a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublish {
    /// Which; `None` where the id names nothing that we could have made.
    pub id: Option<VolumeId>,
    /// From which node; `None` means all.
    pub node: Option<NodeName>,
}

impl TryFrom<Incoming<'_, pb::ControllerPublishVolumeRequest>> for Publish {
    type Error = Error;

    fn try_from(incoming: Incoming<'_, pb::ControllerPublishVolumeRequest>) -> Result<Self, Error> {
        let Incoming { request, places } = incoming;
        let handle = places.handle(&request.volume_id)?;
        text::required("node_id", &request.node_id, text::NODE_ID_LENGTH_MAX)?;
        let node = NodeName::parse(&request.node_id).map_err(|why| invalid("node_id", why))?;
        text::secrets(&request.secrets)?;
        let context = text::map("volume_context", &request.volume_context)?;
        let field = "volume_capability";
        let given = request.volume_capability.as_ref();
        let class = context.get("fsType").filter(|_| capability::names_no_file_system(given));
        let capability = capability::required(field, given, class.map(String::as_str))?;
        let read_only = request.readonly || capability.mode.is_read_only();
        capability::supported(field, &as_used(&capability, read_only))?;
        Ok(Self { id: handle.existing()?, node, capability, read_only })
    }
}

/// A volume that is published read-only is not written, whatever its mode would allow.
fn as_used(capability: &Capability, read_only: bool) -> Capability {
    let mut used = capability.clone();
    if read_only && used.mode.is_multi_node() {
        used.mode = AccessMode::MultiNodeReaderOnly;
    }
    used
}

impl TryFrom<Incoming<'_, pb::ControllerUnpublishVolumeRequest>> for Unpublish {
    type Error = Error;

    fn try_from(
        incoming: Incoming<'_, pb::ControllerUnpublishVolumeRequest>,
    ) -> Result<Self, Error> {
        let Incoming { request, places } = incoming;
        let handle = places.handle(&request.volume_id)?;
        text::secrets(&request.secrets)?;
        text::text("node_id", &request.node_id, text::NODE_ID_LENGTH_MAX)?;
        let node = match request.node_id.as_str() {
            "" => None,
            id => Some(NodeName::parse(id).map_err(|why| invalid("node_id", why))?),
        };
        Ok(Self { id: handle.removable()?, node })
    }
}
