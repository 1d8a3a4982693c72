//! What kubelet does with a node plugin, over the Node service and a kernel in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::grpc::csi as pb;
use rds_csi::grpc::csi::node_server::Node as _;
use rds_csi::grpc::csi::volume_capability::access_mode::Mode;
use rds_csi::grpc::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use rds_csi::grpc::node::NodeService;
use rds_csi::grpc::runs::Runs;
use rds_csi::host::Timing;
use rds_csi::node::{Deadlines, Faults, Generations, NobodyKnows, Node, Parts, Unobserved};
use rds_csi::volume::{Handle, NodeName, Nqn};
use slog::{Discard, Logger, o};
use tonic::{Request, Status};

use crate::kernel::Kernel;

/// The host as the controller names it.
const HOST: &str = "01234567-89ab-8def-8123-456789abcdef";

/// One attachment of a volume, and how it is used.
#[derive(Debug, Clone)]
pub struct Attachment {
    pub volume: String,
    pub nqn: String,
    pub context: HashMap<String, String>,
    pub volume_context: HashMap<String, String>,
    pub capability: pb::VolumeCapability,
    /// Where it is staged, if not where kubelet does.
    pub staging: Option<PathBuf>,
}

/// The NQN of a generation.
pub fn nqn(volume: &str, generation: u32) -> String {
    format!("nqn.2000-02.com.mikrotik:{volume}.g{generation}-{generation:012x}")
}

/// A file system that one node writes.
pub fn file_system(kind: &str) -> pb::VolumeCapability {
    let mount = MountVolume { fs_type: kind.into(), ..MountVolume::default() };
    used(Mode::SingleNodeMultiWriter, AccessType::Mount(mount))
}

/// A device that one node writes.
pub fn block() -> pb::VolumeCapability {
    used(Mode::SingleNodeMultiWriter, AccessType::Block(BlockVolume {}))
}

/// Any capability.
pub fn used(mode: Mode, access: AccessType) -> pb::VolumeCapability {
    pb::VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(access),
    }
}

