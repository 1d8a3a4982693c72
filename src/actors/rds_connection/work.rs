//! How commands go to the lanes, and what is answered instead.

use actix::prelude::*;
use futures::future::join_all;
use slog::{info, warn};
use tokio::time::Instant;

use super::jobs::{AnswerTo, Denied, Job, not_connected};
use super::{Dispatch, Execute, RdsConnectionActor, batches, lanes};
use crate::actors::supervision::{Entry, Fate, later, spawn, stop};
use crate::rds::Failure;
use crate::rds::ssh::Session;

impl RdsConnectionActor {
    pub(super) fn take(&mut self, ctx: &mut Context<Self>, execute: Execute) {
        let Execute { command, turn, answer } = execute;
        if self.stopping {
            return self.deny(answer, Denied::Stopping);
        }
        if self.volatile.up.is_none() {
            return self.deny(answer, Denied::NotConnected);
        }
        let settings = self.shop.sessions.settings();
        if !self.volatile.queue.has_room(settings.queue_max) {
            // What has come with this one may have a free lane.
            self.dispatch(ctx);
        }
        if !self.volatile.queue.has_room(settings.queue_max) {
            return self.deny(answer, Denied::Busy);
        }
        self.volatile.queue.push(Job {
            command,
            turn,
            answer,
            expires: Instant::now() + settings.command_deadline,
        });
        self.dispatch_soon(ctx);
    }

    /// Sends waiting work to free lanes when everything has been looked at that came with this:
    /// commands that were asked for together go together, lanes that got free together share what
    /// waits. No time passes meanwhile.
    pub(super) fn dispatch_soon(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.volatile.dispatch_is_due, true) {
            ctx.notify(Dispatch);
        }
    }

    pub(super) fn deny(&self, answer: AnswerTo, denied: Denied) {
        let address = self.address.clone();
        let failure = match denied {
            Denied::NotConnected => not_connected(&address, &self.link.borrow(), Instant::now()),
            Denied::Busy => Failure::Busy { address, waiting: self.volatile.queue.waiting() },
            Denied::Stopping => Failure::Stopping { address },
        };
        self.metrics.denied(&self.address, denied);
        // The caller may have gone.
        let _ = answer.send(Err(failure));
    }

    /// Sends waiting work to free lanes.
    pub(super) fn dispatch(&mut self, ctx: &mut Context<Self>) {
        self.volatile.dispatch_is_due = false;
        let settings = self.shop.sessions.settings();
        let language = self.shop.sessions.language;
        while let Some(up) = &mut self.volatile.up
            && let free = up.lanes.free(settings.lanes)
            && free > 0
            && let queue = &mut self.volatile.queue
            && let Some(work) = batches::next(queue, free, up.shares_lines, &language, &settings)
        {
            let (session, closed) = up.lanes.take();
            let (epoch, abandon) = (up.epoch, up.abandon.clone());
            for _ in 0..closed {
                self.metrics.lane_replaced(&self.address);
            }
            let began = Instant::now();
            let run = lanes::run(self.shop.clone(), session, work, abandon);
            spawn(self, ctx, Fate::Detached, run, move |act, ctx, ended| {
                for outcome in &ended.outcomes {
                    act.metrics.executed(&act.address, outcome, began.elapsed());
                }
                act.lane_ended(ctx, epoch, ended);
            });
        }
        self.expire_later(ctx);
        self.measure();
    }

    pub(super) fn lane_ended(&mut self, ctx: &mut Context<Self>, epoch: u64, ended: lanes::Ended) {
        if let Some(panic) = &ended.panicked {
            return stop(self, ctx, Entry::Future, panic);
        }
        // The lanes of an earlier link are forgotten, and their sessions with them.
        let Some(up) = self.volatile.up.as_mut().filter(|up| up.epoch == epoch) else {
            return;
        };
        if let Some(why) = ended.broken {
            info!(self.guard.log(), "lane lost its session";
                "address" => &self.address, "error" => why);
            self.metrics.lane_replaced(&self.address);
        }
        if ended.wants_each_alone && std::mem::take(&mut up.shares_lines) {
            warn!(self.guard.log(), "box does not understand lines of several commands; \
                until it is connected anew each goes alone"; "address" => &self.address);
        }
        up.lanes.give_back(ended.session);
        if ended.no_room
            && let Some(lanes) = up.lanes.no_room()
        {
            warn!(self.guard.log(), "box lets in no further session; fewer lanes for a while";
                "address" => &self.address, "lanes" => lanes);
        }
        let surplus = up.lanes.surplus(self.shop.sessions.settings().lanes);
        let busy = up.lanes.busy();
        self.close_surplus(ctx, surplus);
        if !self.stopping {
            self.dispatch_soon(ctx);
        } else if busy == 0 {
            self.disconnect(ctx);
        }
    }

    /// Sets the timer for the job that expires first.
    pub(super) fn expire_later(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.volatile.expiry.take() {
            ctx.cancel_future(timer);
        }
        let Some(at) = self.volatile.queue.next_expiry() else {
            return;
        };
        let wait = at.saturating_duration_since(Instant::now());
        let timer = later(ctx, wait, |act: &mut Self, ctx| {
            for job in act.volatile.queue.expired(Instant::now()) {
                act.deny(job.answer, Denied::Busy);
            }
            act.expire_later(ctx);
            act.measure();
        });
        self.volatile.expiry = Some(timer);
    }

    pub(super) fn measure(&self) {
        let busy = self.volatile.up.as_ref().map_or(0, |up| up.lanes.busy());
        self.metrics.queue(&self.address, self.volatile.queue.waiting(), busy);
    }

    pub(super) fn close_surplus(
        &mut self,
        ctx: &mut Context<Self>,
        surplus: Vec<Box<dyn Session>>,
    ) {
        if !surplus.is_empty() {
            self.close(ctx, surplus, |_, _| {});
        }
    }

    /// Says goodbye in `closing`, all at once.
    pub(super) fn close(
        &mut self,
        ctx: &mut Context<Self>,
        closing: Vec<Box<dyn Session>>,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let sessions = self.shop.sessions.clone();
        let close = async move {
            let goodbyes = closing.into_iter().map(|session| sessions.close(session));
            join_all(goodbyes).await;
        };
        spawn(self, ctx, Fate::Owned, close, |act, ctx, ()| then(act, ctx));
    }
}
