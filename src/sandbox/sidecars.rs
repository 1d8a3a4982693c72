//! Plays external-provisioner and external-attacher: calls our socket as they do.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rds_sim::apiserver::ApiServer;
use rds_sim::apiserver::attacher::Sidecar;
use serde_json::Value;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

use super::world::{Answer, Trouble};
use crate::grpc::csi::controller_client::ControllerClient;
use crate::grpc::csi::identity_client::IdentityClient;
use crate::grpc::csi::volume_capability::access_mode::Mode;
use crate::grpc::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use crate::grpc::csi::{
    CapacityRange, ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest,
    CreateVolumeRequest, ProbeRequest, Volume, VolumeCapability,
};

/// What CreateVolume is called again for (external-provisioner, `isFinalError`).
pub const MAY_STILL_RUN: [&str; 4] = ["Unavailable", "Aborted", "Cancelled", "DeadlineExceeded"];
/// Calls until a claim is given up.
const CREATE_TRIES: usize = 7;

/// The sidecars of one controller.
#[derive(Clone)]
pub struct Sidecars {
    channel: Channel,
    api: ApiServer,
}

impl Sidecars {
    /// Calls the socket at this path.
    pub async fn connect(socket: &Path, api: ApiServer) -> Result<Self, Trouble> {
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display()))?;
        Ok(Self { channel: endpoint.connect().await?, api })
    }

    /// The controller's services.
    pub fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    /// Probe.
    pub async fn probe(&self) -> Option<bool> {
        let mut identity = IdentityClient::new(self.channel.clone());
        let answer = identity.probe(ProbeRequest {}).await.ok()?.into_inner();
        answer.ready
    }

    /// CreateVolume, for a claim of this size.
    pub async fn create(
        &self,
        name: &str,
        bytes: u64,
        parameters: &[(&str, &str)],
    ) -> Answer<Volume> {
        let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let request = CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(CapacityRange {
                required_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
                limit_bytes: 0,
            }),
            volume_capabilities: vec![file_system()],
            parameters: parameters.collect(),
            ..CreateVolumeRequest::default()
        };
        let answer = self.controller().create_volume(request).await.map_err(told)?;
        answer.into_inner().volume.ok_or_else(|| ("Internal".into(), "no volume".into()))
    }

    /// CreateVolume as the external-provisioner calls it: again while something may still be
    /// happening (it names these four codes), here after 100, 200 … ms, so many times at most.
    pub async fn provision(&self, name: &str, bytes: u64) -> Answer<Volume> {
        let mut pause = Duration::from_millis(100);
        let mut made = self.create(name, bytes, &[]).await;
        for _ in 1..CREATE_TRIES {
            match &made {
                Err((code, _)) if MAY_STILL_RUN.contains(&code.as_str()) => sleep(pause).await,
                _ => break,
            }
            pause *= 2;
            made = self.create(name, bytes, &[]).await;
        }
        made
    }

    /// ControllerPublishVolume, for one node that mounts and writes.
    pub async fn publish(&self, handle: &str, node: &str) -> Answer<BTreeMap<String, String>> {
        let request = ControllerPublishVolumeRequest {
            volume_id: handle.to_owned(),
            node_id: node.to_owned(),
            volume_capability: Some(file_system()),
            volume_context: HashMap::new(),
            ..ControllerPublishVolumeRequest::default()
        };
        let answer = self.controller().controller_publish_volume(request).await.map_err(told)?;
        Ok(answer.into_inner().publish_context.into_iter().collect())
    }

    /// ControllerUnpublishVolume.
    pub async fn unpublish(&self, handle: &str, node: &str) -> Answer<()> {
        let request = ControllerUnpublishVolumeRequest {
            volume_id: handle.to_owned(),
            node_id: node.to_owned(),
            ..ControllerUnpublishVolumeRequest::default()
        };
        self.controller().controller_unpublish_volume(request).await.map_err(told)?;
        Ok(())
    }

    /// The volume and the node of a VolumeAttachment.
    fn parties(&self, attachment: &Value) -> Result<(String, String), String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let spec = &attachment["spec"];
        let node = text(&spec["nodeName"]).ok_or("the VolumeAttachment names no node")?;
        let volume = text(&spec["source"]["persistentVolumeName"]).ok_or("it names no volume")?;
        let volume = self.api.get("persistentvolumes", &volume).ok_or("its volume is not there")?;
        let handle = text(&volume["spec"]["csi"]["volumeHandle"]).ok_or("no volume handle")?;
        Ok((handle, node))
    }
}

#[async_trait]
impl Sidecar for Sidecars {
    async fn publish(&self, attachment: &Value) -> Result<BTreeMap<String, String>, String> {
        let (handle, node) = self.parties(attachment)?;
        Self::publish(self, &handle, &node).await.map_err(|(code, text)| format!("{code}: {text}"))
    }

    async fn unpublish(&self, attachment: &Value) -> Result<(), String> {
        let (handle, node) = self.parties(attachment)?;
        Self::unpublish(self, &handle, &node)
            .await
            .map_err(|(code, text)| format!("{code}: {text}"))
    }
}

fn told(status: tonic::Status) -> (String, String) {
    (format!("{:?}", status.code()), status.message().to_owned())
}

fn file_system() -> VolumeCapability {
    let mount = MountVolume { fs_type: "ext4".into(), ..MountVolume::default() };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}
