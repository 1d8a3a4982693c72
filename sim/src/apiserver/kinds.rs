//! The resources this server knows, as one table, with the rules that differ between them.
//!
//! The rules are those of Kubernetes' own registry (`pkg/registry/*/strategy.go`): whether a client
//! may set `status` on create, whether a PUT may come without a resourceVersion, whether a delete
//! answers with the object, which fields never change and which ones a field selector may name.

use std::cmp::Ordering;

/// One resource of the API: what its path names, and how it behaves.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version inside the group.
    pub version: &'static str,
    /// The plural that paths use, for example `nodes`.
    pub plural: &'static str,
    /// The kind that objects carry, for example `Node`.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether `/status` exists; if so, a PUT to the object does not change `status`.
    pub has_status: bool,
    /// JSON that replaces a client's `status` on create; `None` keeps what the client sent.
    pub initial_status: Option<&'static str>,
    /// Whether a PUT may leave out `metadata.resourceVersion`.
    pub unconditional_update: bool,
    /// Whether a completed delete answers with the object instead of a `Status`.
    pub returns_deleted: bool,
    /// JSON pointers of what never changes after create.
    pub immutable: &'static [&'static str],
    /// Paths, besides `metadata.name` and `metadata.namespace`, that a field selector may name.
    pub fields: &'static [&'static str],
}

impl Resource {
    const fn new(group: &'static str, plural: &'static str, kind: &'static str) -> Self {
        Self {
            group,
            version: "v1",
            plural,
            kind,
            namespaced: false,
            has_status: false,
            initial_status: None,
            unconditional_update: true,
            returns_deleted: false,
            immutable: &[],
            fields: &[],
        }
    }

    const fn namespaced(mut self) -> Self {
        self.namespaced = true;
        self
    }

    const fn status(mut self, initial: Option<&'static str>) -> Self {
        self.has_status = true;
        self.initial_status = initial;
        self
    }

    const fn needs_version_on_update(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    const fn returns_deleted(mut self) -> Self {
        self.returns_deleted = true;
        self
    }

    const fn immutable(mut self, pointers: &'static [&'static str]) -> Self {
        self.immutable = pointers;
        self
    }

    const fn fields(mut self, paths: &'static [&'static str]) -> Self {
        self.fields = paths;
        self
    }

    /// `v1`, or `storage.k8s.io/v1`: what objects carry as `apiVersion`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `nodes`, or `volumeattachments.storage.k8s.io`: how messages name the resource.
    pub fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Resource {}

impl PartialOrd for Resource {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Resource {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.group, self.plural).cmp(&(other.group, other.plural))
    }
}

const STORAGE: &str = "storage.k8s.io";
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "reason",
    "type",
];

/// Every resource, in no particular order.
pub static RESOURCES: &[Resource] = &[
    Resource::new("", "namespaces", "Namespace").status(Some(r#"{"phase":"Active"}"#)),
    Resource::new("", "nodes", "Node").status(None).fields(&["spec.unschedulable"]),
    Resource::new("", "persistentvolumes", "PersistentVolume")
        .status(Some(r#"{"phase":"Pending"}"#))
        .returns_deleted()
        .immutable(&["/spec/csi", "/spec/volumeMode"]),
    Resource::new("", "persistentvolumeclaims", "PersistentVolumeClaim")
        .namespaced()
        .status(Some(r#"{"phase":"Pending"}"#))
        .returns_deleted()
        .immutable(&["/spec/accessModes", "/spec/storageClassName", "/spec/volumeMode"]),
    Resource::new("", "pods", "Pod")
        .namespaced()
        .status(Some(r#"{"phase":"Pending"}"#))
        .returns_deleted()
        .immutable(&["/spec/volumes"])
        .fields(&["spec.nodeName", "status.phase"]),
    Resource::new("", "configmaps", "ConfigMap").namespaced(),
    Resource::new("", "secrets", "Secret").namespaced().immutable(&["/type"]).fields(&["type"]),
    Resource::new("", "events", "Event").namespaced().fields(EVENT_FIELDS),
    Resource::new("events.k8s.io", "events", "Event").namespaced().fields(&[
        "regarding.kind",
        "regarding.name",
        "regarding.namespace",
        "reason",
        "type",
    ]),
    Resource::new(STORAGE, "volumeattachments", "VolumeAttachment")
        .status(Some(r#"{"attached":false}"#))
        .needs_version_on_update()
        .returns_deleted()
        .immutable(&["/spec"]),
    Resource::new(STORAGE, "storageclasses", "StorageClass").returns_deleted().immutable(&[
        "/parameters",
        "/provisioner",
        "/reclaimPolicy",
        "/volumeBindingMode",
    ]),
    Resource::new(STORAGE, "csinodes", "CSINode").needs_version_on_update().returns_deleted(),
    Resource::new("coordination.k8s.io", "leases", "Lease").namespaced().needs_version_on_update(),
];

/// The resource under a group and version, by its plural.
pub fn by_path(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The resource whose objects carry this `apiVersion` and `kind`.
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.kind == kind && r.api_version() == api_version)
}

/// The resource by the name that tests and rules use: `nodes`, or, where the plural alone is not
/// enough, `events.events.k8s.io`. A bare plural means the first group that has it.
pub fn by_name(name: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|r| r.qualified() == name)
        .or_else(|| RESOURCES.iter().find(|r| r.plural == name))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_bare_plural_means_the_core_group_and_a_qualified_one_its_own() {
        assert_eq!(by_name("events").map(|r| r.group), Some(""));
        assert_eq!(by_name("events.events.k8s.io").map(|r| r.group), Some("events.k8s.io"));
        assert_eq!(by_name("leases").map(|r| r.group), Some("coordination.k8s.io"));
        assert!(by_name("deployments").is_none());
    }

    #[test]
    fn every_initial_status_is_json() {
        for json in RESOURCES.iter().filter_map(|r| r.initial_status) {
            assert!(serde_json::from_str::<serde_json::Value>(json).unwrap().is_object());
        }
    }
}
