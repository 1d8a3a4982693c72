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
    let conditions = object.status.unwrap_or_default().conditions;
    let taints = object.spec.unwrap_or_default().taints;
    Some(Node {
        name,
        uid: object.metadata.uid.unwrap_or_default(),
        ready: conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True"),
        out_of_service: taints.iter().flatten().any(|t| t.key == OUT_OF_SERVICE),
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
    fn a_node_without_a_valid_name_is_ignored() {
        for name in [json!(null), json!("Not A Name"), json!("")] {
            let object = json!({"metadata": {"name": name}});
            assert_eq!(convert(serde_json::from_value(object).unwrap()), None);
        }
    }
}
