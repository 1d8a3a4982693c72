//! `rds-csi node`: the process around the [`NodeApp`].
//!
//! Neither a box nor the API server is needed, to start or later.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use slog::{Logger, info, warn};

use crate::app::Error;
use crate::app::node::{NodeApp, Parts};
use crate::app::node_agent::Kubernetes;
use crate::cli;
use crate::config::{ConfigError, NodeConfig, NodeMode, Sources};
use crate::host::Host;
use crate::host::linux::{Deadlines, Linux, Settings};
use crate::metrics::Metrics;
use crate::node::{Faults, Generations, NobodyKnows};
use crate::process::{self, Stop, failed};
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
    let logged = config.log.clone();
    process::run("node plugin", &logged, |log, _| serve(config, name, log))
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

async fn serve(config: NodeMode, name: NodeName, log: Logger) -> Result<(), Error> {
    let mut stopped = Stop::signals()?;
    let http = process::http(config.http.listen).await?;
    make_folders(&config, &log).await;
    let socket = process::socket(&config.driver)?;
    let metrics =
        Metrics::new(prometheus::Registry::new()).map_err(|error| failed("metrics", error))?;
    let host: Arc<dyn Host> = Arc::new(Linux::new(settings(&config.node), log.clone()));
    let kubernetes = Kubernetes::reach(&config, &name, &host, process::pod(), &log).await;
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
        faults: faults(&log),
        log,
    });
    let outcome = tokio::select! {
        why = app.failed() => Err(why),
        () = stopped.asked() => Ok(()),
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
