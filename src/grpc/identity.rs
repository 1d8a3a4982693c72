//! The Identity service: what the plugin is, and whether it works.
//!
//! Probe does no I/O: it asks a [`ProbeSource`], which folds what others have observed. It answers
//! `ready=false`, never an error: an error would make kubelet restart a driver whose box is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use slog::{Logger, debug};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::grpc::csi as pb;
use crate::grpc::csi::plugin_capability::{
    Service, Type, VolumeExpansion, service, volume_expansion,
};

/// A source that has not answered by then is not well. It only reads memory.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// Does the driver work?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No; each reason in words.
    NotReady {
        /// Why not.
        why: Vec<String>,
    },
}

/// Whoever knows whether the driver works.
#[async_trait]
pub trait ProbeSource: Send + Sync {
    /// Does it, as far as is known now? No I/O.
    async fn probe(&self) -> Readiness;
}

/// The service.
#[derive(Clone)]
pub struct Identity {
    name: String,
    version: String,
    manifest: HashMap<String, String>,
    source: Arc<dyn ProbeSource>,
    log: Logger,
}

impl Identity {
    /// Answers for the driver `name` (such as `rds.csi.srvlab.io`) with this crate's version.
    pub fn new(name: impl Into<String>, source: Arc<dyn ProbeSource>, log: Logger) -> Self {
        let manifest = [("url", env!("CARGO_PKG_REPOSITORY")), ("csi", "1.13")];
        Self {
            name: name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            manifest: manifest.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            source,
            log,
        }
    }
}

#[tonic::async_trait]
impl pb::identity_server::Identity for Identity {
    async fn get_plugin_info(
        &self,
        _: Request<pb::GetPluginInfoRequest>,
    ) -> Result<Response<pb::GetPluginInfoResponse>, Status> {
        Ok(Response::new(pb::GetPluginInfoResponse {
            name: self.name.clone(),
            vendor_version: self.version.clone(),
            manifest: self.manifest.clone(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<pb::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<pb::GetPluginCapabilitiesResponse>, Status> {
        let controller = Type::Service(Service { r#type: service::Type::ControllerService.into() });
        let expansion = Type::VolumeExpansion(VolumeExpansion {
            r#type: volume_expansion::Type::Online.into(),
        });
        let capability = |one| pb::PluginCapability { r#type: Some(one) };
        Ok(Response::new(pb::GetPluginCapabilitiesResponse {
            capabilities: [controller, expansion].map(capability).into(),
        }))
    }

    async fn probe(
        &self,
        _: Request<pb::ProbeRequest>,
    ) -> Result<Response<pb::ProbeResponse>, Status> {
        let readiness = timeout(PROBE_DEADLINE, self.source.probe()).await;
        let readiness = readiness.unwrap_or_else(|_| Readiness::NotReady {
            why: vec!["the probe did not answer".into()],
        });
        if let Readiness::NotReady { why } = &readiness {
            debug!(self.log, "not ready"; "why" => why.join("; "));
        }
        Ok(Response::new(pb::ProbeResponse { ready: Some(readiness == Readiness::Ready) }))
    }
}
