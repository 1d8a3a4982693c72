//! Claims, volumes and attachments, as a story sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use super::{Cluster, DRIVER};
use crate::{Trouble, wait};

/// Namespace of the workloads.
const WORK: &str = "default";

impl<B> Cluster<B> {
    /// Claims of the workloads.
    pub fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.api.clone(), WORK)
    }

    /// Pods of the workloads.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.api.clone(), WORK)
    }

    /// All volumes.
    pub fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.api.clone())
    }

    /// All attachments.
    pub fn attachments(&self) -> Api<VolumeAttachment> {
        Api::all(self.api.clone())
    }

    /// Waits until a claim is bound; the name of its volume.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn bound(&self, claim: &str, within: Duration) -> Result<String, Trouble> {
        let claims = self.claims();
        wait::until(&format!("claim {claim} is bound"), within, async || {
            let found = claims.get(claim).await.map_err(|error| error.to_string())?;
            let phase = found.status.and_then(|status| status.phase).unwrap_or_default();
            let volume = found.spec.and_then(|spec| spec.volume_name);
            volume.filter(|_| phase == "Bound").ok_or(phase)
        })
        .await
    }

    /// Waits until all of these claims are bound, with one look at all of them at a time.
    ///
    /// # Errors
    /// When they are not in time; the text says how many are.
    pub async fn all_bound(&self, wanted: usize, within: Duration) -> Result<(), Trouble> {
        let claims = self.claims();
        wait::until(&format!("{wanted} claims are bound"), within, async || {
            let all = claims.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
            let is_bound = |claim: &&PersistentVolumeClaim| {
                let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
                phase == Some("Bound")
            };
            let bound = all.items.iter().filter(is_bound).count();
            if bound == wanted { Ok(()) } else { Err(format!("{bound} of {}", all.items.len())) }
        })
        .await
    }

    /// The attachment of a volume to a node, if there is one.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn attachment(
        &self,
        volume: &str,
        node: Option<&str>,
    ) -> Result<Option<VolumeAttachment>, Trouble> {
        let all = self.attachments().list(&ListParams::default()).await?;
        let is_it = |one: &VolumeAttachment| {
            one.spec.source.persistent_volume_name.as_deref() == Some(volume)
                && node.is_none_or(|node| node == one.spec.node_name)
                && one.spec.attacher == DRIVER
        };
        Ok(all.items.into_iter().find(is_it))
    }

    /// Waits until a volume is attached to a node (any, where none is named): the publish context,
    /// and the node.
    ///
    /// # Errors
    /// When it is not in time; the text has the attacher's own words.
    pub async fn attached(
        &self,
        volume: &str,
        node: Option<&str>,
        within: Duration,
    ) -> Result<(BTreeMap<String, String>, String), Trouble> {
        wait::until(&format!("{volume} is attached"), within, async || {
            let found = self.attachment(volume, node).await.map_err(|error| error.to_string())?;
            let found = found.ok_or_else(|| "no VolumeAttachment".to_owned())?;
            let status = found.status.unwrap_or_default();
            if status.attached {
                return Ok((status.attachment_metadata.unwrap_or_default(), found.spec.node_name));
            }
            Err(format!("{:?}", status.attach_error))
        })
        .await
    }

    /// Waits until a volume has no attachment.
    ///
    /// # Errors
    /// When one is still there.
    pub async fn detached(&self, volume: &str, within: Duration) -> Result<(), Trouble> {
        wait::until(&format!("{volume} is detached"), within, async || {
            match self.attachment(volume, None).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(one) => Err(format!("{:?} {:?}", one.metadata.name, one.status)),
            }
        })
        .await
    }

    /// What events say about the object of this name.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn events_of(&self, name: &str) -> Result<Vec<String>, Trouble> {
        let all = super::objects::list(&self.api, "v1", "Event").await?;
        let of_it = all.into_iter().filter(|event| event["involvedObject"]["name"] == name);
        let told = of_it.filter_map(|event| event["message"].as_str().map(str::to_owned));
        Ok(told.collect())
    }

    /// Asks for another size of a claim.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn grow(&self, claim: &str, size: &str) -> Result<(), Trouble> {
        let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        self.claims().patch(claim, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Scales a StatefulSet of the workloads.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn scale(&self, set: &str, replicas: i32) -> Result<(), Trouble> {
        let sets: Api<k8s_openapi::api::apps::v1::StatefulSet> =
            Api::namespaced(self.api.clone(), WORK);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        sets.patch(set, &PatchParams::default(), &patch).await?;
        Ok(())
    }
}

impl Cluster {
    /// Deletes a claim, and waits until its volume is gone from cluster and box, item and image.
    ///
    /// # Errors
    /// When something is left.
    pub async fn delete_claim(&self, claim: &str, within: Duration) -> Result<(), Trouble> {
        let volume = self.bound(claim, within).await?;
        self.claims().delete(claim, &DeleteParams::default()).await?;
        let volumes = self.volumes();
        wait::until(&format!("{volume} is gone"), within, async || {
            match volumes.get_opt(&volume).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(found) => Err(format!("{:?}", found.status)),
            }
        })
        .await?;
        let left: Vec<String> = self.storage.slots().into_iter().filter(|s| *s == volume).collect();
        let image = format!("{volume}.img");
        let images = self.storage.images();
        let image = images.iter().find(|name| name.ends_with(&image));
        if left.is_empty() && image.is_none() {
            return Ok(());
        }
        Err(format!("the box still has {left:?} {image:?}").into())
    }
}
