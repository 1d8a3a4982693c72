//! NodeStageVolume, NodePublishVolume, their inverses, and what is asked of a volume on a node.

use std::path::PathBuf;

use super::text;
use super::{capability, invalid};
use crate::grpc::csi as pb;
use crate::host::Timing;
use crate::host::options;
use crate::node::{Expand, HealthQuery, Publish, Stage, StatsQuery, Unpublish, Unstage, context};
use crate::operations::{Error, Kind};
use crate::volume::capability::Medium;
use crate::volume::{Handle, Refused};

/// Longest path in bytes (Linux, `PATH_MAX`).
const PATH_LENGTH_MAX: usize = 4096;
/// Longest volume id in bytes, as for controllers.
const HANDLE_LENGTH_MAX: usize = crate::volume::NAME_LENGTH_MAX + 33;

/// A request to a node, and what it is read against.
#[derive(Debug)]
pub struct ToNode<'a, T> {
    /// The request as it came.
    pub request: T,
    /// The configured timing of connections.
    pub timing: &'a Timing,
}

/// A volume id that may name nothing that we could have made.
fn handle(volume_id: &str) -> Result<Result<Handle, Refused>, Error> {
    text::required("volume_id", volume_id, HANDLE_LENGTH_MAX)?;
    Ok(Handle::parse(volume_id))
}

/// A volume that must exist for what is asked.
fn existing(volume_id: &str) -> Result<Handle, Error> {
    handle(volume_id)?.map_err(|why| {
        Error::new(Kind::NotFound, format!("volume_id: {why}; there is no such volume"))
    })
}

fn path(field: &str, given: &str) -> Result<PathBuf, Error> {
    text::required(field, given, PATH_LENGTH_MAX)?;
    crate::node::path(given).map_err(|why| invalid(field, why))
}

/// Where a volume is looked for that exists: under any other path there is none, and that is the
/// answer (as csi-sanity wants it), not that the path is wrong.
fn known_path(field: &str, given: &str) -> Result<PathBuf, Error> {
    text::required(field, given, PATH_LENGTH_MAX)?;
    crate::node::path(given).map_err(|why| {
        Error::new(Kind::NotFound, format!("{field}: {why}; no volume is to be seen there"))
    })
}

fn optional_path(field: &str, given: &str) -> Result<Option<PathBuf>, Error> {
    if given.is_empty() { Ok(None) } else { path(field, given).map(Some) }
}

impl TryFrom<ToNode<'_, pb::NodeStageVolumeRequest>> for Stage {
    type Error = Error;

    fn try_from(incoming: ToNode<'_, pb::NodeStageVolumeRequest>) -> Result<Self, Error> {
        let ToNode { request, timing } = incoming;
        let volume = handle(&request.volume_id)?;
        let staging = path("staging_target_path", &request.staging_target_path)?;
        text::secrets(&request.secrets)?;
        let publish = text::map("publish_context", &request.publish_context)?;
        let context = text::map("volume_context", &request.volume_context)?;
        let field = "volume_capability";
        let given = request.volume_capability.as_ref();
        let class = context.get("fsType").filter(|_| capability::names_no_file_system(given));
        let capability = capability::required(field, given, class.map(String::as_str))?;
        capability::supported(field, &capability)?;
        if let Medium::FileSystem { mount_flags, .. } = &capability.medium {
            mount_options(&format!("{field}.mount.mount_flags"), mount_flags)?;
        }
        let volume = volume.map_err(|why| {
            Error::new(Kind::NotFound, format!("volume_id: {why}; there is no such volume"))
        })?;
        let context = context::read(&publish, &context, timing)
            .map_err(|why| Error::new(Kind::Invalid, why.to_string()))?;
        Ok(Self { volume, context, staging, capability })
    }
}

/// Options that reach beyond the volume are refused before anything is begun.
fn mount_options(field: &str, flags: &[String]) -> Result<(), Error> {
    match options::sort(flags) {
        Ok(_) => Ok(()),
        Err(why) => Err(invalid(field, Refused(why.what))),
    }
}

