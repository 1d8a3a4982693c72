//! Whether this replica is the one that passes, and what becomes of a pass when it is not any more.

use actix::prelude::*;
use futures::{Stream, StreamExt};

use super::{Outcome, ReconcilerActor};
use crate::actors::supervision::{Entry, enter};
use crate::actors::trigger::Cause;
use crate::mandate::Mandate;

/// The mandate was gained or lost, or is looked at for the first time.
struct LeadsSeen(bool);

impl StreamHandler<LeadsSeen> for ReconcilerActor {
    fn handle(&mut self, LeadsSeen(leads): LeadsSeen, ctx: &mut Self::Context) {
        enter(self, ctx, Entry::Stream, |act, ctx| act.lead(ctx, leads));
    }

    /// It never ends.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl ReconcilerActor {
    /// Looks at the mandate, now and whenever it changes.
    pub(super) fn follow_mandate(&mut self, ctx: &mut Context<Self>) {
        ctx.add_stream(Box::pin(changes(self.mandate.clone()).map(LeadsSeen)));
        self.leads = self.mandate.holds();
    }

    fn lead(&mut self, ctx: &mut Context<Self>, leads: bool) {
        if std::mem::replace(&mut self.leads, leads) == leads {
            return;
        }
        if leads {
            return self.due(ctx, Cause::Leading.into());
        }
        self.disarm(ctx);
        if let Some(running) = &self.volatile.running {
            // What it has sent is judged by the records that it names; it sends nothing more.
            ctx.cancel_future(running.handle);
            self.end_pass(ctx, Outcome::Abandoned);
        }
    }
}

/// Whether the mandate holds, now and whenever that changes.
fn changes(mandate: Mandate) -> impl Stream<Item = bool> {
    futures::stream::unfold((mandate, None), |(mandate, before)| async move {
        match before {
            None => {}
            Some(true) => mandate.lost().await,
            Some(false) => mandate.gained().await,
        }
        let leads = before.map_or_else(|| mandate.holds(), |before: bool| !before);
        Some((leads, (mandate, Some(leads))))
    })
}
