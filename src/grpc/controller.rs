//! The Controller service. Every call is: read the request, run the operation, write the answer.
//!
//! What a request may say is judged in [`crate::grpc::request`], what is done in
//! [`crate::operations`]. Calls that we do not serve are not written at all: the generated trait
//! answers UNIMPLEMENTED.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tonic::{Request, Response, Status};

use crate::grpc::csi as pb;
use crate::grpc::csi::controller_server;
use crate::grpc::csi::controller_service_capability::rpc::Type as Capability;
use crate::grpc::request::{
    CapacityQuery, DeleteVolume, GetVolume, Incoming, ListVolumes, Places, Unpublish, Validate,
};
use crate::grpc::runs::Runs;
use crate::grpc::subject::{About, Note};
use crate::operations::{
    Capacity, CreateVolume, Error, Expand, Expanded, Operations, Page, Publish, VolumeInfo,
};
use crate::volume::{BackendName, NodeName, VolumeId, VolumePath};

/// What the controller can do. LIST_VOLUMES_PUBLISHED_NODES lets the attacher see detached volumes.
const CAPABILITIES: [Capability; 9] = [
    Capability::CreateDeleteVolume,
    Capability::PublishUnpublishVolume,
    Capability::ListVolumes,
    Capability::ListVolumesPublishedNodes,
    Capability::GetCapacity,
    Capability::ExpandVolume,
    Capability::GetVolume,
    Capability::SingleNodeMultiWriter,
    Capability::PublishReadonly,
];

/// The operations as the service sees them; see [`Operations`] for what each does.
#[async_trait]
pub trait Volumes: Send + Sync + 'static {
    /// [`Operations::create`].
    async fn create(&self, wanted: CreateVolume) -> Result<VolumeInfo, Error>;
    /// [`Operations::delete`].
    async fn delete(&self, id: VolumeId) -> Result<(), Error>;
    /// [`Operations::publish`].
    async fn publish(&self, wanted: Publish) -> Result<BTreeMap<String, String>, Error>;
    /// [`Operations::unpublish`].
    async fn unpublish(&self, id: VolumeId, node: Option<NodeName>) -> Result<(), Error>;
    /// [`Operations::get`].
    async fn get(&self, id: VolumeId) -> Result<VolumeInfo, Error>;
    /// [`Operations::list`].
    async fn list(&self, token: &str, max: usize) -> Result<Page, Error>;
    /// [`Operations::capacity`].
    async fn capacity(&self, name: &BackendName, path: &VolumePath) -> Result<Capacity, Error>;
    /// [`Operations::expand`].
    async fn expand(&self, wanted: Expand) -> Result<Expanded, Error>;
}

#[async_trait]
impl Volumes for Operations {
    async fn create(&self, wanted: CreateVolume) -> Result<VolumeInfo, Error> {
        Self::create(self, wanted).await
    }
    async fn delete(&self, id: VolumeId) -> Result<(), Error> {
        Self::delete(self, id).await
    }
    async fn publish(&self, wanted: Publish) -> Result<BTreeMap<String, String>, Error> {
        Self::publish(self, wanted).await
    }
    async fn unpublish(&self, id: VolumeId, node: Option<NodeName>) -> Result<(), Error> {
        Self::unpublish(self, id, node).await
    }
    async fn get(&self, id: VolumeId) -> Result<VolumeInfo, Error> {
        Self::get(self, id).await
    }
    async fn list(&self, token: &str, max: usize) -> Result<Page, Error> {
        Self::list(self, token, max).await
    }
    async fn capacity(&self, name: &BackendName, path: &VolumePath) -> Result<Capacity, Error> {
        Self::capacity(self, name, path).await
    }
    async fn expand(&self, wanted: Expand) -> Result<Expanded, Error> {
        Self::expand(self, wanted).await
    }
}

/// The service. Cloning shares everything.
#[derive(Clone)]
pub struct Controller {
    volumes: Arc<dyn Volumes>,
    places: Arc<Places>,
    runs: Runs,
}

impl Controller {
    /// Serves `volumes`, judging requests against `places`; operations run in `runs`.
    pub fn new(volumes: Arc<dyn Volumes>, places: Places, runs: Runs) -> Self {
        Self { volumes, places: Arc::new(places), runs }
    }

    /// The operations under way.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Reads a request, and notes for the log what it is about.
    fn read<M, T>(&self, request: Request<M>) -> Result<T, Error>
    where
        M: About,
        T: for<'a> TryFrom<Incoming<'a, M>, Error = Error>,
    {
        if let Some(note) = request.extensions().get::<Note>() {
            note.set(request.get_ref().subject());
        }
        T::try_from(Incoming { request: request.into_inner(), places: &self.places })
    }

    fn volume(&self, info: VolumeInfo) -> (pb::Volume, Vec<String>) {
        let volume = pb::Volume {
            capacity_bytes: signed(info.bytes),
            volume_id: info.id.handle(&self.places.bare_ids),
            volume_context: info.context.into_iter().collect(),
            content_source: None,
            accessible_topology: Vec::new(),
        };
        (volume, info.published.into_iter().map(String::from).collect())
    }
}

