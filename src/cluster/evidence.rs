//! What a node asks Kubernetes of a volume that it has attached: its PV with the copy of the record,
//! and its VolumeAttachment. Never a list, never a watch: a node asks for what it has.
//!
//! | resource | verbs |
//! |---|---|
//! | volumeattachments.storage.k8s.io | get |
//! | persistentvolumes | get |
//! | events | create, patch |

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::storage::v1 as storage;
use sha2::{Digest as _, Sha256};
use slog::{Logger, o};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::Cache;
use super::events::limit::Bounds;
use super::events::object::{Author, Pod};
use super::events::{Poster, Writer};
use super::request::Requests;
use super::volumes::Volumes;
use super::{About, ClusterError, CopyState, Notice, Volume, tasks};
use crate::attachment::leftover::is_of_one_claim;
use crate::attachment::sweep::{Attested, Bound, Claimed};
use crate::volume::{Handle, NodeName, Slot, hex};

/// Evidence of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is said of it.
    pub attested: Attested,
    /// What events about it are posted on.
    pub about: About,
}

/// Kubernetes, as a node asks it.
#[async_trait]
pub trait Evidence: Send + Sync {
    /// What is said of this volume. `is_exact`: the handle is known to be that of its PV, and not
    /// guessed from an NQN, which does not name the backend.
    ///
    /// # Errors
    /// When the API server does not say.
    async fn of(&self, volume: &Handle, is_exact: bool) -> Result<Found, ClusterError>;

    /// Posts an event, some time soon or never. Does not wait.
    fn post(&self, notice: Notice);
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The driver's name.
    pub driver: String,
    /// The node.
    pub node: NodeName,
    /// The namespace we run in.
    pub namespace: String,
    /// Our own pod, for Events.
    pub pod: Option<Pod>,
    /// How long one request may take.
    pub deadline: Duration,
    /// The bounds of Events.
    pub events: watch::Receiver<Bounds>,
}

/// Kubernetes itself.
pub struct KubeEvidence {
    requests: Requests,
    driver: String,
    node: NodeName,
    volumes: Volumes,
    poster: Arc<Poster>,
    log: Logger,
}

impl KubeEvidence {
    /// Asks nothing and starts nothing.
    pub fn new(client: kube::Client, settings: Settings, log: &Logger) -> Arc<Self> {
        let log = log.new(o!("part" => "cluster"));
        let requests = Requests::new(client, settings.deadline);
        let writer = Writer {
            requests: requests.clone(),
            author: Author {
                driver: settings.driver.clone(),
                namespace: settings.namespace,
                pod: settings.pod,
            },
            // Nothing is watched here: what an Event is about says all that is known of it.
            nodes: Arc::new(Cache::new("nodes")),
            volumes: Arc::new(Cache::new("persistentvolumes")),
            posted: Arc::new(|_| {}),
            log: log.clone(),
        };
        Arc::new(Self {
            volumes: Volumes::new(requests.clone(), settings.driver.clone(), log.clone()),
            requests,
            driver: settings.driver,
            node: settings.node,
            poster: Arc::new(Poster::new(settings.events, writer)),
            log,
        })
    }

    /// Starts posting Events, until `stop` is cancelled.
    pub fn start(&self, stop: &CancellationToken) -> TaskTracker {
        let tracker = TaskTracker::new();
        let (log, stop, poster) = (self.log.clone(), stop.clone(), Arc::clone(&self.poster));
        tracker.spawn(tasks::keep_running(
            "poster of events",
            log,
            stop,
            Box::new(move || Arc::clone(&poster).run().boxed()),
        ));
        tracker.close();
        tracker
    }

    async fn attachment(
        &self,
        handle: &str,
    ) -> Result<Option<storage::VolumeAttachment>, ClusterError> {
        let name = attachment_name(handle, &self.driver, &self.node);
        let what = format!("VolumeAttachment {name}");
        let api = self.requests.all::<storage::VolumeAttachment>();
        let found = self.requests.run(&what, api.get_opt(&name)).await?;
        let is_ours = |found: &storage::VolumeAttachment| {
            found.spec.attacher == self.driver && found.spec.node_name == self.node.as_str()
        };
        Ok(found.filter(is_ours))
    }

