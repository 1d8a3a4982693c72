//! Least rights, proven: over all stories, every right that the chart grants was used, and none was
//! missing. `make e2e` runs this after them; it reads what they left in `target/e2e`.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::collections::BTreeSet;

use rds_csi_testbed::audit::{self, Right};
use rds_csi_testbed::cluster::NAMESPACE;
use rds_csi_testbed::parts;
use serde_json::Value;

/// Rights that no story uses, each with the reason why it is granted.
const EXCEPTIONS: [(&str, &str); 0] = [];

#[test]
#[ignore = "needs what the stories left: make e2e"]
fn every_right_that_the_chart_grants_was_used_and_none_was_missing() {
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
        let requests = audit::requests(&log, NAMESPACE).unwrap();
        let refused = audit::forbidden(&requests);
        assert!(refused.is_empty(), "{}: for want of a right: {refused:#?}", folder.display());
        used.extend(audit::used(&requests));
    }
    assert!(stories > 0 && !granted.is_empty(), "no story has left anything");
    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().map(|(right, _)| *right).collect();
    let unused: Vec<String> = granted.difference(&used).map(Right::to_string).collect();
    let unused: Vec<&String> = unused.iter().filter(|r| !excepted.contains(r.as_str())).collect();
    assert!(unused.is_empty(), "granted, and used in none of {stories} stories: {unused:#?}");
}
