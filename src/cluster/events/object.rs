//! The Event object itself: on which object, in which namespace, with which words.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::cluster::cache::Cache;
use crate::cluster::{About, Claim, Node, Reason, Volume};

/// Longest note, in bytes (Kubernetes API reference: 1 kB in events.k8s.io/v1).
const NOTE_LENGTH_MAX: usize = 1024;
/// Longest part of an Event's name that comes from its object; the whole may have 253 bytes.
const STEM_LENGTH_MAX: usize = 200;
/// Events on objects without a namespace must lie here.
const DEFAULT_NAMESPACE: &str = "default";

/// Who posts.
#[derive(Debug, Clone)]
pub struct Author {
    /// The driver's name.
    pub driver: String,
    /// Our namespace.
    pub namespace: String,
    /// Our pod.
    pub pod: Option<Pod>,
}

/// Our own pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid, by which `kubectl describe` finds its Events.
    pub uid: Option<String>,
}

/// What an Event is to say.
pub struct Draft<'a> {
    /// On which object.
    pub regarding: core::ObjectReference,
    /// Why.
    pub reason: Reason,
    /// What happened.
    pub note: &'a str,
    /// How often.
    pub count: u32,
}

/// Where an Event lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Place {
    /// Where this one lies.
    pub fn of(event: &core::Event) -> Self {
        Self {
            namespace: event.metadata.namespace.clone().unwrap_or_default(),
            name: event.metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl Author {
    /// The object that a notice is about: a volume's claim where it has one, else the PV.
    pub fn reference(
        &self,
        about: &About,
        nodes: &Cache<Node>,
        volumes: &Cache<Arc<Volume>>,
    ) -> core::ObjectReference {
        match about {
            About::Volume(name) => match volumes.get(name) {
                Some(volume) => volume_reference(&volume),
                None => reference("PersistentVolume", name, None, None),
            },
            About::Claim(claim) => claim_reference(claim),
            About::Node(name) => {
                let uid = nodes.get(name).map(|node| node.uid);
                reference("Node", name.as_str(), None, uid)
            }
            About::Driver => match &self.pod {
                Some(pod) => {
                    let namespace = Some(self.namespace.clone());
                    reference("Pod", &pod.name, namespace, pod.uid.clone())
                }
                None => reference("Namespace", &self.namespace, None, None),
            },
        }
    }

    /// The Event of `draft`, first seen `now`.
    pub fn event(&self, draft: &Draft<'_>, now: Timestamp) -> core::Event {
        let object = draft.regarding.name.as_deref().unwrap_or_default();
        let namespace = draft.regarding.namespace.as_deref();
        let mut event = core::Event::default();
        event.metadata.name = Some(name(object, draft.reason, now));
        event.metadata.namespace = Some(namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned());
        event.involved_object = draft.regarding.clone();
        event.reason = Some(draft.reason.as_str().to_owned());
        event.message = Some(message(draft.note));
        let kind = if draft.reason.is_warning() { "Warning" } else { "Normal" };
        event.type_ = Some(kind.to_owned());
        event.count = Some(i32::try_from(draft.count).unwrap_or(i32::MAX));
        event.first_timestamp = Some(Time(now));
        event.last_timestamp = Some(Time(now));
        event.source = Some(core::EventSource { component: Some(self.driver.clone()), host: None });
        event.reporting_component = Some(self.driver.clone());
        event.reporting_instance = self.pod.as_ref().map(|pod| pod.name.clone());
        event
    }
}

fn claim_reference(claim: &Claim) -> core::ObjectReference {
    reference(
        "PersistentVolumeClaim",
        &claim.name,
        Some(claim.namespace.clone()),
        Some(claim.uid.clone()),
    )
}

fn volume_reference(volume: &Volume) -> core::ObjectReference {
    match &volume.claim {
        Some(claim) => claim_reference(claim),
        None => {
            let uid = Some(volume.version.uid.clone());
            reference("PersistentVolume", &volume.name, None, uid)
        }
    }
}

fn reference(
    kind: &str,
    name: &str,
    namespace: Option<String>,
    uid: Option<String>,
) -> core::ObjectReference {
    core::ObjectReference {
        api_version: Some("v1".into()),
        kind: Some(kind.into()),
        name: Some(name.into()),
        namespace,
        uid: uid.filter(|uid| !uid.is_empty()),
        ..Default::default()
    }
}

/// A name that no other Event has: object, reason and time, each of which may be the same alone.
fn name(object: &str, reason: Reason, now: Timestamp) -> String {
    let mut stem: String = object.chars().take(STEM_LENGTH_MAX).collect();
    while stem.ends_with(['-', '.']) {
        stem.pop();
    }
    let reason = reason.as_str().to_ascii_lowercase();
    format!("{stem}.{reason}.{:x}", now.as_nanosecond())
}

/// The note, at most 1,024 bytes of it.
pub fn message(note: &str) -> String {
    if note.len() <= NOTE_LENGTH_MAX {
        return note.to_owned();
    }
    let end = note
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= NOTE_LENGTH_MAX - "…".len())
        .last()
        .unwrap_or(0);
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::attachment::usage::Usage;
    use crate::cluster::cache::Kept as _;
    use crate::cluster::{Claim, CopyState, Version};

    fn author(pod: Option<Pod>) -> Author {
        Author { driver: "d".into(), namespace: "storage".into(), pod }
    }

    fn volume(claim: Option<Claim>) -> Volume {
        Volume {
            name: "pv1".into(),
            version: Version { uid: "pv-uid".into(), resource_version: "1".into() },
            handle: "pv1".into(),
            attributes: Default::default(),
            bytes: 1,
            going: false,
            claim,
            copy: CopyState::Absent,
            copied: None,
            names: None,
            nvme_port: None,
            usage: Usage { reads_only: false, is_raw: false },
        }
    }

    fn draft(regarding: core::ObjectReference) -> core::Event {
        let draft = Draft { regarding, reason: Reason::RDSDisconnected, note: "gone", count: 1 };
        author(None).event(&draft, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_volume_with_a_claim_is_told_of_on_its_claim_in_the_claims_namespace() {
        let claim = Claim { namespace: "team".into(), name: "data".into(), uid: "pvc-uid".into() };
        let event = draft(volume_reference(&volume(Some(claim))));
        assert_eq!(event.metadata.namespace.as_deref(), Some("team"));
        let about = event.involved_object;
        assert_eq!(about.kind.as_deref(), Some("PersistentVolumeClaim"));
        assert_eq!(about.uid.as_deref(), Some("pvc-uid"));
    }

    #[test]
    fn a_volume_without_a_claim_is_told_of_on_its_pv_in_the_default_namespace() {
        let event = draft(volume_reference(&volume(None)));
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        let about = event.involved_object;
        assert_eq!(about.kind.as_deref(), Some("PersistentVolume"));
        assert_eq!(about.namespace, None);
    }

    #[test]
    fn the_driver_is_its_pod_or_where_that_is_not_known_its_namespace() {
        let nodes = Cache::new("nodes");
        let volumes = Cache::new("persistentvolumes");
        let pod = Pod { name: "controller-0".into(), uid: Some("u".into()) };
        let on_pod = author(Some(pod)).reference(&About::Driver, &nodes, &volumes);
        assert_eq!(on_pod.kind.as_deref(), Some("Pod"));
        assert_eq!(on_pod.namespace.as_deref(), Some("storage"));
        let on_namespace = author(None).reference(&About::Driver, &nodes, &volumes);
        assert_eq!(on_namespace.kind.as_deref(), Some("Namespace"));
        assert_eq!(on_namespace.namespace, None);
    }

    #[test]
    fn a_node_that_is_gone_is_told_of_without_a_uid() {
        let nodes = Cache::new("nodes");
        let volumes = Cache::new("persistentvolumes");
        let name = Node::key_of("worker-1").unwrap();
        let about = author(None).reference(&About::Node(name), &nodes, &volumes);
        assert_eq!(about.kind.as_deref(), Some("Node"));
        assert_eq!(about.uid, None);
    }

    #[test]
    fn a_long_name_and_a_long_note_are_cut_to_what_the_api_takes() {
        let event = draft(reference("Node", &"a.".repeat(126), None, None));
        let name = event.metadata.name.unwrap();
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
        let cut = message(&"ä".repeat(2000));
        assert!(cut.len() <= NOTE_LENGTH_MAX && cut.ends_with('…'));
        assert_eq!(message("short"), "short");
    }
}
