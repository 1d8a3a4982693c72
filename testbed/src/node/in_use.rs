//! Kubelet's part in detaching: `status.volumesInUse` of its Node.
//!
//! What is named there the controller-manager does not detach: not while a pod that uses it is there,
//! and, on a node that has fallen silent, not for six minutes unless it is tainted out-of-service.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;

use crate::Trouble;

/// How often kubelet looks.
const GLANCE: Duration = Duration::from_millis(400);

/// One node's kubelet.
pub(super) struct InUse {
    client: kube::Client,
    node: String,
    /// Of volumes that were seen: their claim (namespace and name), and what kubelet calls them.
    known: BTreeMap<String, (String, String)>,
    told: BTreeSet<String>,
}

impl InUse {
    pub(super) fn new(client: kube::Client, node: &str) -> Self {
        let (known, told) = (BTreeMap::new(), BTreeSet::new());
        Self { client, node: node.to_owned(), known, told }
    }

    /// Keeps it true for ever. An API server that is away is asked again.
    pub(super) async fn play(mut self) {
        loop {
            let _ = self.look().await;
            sleep(GLANCE).await;
        }
    }

    async fn look(&mut self) -> Result<(), Trouble> {
        let cached = ListParams { resource_version: Some("0".into()), ..ListParams::default() };
        let attachments: Api<VolumeAttachment> = Api::all(self.client.clone());
        let attachments = attachments.list(&cached).await?.items;
        let here = attachments.into_iter().map(|one| one.spec);
        let here = here.filter(|spec| spec.node_name == self.node);
        let volumes: Vec<String> =
            here.filter_map(|spec| spec.source.persistent_volume_name).collect();
        for volume in &volumes {
            self.learn(volume).await?;
        }
        let pods: Api<Pod> = Api::all(self.client.clone());
        let on_it = format!("spec.nodeName={}", self.node);
        let pods = match volumes.is_empty() {
            true => Vec::new(),
            false => pods.list(&cached.clone().fields(&on_it)).await?.items,
        };
        let claims: BTreeSet<String> = pods.iter().flat_map(claims).collect();
        let known = volumes.iter().filter_map(|volume| self.known.get(volume));
        let used = known.filter(|(claim, _)| claims.contains(claim));
        self.tell(used.map(|(_, name)| name.clone()).collect()).await
    }

    async fn learn(&mut self, volume: &str) -> Result<(), Trouble> {
        if self.known.contains_key(volume) {
            return Ok(());
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let spec = volumes.get(volume).await?.spec.unwrap_or_default();
        let (Some(csi), Some(claim)) = (spec.csi, spec.claim_ref) else { return Ok(()) };
        let name = format!("kubernetes.io/csi/{}^{}", csi.driver, csi.volume_handle);
        let claim = [claim.namespace, claim.name].map(Option::unwrap_or_default).join("/");
        self.known.insert(volume.to_owned(), (claim, name));
        Ok(())
    }

    async fn tell(&mut self, used: BTreeSet<String>) -> Result<(), Trouble> {
        if used == self.told {
            return Ok(());
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"status": {"volumesInUse": used}}));
        nodes.patch_status(&self.node, &PatchParams::default(), &patch).await?;
        self.told = used;
        Ok(())
    }
}

/// The claims that a pod uses, as `<namespace>/<name>`.
fn claims(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.map(|claim| format!("{namespace}/{}", claim.claim_name)).collect()
}
