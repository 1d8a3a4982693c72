//! Least rights, proven: over all stories, every right that the chart grants was used. (That none is
//! missing each story checks itself.) `make e2e` runs this after them; it reads what they left in
//! `target/e2e`.

use std::collections::BTreeSet;

use rds_csi_testbed::audit::{self, Right};
use rds_csi_testbed::cluster::NAMESPACE;
use rds_csi_testbed::parts;
use serde_json::Value;

/// Rights that no story uses, each with the reason why it is granted.
const EXCEPTIONS: [(&str, &str); 1] = [(
    "get volumeattachments.storage.k8s.io",
    "the part on the nodes asks for that of a volume that it has; it needs a kernel with NVMe/TCP, and no \
     kernel is here",
)];

/// client-go lists by a watch where the API server can (WatchList), and by a list where it cannot:
/// before 1.32, and on a server that was told not to.
fn listed_by_watching(right: &Right, used: &BTreeSet<Right>) -> bool {
    right.verb == "list" && used.contains(&Right { verb: "watch".into(), ..right.clone() })
}

#[test]
#[ignore = "needs what the stories left: make e2e"]
fn every_right_that_the_chart_grants_was_used() {
    let (mut granted, mut used) = (BTreeSet::new(), BTreeSet::new());
    let mut stories = 0;
    for entry in std::fs::read_dir(parts::target().join("e2e")).unwrap() {
        let folder = entry.unwrap().path();
        let (roles, log) = (folder.join("roles.json"), folder.join("audit.log"));
        if !roles.is_file() {
            continue;
        }
        stories += 1;
        let roles: Vec<Value> = serde_json::from_slice(&std::fs::read(roles).unwrap()).unwrap();
        granted.extend(roles.iter().flat_map(audit::granted));
        used.extend(audit::used(&audit::requests(&log, NAMESPACE).unwrap()));
    }
    assert!(stories > 0 && !granted.is_empty(), "no story has left anything");
    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().map(|(right, _)| *right).collect();
    let unused = granted.difference(&used).filter(|right| !listed_by_watching(right, &used));
    let unused: Vec<String> = unused.map(Right::to_string).collect();
    let unused: Vec<&String> = unused.iter().filter(|r| !excepted.contains(r.as_str())).collect();
    assert!(unused.is_empty(), "granted, and used in none of {stories} stories: {unused:#?}");
}
