//! The gRPC surface: CSI for sidecars and kubelet, on a private unix socket.
//!
//! [`request`] reads, [`controller`], [`node`] and [`identity`] answer, [`status`] chooses codes, [`runs`]
//! keeps operations going when their callers leave, [`log`] records and measures, [`socket`] keeps
//! strangers out. Only `app` talks to this module; it talks to [`crate::operations`],
//! [`crate::node`] and whoever implements [`identity::ProbeSource`].
//!
//! It decides nothing about volumes.

pub mod codec;
pub mod controller;
pub mod identity;
pub mod log;
pub mod node;
pub mod request;
pub mod runs;
pub mod socket;
pub mod status;
pub mod subject;

#[cfg(test)]
mod test;

use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use controller::Controller;
use csi::controller_server::ControllerServer;
use csi::identity_server::IdentityServer;
use csi::node_server::NodeServer;
use identity::Identity;
use log::RequestLog;
use node::NodeService;

/// The wire contract, generated from `proto/csi.proto`.
#[allow(missing_docs, reason = "generated from the contract")]
pub mod csi {
    tonic::include_proto!("csi.v1");
    include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
}

/// Largest message that is read, in bytes. The largest request of the contract is a few KiB.
const REQUEST_LENGTH_MAX: usize = 4 << 20;
/// Largest message that is written, in bytes: a page of volumes has about 2 MiB.
const RESPONSE_LENGTH_MAX: usize = 16 << 20;
/// Calls at a time on one connection. Sidecars open one each, with 10 to 100 workers.
const STREAMS_MAX: u32 = 512;
/// Largest block of HTTP/2 headers, in bytes.
const HEADERS_LENGTH_MAX: u32 = 16 << 10;
/// A connection is asked for a sign of life so often.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// And closed when none comes within.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is served.
#[derive(Clone)]
pub struct Services {
    /// On controllers and nodes.
    pub identity: Identity,
    /// On controllers.
    pub controller: Option<Controller>,
    /// On nodes.
    pub node: Option<NodeService>,
    /// Records and measurements.
    pub log: RequestLog,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every call was answered and every operation has ended.
    All,
    /// The time was over before; `operations` were still under way. What they had done so far is
    /// on the box, and the next process goes on from there.
    Abandoned {
        /// How many.
        operations: usize,
    },
}

/// Serving failed.
#[derive(Debug, thiserror::Error)]
#[error("the gRPC server failed")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves connections from `incoming` (a [`socket::Socket`], or anything like it) until `stop`.
/// Then no more are accepted, and calls and operations under way have `drain` to end: a peer that
/// keeps a dead connection open would otherwise hold us for ever.
///
/// Returns before `stop` only when `incoming` ends or the server fails.
pub async fn serve<I, C, E>(
    incoming: I,
    services: Services,
    stop: CancellationToken,
    drain: Duration,
) -> Result<Drained, ServeError>
where
    I: Stream<Item = Result<C, E>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let of_controller = services.controller.as_ref().map(|one| one.runs().clone());
    let runs = of_controller.or(services.node.as_ref().map(|one| one.runs().clone()));
    let stopping = stop.clone();
    let server = router(services).serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    let work = async {
        server.await?;
        if let Some(runs) = &runs {
            runs.finished().await;
        }
        Ok(Drained::All)
    };
    let time_is_over = async {
        stopping.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = work => ended,
        () = time_is_over => Ok(Drained::Abandoned {
            operations: runs.map_or(0, |runs| runs.count()),
        }),
    }
}

fn router(
    services: Services,
) -> tonic::transport::server::Router<
    tower::layer::util::Stack<RequestLog, tower::layer::util::Identity>,
> {
    let identity = IdentityServer::new(services.identity)
        .max_decoding_message_size(REQUEST_LENGTH_MAX)
        .max_encoding_message_size(RESPONSE_LENGTH_MAX);
    let controller = services.controller.map(|controller| {
        ControllerServer::new(controller)
            .max_decoding_message_size(REQUEST_LENGTH_MAX)
            .max_encoding_message_size(RESPONSE_LENGTH_MAX)
    });
    let node = services.node.map(|node| {
        NodeServer::new(node)
            .max_decoding_message_size(REQUEST_LENGTH_MAX)
            .max_encoding_message_size(RESPONSE_LENGTH_MAX)
    });
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADERS_LENGTH_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(services.log)
        .add_service(identity)
        .add_optional_service(controller)
        .add_optional_service(node)
}
