//! What a watch has shown, as a map of our own types.
//!
//! A [`Cache`] is filled by one task ([`fill`]) and read by everybody. Objects are converted and
//! filtered once, when they arrive; the API's own objects are not kept. A list replaces the whole
//! map when it is complete, so that what vanished during a gap of the watch vanishes here.
//!
//! Changes are passed on to subscribers while the map is still locked: whoever hears of a change
//! finds it in the map, and a subscriber that lags gets the whole map instead of what it missed.
//!
//! Own writes: [`Cache::refresh`] puts what the API server returned for a write into the map at
//! once. The watch may be ahead of it (another's later write) or behind it (an earlier event still
//! on its way). Versions of one kind are ordered numbers on every API server that keeps its data
//! in etcd, so the older of the two is dropped; where they are no numbers the later arrival wins
//! and the map may be one version behind until the next event. That is harmless: every write is
//! guarded by the version it is based on, a stale one is refused with a conflict, and the caller
//! reads the object past the cache.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use slog::{Logger, debug, info, warn};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::Version;
use super::indexed::Indexed;
use super::request::{Requests, reason};
use crate::volume::chance;

/// A watch is asked to end after so many seconds and is then begun again where it ended; five
/// seconds later it is given up. So a half-open connection is noticed within a minute.
pub const WATCH_SECONDS: u32 = 50;
/// After so many failures in a row, about half a minute, the list is made anew: the API server may
/// have been restored from a backup and not know our version any more.
const FAILURES_MAX: u32 = 7;
/// Pause after the first failure; it doubles with every other one,
const FIRST_PAUSE: Duration = Duration::from_millis(800);
/// up to this: so late at most do we notice that the API server is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Changes that a subscriber may lag behind before it gets the whole map instead.
const CHANGES_MAX: usize = 256;

/// A value that can be kept.
pub trait Kept: Clone + PartialEq + Send + Sync + 'static {
    /// By what it is found.
    type Key: Ord + Clone + Send + Sync + 'static;

    /// The key of the object of this name; none for a name that cannot be ours.
    fn key_of(name: &str) -> Option<Self::Key>;

    /// Its key.
    fn key(&self) -> Self::Key;

    /// Its version, where it is ever written by us.
    fn version(&self) -> Option<&Version>;

    /// By what else it is looked for.
    fn sought(&self) -> Option<&str> {
        None
    }
}

/// One change of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<V: Kept> {
    /// These are all there are.
    All(Vec<V>),
    /// Appeared, or changed.
    Applied(V),
    /// Gone.
    Deleted(V::Key),
    /// The watch failed and is tried again.
    Failed(String),
}

/// What a watch has shown.
pub struct Cache<V: Kept> {
    name: &'static str,
    /// Shared with those who look: it is copied when it changes while somebody still does.
    map: RwLock<Arc<Indexed<V>>>,
    synced: watch::Sender<bool>,
    failing: Mutex<Option<Instant>>,
    changes: broadcast::Sender<Change<V>>,
}

impl<V: Kept> Cache<V> {
    /// An empty cache of the resource `name` (plural, as in a URL).
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            map: RwLock::default(),
            synced: watch::Sender::new(false),
            failing: Mutex::new(None),
            changes: broadcast::Sender::new(CHANGES_MAX),
        }
    }

    /// The resource.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Has a list been complete since the start?
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Returns once a list has been complete.
    pub async fn synced(&self) {
        // The sender lives in self: an error is impossible, and would mean not to wait.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// For how long the watch has been failing, without an answer since.
    pub fn failing(&self) -> Option<Duration> {
        let since = *self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    fn set_failing(&self, failing: bool) {
        let mut since = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        *since = failing.then(|| since.unwrap_or_else(Instant::now));
    }

    /// One value.
    pub fn get(&self, key: &V::Key) -> Option<V> {
        self.read().get(key).cloned()
    }

    /// All values.
    pub fn all(&self) -> Arc<Indexed<V>> {
        Arc::clone(&self.read())
    }

    /// Puts in what the API server returned for a read or a write of ours, unless the map has no
    /// such object any more or has a newer version of it.
    pub fn refresh(&self, value: V) {
        let mut map = self.write();
        let key = value.key();
        match map.get(&key) {
            Some(known) if same_object(known, &value) => self.put(&mut map, value),
            _ => {}
        }
    }

    /// All values once there is a complete list, then every change. Never ends.
    pub fn subscribe(self: Arc<Self>) -> impl Stream<Item = Change<V>> + Send + 'static {
        stream::unfold((self, None), |(cache, mut receiver)| async move {
            loop {
                let Some(changes) = receiver.as_mut() else {
                    let (all, fresh) = cache.begin();
                    receiver = Some(fresh);
                    if let Some(all) = all {
                        return Some((all, (cache, receiver)));
                    }
                    continue;
                };
                match changes.recv().await {
                    Ok(change) => return Some((change, (cache, receiver))),
                    // Lagged; closed cannot be, the cache holds the sender.
                    Err(_) => receiver = None,
                }
            }
        })
    }

    fn begin(&self) -> (Option<Change<V>>, broadcast::Receiver<Change<V>>) {
        let map = self.read();
        let receiver = self.changes.subscribe();
        let all = self.is_synced().then(|| Change::All(map.values().cloned().collect()));
        (all, receiver)
    }

    fn apply(&self, value: V) {
        self.put(&mut self.write(), value);
    }

    fn put(&self, map: &mut Arc<Indexed<V>>, value: V) {
        if let Some(known) = map.get(&value.key())
            && (*known == value || is_newer(known, &value))
        {
            return;
        }
        Arc::make_mut(map).insert(value.clone());
        self.tell(|| Change::Applied(value));
    }

    fn remove(&self, key: &V::Key) {
        let mut map = self.write();
        if map.contains_key(key) {
            Arc::make_mut(&mut map).remove(key);
            self.tell(|| Change::Deleted(key.clone()));
        }
    }

    /// Takes a complete list, as it is: after a restored backup its versions may be lower.
    fn replace(&self, list: Indexed<V>) {
        let mut map = self.write();
        *map = Arc::new(list);
        self.synced.send_replace(true);
        self.tell(|| Change::All(map.values().cloned().collect()));
    }

    fn tell(&self, change: impl FnOnce() -> Change<V>) {
        if self.changes.receiver_count() > 0 {
            // An error only says that the last receiver has just gone.
            let _ = self.changes.send(change());
        }
    }

    // A panic while the lock is held leaves a map that the restarted task replaces.
    fn read(&self) -> RwLockReadGuard<'_, Arc<Indexed<V>>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Arc<Indexed<V>>> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same_object<V: Kept>(known: &V, value: &V) -> bool {
    match (known.version(), value.version()) {
        (Some(known), Some(value)) => known.uid == value.uid,
        _ => true,
    }
}