/// Bytes on the wire.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl controller_server::Controller for Controller {
    async fn controller_get_capabilities(
        &self,
        _: Request<pb::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<pb::ControllerGetCapabilitiesResponse>, Status> {
        use pb::controller_service_capability::{Rpc, Type};

        let capability = |one: Capability| pb::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: one.into() })),
        };
        Ok(Response::new(pb::ControllerGetCapabilitiesResponse {
            capabilities: CAPABILITIES.map(capability).into(),
        }))
    }

    async fn create_volume(
        &self,
        request: Request<pb::CreateVolumeRequest>,
    ) -> Result<Response<pb::CreateVolumeResponse>, Status> {
        let wanted: CreateVolume = self.read(request)?;
        let volumes = self.volumes.clone();
        let made = self.runs.run(async move { volumes.create(wanted).await }).await?;
        Ok(Response::new(pb::CreateVolumeResponse { volume: Some(self.volume(made).0) }))
    }

    async fn delete_volume(
        &self,
        request: Request<pb::DeleteVolumeRequest>,
    ) -> Result<Response<pb::DeleteVolumeResponse>, Status> {
        let wanted: DeleteVolume = self.read(request)?;
        if let Some(id) = wanted.id {
            let volumes = self.volumes.clone();
            self.runs.run(async move { volumes.delete(id).await }).await?;
        }
        Ok(Response::new(pb::DeleteVolumeResponse {}))
    }

    async fn controller_publish_volume(
        &self,
        request: Request<pb::ControllerPublishVolumeRequest>,
    ) -> Result<Response<pb::ControllerPublishVolumeResponse>, Status> {
        let wanted: Publish = self.read(request)?;
        let volumes = self.volumes.clone();
        let context = self.runs.run(async move { volumes.publish(wanted).await }).await?;
        Ok(Response::new(pb::ControllerPublishVolumeResponse {
            publish_context: context.into_iter().collect(),
        }))
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<pb::ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<pb::ControllerUnpublishVolumeResponse>, Status> {
        let Unpublish { id, node } = self.read(request)?;
        if let Some(id) = id {
            let volumes = self.volumes.clone();
            self.runs.run(async move { volumes.unpublish(id, node).await }).await?;
        }
        Ok(Response::new(pb::ControllerUnpublishVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<pb::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<pb::ValidateVolumeCapabilitiesResponse>, Status> {
        let question: Validate = self.read(request)?;
        let (volumes, id) = (self.volumes.clone(), question.id.clone());
        let found = self.runs.run(async move { volumes.get(id).await }).await?;
        Ok(Response::new(question.answer(&found)))
    }

    async fn list_volumes(
        &self,
        request: Request<pb::ListVolumesRequest>,
    ) -> Result<Response<pb::ListVolumesResponse>, Status> {
        use pb::list_volumes_response::{Entry, VolumeStatus};

        let ListVolumes { token, max } = self.read(request)?;
        let volumes = self.volumes.clone();
        let page = self.runs.run(async move { volumes.list(&token, max).await }).await?;
        let entry = |info| {
            let (volume, published_node_ids) = self.volume(info);
            Entry { volume: Some(volume), status: Some(VolumeStatus { published_node_ids }) }
        };
        Ok(Response::new(pb::ListVolumesResponse {
            entries: page.volumes.into_iter().map(entry).collect(),
            next_token: page.next,
        }))
    }

    async fn get_capacity(
        &self,
        request: Request<pb::GetCapacityRequest>,
    ) -> Result<Response<pb::GetCapacityResponse>, Status> {
        let query: CapacityQuery = self.read(request)?;
        if !query.serviceable {
            return Ok(Response::new(pb::GetCapacityResponse::default()));
        }
        let volumes = self.volumes.clone();
        let ask = async move { volumes.capacity(&query.backend, &query.volume_path).await };
        let capacity = self.runs.run(ask).await?;
        Ok(Response::new(pb::GetCapacityResponse {
            available_capacity: signed(capacity.available),
            maximum_volume_size: None,
            minimum_volume_size: None,
        }))
    }

    async fn controller_get_volume(
        &self,
        request: Request<pb::ControllerGetVolumeRequest>,
    ) -> Result<Response<pb::ControllerGetVolumeResponse>, Status> {
        use pb::controller_get_volume_response::VolumeStatus;

        let GetVolume { id } = self.read(request)?;
        let volumes = self.volumes.clone();
        let found = self.runs.run(async move { volumes.get(id).await }).await?;
        let (volume, published_node_ids) = self.volume(found);
        Ok(Response::new(pb::ControllerGetVolumeResponse {
            volume: Some(volume),
            status: Some(VolumeStatus { published_node_ids }),
        }))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<pb::ControllerExpandVolumeRequest>,
    ) -> Result<Response<pb::ControllerExpandVolumeResponse>, Status> {
        let wanted: Expand = self.read(request)?;
        let volumes = self.volumes.clone();
        let grown = self.runs.run(async move { volumes.expand(wanted).await }).await?;
        Ok(Response::new(pb::ControllerExpandVolumeResponse {
            capacity_bytes: signed(grown.bytes),
            // A block volume, too: a host sees its new size only when it looks again.
            node_expansion_required: true,
        }))
    }
}
