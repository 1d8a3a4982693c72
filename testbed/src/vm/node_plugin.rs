//! The node plugin in a machine, and kubelet's part: it makes the folders that kubelet makes, and calls
//! what kubelet calls.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use rds_csi::grpc::csi::identity_client::IdentityClient;
use rds_csi::grpc::csi::node_client::NodeClient;
use rds_csi::grpc::csi::{
    CapacityRange, NodeExpandVolumeRequest, NodeGetStorageHealthRequest,
    NodeGetVolumeHealthRequest, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest, ProbeRequest,
};
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::boot::Vm;
use super::daemon::Daemon;
use super::driver::{DRIVER, Driver};
use super::lend::Lent;
use super::volume::{Kind, Volume};
use crate::{Trouble, parts, wait};

const KUBELET: &str = "/var/lib/kubelet";
/// Longest wait of kubelet for one call (its `csiTimeout`).
const CALL: Duration = Duration::from_secs(120);
/// Longest wait for the plugin to listen.
const START: Duration = Duration::from_secs(60);

/// A running node plugin.
pub struct NodePlugin {
    /// Its process.
    pub daemon: Daemon,
    channel: Channel,
    _lent: Lent,
}

/// What kubelet was told: the code and the text.
pub type Answer<T> = Result<T, Status>;

impl NodePlugin {
    /// Starts it, with the controller's own configuration file and what stands in `more`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(vm: &Vm, driver: &Driver, more: &str) -> Result<Self, Trouble> {
        Self::start_with(vm, driver, more, &[]).await
    }

    /// Like [`NodePlugin::start`], with these variables.
    ///
    /// # Errors
    /// As there.
    pub async fn start_with(
        vm: &Vm,
        driver: &Driver,
        more: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, Trouble> {
        let folder = format!("{KUBELET}/plugins/{DRIVER}");
        let socket = format!("{folder}/csi.sock");
        let file = "/etc/rds-csi.toml";
        let own = format!("unix://{}", driver.socket().display());
        let config = driver.config().replace(&own, &format!("unix://{socket}"));
        let config = format!(
            "{config}\n[node]\nregister = false\n\n[nvme]\nreconnect_delay = \"2s\"\nio_queues = 1\n{more}"
        );
        vm.write(file, config).await?;
        vm.shell(&format!("modprobe nvme-tcp; mkdir -p {folder}")).await?;
        let program = parts::driver()?.display().to_string();
        let run = vm.command(&program).args(["node", "--config", file, "--node-id", vm.name()]);
        let run = variables.iter().fold(run, |run, (name, value)| run.env(name, *value));
        let daemon = vm.start("node-plugin", run).await?;
        let here = vm.logs().join(format!("{}.sock", vm.name()));
        let lent = vm.lend(&socket, &here)?;
        let endpoint = Endpoint::try_from(format!("unix://{}", here.display()))?;
        let channel = endpoint.connect_lazy();
        wait::until("the node plugin answers", START, async || {
            daemon.check().map_err(|error| error.to_string())?;
            let probe = IdentityClient::new(channel.clone()).probe(ProbeRequest {}).await;
            probe.map(drop).map_err(|status| status.to_string())
        })
        .await?;
        Ok(Self { daemon, channel, _lent: lent })
    }

    /// Its services.
    pub fn client(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    /// NodeStageVolume, where kubelet stages it.
    ///
    /// # Errors
    /// What it answers.
    pub async fn stage(
        &self,
        vm: &Vm,
        volume: &Volume,
        context: &HashMap<String, String>,
    ) -> Answer<()> {
        let path = staging(volume).display().to_string();
        made(vm, &path).await?;
        let request = NodeStageVolumeRequest {
            volume_id: volume.handle.clone(),
            publish_context: context.clone(),
            staging_target_path: path,
            volume_capability: Some(volume.kind.capability()),
            volume_context: volume.context.clone(),
            ..NodeStageVolumeRequest::default()
        };
        called(self.client().node_stage_volume(request)).await.map(drop)
    }

    /// NodePublishVolume, for the pod of that name.
    ///
    /// # Errors
    /// What it answers.
    pub async fn publish(
        &self,
        vm: &Vm,
        volume: &Volume,
        context: &HashMap<String, String>,
        pod: &str,
    ) -> Answer<()> {
        let target = target(volume, pod);
        if let Some(folder) = target.parent() {
            made(vm, &folder.display().to_string()).await?;
        }
        let request = NodePublishVolumeRequest {
            volume_id: volume.handle.clone(),
            publish_context: context.clone(),
            staging_target_path: staging(volume).display().to_string(),
            target_path: target.display().to_string(),
            volume_capability: Some(volume.kind.capability()),
            volume_context: volume.context.clone(),
            ..NodePublishVolumeRequest::default()
        };
        called(self.client().node_publish_volume(request)).await.map(drop)
    }

    /// NodeUnpublishVolume.
    ///
    /// # Errors
    /// What it answers.
    pub async fn unpublish(&self, volume: &Volume, pod: &str) -> Answer<()> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: volume.handle.clone(),
            target_path: target(volume, pod).display().to_string(),
        };
        called(self.client().node_unpublish_volume(request)).await.map(drop)
    }

    /// NodeUnstageVolume.
    ///
    /// # Errors
    /// What it answers.
    pub async fn unstage(&self, volume: &Volume) -> Answer<()> {
        let request = NodeUnstageVolumeRequest {
            volume_id: volume.handle.clone(),
            staging_target_path: staging(volume).display().to_string(),
        };
        called(self.client().node_unstage_volume(request)).await.map(drop)
    }

    /// NodeExpandVolume, of a volume that a pod uses.
    ///
    /// # Errors
    /// What it answers.
    pub async fn expand(&self, volume: &Volume, pod: &str, bytes: u64) -> Answer<()> {
        let request = NodeExpandVolumeRequest {
            volume_id: volume.handle.clone(),
            volume_path: target(volume, pod).display().to_string(),
            staging_target_path: staging(volume).display().to_string(),
            volume_capability: Some(volume.kind.capability()),
            capacity_range: Some(CapacityRange {
                required_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
                limit_bytes: 0,
            }),
            ..NodeExpandVolumeRequest::default()
        };
        called(self.client().node_expand_volume(request)).await.map(drop)
    }

    /// NodeGetVolumeStats, of a volume that a pod uses.
    ///
    /// # Errors
    /// What it answers.
    pub async fn stats(&self, volume: &Volume, pod: &str) -> Answer<NodeGetVolumeStatsResponse> {
        let request = NodeGetVolumeStatsRequest {
            volume_id: volume.handle.clone(),
            volume_path: target(volume, pod).display().to_string(),
            staging_target_path: staging(volume).display().to_string(),
        };
        called(self.client().node_get_volume_stats(request)).await
    }

    /// NodeGetVolumeHealth, of a volume that a pod uses: the reasons why it is not well.
    ///
    /// # Errors
    /// What it answers.
    pub async fn health(&self, volume: &Volume, pod: &str) -> Answer<Vec<String>> {
        let request = NodeGetVolumeHealthRequest {
            volume_id: volume.handle.clone(),
            volume_publish_path: target(volume, pod).display().to_string(),
            staging_target_path: staging(volume).display().to_string(),
        };
        let health = called(self.client().node_get_volume_health(request)).await?.volume_health;
        let found = health.map(|health| health.health_statuses).unwrap_or_default();
        Ok(found.into_iter().map(|one| one.reason).collect())
    }

    /// NodeGetStorageHealth: what is wrong with the boxes, as this node sees them.
    ///
    /// # Errors
    /// What it answers.
    pub async fn storage_health(&self) -> Answer<Vec<String>> {
        let request = NodeGetStorageHealthRequest::default();
        let health = called(self.client().node_get_storage_health(request)).await?;
        let found = health.backend_health.into_iter();
        Ok(found.map(|one| format!("{}: {}", one.reason, one.message)).collect())
    }
}

