//! The simulated box behind the driver's session trait, in memory, in tokio's time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::rds::ssh::{Connect, ConnectError, ExecOutput, Session, SessionError};
use rds_sim::routeros::{self, ExecError, ManualClock, RouterOs, Setup};
use tokio_util::sync::CancellationToken;

/// Where volumes lie.
pub const FOLDER: &str = "storage-pool/volumes";

/// A box with a folder for volumes, on which no time passes.
pub fn furnished(setup: Setup) -> RouterOs {
    let os = RouterOs::with(Setup { clock: Arc::new(ManualClock::default()), ..setup });
    let made = os.exec(&format!("/file/add name={FOLDER} type=directory")).text();
    assert_eq!(made, "");
    os
}

/// Opens sessions to the box.
pub struct Console {
    /// The box.
    pub os: RouterOs,
    /// What an exec takes longer for every job in its line but the first.
    pub per_further_job: Duration,
}

struct InMemory {
    session: routeros::Session,
    per_further_job: Duration,
}

#[async_trait]
impl Connect for Console {
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        let session = self.os.open_session().await.map_err(|error| ConnectError::Unreachable {
            address: self.address().into(),
            reason: error.to_string(),
        })?;
        Ok(Box::new(InMemory { session, per_further_job: self.per_further_job }))
    }

    fn address(&self) -> &str {
        "box:22"
    }
}

#[async_trait]
impl Session for InMemory {
    async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError> {
        let further = line.matches("{t=").count().saturating_sub(1);
        if further > 0 {
            tokio::time::sleep(self.per_further_job * u32::try_from(further).unwrap()).await;
        }
        match self.session.exec(line).await {
            Ok(result) => {
                let (stdout, stderr) = (result.stdout, result.stderr);
                Ok(ExecOutput { stdout, stderr, exit_status: result.exit_status })
            }
            Err(error @ ExecError::Dropped) => Err(SessionError::Closed(error.to_string())),
            Err(error @ ExecError::ChannelRefused) => Err(SessionError::Channel(error.to_string())),
        }
    }

    fn closed(&self) -> CancellationToken {
        self.session.closed()
    }

    async fn close(self: Box<Self>) {}
}
