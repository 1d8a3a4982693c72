//! The election itself: a task that looks at the Lease, writes it, and publishes for how long this
//! replica may act. The rules are in [`super::lease`].
//!
//! Only the composition root starts it. Whoever acts holds the [`Mandate`]. The task ends with its
//! token, and gives the Lease free then, so that the next one need not wait; a task that panics is
//! started again and knows nothing, so that it leads no longer than it was allowed before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use slog::{Logger, info, o, warn};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ClusterError;
use super::lease::{Candidate, Found, Step, Times};
use super::request::Requests;
use super::tasks;
use crate::mandate::{Mandate, Term};

/// What an election is about.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub lease: String,
    /// Who we are; no other replica may have this name.
    pub me: String,
    /// Its times.
    pub times: Times,
}

/// The election from outside.
#[derive(Clone)]
pub struct Leader {
    /// The right to act, while this replica has it.
    pub mandate: Mandate,
    /// Who holds the Lease, as it was last seen.
    pub holder: watch::Receiver<Option<String>>,
}

impl Leader {
    /// Of a process that is alone: it leads for ever, and no Lease is looked at.
    pub fn alone() -> Self {
        Self { mandate: Mandate::unlimited(), holder: watch::channel(None).1 }
    }
}

/// Stands for election until `stop`. Neither this nor what it starts waits for an API server.
pub fn start(
    client: kube::Client,
    settings: Settings,
    stop: &CancellationToken,
    tasks: &TaskTracker,
    log: &Logger,
) -> Leader {
    let (term, terms) = watch::channel(Term::None);
    let (holder, holders) = watch::channel(None);
    let log = log.new(o!("part" => "leader", "lease" => settings.lease.clone()));
    let election = Arc::new(Election {
        // Two attempts must fit into the time that a holder has.
        requests: Requests::new(client, settings.times.renew_deadline / 2),
        state: Mutex::new(State::new(&settings)),
        settings,
        term,
        holder,
        log,
    });
    let stop = stop.clone();
    tasks.spawn(async move {
        let again = Arc::clone(&election);
        let make = move || Arc::clone(&again).run().boxed();
        tasks::keep_running("leader", election.log.clone(), stop, make).await;
        election.resign().await;
    });
    Leader { mandate: Mandate::following(terms), holder: holders }
}

struct Election {
    requests: Requests,
    settings: Settings,
    state: Mutex<State>,
    term: watch::Sender<Term>,
    holder: watch::Sender<Option<String>>,
    log: Logger,
}

struct State {
    candidate: Candidate,
    /// The Lease as it was last seen: what others wrote there stays.
    object: coordination::Lease,
}

impl State {
    fn new(settings: &Settings) -> Self {
        let candidate = Candidate::new(settings.me.clone(), settings.times);
        let mut object = coordination::Lease::default();
        object.metadata.name = Some(settings.lease.clone());
        object.metadata.namespace = Some(settings.namespace.clone());
        Self { candidate, object }
    }
}

impl Election {
    async fn run(self: Arc<Self>) {
        // After a panic: what was seen before may be half of it.
        *self.state() = State::new(&self.settings);
        let mut failed_since = None;
        loop {
            match self.round().await {
                Ok(()) => failed_since = None,
                Err(error) if failed_since.is_none() => {
                    warn!(self.log, "no word about who leads"; "error" => %error);
                    failed_since = Some(Instant::now());
                }
                Err(_) => {}
            }
            self.publish();
            let lasts = *self.term.borrow();
            self.rest(lasts).await;
        }
    }

    /// Until the next round, or the end of our term, which is told at once.
    async fn rest(&self, lasts: Term) {
        let next = Instant::now() + self.settings.times.retry_period;
        if let Term::Until(end) = lasts
            && end <= next
        {
            sleep_until(end).await;
            self.publish();
        }
        sleep_until(next).await;
    }

