//! The cluster as a [`World`]: stories of the sandbox are told here, too, by the same code.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams};
use rds_csi::sandbox::simulated::{self, Machines};
use rds_csi::sandbox::world::{Answer, Nature, Patience, Provisioned, World};
use rds_sim::routeros::Reboot;

use super::{Cluster, DRIVER, objects};
use crate::Trouble;

/// The StorageClass of stories: bound at once.
pub const CLASS: &str = "rds-now";
/// Longest wait for a claim.
const BOUND_WITHIN: Duration = Duration::from_secs(30);

/// A cluster in which a story is told: what its nodes' machines are connected to.
pub struct Told<'a> {
    cluster: &'a Cluster,
    patience: Patience,
    machines: Machines,
}

impl<'a> Told<'a> {
    /// Tells stories in this cluster; the driver in it may take so long.
    pub fn new(cluster: &'a Cluster, patience: Patience) -> Self {
        Self { cluster, patience, machines: Machines::default() }
    }

    /// The pod by which a story wants a volume on a node.
    fn pod(volume: &Provisioned, node: &str) -> String {
        format!("wants-{}-{node}", volume.name)
    }

    /// Pods of nodes that are gone go, too: the garbage collector would take a minute, and whoever
    /// makes a pod anew waits for it.
    async fn collect_pods(&self) -> Result<(), Trouble> {
        let nodes: Api<Node> = Api::all(self.cluster.api.clone());
        let there = nodes.list(&ListParams::default()).await?.items;
        let there: Vec<_> = there.into_iter().filter_map(|node| node.metadata.name).collect();
        let now = DeleteParams::default().grace_period(0);
        for pod in self.cluster.pods().list(&ListParams::default()).await?.items {
            let node = pod.spec.and_then(|spec| spec.node_name);
            let gone = node.is_some_and(|node| !there.contains(&node));
            if let (true, Some(name)) = (gone, pod.metadata.name) {
                self.cluster.pods().delete(&name, &now).await?;
            }
        }
        Ok(())
    }

    /// The claim of a volume: stories name claims, the cluster names volumes.
    async fn claim(&self, volume: &Provisioned) -> Result<String, Trouble> {
        let found = self.cluster.volumes().get(&volume.name).await?;
        let claim = found.spec.and_then(|spec| spec.claim_ref).and_then(|claim| claim.name);
        Ok(claim.ok_or("the volume has no claim")?)
    }
}

#[async_trait]
impl World for Told<'_> {
    fn describe(&self) -> Vec<String> {
        vec![
            format!("simulated box at {}", self.cluster.storage.address()),
            format!("real control plane; logs are in {}", self.cluster.folder().display()),
        ]
    }

    async fn provision(&self, claim: &str, bytes: u64) -> Result<Provisioned, Trouble> {
        self.cluster.create(objects::claim(claim, CLASS, &bytes.to_string())).await?;
        let name = self.cluster.bound(claim, BOUND_WITHIN).await?;
        let volume = self.cluster.volumes().get(&name).await?;
        let csi = volume.spec.and_then(|spec| spec.csi).ok_or("the volume is none of CSI")?;
        Ok(Provisioned { name, handle: csi.volume_handle })
    }

    async fn attach(
        &self,
        volume: &Provisioned,
        node: &str,
        within: Duration,
    ) -> Result<Option<BTreeMap<String, String>>, Trouble> {
        self.collect_pods().await?;
        let mut pod = objects::pod(&Self::pod(volume, node), &self.claim(volume).await?);
        // Bound by hand: which node it is to be, the story says.
        pod["spec"]["nodeName"] = node.into();
        self.cluster.create(pod).await?;
        // A real controller-manager and a real attacher are between the pod and the answer.
        let within = within + Duration::from_secs(10);
        Ok(self.cluster.attached(&volume.name, Some(node), within).await.ok().map(|found| found.0))
    }

    async fn publish(&self, volume: &Provisioned, node: &str) -> Answer<BTreeMap<String, String>> {
        self.cluster.csi_publish(&volume.handle, node).await
    }

    async fn has_attachment(&self, volume: &Provisioned, node: &str) -> bool {
        // Not known is not gone.
        !matches!(self.cluster.attachment(&volume.name, Some(node)).await, Ok(None))
    }

    async fn connect_and_write(
        &self,
        node: &str,
        context: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        self.machines.connect_and_write(&self.cluster.storage.rds, node, context)
    }

    async fn write_on(&self, node: &str, context: &BTreeMap<String, String>) -> Result<(), String> {
        self.machines.write_on(node, context)
    }

    async fn crash_box(&self) {
        self.cluster.storage.rds.set_half_open(true);
    }

    async fn revive_box(&self) {
        self.cluster.storage.rds.set_half_open(false);
        self.cluster.storage.rds.reboot(Reboot::KeepEverything, Duration::ZERO);
    }

    async fn delete_node(&self, node: &str) -> Result<(), Trouble> {
        self.cluster.node(node)?.delete().await
    }

    async fn set_up_node(&self, node: &str) -> Result<(), Trouble> {
        let node = self.cluster.node(node)?;
        node.register(DRIVER).await?;
        node.power_on().await
    }

    async fn taint_out_of_service(&self, node: &str) -> Result<(), Trouble> {
        let node = self.cluster.node(node)?;
        node.power_off().await?;
        node.taint_out_of_service().await
    }

    async fn let_go(&self, volume: &Provisioned, node: &str) -> Result<(), Trouble> {
        // The pod garbage collector would take it once the node is NotReady; the controller-manager
        // does the rest.
        let now = DeleteParams::default().grace_period(0);
        self.cluster.pods().delete(&Self::pod(volume, node), &now).await?;
        Ok(())
    }

    async fn probe(&self) -> Option<bool> {
        self.cluster.csi_probe().await
    }

    async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.cluster.scrape(name, labels).await
    }

    async fn events(&self, reason: &str) -> usize {
        let events = objects::list(&self.cluster.api, "v1", "Event").await.unwrap_or_default();
        events.iter().filter(|event| event["reason"] == reason).count()
    }

    async fn second_writers(&self) -> usize {
        simulated::second_writers(&self.cluster.storage.rds.writes())
    }

    fn patience(&self) -> Patience {
        self.patience
    }

    fn nature(&self) -> Nature {
        simulated::nature(&self.cluster.storage.rds)
    }
}
