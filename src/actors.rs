//! The actors: the shells that wait, around pure pieces that decide.
//!
//! ```text
//!        commands: Recipient<M>                          state: watch::Receiver<T>
//!
//!  nodes ──▶ NodeWatcherActor ──Trigger──▶ ReconcilerActor ──▶ a pass ──Execute──▶ RdsConnectionActor ──▶ SSH
//!                                               ▲   │                                 ▲     │
//!            startup, operator ────Trigger──────┘   └── watch<LastPass>               │     │
//!                                               ▲                                     │     │
//!                                               └──────────── watch<Link> ◀───────────┼─────┤
//!  gRPC ────────────────────────────────────────────────────────── Execute ───────────┘     │
//!  gRPC, /readyz ──Probe──▶ ProbeActor ◀─────────────────────── watch<Link> ◀───────────────┘
//! ```
//!
//! | message | handled by | answer |
//! |---|---|---|
//! | [`trigger::Trigger`] | [`reconciler`] | none |
//! | [`rds_connection::Execute`] | [`rds_connection`] | through the sender that it carries |
//! | [`probe::Probe`] | [`probe`] | [`probe::Readiness`] |
//! | [`Shutdown`] | all but [`probe`] | when nothing runs any more |
//!
//! Commands go one way; whoever needs to know subscribes to a `watch`. So no actor holds an address
//! of another that holds one of it, and each ends when the composition root lets go.
//!
//! The rules of supervision ([`supervision`]):
//!
//! - an actor never blocks and never awaits in a handler; what takes time runs on the workers, and
//!   its result comes back as a guarded entry;
//! - every entry is guarded; a panic is a restart with backoff, in which the actor's one volatile
//!   struct is replaced whole;
//! - a restart loses work, never truth: truth is on the box and in Kubernetes. Messages in the
//!   mailbox survive. Running commands are answered [`Unanswered`](crate::rds::Failure::Unanswered)
//!   and keep their volume's turn until a re-read;
//! - a failed connection attempt is no restart;
//! - every wait has a deadline, every queue a bound;
//! - an actor whose mailbox is closed ends the process.
//!
//! Nothing here names gRPC, SSH libraries or kube. Addresses live in the composition root, hidden
//! in recipients and [`supervision::Alive`].

pub mod agent;
pub mod backoff;
#[cfg(test)]
mod doubles;
pub mod node_watcher;
pub mod probe;
pub mod rds_connection;
pub mod reconciler;
pub mod supervision;
pub mod trigger;

use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use actix::prelude::*;

/// Stop taking work, end what runs within the time given, then answer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Shutdown {
    /// How long running work may still take.
    pub within: Duration,
}

/// Metrics for nobody: tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetrics;

/// Why an actor gave no answer. The request may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It panicked over this message, or is gone.
    #[error("the actor is being restarted")]
    Restarting,
    /// It did not answer in time. It may still handle the message.
    #[error("the actor gave no answer within {} s", .0.as_secs_f32())]
    Late(Duration),
}

/// Asks an actor, waiting `within` at most. The only place that knows `MailboxError`.
pub async fn ask<M>(to: &Recipient<M>, message: M, within: Duration) -> Result<M::Result, AskError>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    match tokio::time::timeout(within, to.send(message)).await {
        Ok(Ok(answer)) => Ok(answer),
        // "Closed" is a dead actor, a panic over this message, or a restart while it was answered;
        // the request has no deadline of its own.
        Ok(Err(MailboxError::Closed | MailboxError::Timeout)) => Err(AskError::Restarting),
        Err(_) => Err(AskError::Late(within)),
    }
}

/// The answer to a message, or none where its handler panicked: the caller gets
/// [`AskError::Restarting`] at once.
pub struct Answer<T>(Option<T>);

impl<A: Actor, M: Message> MessageResponse<A, M> for Answer<M::Result> {
    fn handle(self, _: &mut A::Context, to: Option<OneshotSender<M::Result>>) {
        if let (Some(answer), Some(to)) = (self.0, to) {
            // The caller may have gone; it has no use for the answer then.
            let _ = to.send(answer);
        }
    }
}
