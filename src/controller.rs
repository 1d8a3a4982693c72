//! `rds-csi controller`: the process around the [`App`].
//!
//! A kubeconfig that is not there is said before anything starts. Everything else is waited for.

use std::process::ExitCode;
use std::sync::Arc;

use slog::Logger;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Error, Faults, Parts, over_ssh};
use crate::cluster::client::{self, Access};
use crate::config::Config;
use crate::config::source::Sources;
use crate::config::watch::{Outcome, follow};
use crate::logging::LevelSwitch;
use crate::metrics::Metrics;
use crate::process::{self, Stop, failed};

/// Runs until it is told to stop, or something ends that nothing brings back.
pub fn run(sources: Sources, config: Config) -> ExitCode {
    let logged = config.log.clone();
    process::run("controller", &logged, |log, level| serve(sources, config, log, level))
}

async fn serve(
    sources: Sources,
    config: Config,
    log: Logger,
    level: LevelSwitch,
) -> Result<(), Error> {
    let mut stopped = Stop::signals()?;
    let http = process::http(config.http.listen).await?;
    let socket = process::socket(&config.driver)?;
    let access = config.cluster.kubeconfig.clone().map_or(Access::InCluster, Access::Kubeconfig);
    let kube = client::client(&access, config.cluster.request_deadline)
        .await
        .map_err(|error| failed("cluster.kubeconfig", error))?;
    let metrics =
        Metrics::new(prometheus::Registry::new()).map_err(|error| failed("metrics", error))?;
    let stop = CancellationToken::new();
    let (tell_rejected, rejected) = watch::channel(None);
    let told = tell(metrics.clone(), level, tell_rejected);
    let (config, following) = follow(sources, Arc::new(config), &log, told, stop.clone());
    tokio::spawn(following);
    let mut app = App::start(Parts {
        config,
        kube,
        pod: process::pod(),
        connector: over_ssh(),
        http,
        socket,
        rejected,
        metrics,
        log,
        faults: Faults::default(),
    })
    .await?;
    let outcome = tokio::select! {
        why = app.failed() => Err(why),
        () = stopped.asked() => Ok(()),
    };
    stop.cancel();
    app.shutdown().await;
    outcome
}

/// What becomes of a changed configuration file, beside the log line.
fn tell(
    metrics: Metrics,
    level: LevelSwitch,
    rejected: watch::Sender<Option<String>>,
) -> impl FnMut(&Outcome) + Send + 'static {
    move |outcome| match outcome {
        Outcome::Unchanged => {}
        Outcome::Accepted { config, .. } => {
            metrics.config.applied();
            level.set(config.log.level.into());
            rejected.send_replace(None);
        }
        Outcome::Refused { reason } => {
            metrics.config.refused();
            rejected.send_replace(Some(reason.to_string()));
        }
    }
}
