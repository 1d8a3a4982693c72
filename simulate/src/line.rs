//! The way from the driver to the box: sessions of rds-sim in the place of SSH.
//!
//! A line that has gone out is on its way, whatever becomes of who sent it: it reaches the box
//! after a while and runs there to its end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::rds::ssh::{Connect, ConnectError, ExecOutput, Session, SessionError};
use rds_sim::routeros::{self, ExecError, RouterOs};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::bug::Bug;
use crate::gate::Gate;
use crate::network::Network;
use crate::trace::Trace;

/// What the box is called.
pub const ADDRESS: &str = "rds.simulated:22";
/// How long a session whose owner has gone is kept for the line that is still in it.
const ABANDONED: Duration = Duration::from_secs(45);

/// The line of one controller.
pub struct Line {
    /// The box.
    pub rds: RouterOs,
    /// Of the controller whose line it is.
    pub gate: Arc<Gate>,
    /// How long lines are on their way.
    pub network: Arc<Network>,
    /// Sent instead of what the driver says.
    pub bug: Option<Bug>,
    /// Notes what goes over it.
    pub trace: Arc<Trace>,
    /// Told when the box may have changed.
    pub changed: Arc<dyn Fn() + Send + Sync>,
}

/// Opens sessions over a line.
pub struct Wires(pub Arc<Line>);

#[async_trait]
impl Connect for Wires {
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        let line = Arc::clone(&self.0);
        line.gate.pass().await;
        match line.gate.alive(line.rds.open_session()).await {
            Ok(session) => {
                let gone = CancellationToken::new();
                Ok(Box::new(Wire {
                    line: Arc::clone(&line),
                    session: Arc::new(session),
                    gone: gone.clone(),
                    _gone_on_drop: gone.drop_guard(),
                }))
            }
            Err(error) => {
                let (address, reason) = (ADDRESS.to_owned(), error.to_string());
                Err(ConnectError::Unreachable { address, reason })
            }
        }
    }

    fn address(&self) -> &str {
        ADDRESS
    }
}

struct Wire {
    line: Arc<Line>,
    session: Arc<routeros::Session>,
    gone: CancellationToken,
    _gone_on_drop: DropGuard,
}

#[async_trait]
impl Session for Wire {
    async fn exec(&mut self, text: &str) -> Result<ExecOutput, SessionError> {
        let line = Arc::clone(&self.line);
        line.gate.pass().await;
        let text = line.bug.map_or_else(|| text.to_owned(), |bug| bug.rewrite(text));
        let is_look = !text.contains(":onerror");
        if !is_look {
            line.trace.note(format_args!("exec {}", shortened(&text)));
        }
        let (session, gone) = (Arc::clone(&self.session), self.gone.clone());
        let carried = tokio::spawn(async move {
            let carry = async {
                if !is_look {
                    line.network.carry(&text).await;
                }
                let answer = session.exec(&text).await;
                if !is_look {
                    (line.changed)();
                    line.trace.note(format_args!("  ran: {}", outcome(&answer)));
                }
                answer
            };
            tokio::select! {
                biased;
                answer = carry => answer,
                () = async { gone.cancelled().await; sleep(ABANDONED).await } => {
                    Err(ExecError::Dropped)
                }
            }
        });
        let answer = self.line.gate.alive(carried).await.unwrap_or(Err(ExecError::Dropped));
        self.line.gate.pass().await;
        match answer {
            Ok(result) => Ok(ExecOutput {
                stdout: result.stdout,
                stderr: result.stderr,
                exit_status: result.exit_status,
            }),
            Err(ExecError::Dropped) => Err(SessionError::Closed("cut".into())),
            Err(error @ ExecError::ChannelRefused) => Err(SessionError::Channel(error.to_string())),
        }
    }

    fn closed(&self) -> CancellationToken {
        self.session.closed()
    }

    async fn close(self: Box<Self>) {}
}

/// What the line does, without what it prints.
fn shortened(line: &str) -> &str {
    let from = line.find("in={ ").map_or(0, |at| at + 5);
    let to = line.find(" } do={ :put").unwrap_or(line.len());
    line.get(from..to).unwrap_or(line)
}

fn outcome(answer: &Result<routeros::ExecResult, ExecError>) -> String {
    match answer {
        Ok(result) => {
            let text = result.text();
            let error = text.lines().find_map(|line| line.split_once(" error "));
            error.map_or("done".to_owned(), |(_, error)| format!("error {error}"))
        }
        Err(error) => error.to_string(),
    }
}
