//! The objects that stories begin with, in few words. Each builder ends in `build`, which gives
//! what [`ApiServer::create`](super::ApiServer::create) takes.

use serde_json::{Value, json};

/// A Ready node without taints.
pub fn node(name: &str) -> Node {
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"conditions": [], "volumesAttached": [], "volumesInUse": []},
    });
    Node { object }.ready("True")
}

/// Builds a node.
#[derive(Debug, Clone)]
pub struct Node {
    object: Value,
}

impl Node {
    /// What its Ready condition says: `True`, `False` or `Unknown`.
    #[must_use]
    pub fn ready(mut self, status: &str) -> Self {
        set_ready(&mut self.object, status);
        self
    }

    /// One more taint.
    #[must_use]
    pub fn taint(mut self, key: &str, effect: &str) -> Self {
        set_taint(&mut self.object, key, effect);
        self
    }

    /// One more annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.object["metadata"]["annotations"][key] = value.into();
        self
    }

    /// Its address inside the cluster.
    #[must_use]
    pub fn internal_ip(mut self, address: &str) -> Self {
        self.object["status"]["addresses"] = json!([{"type": "InternalIP", "address": address}]);
        self
    }

    /// The object.
    pub fn build(self) -> Value {
        self.object
    }
}

/// Sets the Ready condition of a node: `True`, `False` or `Unknown`.
pub fn set_ready(node: &mut Value, status: &str) {
    let reason = match status {
        "True" => "KubeletReady",
        "Unknown" => "NodeStatusUnknown",
        _ => "KubeletNotReady",
    };
    node["status"]["conditions"] = json!([{"type": "Ready", "status": status, "reason": reason}]);
}

/// Adds a taint to a node, unless it has one of this key and effect.
pub fn set_taint(node: &mut Value, key: &str, effect: &str) {
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if !taints.iter().any(|taint| taint["key"] == key && taint["effect"] == effect) {
        taints.push(json!({"key": key, "effect": effect}));
    }
    node["spec"]["taints"] = taints.into();
}

/// Takes every taint of a key off a node.
pub fn remove_taint(node: &mut Value, key: &str) {
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    node["spec"]["taints"] = taints.into_iter().filter(|taint| taint["key"] != key).collect();
}

/// A PersistentVolume of a CSI driver: 1 GiB, ReadWriteOnce, a file system, policy Delete, not
/// claimed. Its handle is its name until another is given.
pub fn volume(name: &str, driver: &str) -> Volume {
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": name, "annotations": {"pv.kubernetes.io/provisioned-by": driver},
            "finalizers": ["kubernetes.io/pv-protection"],
        },
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Delete", "volumeMode": "Filesystem",
            "csi": {"driver": driver, "volumeHandle": name, "volumeAttributes": {}},
        },
        "status": {"phase": "Available"},
    });
    Volume { object }
}

/// Builds a PersistentVolume.
#[derive(Debug, Clone)]
pub struct Volume {
    object: Value,
}

impl Volume {
    /// The CSI volume id.
    #[must_use]
    pub fn handle(mut self, handle: &str) -> Self {
        self.object["spec"]["csi"]["volumeHandle"] = handle.into();
        self
    }

    /// One more volume attribute (what CreateVolume gave as volume context).
    #[must_use]
    pub fn attribute(mut self, key: &str, value: &str) -> Self {
        self.object["spec"]["csi"]["volumeAttributes"][key] = value.into();
        self
    }

    /// One more annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.object["metadata"]["annotations"][key] = value.into();
        self
    }

    /// Its size, as Kubernetes writes quantities.
    #[must_use]
    pub fn size(mut self, quantity: &str) -> Self {
        self.object["spec"]["capacity"]["storage"] = quantity.into();
        self
    }

    /// `Delete` or `Retain`.
    #[must_use]
    pub fn reclaim(mut self, policy: &str) -> Self {
        self.object["spec"]["persistentVolumeReclaimPolicy"] = policy.into();
        self
    }

    /// Its access modes, for example `ReadWriteMany`.
    #[must_use]
    pub fn access(mut self, modes: &[&str]) -> Self {
        self.object["spec"]["accessModes"] = json!(modes);
        self
    }

    /// A block volume instead of a file system.
    #[must_use]
    pub fn block(mut self) -> Self {
        self.object["spec"]["volumeMode"] = "Block".into();
        self
    }

    /// Its storage class.
    #[must_use]
    pub fn class(mut self, name: &str) -> Self {
        self.object["spec"]["storageClassName"] = name.into();
        self
    }

    /// Bound to a claim. The claim's uid is what the API server gave it; without one, any claim of
    /// that name is meant.
    #[must_use]
    pub fn bound_to(mut self, namespace: &str, claim: &str, uid: Option<&str>) -> Self {
        let mut reference = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace,
            "name": claim,
        });
        if let Some(uid) = uid {
            reference["uid"] = uid.into();
        }
        self.object["spec"]["claimRef"] = reference;
        self.phase("Bound")
    }

    /// `Available`, `Bound`, `Released` or `Failed`.
    #[must_use]
    pub fn phase(mut self, phase: &str) -> Self {
        self.object["status"]["phase"] = phase.into();
        self
    }

    /// The object.
    pub fn build(self) -> Value {
        self.object
    }
}

