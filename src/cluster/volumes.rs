//! PersistentVolumes: what we keep of one, and the copy of the record beside it.
//!
//! The copy lies in an annotation that anyone with rights on PVs may have edited: it is read with
//! a bound on its size, and what cannot be read is [`CopyState::Unreadable`], never absent.

pub mod quantity;

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use slog::{Logger, warn};

use super::cache::Kept;
use super::request::{Requests, shortened};
use super::{Claim, ClusterError, CopyState, Version, Volume};
use crate::attachment::ledger::{COPY_ANNOTATION, Copy, Record};
use crate::attachment::usage::Usage;
use crate::volume::Handle;

/// The first driver's annotation: the node that holds the volume.
pub const ATTACHED_NODE: &str = "rds.csi.srvlab.io/attached-node";
/// The first driver's annotation: since when, RFC 3339.
pub const ATTACHED_AT: &str = "rds.csi.srvlab.io/attached-at";
/// Longest copy that is read or written, in bytes. All annotations of an object together may have
/// 256 KiB.
const COPY_LENGTH_MAX: usize = 16 * 1024;
/// Objects per page of a list.
const PAGE: u32 = 500;

impl Kept for Arc<Volume> {
    type Key = String;

    fn key_of(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    fn key(&self) -> String {
        self.name.clone()
    }

    fn version(&self) -> Option<&Version> {
        Some(&self.version)
    }

    /// The slot, where it is a handle of ours: see [`View::claim`](super::View::claim).
    fn sought(&self) -> Option<&str> {
        Some(slot_of(&self.handle))
    }
}

/// The slot that a handle names. The external-provisioner names PVs as it names volumes, so that the PV
/// mostly has this name, too.
pub fn slot_of(handle: &str) -> &str {
    handle.rsplit('/').next().unwrap_or(handle)
}

/// What we keep of a PersistentVolume; nothing of one of another driver. A capacity that cannot be
/// read is logged and is 0 bytes: the volume must not vanish from sight for it.
pub fn convert(object: core::PersistentVolume, driver: &str, log: &Logger) -> Option<Arc<Volume>> {
    let spec = object.spec?;
    let csi = spec.csi.filter(|csi| csi.driver == driver)?;
    let metadata = object.metadata;
    let name = metadata.name?;
    let capacity = spec.capacity.as_ref().and_then(|c| c.get("storage"));
    let bytes = match capacity.map_or(Err("there is none".to_owned()), |c| quantity::bytes(&c.0)) {
        Ok(bytes) => bytes,
        Err(error) => {
            warn!(log, "capacity of a volume cannot be read"; "volume" => &name, "error" => error);
            0
        }
    };
    let usage = Usage {
        reads_only: csi.read_only == Some(true) || only_for_readers(spec.access_modes.as_deref()),
        is_raw: spec.volume_mode.as_deref() == Some("Block"),
    };
    let phase = object.status.and_then(|status| status.phase);
    let deletes = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
    let released = phase.as_deref() == Some("Released") && deletes;
    let annotations = metadata.annotations.unwrap_or_default();
    let copy = read_copy(annotations.get(COPY_ANNOTATION).map(String::as_str));
    let attributes = csi.volume_attributes.unwrap_or_default();
    Some(Arc::new(Volume {
        name,
        version: Version {
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        },
        names: Handle::parse(&csi.volume_handle).ok(),
        handle: csi.volume_handle,
        nvme_port: attributes.get("nvmePort").and_then(|port| port.parse().ok()),
        attributes,
        bytes,
        going: released || metadata.deletion_timestamp.is_some(),
        claim: spec.claim_ref.and_then(claim),
        usage,
        copied: record_of(&copy).map(Arc::new),
        copy,
    }))
}

/// Is there no access mode but ReadOnlyMany?
fn only_for_readers(modes: Option<&[String]>) -> bool {
    modes.is_some_and(|modes| !modes.is_empty() && modes.iter().all(|mode| mode == "ReadOnlyMany"))
}

fn claim(reference: core::ObjectReference) -> Option<Claim> {
    Some(Claim {
        namespace: reference.namespace?,
        name: reference.name?,
        uid: reference.uid.unwrap_or_default(),
    })
}

/// What stands in the annotation.
pub fn read_copy(text: Option<&str>) -> CopyState {
    let Some(text) = text else {
        return CopyState::Absent;
    };
    if text.len() > COPY_LENGTH_MAX {
        return CopyState::Unreadable(format!(
            "it has {} bytes, {COPY_LENGTH_MAX} are allowed",
            text.len()
        ));
    }
    match serde_json::from_str::<Copy>(text) {
        Ok(copy) => CopyState::Present(Box::new(copy)),
        Err(error) => CopyState::Unreadable(shortened(&error.to_string())),
    }
}

/// The record in a copy.
fn record_of(copy: &CopyState) -> Option<Record> {
    match copy {
        CopyState::Present(copy) => Record::parse(&copy.record).ok(),
        CopyState::Absent | CopyState::Unreadable(_) => None,
    }
}

/// The merge patch that writes `copy` over what `volume` has, at `now`. The first driver's
/// annotations are changed only where the (first) node is another one than before.
fn copy_patch(volume: &Volume, copy: &Copy, now: Timestamp) -> Result<Value, ClusterError> {
    let refused = |why: String| {
        ClusterError::Refused(format!("copy of PersistentVolume {}: {why}", volume.name))
    };
    if volume.version.resource_version.is_empty() {
        return Err(refused("the version is not known".into()));
    }
    let text = serde_json::to_string(copy).map_err(|e| refused(e.to_string()))?;
    if text.len() > COPY_LENGTH_MAX {
        let why = format!("{} bytes, {COPY_LENGTH_MAX} are allowed", text.len());
        return Err(refused(why));
    }
    let mut annotations = json!({ COPY_ANNOTATION: text });
    let before = match &volume.copy {
        CopyState::Present(before) => Some(before.nodes.first()),
        CopyState::Absent | CopyState::Unreadable(_) => None,
    };
    let node = copy.nodes.first();
    if before != Some(node) {
        // null takes an annotation away.
        annotations[ATTACHED_NODE] = json!(node);
        annotations[ATTACHED_AT] = json!(node.map(|_| seconds(now)));
    }
    Ok(json!({
        "metadata": {
            "resourceVersion": volume.version.resource_version,
            "annotations": annotations,
        }
    }))
}

/// RFC 3339 in UTC to the second, as the first driver wrote it.
pub fn seconds(now: Timestamp) -> String {
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    whole.to_string()
}

/// The PVs of one driver at the API server.
#[derive(Clone)]
pub struct Volumes {
    requests: Requests,
    driver: String,
    log: Logger,
}

impl Volumes {
    /// The PVs of `driver`.
    pub fn new(requests: Requests, driver: String, log: Logger) -> Self {
        Self { requests, driver, log }
    }

