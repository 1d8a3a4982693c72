//! CreateVolume.

use super::parameters::Parameters;
use super::{Incoming, capability, invalid, size, text};
use crate::grpc::csi as pb;
use crate::operations::{CreateVolume, Error};
use crate::volume::capability::{Capability, Medium};
use crate::volume::{NAME_LENGTH_MAX, Slot};

impl TryFrom<Incoming<'_, pb::CreateVolumeRequest>> for CreateVolume {
    type Error = Error;

    fn try_from(incoming: Incoming<'_, pb::CreateVolumeRequest>) -> Result<Self, Error> {
        let Incoming { request, places } = incoming;
        let name = text::required("name", &request.name, NAME_LENGTH_MAX)?;
        let slot = Slot::for_name(name).map_err(|why| invalid("name", why))?;
        text::secrets(&request.secrets)?;
        text::no_mutable_parameters(&request.mutable_parameters)?;
        let topologies = request.accessibility_requirements.unwrap_or_default();
        let asked = topologies.requisite.iter().chain(&topologies.preferred);
        text::topology("accessibility_requirements", asked)?;
        no_source(request.volume_content_source)?;

        let parameters = Parameters::parse(&request.parameters, places)?;
        let capabilities = capability::several(
            "volume_capabilities",
            &request.volume_capabilities,
            parameters.fs_type.as_deref(),
        )?;
        for capability in &capabilities {
            capability::supported("volume_capabilities", capability)?;
        }
        let mut context = parameters.context;
        if let Some(fs_type) = one_file_system(&capabilities)? {
            context.insert("fsType".to_owned(), fs_type.to_owned());
        }
        let size = size::for_new(request.capacity_range)?;
        Ok(Self {
            backend: parameters.backend,
            slot,
            volume_path: parameters.volume_path,
            required: size.required,
            limit: size.limit,
            capabilities,
            context,
        })
    }
}

fn no_source(source: Option<pb::VolumeContentSource>) -> Result<(), Error> {
    use pb::volume_content_source::Type;

    let field = "volume_content_source";
    match source.and_then(|source| source.r#type) {
        None => Ok(()),
        Some(Type::Snapshot(from)) => {
            text::text(field, &from.snapshot_id, text::TEXT_LENGTH_MAX)?;
            Err(invalid(field, "snapshots are not supported yet; leave the source out"))
        }
        Some(Type::Volume(from)) => {
            text::text(field, &from.volume_id, text::TEXT_LENGTH_MAX)?;
            Err(invalid(field, "cloning is not supported yet; leave the source out"))
        }
    }
}

/// The file system of the capabilities, of which there can only be one.
fn one_file_system(capabilities: &[Capability]) -> Result<Option<&str>, Error> {
    let mut found: Option<&str> = None;
    for capability in capabilities {
        if let Medium::FileSystem { fs_type, .. } = &capability.medium {
            match found {
                Some(first) if first != fs_type => {
                    let what = format!("ask for both {first} and {fs_type}; name one file system");
                    return Err(invalid("volume_capabilities", what));
                }
                _ => found = Some(fs_type),
            }
        }
    }
    Ok(found)
}
