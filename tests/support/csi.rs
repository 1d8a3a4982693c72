//! A client of the CSI socket that calls as the sidecars do.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rds_csi::grpc::csi as pb;
use rds_csi::grpc::csi::controller_client::ControllerClient;
use rds_csi::grpc::csi::identity_client::IdentityClient;
use rds_csi::grpc::csi::volume_capability::access_mode::Mode;
use rds_csi::grpc::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::daemon::PATIENCE;

/// What nobody may find in a log.
pub const PASSWORD: &str = "hunter2-9d41";

/// A connection to the socket.
#[derive(Clone)]
pub struct Csi {
    /// For calls that have no method here.
    pub channel: Channel,
}

impl Csi {
    /// Connects as soon as somebody listens.
    pub async fn connect(socket: &Path) -> Self {
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).unwrap();
        let connected = async {
            loop {
                match endpoint.connect().await {
                    Ok(channel) => return Self { channel },
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, connected).await.unwrap()
    }

    /// The Controller service.
    pub fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    /// What Probe says.
    pub async fn probe(&self) -> bool {
        let mut identity = IdentityClient::new(self.channel.clone());
        let answer = identity.probe(pb::ProbeRequest {}).await.unwrap();
        answer.into_inner().ready.unwrap()
    }

    /// CreateVolume, 1 GiB.
    pub async fn create(
        &self,
        name: &str,
        parameters: &[(&str, &str)],
    ) -> Result<pb::Volume, Status> {
        let request = create(name, parameters);
        let answer = self.controller().create_volume(request).await?;
        Ok(answer.into_inner().volume.unwrap())
    }

    /// DeleteVolume.
    pub async fn delete(&self, volume_id: &str) -> Result<(), Status> {
        let request =
            pb::DeleteVolumeRequest { volume_id: volume_id.to_owned(), secrets: secrets() };
        self.controller().delete_volume(request).await.map(drop)
    }

    /// ControllerPublishVolume.
    pub async fn publish(
        &self,
        volume_id: &str,
        node: &str,
    ) -> Result<HashMap<String, String>, Status> {
        let request = pb::ControllerPublishVolumeRequest {
            volume_id: volume_id.to_owned(),
            node_id: node.to_owned(),
            volume_capability: Some(file_system()),
            secrets: secrets(),
            ..pb::ControllerPublishVolumeRequest::default()
        };
        let answer = self.controller().controller_publish_volume(request).await?;
        Ok(answer.into_inner().publish_context)
    }

    /// ControllerUnpublishVolume.
    pub async fn unpublish(&self, volume_id: &str, node: &str) -> Result<(), Status> {
        let request = pb::ControllerUnpublishVolumeRequest {
            volume_id: volume_id.to_owned(),
            node_id: node.to_owned(),
            secrets: secrets(),
        };
        self.controller().controller_unpublish_volume(request).await.map(drop)
    }

    /// The ids of all volumes.
    pub async fn list(&self) -> Result<Vec<String>, Status> {
        let answer = self.controller().list_volumes(pb::ListVolumesRequest::default()).await?;
        let volumes = answer.into_inner().entries.into_iter().filter_map(|entry| entry.volume);
        Ok(volumes.map(|volume| volume.volume_id).collect())
    }
}

/// A request for 1 GiB with a file system.
pub fn create(name: &str, parameters: &[(&str, &str)]) -> pb::CreateVolumeRequest {
    let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    pb::CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: Some(pb::CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
        volume_capabilities: vec![file_system()],
        parameters: parameters.collect(),
        secrets: secrets(),
        ..pb::CreateVolumeRequest::default()
    }
}

/// One node that mounts and writes.
pub fn file_system() -> pb::VolumeCapability {
    let mount = MountVolume { fs_type: "ext4".into(), ..MountVolume::default() };
    pb::VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}

/// Secrets that the sidecars pass on.
pub fn secrets() -> HashMap<String, String> {
    HashMap::from([("password".to_owned(), PASSWORD.to_owned())])
}

/// The code of a refusal.
pub fn code<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}