/// Is `known` certainly newer than `value`, which is the same object?
fn is_newer<V: Kept>(known: &V, value: &V) -> bool {
    let (Some(known), Some(value)) = (known.version(), value.version()) else {
        return false;
    };
    let number = |version: &Version| version.resource_version.parse::<u64>().ok();
    match (number(known), number(value)) {
        (Some(a), Some(b)) => known.uid == value.uid && a > b,
        _ => false,
    }
}

/// Keeps `cache` filled from a watch over `requests`. `convert` returns nothing for objects that are not
/// ours. Never ends; abort it.
pub async fn fill<K, V>(
    requests: Requests,
    cache: Arc<Cache<V>>,
    convert: impl Fn(K) -> Option<V> + Send + Sync,
    log: Logger,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    V: Kept,
{
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let answered = {
        let cache = Arc::clone(&cache);
        move || cache.set_failing(false)
    };
    let api: Api<K> = requests.watched(answered);
    let mut filler = Filler::new(&cache, &convert);
    loop {
        let mut events = std::pin::pin!(watcher(api.clone(), config.clone()));
        while let Some(event) = events.next().await {
            let error = match event {
                Ok(event) => {
                    filler.take(event, &log);
                    continue;
                }
                Err(error) => error,
            };
            let begin_anew = filler.fail(&error, &log);
            // Not kube's own backoff: it begins again with every try of a list (measured, kube 5.0).
            tokio::time::sleep(pause(filler.failures, 0.5 + chance::share() / 2.0)).await;
            if begin_anew {
                break;
            }
        }
        debug!(log, "watch begins anew"; "resource" => cache.name());
    }
}

/// How long to wait after so many failures in a row; `share` spreads those that fail together.
fn pause(failures: u32, share: f64) -> Duration {
    let doubled = FIRST_PAUSE * (1 << failures.saturating_sub(1).min(8));
    doubled.min(LONGEST_PAUSE).mul_f64(share)
}

/// Turns the events of one watch into changes of the map.
struct Filler<'a, V: Kept, F> {
    cache: &'a Cache<V>,
    convert: &'a F,
    list: Indexed<V>,
    failures: u32,
}

impl<'a, V: Kept, F> Filler<'a, V, F> {
    fn new(cache: &'a Cache<V>, convert: &'a F) -> Self {
        Self { cache, convert, list: Indexed::default(), failures: 0 }
    }

    fn take<K: Resource>(&mut self, event: Event<K>, log: &Logger)
    where
        F: Fn(K) -> Option<V>,
    {
        if !matches!(event, Event::Init) {
            // Init is only the intention to list.
            self.failures = 0;
        }
        match event {
            Event::Init => self.list = Indexed::default(),
            Event::InitApply(object) => {
                if let Some(value) = (self.convert)(object) {
                    self.list.insert(value);
                }
            }
            Event::InitDone => {
                info!(log, "cache synced";
                    "resource" => self.cache.name(), "objects" => self.list.len());
                self.cache.replace(std::mem::take(&mut self.list));
            }
            Event::Apply(object) => {
                let key = V::key_of(&object.name_any());
                match (self.convert)(object) {
                    Some(value) => self.cache.apply(value),
                    None => self.remove(key),
                }
            }
            Event::Delete(object) => self.remove(V::key_of(&object.name_any())),
        }
    }

    fn remove(&self, key: Option<V::Key>) {
        if let Some(key) = key {
            self.cache.remove(&key);
        }
    }

    /// Notes a failure; true when this watch has no future.
    fn fail(&mut self, error: &watcher::Error, log: &Logger) -> bool {
        self.failures += 1;
        let text = reason(error);
        self.cache.set_failing(true);
        warn!(log, "watch failed, trying again";
            "resource" => self.cache.name(), "failures" => self.failures, "error" => &text);
        self.cache.tell(|| Change::Failed(text));
        // kube 5.0 lists again after a 410 inside the stream, but would ask for the same version
        // for ever where the request itself is answered with 410.
        let expired = matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status))
            if status.code == 410);
        expired || self.failures.is_multiple_of(FAILURES_MAX)
    }
}

#[cfg(test)]
mod test;
