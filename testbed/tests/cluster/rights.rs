//! What the part on the nodes asked of the API server, against what the chart grants it.

use rds_csi_testbed::audit::{self, Request};
use rds_csi_testbed::vm::VmCluster;
use serde_json::Value;

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
    let unused = granted.iter().filter(|right| !used.contains(right));
    let unused: Vec<String> = unused.map(ToString::to_string).collect();
    eprintln!("the nodes used {used:#?}");
    assert_eq!(unused, Vec::<String>::new(), "granted, and not used");
}
