//! Events: what people see in `kubectl describe` and `kubectl get events`.
//!
//! [`Poster::post`] puts a notice into a bounded queue and never waits. One task takes it out,
//! asks [`limit`] whether it becomes an Event, and writes core/v1 Events: a new one for the first
//! notice of a series, a raised count for the others. Its bounds may change at any time. Events are a courtesy: what cannot be posted
//! after a few tries is logged and gone, and no decision depends on them.

pub mod limit;
pub mod object;
pub mod reason;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use slog::{Logger, debug, warn};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

pub use self::limit::Bounds;
use self::limit::{Key, Limiter, Verdict};
pub use self::object::Pod;
use self::object::{Author, Draft, Place};
use super::cache::Cache;
use super::request::Requests;
use super::{ClusterError, Node, Notice, Reason, Volume};

/// Pauses before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Is told of every Event that was written.
pub type Posted = Arc<dyn Fn(Reason) + Send + Sync>;

/// Takes notices, posts Events.
pub struct Poster {
    queue: mpsc::Sender<Notice>,
    dropped: AtomicU64,
    // A restarted task goes on with the same queue.
    waiting: Mutex<mpsc::Receiver<Notice>>,
    bounds: watch::Receiver<Bounds>,
    writer: Writer,
}

/// What is remembered of a series.
struct Memory {
    place: Option<Place>,
    note: String,
}

impl Poster {
    /// Nothing is posted before [`Poster::run`] runs; until then notices wait.
    pub fn new(bounds: watch::Receiver<Bounds>, writer: Writer) -> Self {
        let (queue, waiting) = mpsc::channel(bounds.borrow().queue.max(1));
        Self { queue, dropped: AtomicU64::new(0), waiting: Mutex::new(waiting), bounds, writer }
    }

    /// Takes a notice, or drops it where too many wait.
    pub fn post(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Posts what was taken. Never ends; abort it.
    pub async fn run(self: Arc<Self>) {
        let mut waiting = self.waiting.lock().await;
        let mut bounds = self.bounds.clone();
        let first = bounds.borrow_and_update().clone();
        let mut limiter = Limiter::new(first, Instant::now());
        loop {
            let due = limiter.next_due();
            let window_ends = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                notice = waiting.recv() => {
                    // Ends only when self has gone, and we hold it.
                    let Some(notice) = notice else { return };
                    self.tell_dropped();
                    self.take(&mut limiter, notice).await;
                }
                () = window_ends => self.raise(&mut limiter).await,
                new = changed(&mut bounds) => limiter.rebound(new, Instant::now()),
            }
        }
    }

    fn tell_dropped(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            warn!(self.writer.log, "events dropped because too many waited"; "events" => dropped);
        }
    }

    async fn take(&self, limiter: &mut Limiter<Memory>, notice: Notice) {
        let key = (notice.about, notice.reason);
        let verdict = limiter.judge(&key, Instant::now(), |known| match known {
            Some(known) => {
                known.note.clone_from(&notice.note);
                None
            }
            None => Some(Memory { place: None, note: notice.note.clone() }),
        });
        match verdict {
            Verdict::Counted => {}
            Verdict::Dropped => debug!(self.writer.log, "event dropped, there were too many";
                "reason" => notice.reason.as_str(), "note" => notice.note),
            Verdict::Post => self.create(limiter, &key, 1).await,
        }
    }

    async fn create(&self, limiter: &mut Limiter<Memory>, key: &Key, count: u32) {
        let Some(memory) = limiter.memory(key) else {
            return;
        };
        match self.writer.create(key, &memory.note, count).await {
            Some(place) => memory.place = Some(place),
            // The next notice tries again.
            None => limiter.forget(key),
        }
    }

    async fn raise(&self, limiter: &mut Limiter<Memory>) {
        for (key, count) in limiter.due(Instant::now()) {
            let Some(memory) = limiter.memory(&key) else {
                continue;
            };
            let Some(place) = memory.place.clone() else {
                continue;
            };
            let raised = self.writer.raise(&place, key.1, &memory.note, count).await;
            // Events are deleted after an hour.
            if let Err(ClusterError::NotFound(_)) = raised {
                self.create(limiter, &key, count).await;
            }
        }
    }
}

/// The next bounds; never where nobody can change them any more.
async fn changed(bounds: &mut watch::Receiver<Bounds>) -> Bounds {
    match bounds.changed().await {
        Ok(()) => bounds.borrow_and_update().clone(),
        Err(_) => std::future::pending().await,
    }
}

/// Writes Events.
pub struct Writer {
    /// The API server.
    pub requests: Requests,
    /// Who posts.
    pub author: Author,
    /// Where the uid of a node is found.
    pub nodes: Arc<Cache<Node>>,
    /// Where the claim of a volume is found.
    pub volumes: Arc<Cache<Arc<Volume>>>,
    /// Is told of every write.
    pub posted: Posted,
    /// Where failures are told.
    pub log: Logger,
}

impl Writer {
    async fn create(&self, key: &Key, note: &str, count: u32) -> Option<Place> {
        let (about, reason) = key;
        let draft = Draft {
            regarding: self.author.reference(about, &self.nodes, &self.volumes),
            reason: *reason,
            note,
            count,
        };
        let event = self.author.event(&draft, Timestamp::now());
        let place = Place::of(&event);
        let api = self.requests.within::<core::Event>(&place.namespace);
        let what = format!("Event {}/{}", place.namespace, place.name);
        let params = PostParams::default();
        let tries = || self.requests.run(&what, api.create(&params, &event));
        match self.persist(*reason, tries).await {
            Ok(()) => Some(place),
            // The first try was done, only its answer was lost.
            Err(ClusterError::Conflict(_)) => Some(place),
            Err(_) => None,
        }
    }

    async fn raise(
        &self,
        place: &Place,
        reason: Reason,
        note: &str,
        count: u32,
    ) -> Result<(), ClusterError> {
        let api = self.requests.within::<core::Event>(&place.namespace);
        let what = format!("Event {}/{}", place.namespace, place.name);
        let patch = json!({
            "count": count,
            "lastTimestamp": super::volumes::seconds(Timestamp::now()),
            "message": object::message(note),
        });
        let params = PatchParams::default();
        let merge = Patch::Merge(&patch);
        let tries = || self.requests.run(&what, api.patch(&place.name, &params, &merge));
        self.persist(reason, tries).await
    }

    /// Tries again while the API server does not answer.
    async fn persist<F: Future<Output = Result<core::Event, ClusterError>>>(
        &self,
        reason: Reason,
        tries: impl Fn() -> F,
    ) -> Result<(), ClusterError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let error = match tries().await {
                Ok(_) => {
                    (self.posted)(reason);
                    return Ok(());
                }
                Err(error) => error,
            };
            let later = matches!(error, ClusterError::Unreachable(_));
            let Some(pause) = pauses.next().filter(|_| later) else {
                warn!(self.log, "event not posted";
                    "reason" => reason.as_str(), "error" => %error);
                return Err(error);
            };
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod test;