/// A claim that is bound to a volume.
pub fn claim(namespace: &str, name: &str, class: &str, volume: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "namespace": namespace, "name": name, "finalizers": ["kubernetes.io/pvc-protection"],
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class, "volumeMode": "Filesystem",
            "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}},
        },
        "status": {"phase": "Bound"},
    })
}

/// A storage class with parameters.
pub fn storage_class(name: &str, driver: &str, parameters: &[(&str, &str)]) -> Value {
    let parameters: serde_json::Map<String, Value> =
        parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": driver, "parameters": parameters, "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate", "allowVolumeExpansion": true,
    })
}

/// What a kubelet registers for a driver on its node.
pub fn csi_node(node: &str, driver: &str, node_id: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": node},
        "spec": {"drivers": [{"name": driver, "nodeID": node_id, "topologyKeys": []}]},
    })
}

/// The lease that a kubelet renews for its node.
pub fn node_lease(node: &str, renewed: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "kube-node-lease", "name": node},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": renewed},
    })
}

/// A pod that runs on a node and uses claims of its namespace.
pub fn pod(namespace: &str, name: &str, node: &str, claims: &[&str]) -> Value {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "nodeName": node, "volumes": volumes,
            "containers": [{"name": "main", "image": "busybox"}],
        },
        "status": {"phase": "Running"},
    })
}

/// What the attach/detach controller makes when a volume is wanted on a node: not attached, and
/// without the finalizer, which the external-attacher adds.
pub fn attachment(name: &str, driver: &str, node: &str, volume: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {"name": name},
        "spec": {
            "attacher": driver, "nodeName": node, "source": {"persistentVolumeName": volume},
        },
        "status": {"attached": false},
    })
}

/// The same once the external-attacher is done: finalizer, attached, and the publish context.
pub fn attached(
    name: &str,
    driver: &str,
    node: &str,
    volume: &str,
    context: &[(&str, &str)],
) -> Value {
    let metadata: serde_json::Map<String, Value> =
        context.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let mut object = attachment(name, driver, node, volume);
    object["metadata"]["finalizers"] = json!([attacher_finalizer(driver)]);
    object["metadata"]["annotations"] = json!({"csi.alpha.kubernetes.io/node-id": node});
    object["status"] = json!({"attached": true, "attachmentMetadata": metadata});
    object
}

/// The finalizer of the external-attacher: what is neither letter, digit nor hyphen in the driver's
/// name becomes a hyphen, and a name does not end in one (external-attacher, `GetFinalizerName`).
pub fn attacher_finalizer(driver: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let mut name: String = driver.chars().map(clean).collect();
    if name.ends_with('-') {
        name.push('X');
    }
    format!("external-attacher/{name}")
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::apiserver::ApiServer;

    #[test]
    fn everything_that_is_built_is_accepted() {
        let api = ApiServer::new();
        let driver = "rds.csi.example.com";
        for object in [
            node("n1").ready("Unknown").taint("k", "NoSchedule").internal_ip("10.0.0.1").build(),
            volume("pv-1", driver).handle("v-1").bound_to("default", "data", None).build(),
            claim("default", "data", "rds", "pv-1"),
            storage_class("rds", driver, &[("fsType", "ext4")]),
            csi_node("n1", driver, "n1"),
            node_lease("n1", "2026-01-01T00:00:00.000000Z"),
            pod("default", "db-0", "n1", &["data"]),
            attachment("va-1", driver, "n1", "pv-1"),
            attached("va-2", driver, "n1", "pv-1", &[("nqn", "x")]),
        ] {
            assert_eq!(
                api.create(object.clone()).map(|made| made["status"].clone()).unwrap(),
                object["status"]
            );
        }
    }

    #[test]
    fn the_finalizer_is_the_real_ones() {
        assert_eq!(attacher_finalizer("rds.csi.srvlab.io"), "external-attacher/rds-csi-srvlab-io");
        assert_eq!(attacher_finalizer("odd."), "external-attacher/odd-X");
    }

    #[test]
    fn a_taint_is_set_once_and_taken_off() {
        let mut n = node("n1").taint("a", "NoSchedule").build();
        set_taint(&mut n, "a", "NoSchedule");
        set_taint(&mut n, "a", "NoExecute");
        assert_eq!(n["spec"]["taints"].as_array().map(Vec::len), Some(2));
        remove_taint(&mut n, "a");
        assert_eq!(n["spec"]["taints"].as_array().map(Vec::len), Some(0));
    }
}
