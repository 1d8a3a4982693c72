//! Nodes: what we keep of one, and the stream of their changes.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1 as core;

use super::cache::{Cache, Change, Kept};
use super::{Node, NodeChange, Version};
use crate::volume::NodeName;

/// The taint by which an operator says that a node is off for good (Kubernetes, "Non-graceful node
/// shutdown handling").
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

impl Kept for Node {
    type Key = NodeName;

    fn key_of(name: &str) -> Option<NodeName> {
        NodeName::parse(name).ok()
    }

    fn key(&self) -> NodeName {
        self.name.clone()
    }

    fn version(&self) -> Option<&Version> {
        None
    }
}

/// What we keep of a Node. One without a valid name cannot come from an API server and is ignored.
pub fn convert(object: core::Node) -> Option<Node> {
    let name = NodeName::parse(object.metadata.name.as_deref()?).ok()?;
    let status = object.status.unwrap_or_default();
    let (conditions, addresses) = (status.conditions, status.addresses);
    let taints = object.spec.unwrap_or_default().taints;
    Some(Node {
        name,
        uid: object.metadata.uid.unwrap_or_default(),
        ready: conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True"),
        out_of_service: taints.iter().flatten().any(|t| t.key == OUT_OF_SERVICE),
        address: addresses
            .iter()
            .flatten()
            .filter(|address| address.type_ == "InternalIP")
            .find_map(|address| address.address.parse().ok()),
    })
}

/// The changes of the cache, each passed on after the cache has it. A change of a Node that leaves
/// our [`Node`] as it was is no change.
pub fn changes(cache: Arc<Cache<Node>>) -> BoxStream<'static, NodeChange> {
    cache
        .subscribe()
        .map(|change| match change {
            Change::All(nodes) => NodeChange::All(nodes),
            Change::Applied(node) => NodeChange::Applied(node),
            Change::Deleted(name) => NodeChange::Deleted(name),
            Change::Failed(reason) => NodeChange::Failed(reason),
        })
        .boxed()
}

#[cfg(test)]
mod test {
    use super::*;
    use serde_json::json;

    fn node(conditions: serde_json::Value, taints: serde_json::Value) -> Node {
        let object = json!({
            "metadata": {"name": "worker-1", "uid": "u1"},
            "spec": {"taints": taints},
            "status": {"conditions": conditions},
        });
        convert(serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn only_the_condition_ready_with_status_true_is_ready() {
        let ready = |kind: &str, status: &str| json!([{"type": kind, "status": status}]);
        for (conditions, expected) in [
            (json!(null), false),
            (json!([]), false),
            (ready("Ready", "True"), true),
            (ready("Ready", "False"), false),
            (ready("Ready", "Unknown"), false),
            (ready("MemoryPressure", "True"), false),
        ] {
            let got = node(conditions.clone(), json!(null)).ready;
            assert_eq!(got, expected, "{conditions}");
        }
    }

    #[test]
    fn the_out_of_service_taint_counts_with_every_effect_and_value() {
        for (taint, expected) in [
            (json!({"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}), true),
            (json!({"key": OUT_OF_SERVICE, "effect": "NoSchedule"}), true),
            (json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}), false),
        ] {
            let got = node(json!(null), json!([taint])).out_of_service;
            assert_eq!(got, expected, "{taint}");
        }
    }

    #[test]
    fn the_first_internal_ip_that_is_one_is_the_address() {
        let with = |addresses: serde_json::Value| {
            let object = json!({"metadata": {"name": "n1"}, "status": {"addresses": addresses}});
            convert(serde_json::from_value(object).unwrap()).unwrap().address
        };
        let of = |kind: &str, address: &str| json!({"type": kind, "address": address});
        let many = [
            of("Hostname", "n1"),
            of("ExternalIP", "192.0.2.1"),
            of("InternalIP", "n1.local"),
            of("InternalIP", "10.0.0.7"),
            of("InternalIP", "fd00::7"),
        ];
        assert_eq!(with(json!(many)), Some("10.0.0.7".parse().unwrap()));
        assert_eq!(with(json!([of("InternalIP", "fd00::7")])), Some("fd00::7".parse().unwrap()));
        assert_eq!(with(json!(null)), None);
    }

    #[test]
    fn a_node_without_a_valid_name_is_ignored() {
        for name in [json!(null), json!("Not A Name"), json!("")] {
            let object = json!({"metadata": {"name": name}});
            assert_eq!(convert(serde_json::from_value(object).unwrap()), None);
        }
    }
}
