//! The box without a network: its sessions in memory, in tokio's time.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rds_csi::actors::NoMetrics;
use rds_csi::actors::rds_connection::{self, ConnectionSettings, Handles};
use rds_csi::actors::supervision::{Faults, Supervision};
use rds_csi::rds::ssh::{Connect, ConnectError, ExecOutput, Session, SessionError};
use rds_sim::routeros::{self, RouterOs};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Opens sessions to a simulated box and notes when.
pub struct InMemory {
    os: RouterOs,
    attempts: Arc<Mutex<Vec<Instant>>>,
}

struct Memory(routeros::Session);

#[async_trait]
impl Connect for InMemory {
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        self.attempts.lock().unwrap().push(Instant::now());
        let session = self.os.open_session().await.map_err(|error| ConnectError::Unreachable {
            address: self.address().to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Box::new(Memory(session)))
    }

    fn address(&self) -> &str {
        "192.0.2.1:22"
    }
}

#[async_trait]
impl Session for Memory {
    async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError> {
        let result = self.0.exec(line).await;
        let result = result.map_err(|error| SessionError::Closed(error.to_string()))?;
        let routeros::ExecResult { stdout, stderr, exit_status } = result;
        Ok(ExecOutput { stdout, stderr, exit_status })
    }

    fn closed(&self) -> CancellationToken {
        self.0.closed()
    }

    async fn close(self: Box<Self>) {}
}

/// A supervised connection to a box in memory.
pub struct Connection {
    /// From outside.
    pub handles: Handles,
    attempts: Arc<Mutex<Vec<Instant>>>,
    start: Instant,
    /// Keeps the settings from ending.
    _settings: watch::Sender<ConnectionSettings>,
}

impl Connection {
    /// Starts one. Must run within an actix System.
    pub fn start(os: &RouterOs, settings: ConnectionSettings) -> Self {
        let attempts = Arc::<Mutex<Vec<Instant>>>::default();
        let (sender, receiver) = watch::channel(settings);
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let faults = Faults::default();
        let handles = rds_connection::start(rds_connection::Parts {
            supervision: Supervision { log, metrics: Arc::new(NoMetrics), faults },
            connect: Arc::new(InMemory { os: os.clone(), attempts: attempts.clone() }),
            language: rds_connection::sessions::Language::default(),
            settings: receiver,
            metrics: Arc::new(NoMetrics),
        });
        Self { handles, attempts, start: Instant::now(), _settings: sender }
    }

    /// Seconds at which it tried to connect.
    pub fn attempts(&self) -> Vec<f64> {
        let attempts = self.attempts.lock().unwrap();
        attempts.iter().map(|at| at.duration_since(self.start).as_secs_f64()).collect()
    }

    /// Is the box connected?
    pub fn is_up(&self) -> bool {
        self.handles.link.borrow().is_up()
    }
}
