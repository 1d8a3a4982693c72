//! VolumeAttachments: what we keep of one, and its deletion.
//!
//! Finalizers are not touched: that of the external-attacher is its own to remove.

use std::sync::Arc;

use k8s_openapi::api::storage::v1 as storage;
use kube::api::{DeleteParams, ListParams, Preconditions};

use super::cache::Kept;
use super::request::Requests;
use super::{Attachment, ClusterError, Version};
use crate::volume::NodeName;

impl Kept for Arc<Attachment> {
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

    /// The PV.
    fn sought(&self) -> Option<&str> {
        Some(&self.volume)
    }
}

/// What we keep of a VolumeAttachment; nothing of one of another driver, or of one for a volume
/// that is no PV.
pub fn convert(object: storage::VolumeAttachment, driver: &str) -> Option<Arc<Attachment>> {
    let spec = object.spec;
    if spec.attacher != driver {
        return None;
    }
    let metadata = object.metadata;
    Some(Arc::new(Attachment {
        name: metadata.name?,
        version: Version {
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        },
        volume: spec.source.persistent_volume_name?,
        node: NodeName::parse(&spec.node_name).ok()?,
        attached: object.status.is_some_and(|status| status.attached),
        deleting: metadata.deletion_timestamp.is_some(),
    }))
}

/// Objects per page of a list.
const PAGE: u32 = 500;

/// Is there one of this driver for this PV and node? Reads them all, page by page.
///
/// # Errors
/// When the API server does not show them all.
pub async fn exists(
    requests: &Requests,
    driver: &str,
    volume: &str,
    node: &NodeName,
) -> Result<bool, ClusterError> {
    let what = "the list of VolumeAttachments";
    let api = requests.all::<storage::VolumeAttachment>();
    let pages = async {
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = requests.run(what, api.list(&params)).await?;
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            let mut ours = page.items.into_iter().filter_map(|object| convert(object, driver));
            if ours.any(|found| found.volume == volume && found.node == *node) {
                return Ok(true);
            }
            match next {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(false),
            }
        }
    };
    requests.bounded(what, pages).await
}

/// Deletes it, if it is still the same object in the same version.
///
/// # Errors
/// [`ClusterError::NotFound`] when it is gone, [`ClusterError::Conflict`] when it has changed.
pub async fn delete(requests: &Requests, attachment: &Attachment) -> Result<(), ClusterError> {
    let what = format!("VolumeAttachment {}", attachment.name);
    let version = &attachment.version;
    if version.uid.is_empty() || version.resource_version.is_empty() {
        let why = format!("{what} has no uid or no version, it is not deleted blindly");
        return Err(ClusterError::Refused(why));
    }
    let guarded = DeleteParams::default().preconditions(Preconditions {
        uid: Some(version.uid.clone()),
        resource_version: Some(version.resource_version.clone()),
    });
    let api = requests.all::<storage::VolumeAttachment>();
    requests.run(&what, api.delete(&attachment.name, &guarded)).await.map(|_| ())
}

#[cfg(test)]
mod test {
    use super::*;
    use serde_json::{Value, json};

    fn object() -> Value {
        json!({
            "metadata": {"name": "csi-1", "uid": "u", "resourceVersion": "7"},
            "spec": {"attacher": "d", "nodeName": "n1", "source": {"persistentVolumeName": "pv1"}},
            "status": {"attached": true},
        })
    }

    fn converted(object: Value) -> Option<Arc<Attachment>> {
        convert(serde_json::from_value(object).unwrap(), "d")
    }

    #[test]
    fn everything_that_matters_is_kept() {
        let kept = converted(object()).unwrap();
        let expected = Attachment {
            name: "csi-1".into(),
            version: Version { uid: "u".into(), resource_version: "7".into() },
            volume: "pv1".into(),
            node: NodeName::parse("n1").unwrap(),
            attached: true,
            deleting: false,
        };
        assert_eq!(*kept, expected);
    }

    #[test]
    fn a_deletion_timestamp_means_deleting_and_no_status_means_not_attached() {
        let mut changed = object();
        changed["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
        changed["status"] = json!(null);
        let kept = converted(changed).unwrap();
        assert!(kept.deleting);
        assert!(!kept.attached);
    }

    #[test]
    fn other_drivers_and_inline_volumes_are_not_ours() {
        let mut other = object();
        other["spec"]["attacher"] = json!("e");
        assert_eq!(converted(other), None);
        let mut inline = object();
        inline["spec"]["source"] = json!({"inlineVolumeSpec": {}});
        assert_eq!(converted(inline), None);
    }
}