    /// The PV of this name, or `None` where there is no such object at all; one of another driver
    /// is `Some(None)`.
    async fn pv(&self, name: &str) -> Result<Option<Option<Arc<Volume>>>, ClusterError> {
        // A name that can be none would make another URL of the request.
        if NodeName::parse(name).is_err() {
            return Ok(Some(None));
        }
        let what = format!("PersistentVolume {name}");
        let api = self.requests.all::<core::PersistentVolume>();
        let found = self.requests.run(&what, api.get_opt(name)).await?;
        Ok(found.map(|object| self.volumes.convert(object)))
    }

    async fn found(&self, handle: &str, volume: &Handle) -> Result<Answer, ClusterError> {
        let attachment = self.attachment(handle).await?;
        let named =
            attachment.as_ref().and_then(|it| it.spec.source.persistent_volume_name.clone());
        let name = named.unwrap_or_else(|| volume.slot.to_string());
        let pv = self.pv(&name).await?;
        Ok(Answer { attachment, pv })
    }
}

/// What came back.
struct Answer {
    attachment: Option<storage::VolumeAttachment>,
    pv: Option<Option<Arc<Volume>>>,
}

#[async_trait]
impl Evidence for KubeEvidence {
    async fn of(&self, volume: &Handle, is_exact: bool) -> Result<Found, ClusterError> {
        let handle = text(volume);
        let mut answer = self.found(&handle, volume).await?;
        let other = |answer: &Answer| {
            let pv = answer.pv.as_ref()?.as_ref()?;
            let names_slot = pv.names.as_ref().is_some_and(|names| names.slot == volume.slot);
            (names_slot && pv.handle != handle).then(|| pv.handle.clone())
        };
        let mut is_it = handle.clone();
        if !is_exact && let Some(other) = other(&answer) {
            answer = self.found(&other, volume).await?;
            is_it = other;
        }
        let about = about(&answer, &self.node);
        Ok(Found { attested: attested(answer, &is_it, &volume.slot), about })
    }

    fn post(&self, notice: Notice) {
        self.poster.post(notice);
    }
}

fn attested(answer: Answer, handle: &str, slot: &Slot) -> Attested {
    let volume = match answer.pv {
        // Without a VolumeAttachment the PV's name is a guess, which is right only where a
        // provisioner chose both.
        None if answer.attachment.is_none() && !is_of_one_claim(slot.as_str()) => Claimed::Untold,
        None => Claimed::Gone,
        Some(Some(pv)) if pv.handle == handle => match (&pv.copy, &pv.copied) {
            (CopyState::Present(copy), Some(record)) => {
                Claimed::Told(record.as_ref().clone(), copy.nodes.clone())
            }
            _ => Claimed::Untold,
        },
        // That is not the volume's PV, so nothing is known of that.
        Some(_) => Claimed::Untold,
    };
    let attachment = answer.attachment.map(|found| {
        let status = found.status.unwrap_or_default();
        let metadata = status.attachment_metadata.unwrap_or_default();
        Bound {
            nqn: metadata.get("nqn").cloned(),
            holds: status.attached && found.metadata.deletion_timestamp.is_none(),
        }
    });
    Attested { volume, attachment }
}

fn about(answer: &Answer, node: &NodeName) -> About {
    match answer.pv.as_ref().and_then(Option::as_ref) {
        Some(pv) => match &pv.claim {
            Some(claim) => About::Claim(claim.clone()),
            None => About::Volume(pv.name.clone()),
        },
        None => About::Node(node.clone()),
    }
}

/// The handle of a PV.
fn text(volume: &Handle) -> String {
    match &volume.backend {
        None => volume.slot.to_string(),
        Some(backend) => format!("{backend}/{}", volume.slot),
    }
}

/// The name that the attach/detach controller gives a VolumeAttachment
/// (`pkg/volume/csi/csi_attacher.go`, `getAttachmentName`).
fn attachment_name(handle: &str, driver: &str, node: &NodeName) -> String {
    let digest = Sha256::digest(format!("{handle}{driver}{node}").as_bytes());
    format!("csi-{}", hex(&digest))
}

#[cfg(test)]
mod test;
