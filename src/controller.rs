//! `rds-csi controller`: the process around the [`App`].

use std::process::ExitCode;
use std::sync::Arc;

use slog::{Logger, crit, info, o};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Parts, StartError, over_ssh};
use crate::cli;
use crate::cluster::client::{self, Access};
use crate::cluster::events::Pod;
use crate::config::Config;
use crate::config::source::Sources;
use crate::config::watch::{Outcome, follow};
use crate::grpc::socket::Socket;
use crate::logging::{LevelSwitch, Logging};
use crate::metrics::Metrics;

/// Runs until it is told to stop, or something ends that nothing brings back.
pub fn run(sources: Sources, config: Config) -> ExitCode {
    let logging = Logging::start(&config.log);
    let log = logging.log.new(o!("version" => env!("CARGO_PKG_VERSION")));
    let outcome = system(&log).and_then(|system| {
        system.block_on(serve(sources, config, log.clone(), logging.level.clone()))
    });
    let code = match outcome {
        Ok(()) => cli::SUCCESS,
        Err(error) => {
            crit!(log, "the controller ends"; "error" => %error);
            cli::FAILURE
        }
    };
    ExitCode::from(code)
}

/// Actors on this thread, everything that waits for the network on workers.
pub fn system(log: &Logger) -> Result<actix::SystemRunner, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| StartError(format!("no runtime: {error}")))?;
    info!(log, "starting");
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
    log: Logger,
    level: LevelSwitch,
) -> Result<(), StartError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: &dyn std::fmt::Display| StartError(format!("{what}: {error}"))
    };
    // What can only fail for a reason that waiting does not mend fails first.
    let listen = config.http.listen;
    let http = TcpListener::bind(listen)
        .await
        .map_err(|error| failed(&format!("http.listen = \"{listen}\""))(&error))?;
    let socket = Socket::bind(&config.driver.endpoint, config.driver.endpoint_group)
        .map_err(|error| failed("driver.endpoint")(&crate::logging::Chain(&error)))?;
    let access = match &config.cluster.kubeconfig {
        Some(path) => Access::Kubeconfig(path.clone()),
        None => Access::InCluster,
    };
    let kube = client::client(&access, config.cluster.request_deadline)
        .await
        .map_err(|error| failed("cluster.kubeconfig")(&error))?;
    let metrics =
        Metrics::new(prometheus::Registry::new()).map_err(|error| failed("metrics")(&error))?;
    let stop = CancellationToken::new();
    let (rejected_tx, rejected) = watch::channel(None);
    let told = tell(metrics.clone(), level, rejected_tx);
    let (config, following) = follow(sources, Arc::new(config), &log, told, stop.clone());
    tokio::spawn(following);
    let (mut interrupt, mut terminate) = signals()?;
    let parts = Parts {
        config,
        kube,
        pod: pod(),
        connector: over_ssh(),
        http,
        socket,
        rejected,
        metrics,
        log: log.clone(),
        faults: crate::actors::supervision::Faults::default(),
    };
    let mut app = App::start(parts).await?;
    let failure = tokio::select! {
        why = app.failed() => Some(why),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    stop.cancel();
    app.shutdown().await;
    failure.map_or(Ok(()), |why| Err(StartError(why)))
}

fn signals() -> Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal), StartError> {
    let failed = |error: std::io::Error| StartError(format!("cannot wait for signals: {error}"));
    let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok((interrupt, signal(SignalKind::terminate()).map_err(failed)?))
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
        }
        Outcome::Refused { reason } => {
            metrics.config.refused();
            rejected.send_replace(Some(reason.to_string()));
        }
    }
}

/// Our own pod, as the chart tells us.
fn pod() -> Option<Pod> {
    let name = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty())?;
    Some(Pod { name, uid: std::env::var("POD_UID").ok().filter(|uid| !uid.is_empty()) })
}
