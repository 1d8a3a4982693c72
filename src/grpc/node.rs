//! The Node service. Every call is: read the request, run the operation, write the answer.
//!
//! What a request may say is judged in [`crate::grpc::request`], what is done in [`crate::node`].
//! NodeGetInfo names a topology that is the same on every node, since every node reaches every box: see
//! [`topology`].

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::grpc::csi as pb;
use crate::grpc::csi::node_server;
use crate::grpc::csi::node_service_capability::rpc::Type as Capability;
use crate::grpc::request::{Taken, ToNode};
use crate::grpc::runs::Runs;
use crate::grpc::subject::{About, Note};
use crate::host::{Timing, Usage};
use crate::node::{
    Ailment, Amount, Expand, HealthQuery, Node, Publish, Severity, Stage, StatsQuery, Unpublish,
    Unstage,
};
use crate::operations::Error;

/// What a node can do. SINGLE_NODE_MULTI_WRITER lets kubelet say whether a second workload may have
/// the volume.
const CAPABILITIES: [Capability; 6] = [
    Capability::StageUnstageVolume,
    Capability::GetVolumeStats,
    Capability::ExpandVolume,
    Capability::SingleNodeMultiWriter,
    Capability::GetVolumeHealth,
    Capability::GetStorageHealth,
];

/// The one segment of topology, by which csi-provisioner makes one capacity object for each StorageClass.
/// Without any, its release 6.3 takes an object's absent selector for another one than its own empty one,
/// deletes the object at each look, and pods that wait for room on a box wait for ever.
pub fn topology(driver: &str) -> (String, String) {
    (format!("{driver}/zone"), "all".to_owned())
}

/// The service. Cloning shares everything.
#[derive(Clone)]
pub struct NodeService {
    driver: Arc<str>,
    node: Node,
    timing: Arc<Timing>,
    runs: Runs,
}

impl NodeService {
    /// Serves `node` under the driver's name, with `timing` for what a StorageClass does not say;
    /// operations run in `runs`.
    pub fn new(driver: &str, node: Node, timing: Timing, runs: Runs) -> Self {
        Self { driver: driver.into(), node, timing: Arc::new(timing), runs }
    }

    /// The operations under way.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Reads a request, and notes for the log what it is about.
    fn read<M, T>(&self, request: Request<M>) -> Result<T, Error>
    where
        M: About,
        T: for<'a> TryFrom<ToNode<'a, M>, Error = Error>,
    {
        if let Some(note) = request.extensions().get::<Note>() {
            note.set(request.get_ref().subject());
        }
        T::try_from(ToNode { request: request.into_inner(), timing: &self.timing })
    }
}

