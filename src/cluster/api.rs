//! Kubernetes itself: [`KubeCluster`] implements [`Cluster`] over kube.
//!
//! It owns the three caches and the tasks that fill them, the poster of Events, and every request
//! of the controller. Anyone who holds an `Arc<dyn Cluster>` may use it; only the composition root
//! starts and stops it. Neither making nor starting it needs an API server: caches that are not
//! synced say so, requests fail by their deadline. It decides nothing about volumes, retries
//! nothing that is not its own bookkeeping, and never touches a finalizer or a status.
//!
//! Rights it needs, and no others:
//!
//! | resource | verbs | where |
//! |---|---|---|
//! | nodes | get, list, watch | cluster |
//! | persistentvolumes | get, list, watch, patch | cluster |
//! | volumeattachments.storage.k8s.io | list, watch, delete | cluster |
//! | namespaces | get | cluster, only `kube-system`; not where `cluster.id` is configured |
//! | events | create, patch | cluster: claims lie in all namespaces |
//! | secrets | get | own namespace, only the cluster Secret |
//! | secrets | create | own namespace, where nobody else makes that Secret (the chart does) |
//! | configmaps | create | own namespace |
//! | configmaps | get, patch | own namespace, only `<release>-deleting` and `<release>-agents` |
//! | leases.coordination.k8s.io | create | own namespace, where there is an election |
//! | leases.coordination.k8s.io | get, update | own namespace, only `leader.lease` |

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, join3};
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1 as core;
use serde::de::DeserializeOwned;
use slog::{Logger, o};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::{self, Cache, Kept};
use super::deleting::DeletingList;
use super::events::limit::Bounds;
use super::events::object::{Author, Pod};
use super::events::{Posted, Poster, Writer};
use super::identity::Identities;
use super::request::Requests;
use super::view::with_handle;
use super::volumes::{Volumes, slot_of};
use super::{
    Attachment, Cluster, ClusterError, Deleting, Identity, Node, NodeChange, Notice, View, Volume,
    attachments, nodes, tasks,
};
use crate::attachment::ledger::Copy;
use crate::volume::NodeName;

/// What the cluster needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The driver's name: PVs and VolumeAttachments of others do not exist for us.
    pub driver: String,
    /// Name of the installation: the list of deletions is `<release>-deleting`.
    pub release: String,
    /// The namespace we run in.
    pub namespace: String,
    /// The cluster id, where it is not the UID of `kube-system`.
    pub cluster_id: Option<String>,
    /// Name of the cluster Secret in our namespace.
    pub secret: String,
    /// How long one request may take.
    pub deadline: Duration,
    /// Our own pod, for Events about the driver itself.
    pub pod: Option<Pod>,
    /// The bounds of Events; may change.
    pub events: watch::Receiver<Bounds>,
}

/// Kubernetes.
pub struct KubeCluster {
    requests: Requests,
    driver: String,
    nodes: Arc<Cache<Node>>,
    volumes: Arc<Cache<Arc<Volume>>>,
    attachments: Arc<Cache<Arc<Attachment>>>,
    persistent_volumes: Volumes,
    identities: Identities,
    deleting: DeletingList,
    poster: Arc<Poster>,
    held: Mutex<Option<&'static str>>,
    log: Logger,
}

impl KubeCluster {
    /// Asks nothing and starts nothing. `posted` is told of every Event that is written.
    pub fn new(
        client: kube::Client,
        settings: Settings,
        posted: Posted,
        log: &Logger,
    ) -> Arc<Self> {
        let log = log.new(o!("part" => "cluster"));
        let requests = Requests::new(client, settings.deadline);
        let nodes = Arc::new(Cache::new("nodes"));
        let volumes = Arc::new(Cache::new("persistentvolumes"));
        let persistent_volumes =
            Volumes::new(requests.clone(), settings.driver.clone(), log.clone());
        let namespace = &settings.namespace;
        let identities = Identities::new(
            requests.clone(),
            settings.cluster_id,
            namespace.clone(),
            settings.secret,
            log.clone(),
        );
        let deleting =
            DeletingList::new(requests.clone(), namespace.clone(), &settings.release, log.clone());
        let writer = Writer {
            requests: requests.clone(),
            author: Author {
                driver: settings.driver.clone(),
                namespace: settings.namespace,
                pod: settings.pod,
            },
            nodes: Arc::clone(&nodes),
            volumes: Arc::clone(&volumes),
            posted,
            log: log.clone(),
        };
        Arc::new(Self {
            requests,
            driver: settings.driver,
            nodes,
            volumes,
            attachments: Arc::new(Cache::new("volumeattachments")),
            persistent_volumes,
            identities,
            deleting,
            poster: Arc::new(Poster::new(settings.events, writer)),
            held: Mutex::new(None),
            log,
        })
    }

    /// Starts the watches and the poster. They run until `stop` is cancelled; the tracker's `wait`
    /// returns when they have ended. To be called once.
    pub fn start(&self, stop: &CancellationToken) -> TaskTracker {
        let tracker = TaskTracker::new();
        for (name, make) in self.tasks() {
            let (log, stop) = (self.log.clone(), stop.clone());
            tracker.spawn(tasks::keep_running(name, log, stop, make));
        }
        tracker.close();
        tracker
    }

