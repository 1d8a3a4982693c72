//! The trigger of a pass, and the only place that sends without waiting.
//!
//! A [`Trigger`] has no payload: a pass re-reads everything, so any number of triggers may become
//! one. What caused them is kept beside, for the log alone. At most one is ever in the mailbox.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use actix::prelude::*;

/// "Something may have changed: look." Handled by the reconciler.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Trigger {}

/// Why a pass is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The period has passed.
    Timer = 1,
    /// The driver has started and its caches have synced.
    Startup = 1 << 1,
    /// A node is not ready, gone or out of service.
    Node = 1 << 2,
    /// A box answers again, or has restarted.
    Reconnected = 1 << 3,
    /// A person asked.
    Operator = 1 << 4,
    /// The last pass asked to be run again soon, or has failed.
    Again = 1 << 5,
    /// An actor was restarted and may have missed something.
    Restart = 1 << 6,
    /// This replica has become the one that reconciles.
    Leading = 1 << 7,
}

const NAMES: [(Cause, &str); 8] = [
    (Cause::Timer, "timer"),
    (Cause::Startup, "startup"),
    (Cause::Node, "node"),
    (Cause::Reconnected, "reconnected"),
    (Cause::Operator, "operator"),
    (Cause::Again, "again"),
    (Cause::Restart, "restart"),
    (Cause::Leading, "leading"),
];

/// A set of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Causes(u8);

impl Causes {
    /// Adds all of `other`.
    pub fn add(&mut self, other: impl Into<Self>) {
        self.0 |= other.into().0;
    }

    /// Is `cause` among them?
    pub fn contains(self, cause: Cause) -> bool {
        self.0 & cause as u8 != 0
    }

    /// Are there none?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// `timer` where the period is the only cause, else `trigger`: a label for metrics.
    pub fn label(self) -> &'static str {
        if self == Cause::Timer.into() { "timer" } else { "trigger" }
    }
}

impl From<Cause> for Causes {
    fn from(cause: Cause) -> Self {
        Self(cause as u8)
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (cause, name) in NAMES {
            if self.contains(cause) {
                write!(f, "{between}{name}")?;
                between = ",";
            }
        }
        Ok(())
    }
}

/// Causes that no pass has taken yet. While there are some, a [`Trigger`] is on its way.
#[derive(Debug, Clone, Default)]
pub struct Pending(Arc<AtomicU8>);

impl Pending {
    /// Takes them. To be called first thing in the handler, before any state is read: what is
    /// fired later sends a new [`Trigger`].
    pub fn take(&self) -> Causes {
        Causes(self.0.swap(0, SeqCst))
    }
}

/// Fires triggers. Cheap to clone; can be given away before the reconciler exists.
#[derive(Clone, Default)]
pub struct TriggerHandle {
    pending: Pending,
    to: Arc<OnceLock<Recipient<Trigger>>>,
}

impl TriggerHandle {
    /// A handle without a reconciler: what is fired waits for [`TriggerHandle::bind`].
    pub fn new() -> Self {
        Self::default()
    }

    /// What the reconciler takes from. It must not hold the handle, which holds its address.
    pub fn pending(&self) -> Pending {
        self.pending.clone()
    }

    /// From now on `to` is triggered, at once if something was fired before. Only the first
    /// recipient counts.
    pub fn bind(&self, to: Recipient<Trigger>) {
        if self.to.set(to).is_ok() && self.pending.0.load(SeqCst) != 0 {
            self.send();
        }
    }

    /// Asks for a pass. Never waits and never fails; nothing happens after the reconciler's end.
    pub fn fire(&self, cause: Cause) {
        if self.pending.0.fetch_or(cause as u8, SeqCst) == 0 {
            self.send();
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "at most one Trigger is under way, so nothing can pile up; a dead reconciler ends \
                  the process"
    )]
    fn send(&self) {
        if let Some(to) = self.to.get() {
            to.do_send(Trigger {});
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    struct Counter {
        pending: Pending,
        seen: Arc<std::sync::Mutex<Vec<String>>>,
    }

    impl Actor for Counter {
        type Context = Context<Self>;
    }

    impl Handler<Trigger> for Counter {
        type Result = ();
        fn handle(&mut self, _: Trigger, _: &mut Context<Self>) {
            self.seen.lock().unwrap().push(self.pending.take().to_string());
        }
    }

    #[actix::test]
    async fn any_number_of_fires_is_one_message_and_those_before_the_start_count() {
        tokio::time::pause();
        let handle = TriggerHandle::new();
        handle.fire(Cause::Startup);
        handle.fire(Cause::Startup);

        let seen = Arc::default();
        let counter = Counter { pending: handle.pending(), seen: Arc::clone(&seen) };
        handle.bind(counter.start().recipient());
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(*seen.lock().unwrap(), ["startup"]);

        for _ in 0..2000 {
            handle.fire(Cause::Node);
            handle.fire(Cause::Timer);
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(*seen.lock().unwrap(), ["startup", "timer,node"]);
    }

    #[actix::test]
    async fn firing_after_the_end_is_harmless() {
        let handle = TriggerHandle::new();
        let (to, gone) = {
            struct Gone(
                #[expect(dead_code, reason = "told by its drop")] tokio::sync::oneshot::Sender<()>,
            );
            impl Actor for Gone {
                type Context = Context<Self>;
            }
            impl Handler<Trigger> for Gone {
                type Result = ();
                fn handle(&mut self, _: Trigger, ctx: &mut Context<Self>) {
                    ctx.stop();
                }
            }
            let (told, gone) = tokio::sync::oneshot::channel();
            (Gone(told).start().recipient(), gone)
        };
        handle.bind(to);
        handle.fire(Cause::Operator);
        assert!(gone.await.is_err());
        handle.pending().take();
        handle.fire(Cause::Operator);
        handle.fire(Cause::Operator);
    }
}
