//! The API server double: the part of a Kubernetes API server that a storage driver talks to.
//!
//! It owns a store of untyped objects with Kubernetes' rules for names, versions, conflicts,
//! finalizers, status, selectors and watches, and speaks HTTP to any Kubernetes client, in memory
//! ([`ApiServer::service`]) or on a loopback socket ([`ApiServer::listen`]). It is written here
//! because kube-fake-client 0.3, the nearest crate, has no watch, no history that could expire, no
//! delete preconditions and no socket, and is bound to kube 4.
//!
//! Tests and stories hold an [`ApiServer`]: they seed and look through it directly, which is
//! neither counted nor subject to faults, and make things go wrong through [`ApiServer::faults`].
//! [`world`] builds the objects that stories need; [`attacher`] plays the external-attacher.
//!
//! States of a call: it arrives and is noted; a fault may refuse, hold, answer or delay it; the
//! store applies it; a fault may lose the answer; the answer is noted and goes out.
//!
//! What it deliberately does not do: authentication and authorization, admission plugins, defaults
//! and validation of specs, server-side apply, strategic merge patch, dry runs, delete collection,
//! controllers of any kind (except the attacher, on request), and the conversion between the two
//! APIs for events: what is written to one is not seen in the other.

pub mod attacher;
pub mod clock;
pub mod core;
mod discovery;
pub mod failure;
pub mod faults;
mod journal;
pub mod kinds;
mod query;
mod route;
mod selector;
mod server;
mod service;
mod subscription;
mod ticks;
mod watching;
pub mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

pub use self::clock::Clock;
use self::core::{Core, DeleteOptions, Page, Part, Scope, Target};
pub use self::failure::Failure;
pub use self::faults::{Fault, Faults, On};
use self::journal::Journal;
pub use self::journal::Write;
pub use self::route::Verb;
use self::selector::Selector;
pub use self::server::Listening;
pub use self::service::{ApiService, Body, BrokenConnection};
pub use self::subscription::Subscription;
use self::ticks::Ticks;

/// What differs between one server and another.
#[derive(Clone)]
pub struct Options {
    /// Makes uids and generated names; servers of one seed are one cluster, byte for byte.
    pub seed: u64,
    /// Makes timestamps.
    pub clock: Clock,
    /// How many changes the history holds before the oldest expire.
    pub history: usize,
    /// How often a watch that welcomes bookmarks gets one; about a minute on a real server.
    pub bookmark_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            clock: clock::simulated(),
            history: 10_000,
            bookmark_every: Duration::from_secs(60),
        }
    }
}

/// One simulated API server; clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