    fn tasks(&self) -> [(&'static str, Task); 4] {
        let fill_nodes = self.filling(&self.nodes, nodes::convert);
        let volumes = self.persistent_volumes.clone();
        let fill_volumes = self.filling(&self.volumes, move |pv| volumes.convert(pv));
        let driver = self.driver.clone();
        let fill_attachments = self.filling(&self.attachments, move |attachment| {
            attachments::convert(attachment, &driver)
        });
        let poster = Arc::clone(&self.poster);
        let post_events: Task = Box::new(move || Arc::clone(&poster).run().boxed());
        [
            ("watch of nodes", fill_nodes),
            ("watch of persistentvolumes", fill_volumes),
            ("watch of volumeattachments", fill_attachments),
            ("poster of events", post_events),
        ]
    }

    fn filling<K, V>(
        &self,
        cache: &Arc<Cache<V>>,
        convert: impl Fn(K) -> Option<V> + Clone + Send + Sync + 'static,
    ) -> Task
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        V: Kept,
    {
        let (requests, log) = (self.requests.clone(), self.log.clone());
        let cache = Arc::clone(cache);
        Box::new(move || {
            let (requests, cache) = (requests.clone(), Arc::clone(&cache));
            cache::fill(requests, cache, convert.clone(), log.clone()).boxed()
        })
    }

    /// Counts as unsynced, because of `what`, until [`KubeCluster::release`]: the caller has yet to
    /// look at what the caches show, and nobody may act on it before.
    pub fn hold(&self, what: &'static str) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// The caches are all that must be synced.
    pub fn release(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns once every cache has synced.
    pub async fn synced(&self) {
        join3(self.nodes.synced(), self.volumes.synced(), self.attachments.synced()).await;
    }

    /// The changes of nodes: first all there are, as soon as that is known. May be called as often
    /// as wanted; whoever reads too slowly gets all nodes instead of what was missed.
    pub fn node_changes(&self) -> BoxStream<'static, NodeChange> {
        nodes::changes(Arc::clone(&self.nodes))
    }

    /// The PV with this handle in the cache.
    fn cached_volume(&self, handle: &str) -> Option<Arc<Volume>> {
        with_handle(&self.volumes.all(), handle).cloned()
    }
}

type Task = Box<dyn Fn() -> BoxFuture<'static, ()> + Send>;

#[async_trait]
impl Cluster for KubeCluster {
    /// A connection that is only silent is noticed after [`cache::WATCH_SECONDS`] and 5 s.
    fn failing(&self) -> Vec<(&'static str, Duration)> {
        let states = [
            (self.nodes.name(), self.nodes.failing()),
            (self.volumes.name(), self.volumes.failing()),
            (self.attachments.name(), self.attachments.failing()),
        ];
        let failing = states.into_iter();
        failing.filter_map(|(name, failing)| Some((name, failing?))).collect()
    }

    fn unsynced(&self) -> Vec<&'static str> {
        let states = [
            (self.nodes.name(), self.nodes.is_synced()),
            (self.volumes.name(), self.volumes.is_synced()),
            (self.attachments.name(), self.attachments.is_synced()),
        ];
        let unsynced = states.into_iter().filter(|(_, synced)| !synced);
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.map(|(name, _)| name).chain(held).collect()
    }

    fn view(&self) -> View {
        View {
            nodes: self.nodes.all(),
            volumes: self.volumes.all(),
            attachments: self.attachments.all(),
        }
    }

    async fn identity(&self) -> Result<Identity, ClusterError> {
        self.identities.get().await
    }

    async fn volume(&self, handle: &str) -> Result<Option<Arc<Volume>>, ClusterError> {
        if let Some(known) = self.cached_volume(handle) {
            return Ok(Some(known));
        }
        let name = slot_of(handle);
        // A handle that can be no name would make another URL of the request.
        if crate::volume::NodeName::parse(name).is_ok() {
            let named = self.persistent_volumes.read(name).await?;
            if let Some(found) = named.filter(|volume| volume.handle == handle) {
                return Ok(Some(found));
            }
        }
        if self.volumes.is_synced() {
            return Ok(None);
        }
        self.persistent_volumes.search(handle).await
    }

    async fn read_volume(&self, name: &str) -> Result<Option<Arc<Volume>>, ClusterError> {
        let read = self.persistent_volumes.read(name).await?;
        if let Some(volume) = &read {
            self.volumes.refresh(Arc::clone(volume));
        }
        Ok(read)
    }

    async fn node(&self, name: &NodeName) -> Result<Option<Node>, ClusterError> {
        if let Some(known) = self.nodes.get(name) {
            return Ok(Some(known));
        }
        let what = format!("Node {name}");
        let api = self.requests.all::<core::Node>();
        let found = self.requests.run(&what, api.get_opt(name.as_str())).await?;
        Ok(found.and_then(nodes::convert))
    }

    async fn write_copy(&self, volume: &Volume, copy: &Copy) -> Result<Arc<Volume>, ClusterError> {
        let written = self.persistent_volumes.write_copy(volume, copy).await?;
        self.volumes.refresh(Arc::clone(&written));
        Ok(written)
    }

    async fn has_attachment(&self, volume: &str, node: &NodeName) -> Result<bool, ClusterError> {
        attachments::exists(&self.requests, &self.driver, volume, node).await
    }

    async fn delete_attachment(&self, attachment: &Attachment) -> Result<(), ClusterError> {
        attachments::delete(&self.requests, attachment).await
    }

    async fn deleting(&self) -> Result<Vec<Deleting>, ClusterError> {
        self.deleting.entries().await
    }

    async fn begin_deleting(&self, entry: &Deleting) -> Result<(), ClusterError> {
        self.deleting.add(entry).await
    }

    async fn end_deleting(&self, entry: &Deleting) -> Result<(), ClusterError> {
        self.deleting.remove(entry).await
    }

    fn post(&self, notice: Notice) {
        self.poster.post(notice);
    }
}

#[cfg(test)]
mod test;