/// Where a pod of that name sees the volume: a folder, or a device.
pub fn target(volume: &Volume, pod: &str) -> PathBuf {
    match volume.kind {
        Kind::Files(_) => {
            let folder = format!("{KUBELET}/pods/{pod}/volumes/kubernetes.io~csi/{}", volume.name);
            PathBuf::from(folder).join("mount")
        }
        Kind::Block | Kind::SharedBlock => {
            let folder = "plugins/kubernetes.io/csi/volumeDevices/publish";
            PathBuf::from(format!("{KUBELET}/{folder}/{}/{pod}", volume.name))
        }
    }
}

/// Where kubelet stages the volume.
pub fn staging(volume: &Volume) -> PathBuf {
    let folder = format!("{KUBELET}/plugins/kubernetes.io/csi");
    match volume.kind {
        Kind::Files(_) => PathBuf::from(format!("{folder}/{DRIVER}/{}/globalmount", volume.name)),
        Kind::Block | Kind::SharedBlock => {
            PathBuf::from(format!("{folder}/volumeDevices/staging/{}", volume.name))
        }
    }
}

async fn made(vm: &Vm, folder: &str) -> Answer<()> {
    let made = vm.command("mkdir").args(["-p", folder]).text().await;
    made.map(drop).map_err(|error| Status::unknown(error.to_string()))
}

async fn called<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Answer<T> {
    match timeout(CALL, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("kubelet's own deadline is over")),
    }
}
