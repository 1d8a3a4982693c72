//! The connection as [`Rds`]: what operations and passes hold.

use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use super::Execute;
use crate::actors::{AskError, ask};
use crate::rds::{Command, Failure, Link, Rds, Reply};
use crate::volume::turns::Turn;

/// How long the actor may take to look at a message; it does so at once, or it is in trouble.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// One box, through its connection actor. Cheap to clone.
#[derive(Clone)]
pub struct RdsHandle {
    pub(super) to: Recipient<Execute>,
    pub(super) link: watch::Receiver<Link>,
    pub(super) address: String,
}

#[async_trait]
impl Rds for RdsHandle {
    async fn execute(&self, command: Command, turn: Option<Turn>) -> Result<Reply, Failure> {
        let address = self.address.clone();
        let (answer, answered) = oneshot::channel();
        let execute = Execute { command, turn, answer };
        match ask(&self.to, execute, TAKEN_WITHIN).await {
            // Every way that a taken job can go is bounded and answers. Only a job that was never
            // sent is dropped without an answer: its actor was restarted.
            Ok(()) => answered.await.unwrap_or(Err(Failure::Stopping { address })),
            Err(AskError::Restarting) => Err(Failure::Stopping { address }),
            // It may be taken in this very moment.
            Err(late @ AskError::Late(_)) => {
                Err(Failure::Unanswered { address, why: late.to_string() })
            }
        }
    }

    fn link(&self) -> Link {
        self.link.borrow().clone()
    }
}