    async fn round(&self) -> Result<(), ClusterError> {
        if self.state().candidate.must_look(Instant::now()) {
            let found = self.look().await?;
            let mut state = self.state();
            state.candidate.found(found.as_ref().map(read), Instant::now());
            state.object = found.unwrap_or_else(|| State::new(&self.settings).object);
        }
        let step = self.state().candidate.next(Instant::now());
        if step == Step::Wait {
            return Ok(());
        }
        let sent = Instant::now();
        let outcome = self.write(&step).await;
        let mut state = self.state();
        match outcome {
            Ok(written) => {
                state.candidate.written(read(&written), sent, Instant::now());
                state.object = written;
                Ok(())
            }
            Err(error) => {
                state.candidate.not_written();
                match error {
                    // Somebody else was quicker, as happens.
                    ClusterError::Conflict(_) | ClusterError::NotFound(_) => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    async fn look(&self) -> Result<Option<coordination::Lease>, ClusterError> {
        self.requests.run(&self.what(), self.api().get_opt(&self.settings.lease)).await
    }

    async fn write(&self, step: &Step) -> Result<coordination::Lease, ClusterError> {
        let object = self.ours(step);
        let (api, what) = (self.api(), self.what());
        let post = PostParams::default();
        match step {
            Step::Create => self.requests.run(&what, api.create(&post, &object)).await,
            Step::Take { .. } | Step::Wait => {
                self.requests.run(&what, api.replace(&self.settings.lease, &post, &object)).await
            }
        }
    }

    /// The Lease as we would have it.
    fn ours(&self, step: &Step) -> coordination::Lease {
        let mut object = self.state().object.clone();
        object.metadata.managed_fields = None;
        object.metadata.resource_version = match step {
            Step::Take { version } => Some(version.clone()),
            Step::Create | Step::Wait => None,
        };
        let now = MicroTime(Timestamp::now());
        let spec = object.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.settings.me.as_str()) {
            spec.holder_identity = Some(self.settings.me.clone());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions =
                Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
        }
        let seconds = self.settings.times.duration.as_secs();
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        object
    }

    /// Gives the Lease free. Whoever does not learn of it waits for its duration, as after a crash.
    async fn resign(&self) {
        let version = self.state().candidate.resign();
        self.publish();
        let Some(version) = version else { return };
        let mut object = self.ours(&Step::Take { version });
        if let Some(spec) = &mut object.spec {
            spec.holder_identity = None;
            spec.acquire_time = None;
        }
        let (api, post, what) = (self.api(), PostParams::default(), self.what());
        match self.requests.run(&what, api.replace(&self.settings.lease, &post, &object)).await {
            Ok(_) => info!(self.log, "lease given free"),
            Err(error) => warn!(self.log, "lease not given free"; "error" => %error),
        }
    }

    /// Tells what has changed.
    fn publish(&self) {
        let (term, holder) = {
            let state = self.state();
            let holder = state.candidate.holder().map(str::to_owned);
            (state.candidate.term(Instant::now()), holder)
        };
        self.holder.send_if_modified(|before| {
            let is_news = *before != holder;
            if is_news {
                info!(self.log, "lease is held"; "by" => holder.as_deref().unwrap_or("nobody"));
                *before = holder;
            }
            is_news
        });
        self.term.send_if_modified(|before| {
            let is_news = *before != term;
            if (*before == Term::None) != (term == Term::None) {
                let leads = term != Term::None;
                info!(self.log, "leadership changed"; "leads" => leads);
            }
            *before = term;
            is_news
        });
    }

    fn api(&self) -> Api<coordination::Lease> {
        self.requests.within(&self.settings.namespace)
    }

    fn what(&self) -> String {
        format!("Lease {}/{}", self.settings.namespace, self.settings.lease)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What matters of a Lease.
fn read(lease: &coordination::Lease) -> Found {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.clone());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Found {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: holder.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    }
}

#[cfg(test)]
mod test;
