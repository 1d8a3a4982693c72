//! `rds-csi controller`: the process around the [`App`].
//!
//! What can only fail for a reason that waiting does not mend (an address in use, a kubeconfig that
//! is not there) fails before anything starts, and names the key. Everything else is waited for.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

use slog::{Logger, crit, info, o};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Error, Faults, Parts, over_ssh};
use crate::cli;
use crate::cluster::client::{self, Access};
use crate::cluster::events::Pod;
use crate::config::Config;
use crate::config::source::Sources;
use crate::config::watch::{Outcome, follow};
use crate::grpc::socket::Socket;
use crate::logging::{Chain, LevelSwitch, Logging};
use crate::metrics::Metrics;

/// Threads for everything that waits for the network.
const WORKERS: usize = 2;

/// Runs until it is told to stop, or something ends that nothing brings back.
pub fn run(sources: Sources, config: Config) -> ExitCode {
    let logging = Logging::start(&config.log);
    let log = logging.log.new(o!("version" => env!("CARGO_PKG_VERSION")));
    let outcome = system(&log).and_then(|system| {
        let outcome = system.block_on(serve(sources, config, &log, logging.level.clone()));
        // Dropped, it would wait for a name lookup that hangs, long after our own deadline.
        std::mem::forget(system);
        outcome
    });
    let Err(error) = outcome else { return ExitCode::from(cli::SUCCESS) };
    crit!(log, "the controller ends"; "error" => %error);
    ExitCode::from(match error {
        Error::Configuration(_) => cli::USAGE,
        Error::Failed(_) => cli::FAILURE,
    })
}

/// Actors on this thread, everything that waits for the network on workers.
///
/// # Errors
/// When the system gives no threads.
pub fn system(log: &Logger) -> Result<actix::SystemRunner, Error> {
    info!(log, "starting"; "workers" => WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| failed("no runtime", error))?;
    // actix asks for the runtime through a closure that it may call once.
    let once = std::cell::RefCell::new(Some(runtime));
    Ok(actix::System::with_tokio_rt(move || {
        #[expect(clippy::expect_used, reason = "called once, on this thread")]
        once.borrow_mut().take().expect("called once")
    }))
}

async fn serve(
    sources: Sources,
    config: Config,
    log: &Logger,
    level: LevelSwitch,
) -> Result<(), Error> {
    let (mut interrupt, mut terminate) =
        (handled(SignalKind::interrupt())?, handled(SignalKind::terminate())?);
    let listen = config.http.listen;
    let http = TcpListener::bind(listen)
        .await
        .map_err(|error| failed(&format!("http.listen = \"{listen}\""), error))?;
    let socket = Socket::bind(&config.driver.endpoint, config.driver.endpoint_group)
        .map_err(|error| failed("driver.endpoint", Chain(&error)))?;
    let access = config.cluster.kubeconfig.clone().map_or(Access::InCluster, Access::Kubeconfig);
    let kube = client::client(&access, config.cluster.request_deadline)
        .await
        .map_err(|error| failed("cluster.kubeconfig", error))?;
    let metrics =
        Metrics::new(prometheus::Registry::new()).map_err(|error| failed("metrics", error))?;
    let stop = CancellationToken::new();
    let (tell_rejected, rejected) = watch::channel(None);
    let told = tell(metrics.clone(), level, tell_rejected);
    let (config, following) = follow(sources, Arc::new(config), log, told, stop.clone());
    tokio::spawn(following);
    let mut app = App::start(Parts {
        config,
        kube,
        pod: pod(),
        connector: over_ssh(),
        http,
        socket,
        rejected,
        metrics,
        log: log.clone(),
        faults: Faults::default(),
    })
    .await?;
    let outcome = tokio::select! {
        why = app.failed() => Err(why),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    stop.cancel();
    app.shutdown().await;
    outcome
}

fn failed(what: &str, error: impl Display) -> Error {
    Error::Failed(format!("{what}: {error}"))
}

fn handled(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|error| failed("cannot wait for signals", error))
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

/// Our own pod, as the chart tells us.
pub fn pod() -> Option<Pod> {
    let given = |variable| std::env::var(variable).ok().filter(|value| !value.is_empty());
    Some(Pod { name: given("POD_NAME")?, uid: given("POD_UID") })
}
