//! How the connection comes up, goes down, and ends.

use actix::prelude::*;
use slog::{info, warn};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::jobs::Denied;
use super::lanes::Lanes;
use super::poll::{self, Proven};
use super::{RdsConnectionActor, Up};
use crate::actors::Shutdown;
use crate::actors::supervision::{Fate, later, spawn};
use crate::rds::{Link, version};

/// Why the link is down after [`Shutdown`].
const SHUT_DOWN: &str = "the driver is shutting down";

impl RdsConnectionActor {
    pub(super) fn publish_down(&mut self, next: Option<Instant>, why: String) {
        let before = self.link.borrow().clone();
        let since = match before {
            Link::Down { since, .. } => since,
            Link::Up { .. } => {
                self.metrics.connection_state(&self.address, false);
                Instant::now()
            }
        };
        self.link.send_replace(Link::Down { since, next, why });
    }

    pub(super) fn attempt(&mut self, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let before = self.link.borrow().clone();
        if let Link::Down { why, .. } = before {
            self.publish_down(None, why);
        }
        let sessions = self.shop.sessions.clone();
        let open = async move { poll::open(&sessions).await };
        spawn(self, ctx, Fate::Owned, open, |act, ctx, opened| {
            act.metrics.attempted(&act.address, opened.is_ok());
            match opened {
                // What was opened is closed by being dropped.
                _ if act.stopping => {}
                Ok(proven) => act.come_up(ctx, proven),
                Err(why) => act.come_back_later(ctx, why),
            }
        });
    }

    pub(super) fn come_back_later(&mut self, ctx: &mut Context<Self>, why: String) {
        self.volatile.failed = self.volatile.failed.saturating_add(1);
        let backoff = self.shop.sessions.settings().backoff;
        let delay = backoff.delay(self.volatile.failed);
        warn!(self.guard.log(), "box is not connected";
            "address" => &self.address, "error" => &why, "next_attempt_in" => ?delay);
        self.publish_down(Some(Instant::now() + delay), why);
        later(ctx, delay, Self::attempt);
    }

    pub(super) fn come_up(&mut self, ctx: &mut Context<Self>, proven: Proven) {
        let before = self.link.borrow().clone();
        if let Link::Down { since, .. } = before {
            self.metrics.reconnected(&self.address, since.elapsed());
            self.metrics.connection_state(&self.address, true);
        }
        self.volatile.failed = 0;
        self.epoch += 1;
        info!(self.guard.log(), "box is connected"; "address" => &self.address,
            "epoch" => self.epoch, "version" => &proven.system.version,
            "mode" => version::mode(&proven.system.version).word());
        self.link.send_replace(Link::Up {
            since: Instant::now(),
            epoch: self.epoch,
            system: proven.system.clone(),
        });
        let abandon = CancellationToken::new();
        let stop_polling = CancellationToken::new();
        // Where the box has restarted under a link that was up, this abandons what ran before.
        self.volatile.up = Some(Up {
            epoch: self.epoch,
            lanes: Lanes::default(),
            shares_lines: true,
            abandon: abandon.clone(),
            stop_polling: stop_polling.clone(),
            _abandoned_on_drop: abandon.drop_guard(),
        });
        let watch = poll::watch(self.shop.sessions.clone(), proven, stop_polling);
        spawn(self, ctx, Fate::Owned, watch, |act, ctx, ended| match ended {
            poll::Ended::Lost(why) => act.go_down(ctx, why),
            poll::Ended::Restarted(proven) => {
                info!(act.guard.log(), "box has restarted"; "address" => &act.address);
                act.come_up(ctx, proven);
            }
            poll::Ended::Stopped => act.end(),
        });
        self.dispatch(ctx);
    }

    pub(super) fn go_down(&mut self, ctx: &mut Context<Self>, why: String) {
        self.come_back_later(ctx, why);
        // After the link has been published: what runs looks at it when it is abandoned.
        self.volatile.up = None;
        for job in self.volatile.queue.drain() {
            self.deny(job.answer, Denied::NotConnected);
        }
        self.measure();
    }

    pub(super) fn shut_down(
        &mut self,
        ctx: &mut Context<Self>,
        Shutdown { within }: Shutdown,
        told: oneshot::Sender<()>,
    ) {
        self.stopping = true;
        for job in self.volatile.queue.drain() {
            self.deny(job.answer, Denied::Stopping);
        }
        let Some(up) = &self.volatile.up else {
            return;
        };
        self.volatile.shutdowns.push(told);
        if up.lanes.busy() == 0 {
            return self.disconnect(ctx);
        }
        later(ctx, within, Self::disconnect);
    }

    /// Says goodbye in every idle session, then in that of the polls; what still runs is abandoned.
    pub(super) fn disconnect(&mut self, ctx: &mut Context<Self>) {
        let Some(mut up) = self.volatile.up.take() else {
            return;
        };
        self.publish_down(None, SHUT_DOWN.into());
        let idle = up.lanes.surplus(0);
        let stop_polling = up.stop_polling.clone();
        drop(up);
        info!(self.guard.log(), "disconnecting"; "address" => &self.address);
        self.close(ctx, idle, move |_, _| stop_polling.cancel());
    }

    /// Nothing is left of the connection.
    pub(super) fn end(&mut self) {
        self.publish_down(None, SHUT_DOWN.into());
        self.volatile.up = None;
        self.volatile.shutdowns.clear();
    }
}