    /// What we keep of a PersistentVolume.
    pub fn convert(&self, object: core::PersistentVolume) -> Option<Arc<Volume>> {
        convert(object, &self.driver, &self.log)
    }

    /// The PV of this name, where it is there and ours.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn read(&self, name: &str) -> Result<Option<Arc<Volume>>, ClusterError> {
        let what = format!("PersistentVolume {name}");
        let api = self.requests.all::<core::PersistentVolume>();
        let object = self.requests.run(&what, api.get_opt(name)).await?;
        Ok(object.and_then(|object| self.convert(object)))
    }

    /// The PV with this handle, found by looking at all PVs, page by page.
    ///
    /// # Errors
    /// When the API server does not show them all.
    pub async fn search(&self, handle: &str) -> Result<Option<Arc<Volume>>, ClusterError> {
        let what = "the list of PersistentVolumes";
        let api = self.requests.all::<core::PersistentVolume>();
        let pages = async {
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = self.requests.run(what, api.list(&params)).await?;
                let next = page.metadata.continue_.filter(|token| !token.is_empty());
                let mut ours = page.items.into_iter().filter_map(|pv| self.convert(pv));
                if let Some(found) = ours.find(|volume| volume.handle == handle) {
                    return Ok(Some(found));
                }
                match next {
                    Some(token) => params = params.continue_token(&token),
                    None => return Ok(None),
                }
            }
        };
        self.requests.bounded(what, pages).await
    }

    /// Writes `copy` and returns the PV as written.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] when the PV is not of this version any more.
    pub async fn write_copy(
        &self,
        volume: &Volume,
        copy: &Copy,
    ) -> Result<Arc<Volume>, ClusterError> {
        let what = format!("PersistentVolume {}", volume.name);
        let patch = copy_patch(volume, copy, Timestamp::now())?;
        let api = self.requests.all::<core::PersistentVolume>();
        let params = PatchParams::default();
        let merge = Patch::Merge(&patch);
        let written = self.requests.run(&what, api.patch(&volume.name, &params, &merge)).await?;
        self.convert(written).ok_or(ClusterError::Conflict(what))
    }
}

#[cfg(test)]
mod test;
