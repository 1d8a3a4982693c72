//! ValidateVolumeCapabilities: the question is read here and, once the volume has been found,
//! judged here.

use std::collections::BTreeMap;

use super::parameters::Parameters;
use super::{Incoming, capability, text};
use crate::grpc::csi as pb;
use crate::operations::{Error, VolumeInfo};
use crate::volume::VolumeId;
use crate::volume::capability::Capability;

/// Can this volume be used like that?
#[derive(Debug, Clone, PartialEq)]
pub struct Validate {
    /// Which volume.
    pub id: VolumeId,
    capabilities: Vec<Capability>,
    context: BTreeMap<String, String>,
    parameters: Option<Parameters>,
    confirmed: pb::validate_volume_capabilities_response::Confirmed,
}

impl TryFrom<Incoming<'_, pb::ValidateVolumeCapabilitiesRequest>> for Validate {
    type Error = Error;

    fn try_from(
        incoming: Incoming<'_, pb::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Self, Error> {
        let Incoming { request, places } = incoming;
        let handle = places.handle(&request.volume_id)?;
        text::secrets(&request.secrets)?;
        text::no_mutable_parameters(&request.mutable_parameters)?;
        let context = text::map("volume_context", &request.volume_context)?;
        let parameters = match request.parameters.is_empty() {
            true => None,
            false => Some(Parameters::parse(&request.parameters, places)?),
        };
        let class = parameters.as_ref().and_then(|p| p.fs_type.as_deref());
        let field = "volume_capabilities";
        let capabilities = capability::several(field, &request.volume_capabilities, class)?;
        Ok(Self {
            id: handle.existing()?,
            capabilities,
            context,
            parameters,
            confirmed: pb::validate_volume_capabilities_response::Confirmed {
                volume_context: request.volume_context,
                volume_capabilities: request.volume_capabilities,
                parameters: request.parameters,
                mutable_parameters: request.mutable_parameters,
            },
        })
    }
}

impl Validate {
    /// The answer for the volume as it is: everything confirmed, or why not.
    pub fn answer(self, volume: &VolumeInfo) -> pb::ValidateVolumeCapabilitiesResponse {
        match self.objection(volume) {
            None => pb::ValidateVolumeCapabilitiesResponse {
                confirmed: Some(self.confirmed),
                message: String::new(),
            },
            Some(message) => pb::ValidateVolumeCapabilitiesResponse { confirmed: None, message },
        }
    }

    fn objection(&self, volume: &VolumeInfo) -> Option<String> {
        if let Some(why) = self.capabilities.iter().find_map(Capability::unsupported) {
            return Some(why);
        }
        // Kubernetes adds keys of its own to the context; only those that we gave are compared.
        for (key, actual) in &volume.context {
            if let Some(asked) = self.context.get(key).filter(|asked| *asked != actual) {
                return Some(format!("volume_context[{key}] is {actual}, not {asked}"));
            }
        }
        let parameters = self.parameters.as_ref()?;
        if parameters.backend != volume.id.backend {
            return Some(format!(
                "the volume lies on the backend {}, the parameters ask for {}",
                volume.id.backend, parameters.backend
            ));
        }
        let actual = volume.context.get("volumePath")?.trim_start_matches('/');
        let asked = parameters.volume_path.as_str();
        (actual != asked)
            .then(|| format!("the volume lies in {actual}, the parameters ask for {asked}"))
    }
}
