//! Calls the driver's socket as its sidecars do, and scrapes it as Prometheus does.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use rds_csi::grpc::csi::controller_client::ControllerClient;
use rds_csi::grpc::csi::identity_client::IdentityClient;
use rds_csi::grpc::csi::volume_capability::access_mode::Mode;
use rds_csi::grpc::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use rds_csi::grpc::csi::{ControllerPublishVolumeRequest, ProbeRequest, VolumeCapability};
use rds_csi::sandbox::endpoint;
use rds_csi::sandbox::world::Answer;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::{Cluster, NAMESPACE};
use crate::Trouble;

/// The container of the driver.
pub const CONTAINER: &str = "rds-csi";
/// The port of metrics and health.
const HTTP: u16 = 9809;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl<B> Cluster<B> {
    /// The controller's pods, by name.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn controllers(&self) -> Result<Vec<Pod>, Trouble> {
        let pods: Api<Pod> = Api::namespaced(self.api.clone(), NAMESPACE);
        let wanted = ListParams::default().labels("app.kubernetes.io/component=controller");
        Ok(pods.list(&wanted).await?.items)
    }

    /// The socket of a controller that runs.
    fn socket(&self) -> Result<PathBuf, Trouble> {
        let all = self.kubelet.processes();
        let runs = all.iter().find(|(_, containers)| containers.contains_key(CONTAINER));
        let (pod, _) = runs.ok_or("no controller runs")?;
        Ok(self.kubelet.volume(pod, "socket").join("csi.sock"))
    }

    async fn channel(&self) -> Result<Channel, Trouble> {
        let endpoint = Endpoint::try_from(format!("unix://{}", self.socket()?.display()))?;
        Ok(timeout(ANSWER_WITHIN, endpoint.connect()).await??)
    }

    /// Probe of one controller; `None` when it gives no answer.
    pub async fn csi_probe(&self) -> Option<bool> {
        let mut identity = IdentityClient::new(self.channel().await.ok()?);
        let asked = timeout(ANSWER_WITHIN, identity.probe(ProbeRequest {})).await.ok()?;
        asked.ok()?.into_inner().ready
    }

    /// ControllerPublishVolume, as csi-attacher calls it.
    pub async fn csi_publish(&self, handle: &str, node: &str) -> Answer<BTreeMap<String, String>> {
        let failed = |error: Trouble| ("Unavailable".to_owned(), error.to_string());
        let mut controller = ControllerClient::new(self.channel().await.map_err(failed)?);
        let mount = MountVolume { fs_type: "ext4".into(), ..MountVolume::default() };
        let request = ControllerPublishVolumeRequest {
            volume_id: handle.to_owned(),
            node_id: node.to_owned(),
            volume_capability: Some(VolumeCapability {
                access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
                access_type: Some(AccessType::Mount(mount)),
            }),
            volume_context: HashMap::new(),
            ..ControllerPublishVolumeRequest::default()
        };
        let told =
            |status: tonic::Status| (format!("{:?}", status.code()), status.message().to_owned());
        let answer = controller.controller_publish_volume(request).await.map_err(told)?;
        Ok(answer.into_inner().publish_context.into_iter().collect())
    }

    /// One metric, summed over all controllers; `None` where none has it.
    pub async fn scrape(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut sum = None;
        for pod in self.controllers().await.ok()? {
            let Some(address) = pod.status.and_then(|status| status.pod_ip) else { continue };
            let Ok(address) = format!("{address}:{HTTP}").parse() else { continue };
            let Ok(answer) = endpoint::get(address, "/metrics").await else { continue };
            if let Some(value) = endpoint::sample(&answer.body, name, labels) {
                sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
        sum
    }
}