struct Inner {
    core: Mutex<Core>,
    journal: Mutex<Journal>,
    faults: Faults,
    /// Grows whenever watches have a reason to look: a change in the store, or in the faults.
    ticks: Ticks,
    /// Grows when all open watches are to end.
    epoch: AtomicU64,
    options: Options,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("revision", &self.core().revision()).finish()
    }
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiServer {
    /// An almost empty cluster with the usual options: its four first namespaces.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// An almost empty cluster with these options.
    pub fn with(options: Options) -> Self {
        let ticks = Ticks::default();
        let core = Core::new(options.seed, options.history, (options.clock)());
        let inner = Inner {
            core: Mutex::new(core),
            journal: Mutex::default(),
            faults: Faults::new(ticks.clone()),
            ticks,
            epoch: AtomicU64::new(0),
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What can be made to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// A `tower::Service` that answers HTTP requests in memory; `kube::Client::new` takes it.
    pub fn service(&self) -> ApiService {
        ApiService::new(self.clone())
    }

    /// Serves plain HTTP/1.1 on a socket until the answer is dropped.
    ///
    /// # Errors
    ///
    /// What binding the address says.
    pub async fn listen(&self, address: std::net::SocketAddr) -> std::io::Result<Listening> {
        Listening::start(self.clone(), address).await
    }

    /// Creates an object as it is given, status and all.
    ///
    /// # Errors
    ///
    /// 400 for an unknown kind, 404 for a missing namespace, 409 for a taken name, 422 for a bad
    /// name.
    pub fn create(&self, object: Value) -> Result<Value, Failure> {
        let now = self.now();
        self.change(|core| core.seed(object, now))
    }

    /// Replaces an object, status and all. A resourceVersion that is sent must be the current one.
    ///
    /// # Errors
    ///
    /// 400 for an unknown kind, 404 for a missing object, 409 for another resourceVersion or uid.
    pub fn update(&self, object: Value) -> Result<Value, Failure> {
        let target = core::own_target(&object)?;
        self.change(|core| core.update(&target, object))
    }

    /// Changes an object in place, status and all, with nobody in between.
    ///
    /// # Errors
    ///
    /// 400 for an unknown resource, 404 for a missing object.
    pub fn modify(
        &self,
        resource: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Value, Failure> {
        let target = target(resource, name)?;
        self.change(|core| {
            let mut object = core.get(&target)?.clone();
            edit(&mut object);
            core.update(&target, object)
        })
    }

    /// Deletes an object; finalizers hold it. Pods go at once, as with force.
    ///
    /// # Errors
    ///
    /// 400 for an unknown resource, 404 for a missing object.
    pub fn delete(&self, resource: &str, name: &str) -> Result<(), Failure> {
        let target = target(resource, name)?;
        let now = self.now();
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        self.change(|core| core.delete(&target, &options, now)).map(drop)
    }

    /// One object, by its resource (`nodes`, or `events.events.k8s.io`) and its name
    /// (`namespace/name` where there are namespaces).
    pub fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let target = target(resource, name).ok()?;
        self.core().get(&target).ok().cloned()
    }

    /// All objects of a resource, by namespace and name; none for an unknown resource.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        let Some(resource) = kinds::by_name(resource) else {
            return Vec::new();
        };
        let scope = Scope { resource, namespace: None, selector: Selector::default() };
        self.core().list(&scope, &Page::default()).map(|listed| listed.items).unwrap_or_default()
    }

    /// Follows the objects of a resource: first those of now, then every change.
    ///
    /// # Errors
    ///
    /// 400 for an unknown resource.
    pub fn subscribe(&self, resource: &str) -> Result<Subscription, Failure> {
        Subscription::new(self.clone(), known(resource)?)
    }

    /// Waits until an object exists and satisfies `wanted`. The deadline is the caller's.
    ///
    /// # Errors
    ///
    /// 400 for an unknown resource.
    pub async fn wait_for(
        &self,
        resource: &str,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let seen = |object: Option<Value>| object.filter(&wanted);
        self.wait_until(resource, name, seen).await
    }

    /// Waits until an object does not exist. The deadline is the caller's.
    ///
    /// # Errors
    ///
    /// 400 for an unknown resource.
    pub async fn wait_gone(&self, resource: &str, name: &str) -> Result<(), Failure> {
        self.wait_until(resource, name, |object| object.is_none().then_some(())).await
    }

    async fn wait_until<T>(
        &self,
        resource: &str,
        name: &str,
        look: impl Fn(Option<Value>) -> Option<T>,
    ) -> Result<T, Failure> {
        let target = target(resource, name)?;
        let mut ticks = self.inner.ticks.subscribe();
        loop {
            ticks.mark_unchanged();
            let object = self.core().get(&target).ok().cloned();
            if let Some(found) = look(object) {
                return Ok(found);
            }
            // The sender lives as long as this handle.
            ticks.changed().await;
        }
    }

    /// The newest resourceVersion.
    pub fn revision(&self) -> u64 {
        self.core().revision()
    }

    /// Forgets all history: every open watch ends with 410 and no resourceVersion handed out so far
    /// can be watched from.
    pub fn expire_history(&self) {
        self.core().expire_history();
        self.tick();
    }

    /// Ends all open watches in good order; clients resume.
    pub fn close_watches(&self) {
        self.inner.epoch.fetch_add(1, Ordering::Relaxed);
        self.tick();
    }

    /// How many requests came in, by verb and resource, faults included. Documents such as
    /// `/version` count under an empty resource.
    pub fn requests(&self) -> BTreeMap<(Verb, String), u64> {
        self.journal().counts().clone()
    }

    /// How many requests of one verb came in for one resource.
    pub fn count(&self, verb: Verb, resource: &str) -> u64 {
        let name = kinds::by_name(resource).map_or_else(|| resource.to_owned(), |r| r.qualified());
        self.journal().counts().get(&(verb, name)).copied().unwrap_or_default()
    }

    /// The newest 10,000 attempts of clients to write, oldest first.
    pub fn writes(&self) -> Vec<Write> {
        self.journal().writes().cloned().collect()
    }

    /// Forgets the requests and writes noted so far.
    pub fn forget_requests(&self) {
        self.journal().forget();
    }

    fn now(&self) -> SystemTime {
        (self.inner.options.clock)()
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.inner.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.inner.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, f: impl FnOnce(&mut Core) -> Result<T, Failure>) -> Result<T, Failure> {
        let done = f(&mut self.core());
        self.tick();
        done
    }

    fn tick(&self) {
        self.inner.ticks.tick();
    }
}

fn known(resource: &str) -> Result<&'static kinds::Resource, Failure> {
    kinds::by_name(resource)
        .ok_or_else(|| Failure::bad_request(format!("no resource {resource:?} here")))
}

fn target(resource: &str, name: &str) -> Result<Target, Failure> {
    let resource = known(resource)?;
    let (namespace, name) = match resource.namespaced {
        true => name.split_once('/').unwrap_or(("default", name)),
        false => ("", name),
    };
    Ok(Target {
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        part: Part::Whole,
    })
}
