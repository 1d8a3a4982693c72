//! `rds-csi node`: the process around the [`NodeApp`].
//!
//! What can only fail for a reason that waiting does not mend fails before anything starts, and names
//! the key. Neither a box nor the API server is needed, to start or later.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use slog::{Logger, crit, info, o, warn};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Error;
use crate::app::node::{NodeApp, Parts};
use crate::app::node_agent::Kubernetes;
use crate::cli;
use crate::config::{ConfigError, NodeConfig, NodeMode, Sources};
use crate::controller::{pod, system};
use crate::grpc::socket::Socket;
use crate::host::Host;
use crate::host::linux::{Deadlines, Linux, Settings};
use crate::logging::{Chain, Logging};
use crate::metrics::Metrics;
use crate::node::{Faults, Generations, NobodyKnows};
use crate::volume::NodeName;

/// The variable with the name of the Node, as a DaemonSet gives it.
const NODE_NAME: &str = "NODE_NAME";

/// Runs until it is told to stop, or something ends that nothing brings back.
pub fn run(args: cli::NodeArgs) -> ExitCode {
    let config = match load(args.config) {
        Ok(config) => config,
        Err(error) => return cli::refuse(&error),
    };
    let name = match name(args.node_id, &config.node) {
        Ok(name) => name,
        Err(why) => {
            cli::complain(&why);
            return ExitCode::from(cli::USAGE);
        }
    };
    let logging = Logging::start(&config.log);
    let log = logging.log.new(o!("version" => env!("CARGO_PKG_VERSION")));
    let outcome = system(&log).and_then(|system| {
        let outcome = system.block_on(serve(config, name, &log));
        // Dropped, it would wait for a call that hangs in the kernel.
        std::mem::forget(system);
        outcome
    });
    let Err(error) = outcome else { return ExitCode::from(cli::SUCCESS) };
    crit!(log, "the node plugin ends"; "error" => %error);
    ExitCode::from(match error {
        Error::Configuration(_) => cli::USAGE,
        Error::Failed(_) => cli::FAILURE,
    })
}

fn load(file: Option<std::path::PathBuf>) -> Result<NodeMode, ConfigError> {
    NodeMode::load(&Sources::of_process(file)?)
}

/// The name of the Node: from the command line, the configuration, the variable.
fn name(given: Option<String>, config: &NodeConfig) -> Result<NodeName, String> {
    let variable = || std::env::var(NODE_NAME).ok().filter(|name| !name.is_empty());
    let text = match (given, &config.name) {
        (Some(given), _) => given,
        (None, Some(configured)) => return Ok(configured.clone()),
        (None, None) => variable().ok_or_else(|| {
            format!("the name of the Node is not known; give --node-id, node.name or {NODE_NAME}")
        })?,
    };
    NodeName::parse(&text).map_err(|why| format!("the name of the Node: {why}"))
}

async fn serve(config: NodeMode, name: NodeName, log: &Logger) -> Result<(), Error> {
    let (mut interrupt, mut terminate) =
        (handled(SignalKind::interrupt())?, handled(SignalKind::terminate())?);
    let listen = config.http.listen;
    let http = TcpListener::bind(listen)
        .await
        .map_err(|error| failed(&format!("http.listen = \"{listen}\""), error))?;
    make_folders(&config, log).await;
    let socket = Socket::bind(&config.driver.endpoint, config.driver.endpoint_group)
        .map_err(|error| failed("driver.endpoint", Chain(&error)))?;
    let metrics =
        Metrics::new(prometheus::Registry::new()).map_err(|error| failed("metrics", error))?;
    let host: Arc<dyn Host> = Arc::new(Linux::new(settings(&config.node), log.clone()));
    let kubernetes = Kubernetes::reach(&config, &name, &host, pod(), log).await;
    let generations: Arc<dyn Generations> = match &kubernetes {
        Some(kubernetes) => Arc::new(kubernetes.clone()),
        None => Arc::new(NobodyKnows),
    };
    info!(log, "starting as a node"; "node" => %name);
    let mut app = NodeApp::start(Parts {
        config,
        name,
        host,
        generations,
        kubernetes,
        http,
        socket,
        metrics,
        faults: faults(log),
        log: log.clone(),
    });
    let outcome = tokio::select! {
        why = app.failed() => Err(why),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    app.shutdown().await;
    outcome
}

/// The folders of the socket and of the notes, on a node that has never run the driver. What is wrong
/// with them, binding and writing say.
async fn make_folders(config: &NodeMode, log: &Logger) {
    let socket = config.driver.socket_path();
    for folder in [socket.parent(), Some(&*config.node.notes_dir)].into_iter().flatten() {
        if let Err(error) = tokio::fs::create_dir_all(folder).await {
            warn!(log, "folder not made"; "folder" => %folder.display(), "error" => %error);
        }
    }
}

fn settings(config: &NodeConfig) -> Settings {
    let mut settings = Settings::new(Path::new(&config.notes_dir).to_owned());
    settings.deadlines = Deadlines {
        connect: config.connect_deadline,
        mount: config.mount_deadline,
        format: config.format_deadline,
        ..settings.deadlines
    };
    settings
}

/// In a build for tests, `RDSCSI_KILL_AT` names the point of a flow at which the process kills
/// itself, as nobody from outside could time it.
#[cfg(feature = "simulation")]
fn faults(log: &Logger) -> Faults {
    use rustix::process::{Signal, getpid, kill_process};

    let Ok(wanted) = std::env::var("RDSCSI_KILL_AT") else { return Faults::default() };
    warn!(log, "killing myself at a point"; "point" => &wanted);
    Faults::at(move |point| {
        if point.label() == wanted {
            // Where even that fails, the flow is cut off at least.
            let _ = kill_process(getpid(), Signal::KILL);
        }
        point.label() == wanted
    })
}

#[cfg(not(feature = "simulation"))]
fn faults(_: &Logger) -> Faults {
    Faults::default()
}

fn failed(what: &str, error: impl Display) -> Error {
    Error::Failed(format!("{what}: {error}"))
}

fn handled(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|error| failed("cannot wait for signals", error))
}