impl Attachment {
    /// As ControllerPublishVolume gives it. `may_format` while the ledger says never.
    pub fn new(
        volume: &str,
        generation: u32,
        may_format: bool,
        capability: pb::VolumeCapability,
    ) -> Self {
        let nqn = nqn(volume, generation);
        let mut context = HashMap::from(
            [
                ("nqn", nqn.as_str()),
                ("nvmeAddress", "10.0.0.1"),
                ("nvmePort", "4420"),
                ("hostNqn", &format!("nqn.2014-08.org.nvmexpress:uuid:{HOST}")),
                ("hostId", HOST),
                ("generation", &generation.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        if may_format {
            context.insert("format".into(), "allowed".into());
        }
        let (volume, volume_context) = (volume.to_owned(), HashMap::new());
        Self { volume, nqn, context, volume_context, capability, staging: None }
    }

    pub fn staging(&self) -> PathBuf {
        let usual = || Path::new("/k/staging").join(&self.volume).join("globalmount");
        self.staging.clone().unwrap_or_else(usual)
    }
}

/// Says of every generation what it was told.
struct Told {
    over: bool,
    current: bool,
}

#[async_trait]
impl Generations for Told {
    async fn is_over(&self, _: &Handle, _: &Nqn) -> bool {
        self.over
    }
    async fn is_current(&self, _: &Handle, _: &Nqn) -> bool {
        self.current
    }
}

/// kubelet, and the plugin that it talks to.
pub struct Kubelet {
    pub service: NodeService,
    pub node: Node,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Kubelet {
    pub fn new(kernel: &Kernel) -> Self {
        Self::with(kernel, Faults::default())
    }

    /// A plugin that was just started, and is cut off as told.
    pub fn with(kernel: &Kernel, faults: Faults) -> Self {
        Self::made(kernel, faults, Arc::new(NobodyKnows))
    }

    /// A plugin to whom every generation is over, or none.
    pub fn told(kernel: &Kernel, over: bool) -> Self {
        Self::made(kernel, Faults::default(), Arc::new(Told { over, current: false }))
    }

    /// A plugin to whom every generation is the current one.
    pub fn vouched(kernel: &Kernel) -> Self {
        let told = Told { over: false, current: true };
        Self::made(kernel, Faults::default(), Arc::new(told))
    }

    fn made(kernel: &Kernel, faults: Faults, generations: Arc<dyn Generations>) -> Self {
        let log = Logger::root(Discard, o!());
        let node = Node::new(Parts {
            host: Arc::new(kernel.clone()),
            name: NodeName::parse("n1").unwrap(),
            volumes_max: None,
            deadlines: Deadlines { device: Duration::from_secs(30) },
            generations,
            observer: Arc::new(Unobserved),
            faults,
            log: log.clone(),
        });
        let timing = Timing {
            ctrl_loss: None,
            reconnect_delay: Duration::from_secs(10),
            keep_alive: Duration::from_secs(5),
            fast_io_fail: None,
            io_queues: None,
        };
        let runs = Runs::new(64, Duration::from_secs(120), log);
        let service = NodeService::new("rds.csi.srvlab.io", node.clone(), timing, runs);
        Self { service, node }
    }

    pub async fn stage(&self, of: &Attachment) -> Result<(), Status> {
        self.service.node_stage_volume(Request::new(stage_request(of))).await.map(drop)
    }

    pub async fn unstage(&self, of: &Attachment) -> Result<(), Status> {
        self.unstage_at(of, &of.staging()).await
    }

    pub async fn unstage_at(&self, of: &Attachment, staging: &Path) -> Result<(), Status> {
        let request = pb::NodeUnstageVolumeRequest {
            volume_id: of.volume.clone(),
            staging_target_path: text(staging),
        };
        self.service.node_unstage_volume(Request::new(request)).await.map(drop)
    }

    pub async fn publish(&self, of: &Attachment, target: &Path) -> Result<(), Status> {
        self.publish_as(of, target, false).await
    }

    pub async fn publish_as(
        &self,
        of: &Attachment,
        target: &Path,
        readonly: bool,
    ) -> Result<(), Status> {
        let request = publish_request(of, target, readonly);
        self.service.node_publish_volume(Request::new(request)).await.map(drop)
    }

    pub async fn unpublish(&self, of: &Attachment, target: &Path) -> Result<(), Status> {
        let request = pb::NodeUnpublishVolumeRequest {
            volume_id: of.volume.clone(),
            target_path: text(target),
        };
        self.service.node_unpublish_volume(Request::new(request)).await.map(drop)
    }

    pub async fn expand(&self, of: &Attachment, path: &Path, bytes: i64) -> Result<i64, Status> {
        let request = pb::NodeExpandVolumeRequest {
            volume_id: of.volume.clone(),
            volume_path: text(path),
            capacity_range: Some(pb::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            ..pb::NodeExpandVolumeRequest::default()
        };
        let answer = self.service.node_expand_volume(Request::new(request)).await?;
        Ok(answer.into_inner().capacity_bytes)
    }

    pub async fn stats(
        &self,
        of: &Attachment,
        path: &Path,
    ) -> Result<Vec<pb::VolumeUsage>, Status> {
        let request = pb::NodeGetVolumeStatsRequest {
            volume_id: of.volume.clone(),
            volume_path: text(path),
            staging_target_path: String::new(),
        };
        let answer = self.service.node_get_volume_stats(Request::new(request)).await?;
        Ok(answer.into_inner().usage)
    }

    /// The reasons why a volume is not well.
    pub async fn health(&self, of: &Attachment, path: &Path) -> Result<Vec<String>, Status> {
        let request = pb::NodeGetVolumeHealthRequest {
            volume_id: of.volume.clone(),
            volume_publish_path: text(path),
            staging_target_path: String::new(),
        };
        let answer = self.service.node_get_volume_health(Request::new(request)).await?;
        let health = answer.into_inner().volume_health.unwrap();
        Ok(health.health_statuses.into_iter().map(|one| one.reason).collect())
    }
}

pub fn stage_request(of: &Attachment) -> pb::NodeStageVolumeRequest {
    pb::NodeStageVolumeRequest {
        volume_id: of.volume.clone(),
        publish_context: of.context.clone(),
        staging_target_path: text(&of.staging()),
        volume_capability: Some(of.capability.clone()),
        secrets: HashMap::new(),
        volume_context: of.volume_context.clone(),
    }
}

pub fn publish_request(
    of: &Attachment,
    target: &Path,
    readonly: bool,
) -> pb::NodePublishVolumeRequest {
    let stage = stage_request(of);
    pb::NodePublishVolumeRequest {
        volume_id: stage.volume_id,
        publish_context: stage.publish_context,
        staging_target_path: stage.staging_target_path,
        target_path: text(target),
        volume_capability: stage.volume_capability,
        readonly,
        secrets: stage.secrets,
        volume_context: stage.volume_context,
    }
}

/// Where a pod sees a volume.
pub fn pod(name: &str) -> PathBuf {
    Path::new("/k/pods").join(name).join("mount")
}