impl TryFrom<ToNode<'_, pb::NodePublishVolumeRequest>> for Publish {
    type Error = Error;

    fn try_from(incoming: ToNode<'_, pb::NodePublishVolumeRequest>) -> Result<Self, Error> {
        let ToNode { request, timing } = incoming;
        let target = path("target_path", &request.target_path)?;
        let is_whole = !request.volume_id.is_empty() && request.volume_capability.is_some();
        if request.staging_target_path.is_empty() && is_whole {
            // CSI: not wrong in itself, but too early.
            let what = "staging_target_path: must not be empty: the volume must be staged first";
            return Err(Error::new(Kind::Precondition, what));
        }
        let read_only = request.readonly;
        let stage = pb::NodeStageVolumeRequest {
            volume_id: request.volume_id,
            publish_context: request.publish_context,
            staging_target_path: request.staging_target_path,
            volume_capability: request.volume_capability,
            secrets: request.secrets,
            volume_context: request.volume_context,
        };
        Ok(Self { stage: ToNode { request: stage, timing }.try_into()?, target, read_only })
    }
}

/// A volume to be taken away, or nothing: what we could never have made was never here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken<T>(pub Option<T>);

impl TryFrom<ToNode<'_, pb::NodeUnstageVolumeRequest>> for Taken<Unstage> {
    type Error = Error;

    fn try_from(incoming: ToNode<'_, pb::NodeUnstageVolumeRequest>) -> Result<Self, Error> {
        let request = incoming.request;
        let volume = handle(&request.volume_id)?;
        let staging = path("staging_target_path", &request.staging_target_path)?;
        Ok(Self(volume.ok().map(|volume| Unstage { volume, staging })))
    }
}

impl TryFrom<ToNode<'_, pb::NodeUnpublishVolumeRequest>> for Taken<Unpublish> {
    type Error = Error;

    fn try_from(incoming: ToNode<'_, pb::NodeUnpublishVolumeRequest>) -> Result<Self, Error> {
        let request = incoming.request;
        let volume = handle(&request.volume_id)?;
        let target = path("target_path", &request.target_path)?;
        Ok(Self(volume.ok().map(|volume| Unpublish { volume, target })))
    }
}

impl TryFrom<ToNode<'_, pb::NodeExpandVolumeRequest>> for Expand {
    type Error = Error;

    fn try_from(incoming: ToNode<'_, pb::NodeExpandVolumeRequest>) -> Result<Self, Error> {
        let request = incoming.request;
        text::required("volume_id", &request.volume_id, HANDLE_LENGTH_MAX)?;
        let path = known_path("volume_path", &request.volume_path)?;
        optional_path("staging_target_path", &request.staging_target_path)?;
        text::secrets(&request.secrets)?;
        let given = request.volume_capability.as_ref();
        given.map(|one| capability::single("volume_capability", one, None)).transpose()?;
        let required = super::size::at_least(request.capacity_range)?;
        Ok(Self { volume: existing(&request.volume_id)?, path, required })
    }
}

impl TryFrom<ToNode<'_, pb::NodeGetVolumeStatsRequest>> for StatsQuery {
    type Error = Error;

    fn try_from(incoming: ToNode<'_, pb::NodeGetVolumeStatsRequest>) -> Result<Self, Error> {
        let request = incoming.request;
        text::required("volume_id", &request.volume_id, HANDLE_LENGTH_MAX)?;
        let path = known_path("volume_path", &request.volume_path)?;
        optional_path("staging_target_path", &request.staging_target_path)?;
        Ok(Self { volume: existing(&request.volume_id)?, path })
    }
}

impl TryFrom<ToNode<'_, pb::NodeGetVolumeHealthRequest>> for HealthQuery {
    type Error = Error;

    fn try_from(incoming: ToNode<'_, pb::NodeGetVolumeHealthRequest>) -> Result<Self, Error> {
        let request = incoming.request;
        text::required("volume_id", &request.volume_id, HANDLE_LENGTH_MAX)?;
        let target = optional_path("volume_publish_path", &request.volume_publish_path)?;
        optional_path("staging_target_path", &request.staging_target_path)?;
        Ok(Self { volume: existing(&request.volume_id)?, target })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn nothing_is_to_be_seen_at_a_path_that_no_volume_can_have() {
        let kind = |given| known_path("volume_path", given).map_err(|error| error.kind);
        assert_eq!(kind(""), Err(Kind::Invalid));
        assert_eq!(kind("some/path"), Err(Kind::NotFound));
        assert_eq!(kind("/a/../b"), Err(Kind::NotFound));
        assert_eq!(kind("/var/lib/kubelet/a"), Ok(PathBuf::from("/var/lib/kubelet/a")));
    }
}
