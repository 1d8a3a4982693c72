//! What Kubernetes does around the controller's calls, for a caller that knows nothing of Kubernetes:
//! csi-sanity.
//!
//! The controller exports only what a PersistentVolume names and a VolumeAttachment wants, as
//! external-provisioner and attach/detach controller make them. This passes every call on and makes
//! the same objects around them.

use std::collections::HashMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use rds_csi::grpc::csi::controller_client::ControllerClient;
use rds_csi::grpc::csi::controller_server::{Controller, ControllerServer};
use rds_csi::grpc::csi::identity_client::IdentityClient;
use rds_csi::grpc::csi::identity_server::{Identity, IdentityServer};
use rds_csi::grpc::csi::volume_capability::AccessType;
use rds_csi::grpc::csi::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse,
    ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse,
    ControllerGetVolumeRequest, ControllerGetVolumeResponse, ControllerPublishVolumeRequest,
    ControllerPublishVolumeResponse, ControllerUnpublishVolumeRequest,
    ControllerUnpublishVolumeResponse, CreateVolumeRequest, CreateVolumeResponse,
    DeleteVolumeRequest, DeleteVolumeResponse, GetCapacityRequest, GetCapacityResponse,
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, ListVolumesRequest, ListVolumesResponse, ProbeRequest, ProbeResponse,
    ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse, Volume,
};
use rds_sim::apiserver::{ApiServer, world as objects};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use super::driver::{DRIVER, Driver};
use crate::Trouble;

/// Serves the controller's services until it is dropped.
pub struct Provisioner {
    /// Where.
    pub address: SocketAddr,
    _server: JoinSet<()>,
}

impl Provisioner {
    /// Stands before the controller, at any port of this address.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub async fn start(driver: &Driver, address: std::net::IpAddr) -> Result<Self, Trouble> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let middle = Middle { controller: driver.controller(), api: driver.api.clone() };
        let serving = Server::builder()
            .add_service(IdentityServer::new(Named(driver.identity())))
            .add_service(ControllerServer::new(middle))
            .serve_with_incoming(TcpIncoming::from(listener));
        let mut server = JoinSet::new();
        server.spawn(async move { drop(serving.await) });
        Ok(Self { address, _server: server })
    }
}

/// The controller's own name and state.
struct Named(IdentityClient<Channel>);

#[async_trait]
impl Identity for Named {
    async fn get_plugin_info(
        &self,
        request: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        self.0.clone().get_plugin_info(request.into_inner()).await
    }

    async fn get_plugin_capabilities(
        &self,
        request: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        self.0.clone().get_plugin_capabilities(request.into_inner()).await
    }

    async fn probe(
        &self,
        request: Request<ProbeRequest>,
    ) -> Result<Response<ProbeResponse>, Status> {
        self.0.clone().probe(request.into_inner()).await
    }
}

struct Middle {
    controller: ControllerClient<Channel>,
    api: ApiServer,
}

impl Middle {
    fn to(&self) -> ControllerClient<Channel> {
        self.controller.clone()
    }

    /// The PersistentVolume of a CSI volume; its name is made of the id.
    fn volume(handle: &str) -> String {
        let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = handle.chars().map(clean).collect();
        format!("pv-{}", name.trim_matches('-'))
    }

    fn bind(&self, volume: &Volume, is_block: bool) -> Result<(), Status> {
        let name = Self::volume(&volume.volume_id);
        if self.api.get("persistentvolumes", &name).is_some() {
            return Ok(());
        }
        let attributes: &HashMap<_, _> = &volume.volume_context;
        let object = objects::volume(&name, DRIVER)
            .handle(&volume.volume_id)
            .size(&volume.capacity_bytes.to_string())
            .bound_to("default", &name, None);
        let object = attributes.iter().fold(object, |object, (k, v)| object.attribute(k, v));
        self.make(if is_block { object.block() } else { object }.build())
    }

    fn make(&self, object: serde_json::Value) -> Result<(), Status> {
        let made = self.api.create(object);
        made.map(drop).map_err(|failure| Status::internal(format!("{failure:?}")))
    }

    fn attachment(handle: &str, node: &str) -> String {
        format!("csi-{}-{node}", Self::volume(handle))
    }
}

#[async_trait]
impl Controller for Middle {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        let mut uses = request.volume_capabilities.iter();
        let is_block = uses.any(|one| matches!(one.access_type, Some(AccessType::Block(_))));
        let answer = self.to().create_volume(request).await?;
        if let Some(volume) = &answer.get_ref().volume {
            self.bind(volume, is_block)?;
        }
        Ok(answer)
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let request = request.into_inner();
        let name = Self::volume(&request.volume_id);
        // What was never made is not there; the controller's answer alone counts.
        let _ = self.api.modify("persistentvolumes", &name, |object| {
            object["status"]["phase"] = "Released".into();
        });
        let answer = self.to().delete_volume(request).await?;
        let _ = self.api.delete("persistentvolumes", &name);
        Ok(answer)
    }

    async fn controller_publish_volume(
        &self,
        request: Request<ControllerPublishVolumeRequest>,
    ) -> Result<Response<ControllerPublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let (handle, node) = (request.volume_id.clone(), request.node_id.clone());
        let answer = self.to().controller_publish_volume(request).await?;
        let name = Self::attachment(&handle, &node);
        if self.api.get("volumeattachments", &name).is_none() {
            self.make(objects::attached(&name, DRIVER, &node, &Self::volume(&handle), &[]))?;
        }
        Ok(answer)
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<ControllerUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let name = Self::attachment(&request.volume_id, &request.node_id);
        let answer = self.to().controller_unpublish_volume(request).await?;
        let _ = self.api.modify("volumeattachments", &name, |object| {
            object["metadata"]["finalizers"] = serde_json::json!([]);
        });
        let _ = self.api.delete("volumeattachments", &name);
        Ok(answer)
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        self.to().validate_volume_capabilities(request.into_inner()).await
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        self.to().list_volumes(request.into_inner()).await
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        self.to().get_capacity(request.into_inner()).await
    }

    async fn controller_get_capabilities(
        &self,
        request: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        self.to().controller_get_capabilities(request.into_inner()).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        self.to().controller_expand_volume(request.into_inner()).await
    }

    async fn controller_get_volume(
        &self,
        request: Request<ControllerGetVolumeRequest>,
    ) -> Result<Response<ControllerGetVolumeResponse>, Status> {
        self.to().controller_get_volume(request.into_inner()).await
    }
}
