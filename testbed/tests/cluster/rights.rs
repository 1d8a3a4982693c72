//! What the part on the nodes asked of the API server, against what the chart grants it.

use rds_csi_testbed::audit::{self, Request};
use rds_csi_testbed::vm::VmCluster;
use serde_json::Value;

/// Rights that this story does not use, each with the reason why it is granted.
const EXCEPTIONS: [(&str, &str); 5] = [
    ("list volumeattachments.storage.k8s.io", "whoever looks for what a node has attached"),
    ("watch volumeattachments.storage.k8s.io", "likewise"),
    ("get nodes", "its own Node"),
    ("create events", "of what is broken or cannot be swept; nothing of the kind happens here"),
    ("patch events", "the count of one that is repeated"),
];

/// Nothing was refused, and nothing is granted that was not used.
pub fn nothing_forbidden_and_nothing_too_much(cluster: &VmCluster) {
    let requests = cluster.cluster.requests().unwrap();
    let refused = audit::forbidden(&requests);
    assert!(refused.is_empty(), "for want of a right: {refused:#?}");
    let of_node = |request: &Request| request.user().ends_with(":rds-csi-node");
    let of_node: Vec<Request> = requests.into_iter().filter(of_node).collect();
    let used = audit::used(&of_node);
    let roles = std::fs::read(cluster.cluster.folder().join("roles.json")).unwrap();
    let roles: Vec<Value> = serde_json::from_slice(&roles).unwrap();
    let role = roles.iter().find(|role| role["metadata"]["name"] == "rds-csi-node").unwrap();
    let granted = audit::granted(role);
    let unused: Vec<String> =
        granted.iter().filter(|right| !used.contains(right)).map(ToString::to_string).collect();
    let used: Vec<String> = used.iter().map(ToString::to_string).collect();
    eprintln!(
        "the nodes asked {} times: {used:?}; granted, and not used: {unused:?}",
        of_node.len()
    );
    let excepted = |right: &&String| EXCEPTIONS.iter().any(|(known, _)| right == known);
    let unknown: Vec<&String> = unused.iter().filter(|right| !excepted(right)).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "granted, and not used");
    assert!(!used.is_empty(), "the nodes asked nothing at all");
}