#[tonic::async_trait]
impl node_server::Node for NodeService {
    async fn node_get_capabilities(
        &self,
        _: Request<pb::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<pb::NodeGetCapabilitiesResponse>, Status> {
        use pb::node_service_capability::{Rpc, Type};

        let capability = |one: Capability| pb::NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: one.into() })),
        };
        Ok(Response::new(pb::NodeGetCapabilitiesResponse {
            capabilities: CAPABILITIES.map(capability).into(),
        }))
    }

    async fn node_get_info(
        &self,
        _: Request<pb::NodeGetInfoRequest>,
    ) -> Result<Response<pb::NodeGetInfoResponse>, Status> {
        Ok(Response::new(pb::NodeGetInfoResponse {
            node_id: self.node.name().to_string(),
            max_volumes_per_node: self.node.volumes_max().map_or(0, i64::from),
            accessible_topology: Some(pb::Topology { segments: [topology(&self.driver)].into() }),
        }))
    }

    async fn node_stage_volume(
        &self,
        request: Request<pb::NodeStageVolumeRequest>,
    ) -> Result<Response<pb::NodeStageVolumeResponse>, Status> {
        let wanted: Stage = self.read(request)?;
        let node = self.node.clone();
        self.runs.run(async move { node.stage(wanted).await }).await?;
        Ok(Response::new(pb::NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<pb::NodeUnstageVolumeRequest>,
    ) -> Result<Response<pb::NodeUnstageVolumeResponse>, Status> {
        let Taken::<Unstage>(wanted) = self.read(request)?;
        if let Some(wanted) = wanted {
            let node = self.node.clone();
            self.runs.run(async move { node.unstage(wanted).await }).await?;
        }
        Ok(Response::new(pb::NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<pb::NodePublishVolumeRequest>,
    ) -> Result<Response<pb::NodePublishVolumeResponse>, Status> {
        let wanted: Publish = self.read(request)?;
        let node = self.node.clone();
        self.runs.run(async move { node.publish(wanted).await }).await?;
        Ok(Response::new(pb::NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<pb::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<pb::NodeUnpublishVolumeResponse>, Status> {
        let Taken::<Unpublish>(wanted) = self.read(request)?;
        if let Some(wanted) = wanted {
            let node = self.node.clone();
            self.runs.run(async move { node.unpublish(wanted).await }).await?;
        }
        Ok(Response::new(pb::NodeUnpublishVolumeResponse {}))
    }

    async fn node_expand_volume(
        &self,
        request: Request<pb::NodeExpandVolumeRequest>,
    ) -> Result<Response<pb::NodeExpandVolumeResponse>, Status> {
        let wanted: Expand = self.read(request)?;
        let node = self.node.clone();
        let bytes = self.runs.run(async move { node.expand(wanted).await }).await?;
        Ok(Response::new(pb::NodeExpandVolumeResponse { capacity_bytes: signed(bytes) }))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<pb::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<pb::NodeGetVolumeStatsResponse>, Status> {
        let wanted: StatsQuery = self.read(request)?;
        let node = self.node.clone();
        let amount = self.runs.run(async move { node.stats(wanted).await }).await?;
        Ok(Response::new(pb::NodeGetVolumeStatsResponse { usage: usage(amount) }))
    }

    async fn node_get_volume_health(
        &self,
        request: Request<pb::NodeGetVolumeHealthRequest>,
    ) -> Result<Response<pb::NodeGetVolumeHealthResponse>, Status> {
        let volume_id = request.get_ref().volume_id.clone();
        let wanted: HealthQuery = self.read(request)?;
        let node = self.node.clone();
        let found = self.runs.run(async move { node.volume_health(wanted).await }).await?;
        let health_statuses = found.into_iter().map(entry).collect();
        let volume_health = Some(pb::VolumeHealth { volume_id, health_statuses });
        Ok(Response::new(pb::NodeGetVolumeHealthResponse { volume_health }))
    }

    async fn node_get_storage_health(
        &self,
        request: Request<pb::NodeGetStorageHealthRequest>,
    ) -> Result<Response<pb::NodeGetStorageHealthResponse>, Status> {
        use pb::node_get_storage_health_response::StorageBackendHealth;

        drop(request);
        let node = self.node.clone();
        let found = self.runs.run(async move { node.storage_health().await }).await?;
        let entry = |one: crate::node::BoxAilment| {
            let (status, reason) = match one.unreachable {
                true => (pb::StorageHealthErrorType::StorageUnreachable, "Unreachable"),
                false => (pb::StorageHealthErrorType::StorageDegraded, "PartlyConnected"),
            };
            StorageBackendHealth {
                status: status.into(),
                reason: reason.into(),
                message: one.message,
                volume_capability: None,
            }
        };
        Ok(Response::new(pb::NodeGetStorageHealthResponse {
            backend_health: found.into_iter().map(entry).collect(),
        }))
    }
}

fn entry(ailment: Ailment) -> pb::volume_health::VolumeHealthEntry {
    let status = match ailment.severity {
        Severity::Degraded => pb::VolumeHealthErrorType::Degraded,
        Severity::Inaccessible => pb::VolumeHealthErrorType::Inaccessible,
    };
    pb::volume_health::VolumeHealthEntry {
        status: status.into(),
        reason: ailment.reason.into(),
        message: ailment.message,
    }
}

/// Bytes and inodes on the wire.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn usage(amount: Amount) -> Vec<pb::VolumeUsage> {
    use pb::volume_usage::Unit;

    let one = |unit: Unit, total, used, available| pb::VolumeUsage {
        available: signed(available),
        total: signed(total),
        used: signed(used),
        unit: unit.into(),
    };
    match amount {
        // Nobody knows how much of a device is in use.
        Amount::Device { bytes } => vec![one(Unit::Bytes, bytes, 0, 0)],
        Amount::FileSystem(Usage {
            bytes,
            bytes_available,
            bytes_used,
            inodes,
            inodes_free,
            ..
        }) => {
            let mut all = vec![one(Unit::Bytes, bytes, bytes_used, bytes_available)];
            // btrfs has no bound of inodes.
            if inodes > 0 {
                let used = inodes.saturating_sub(inodes_free);
                all.push(one(Unit::Inodes, inodes, used, inodes_free));
            }
            all
        }
    }
}
