//! The two servers: metrics and health over HTTP, CSI over gRPC.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::grpc::socket::Socket;
use crate::grpc::{self, Services};
use crate::http::{self, Health};
use crate::logging::Chain;
use crate::metrics::Metrics;

/// Something that serves until it is told to stop.
pub struct Server {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves /metrics, /livez, /readyz and /statusz.
    pub fn http(
        listener: TcpListener,
        metrics: Metrics,
        health: Arc<dyn Health>,
        log: &Logger,
    ) -> Self {
        // Said here and not by the task, so that the log has the order of the start.
        let address = listener.local_addr().map(|address| address.to_string());
        info!(log, "serving metrics and health"; "address" => address.unwrap_or_default());
        let (stop, log) = (CancellationToken::new(), log.clone());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            http::serve(listener, metrics, health, &log, stopped).await;
        });
        Self { stop, task }
    }

    /// Serves CSI; at the end, calls under way have `drain`. Tells `failed` when it ends by
    /// itself.
    pub fn csi(
        socket: Socket,
        services: Services,
        drain: Duration,
        log: &Logger,
        failed: mpsc::Sender<Error>,
    ) -> Self {
        info!(log, "serving csi"; "socket" => %socket.path().display());
        let (stop, log) = (CancellationToken::new(), log.clone());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let why = match grpc::serve(socket, services, stopped.clone(), drain).await {
                Ok(drained) => {
                    info!(log, "csi is no longer served"; "drained" => ?drained);
                    "the gRPC server has ended".to_owned()
                }
                Err(error) => {
                    warn!(log, "csi is no longer served"; "error" => %Chain(&error));
                    Chain(&error).to_string()
                }
            };
            if !stopped.is_cancelled() {
                // Nobody waits for it any more when this fails: the process is ending.
                let _ = failed.send(Error::Failed(why)).await;
            }
        });
        Self { stop, task }
    }

    /// Stops; returns when nothing is served any more.
    pub async fn end(self) {
        self.stop.cancel();
        // The error says that it panicked or was aborted: an end as well.
        let _ = self.task.await;
    }
}
