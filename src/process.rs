//! What the processes of the controller and of a node have in common: log, threads, signals, what
//! they listen at, how they end.
//!
//! What can only fail for a reason that waiting does not mend (an address in use) fails before
//! anything starts, and names the key.

use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;

use slog::{Logger, crit, info, o};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Error;
use crate::cli;
use crate::cluster::events::Pod;
use crate::config::{DriverConfig, LogConfig};
use crate::grpc::socket::Socket;
use crate::logging::{Chain, LevelSwitch, Logging};

/// Threads for everything that waits for the network.
const WORKERS: usize = 2;

/// Runs `serve` until it ends, and says in the log why, under the name of the process.
pub fn run<F: Future<Output = Result<(), Error>>>(
    name: &'static str,
    config: &LogConfig,
    serve: impl FnOnce(Logger, LevelSwitch) -> F,
) -> ExitCode {
    let logging = Logging::start(config);
    let log = logging.log.new(o!("version" => env!("CARGO_PKG_VERSION")));
    let outcome = system(&log).and_then(|system| {
        let outcome = system.block_on(serve(log.clone(), logging.level.clone()));
        // Dropped, it would wait for a name lookup, or a call in the kernel, that hangs, long after
        // our own deadline.
        std::mem::forget(system);
        outcome
    });
    let Err(error) = outcome else { return ExitCode::from(cli::SUCCESS) };
    crit!(log, "the process ends"; "process" => name, "error" => %error);
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

/// The signals that ask a process to stop.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on they are waited for. Must be called within a runtime.
    ///
    /// # Errors
    /// When the system has no handler to give.
    pub fn signals() -> Result<Self, Error> {
        let handled = |kind| signal(kind).map_err(|error| failed("cannot wait for signals", error));
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: handled(interrupt)?, terminate: handled(terminate)? })
    }

    /// Ready when one has come.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Where metrics and health are served.
///
/// # Errors
/// An address in use, or not of this machine.
pub async fn http(listen: SocketAddr) -> Result<TcpListener, Error> {
    let key = || format!("http.listen = \"{listen}\"");
    TcpListener::bind(listen).await.map_err(|error| failed(&key(), error))
}

/// Where CSI is served. Must be called within a runtime.
///
/// # Errors
/// A socket that cannot be made there.
pub fn socket(config: &DriverConfig) -> Result<Socket, Error> {
    Socket::bind(&config.endpoint, config.endpoint_group)
        .map_err(|error| failed("driver.endpoint", Chain(&error)))
}

/// What a process ends with.
pub fn failed(what: &str, error: impl Display) -> Error {
    Error::Failed(format!("{what}: {error}"))
}

/// Our own pod, as the chart tells us.
pub fn pod() -> Option<Pod> {
    let given = |variable| std::env::var(variable).ok().filter(|value| !value.is_empty());
    Some(Pod { name: given("POD_NAME")?, uid: given("POD_UID") })
}
