//! The controller's pod: the whole [`App`] and the sidecars beside it. Can be stopped and started
//! again between the same [`Doubles`]; nothing of it lasts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rds_sim::apiserver::attacher::Attacher;
use slog::Logger;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::doubles::{Doubles, LOOPBACK, POD};
use crate::app::{App, Parts, over_ssh};
use crate::cluster::client::{Access, client};
use crate::cluster::events::Pod;
use crate::config::Config;
use crate::grpc::socket::Socket;
use crate::metrics::Metrics;
use crate::sandbox::endpoint;
use crate::sandbox::sidecars::Sidecars;
use crate::sandbox::world::Trouble;

/// Longest wait for the first connection to a box that is there.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often to look whether it is.
const GLANCE: Duration = Duration::from_millis(20);

/// A running controller.
pub struct Controller {
    /// The sidecars.
    pub sidecars: Sidecars,
    /// Where metrics and health are served.
    pub http: SocketAddr,
    /// What it measures.
    pub metrics: Metrics,
    app: App,
    attacher: Attacher,
    changes: watch::Sender<Arc<Config>>,
}

impl Controller {
    /// Starts it; neither box nor API server need to answer. Must run within an actix System.
    pub async fn start(doubles: &Doubles, log: Logger) -> Result<Self, Trouble> {
        let listener = TcpListener::bind(LOOPBACK).await?;
        let http = listener.local_addr()?;
        let access = Access::Url(doubles.cluster_url().to_owned());
        let kube = client(&access, doubles.config.cluster.request_deadline).await?;
        let metrics = Metrics::new(prometheus::Registry::new())?;
        let (changes, config) = watch::channel(doubles.config.clone());
        let pod = doubles.api.get("pods", &format!("{}/{POD}", doubles.config.driver.namespace));
        let uid = pod.and_then(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned));
        let parts = Parts {
            config,
            kube,
            pod: Some(Pod { name: POD.to_owned(), uid }),
            connector: over_ssh(),
            http: listener,
            socket: Socket::bind(&doubles.socket().display().to_string(), None)?,
            rejected: watch::channel(None).1,
            metrics: metrics.clone(),
            log,
            faults: doubles.faults.clone(),
        };
        let app = App::start(parts).await?;
        let sidecars = Sidecars::connect(doubles.socket(), doubles.api.clone()).await?;
        let driver = &doubles.config.driver.name;
        let attacher = Attacher::start(&doubles.api, driver, Arc::new(sidecars.clone()))
            .map_err(|failure| format!("no attacher: {failure:?}"))?;
        Ok(Self { sidecars, http, metrics, app, attacher, changes })
    }

    /// Waits until Probe says ready.
    pub async fn ready(&self) -> Result<(), Trouble> {
        let up = async {
            while self.probe().await != Some(true) {
                sleep(GLANCE).await;
            }
        };
        timeout(READY_WITHIN, up).await.map_err(|_| "the driver did not become ready")?;
        Ok(())
    }

    /// Probe: ready or not; `None` when it gave no answer in time.
    pub async fn probe(&self) -> Option<bool> {
        timeout(Duration::from_secs(2), self.sidecars.probe()).await.ok().flatten()
    }

    /// GET of `/metrics`, `/livez`, `/readyz` or `/statusz`.
    pub async fn get(&self, path: &str) -> Result<endpoint::Answer, Trouble> {
        endpoint::get(self.http, path).await
    }

    /// Changes the configuration while it runs. Only live keys take effect.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Config)) {
        self.changes.send_modify(|config| change(Arc::make_mut(config)));
    }

    /// The ordered stop, after its sidecars.
    pub async fn stop(self) {
        drop(self.attacher);
        self.app.shutdown().await;
    }
}
