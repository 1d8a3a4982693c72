//! What csi-sanity reports of its specs, and which of them may be left out.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Why specs are left out, and how many: each names a capability that the driver does not have, and so
/// does not advertise. Whatever else is left out, and whatever is not any more, fails the test.
pub const LEFT_OUT: [(&str, usize); 14] = [
    // CREATE_DELETE_SNAPSHOT, LIST_SNAPSHOTS, GET_SNAPSHOT.
    ("Snapshot not supported", 2),
    ("CreateSnapshot not supported", 6),
    ("DeleteSnapshot not supported", 3),
    ("ListSnapshots not supported", 7),
    ("GetSnapshot not supported", 3),
    // CLONE_VOLUME.
    ("Volume Cloning not supported", 2),
    // MODIFY_VOLUME.
    ("Modify volume not supported", 1),
    ("Modify Volume not supported", 1),
    ("ControllerModifyVolume not supported", 6),
    // GET_VOLUME_HEALTH and LIST_VOLUME_HEALTH of the controller; the node's specs run.
    ("ControllerGetVolumeHealth not supported", 2),
    ("ControllerListVolumeHealth not supported", 1),
    // GROUP_CONTROLLER_SERVICE.
    ("GroupControllerService not supported", 6),
    // Not a capability: how many volumes a node takes is counted by Kubernetes' scheduler.
    ("testnodevolumeattachlimit not enabled", 1),
    // csi-sanity itself marks it as not to be run.
    (PENDING, 1),
];
/// The reason of a spec that is switched off in csi-sanity.
const PENDING: &str = "pending in csi-sanity";

/// What became of each spec.
#[derive(Debug)]
pub struct Report {
    specs: Vec<Spec>,
}

/// As ginkgo writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Spec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    failure: Failure,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Failure {
    message: String,
}

impl Spec {
    fn name(&self) -> String {
        let mut words = self.container_hierarchy_texts.clone().unwrap_or_default();
        words.push(self.leaf_node_text.clone());
        words.join(" ")
    }
}

impl Report {
    /// Reads what `--ginkgo.json-report` left.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let suites: Vec<Suite> = serde_json::from_str(text)?;
        let all = suites.into_iter().flat_map(|suite| suite.spec_reports);
        // Beside specs there are what runs before and after the suite; what fails there counts.
        let specs = all.filter(|node| node.leaf_node_type == "It" || node.state == "failed");
        Ok(Self { specs: specs.collect() })
    }

    /// How many specs there are.
    pub fn count(&self) -> usize {
        self.specs.len()
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.specs.iter().filter(|spec| spec.state == "passed").count()
    }

    /// Which were left out, by reason.
    pub fn left_out(&self) -> BTreeMap<&str, Vec<String>> {
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for spec in &self.specs {
            let reason = match spec.state.as_str() {
                "skipped" => spec.failure.message.as_str(),
                "pending" => PENDING,
                _ => continue,
            };
            reasons.entry(reason).or_default().push(spec.name());
        }
        reasons
    }

    /// What is wrong: specs that neither passed nor were left out, and those that were left out or ran
    /// against what `allowed` says.
    pub fn complaints(&self, allowed: &[(&str, usize)]) -> Vec<String> {
        let ended = ["passed", "skipped", "pending"];
        let failed = self.specs.iter().filter(|spec| !ended.contains(&spec.state.as_str()));
        let failed =
            failed.map(|spec| format!("{} {}: {}", spec.state, spec.name(), spec.failure.message));
        let mut all: Vec<String> = failed.collect();
        if self.specs.is_empty() {
            all.push("there was no spec".into());
        }
        let mut left_out = self.left_out();
        for (reason, count) in allowed {
            let names = left_out.remove(reason).unwrap_or_default();
            if names.len() != *count {
                let now = names.len();
                all.push(format!("{now} and not {count} left out as \"{reason}\": {names:#?}"));
            }
        }
        let new = left_out.into_iter();
        all.extend(new.map(|(reason, names)| format!("left out as \"{reason}\": {names:#?}")));
        all
    }
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    fn spec(name: &str, state: &str, why: &str) -> serde_json::Value {
        json!({
            "ContainerHierarchyTexts": ["Node Service"], "LeafNodeType": "It",
            "LeafNodeText": name, "State": state, "Failure": {"Message": why, "Location": {}},
        })
    }

    fn complaints(specs: &[serde_json::Value], allowed: &[(&str, usize)]) -> Vec<String> {
        let before = json!({
            "ContainerHierarchyTexts": null, "LeafNodeType": "BeforeSuite", "LeafNodeText": "",
            "State": "passed",
        });
        let all: Vec<_> = [&before].into_iter().chain(specs).collect();
        let report = Report::read(&json!([{ "SpecReports": all }]).to_string()).unwrap();
        assert_eq!(report.count(), specs.len());
        report.complaints(allowed)
    }

    #[test]
    fn only_what_is_known_to_be_left_out_may_be() {
        let (passed, clones) = (spec("a", "passed", ""), spec("b", "skipped", "no clones"));
        let specs = [passed.clone(), clones.clone(), spec("c", "pending", "")];
        let allowed = [("no clones", 1), (PENDING, 1)];
        assert_eq!(complaints(&specs, &allowed), [""; 0]);
        let new = complaints(&specs, &allowed[..1]);
        assert!(new.len() == 1 && new[0].contains("Node Service c"), "{new:?}");
        let more = complaints(&[passed.clone(), clones.clone(), clones], &allowed[..1]);
        assert!(more.len() == 1 && more[0].contains("2 and not 1"), "{more:?}");
        let gone = complaints(&[passed], &allowed[..1]);
        assert!(gone.len() == 1 && gone[0].contains("0 and not 1"), "{gone:?}");
    }

    #[test]
    fn whatever_neither_passed_nor_was_left_out_is_a_complaint() {
        for state in ["failed", "panicked", "interrupted", "timedout", "aborted", "invalid"] {
            let wrong = complaints(&[spec("a", state, "why")], &[]);
            assert_eq!(wrong, [format!("{state} Node Service a: why")]);
        }
        assert_eq!(complaints(&[], &[]), ["there was no spec"]);
        assert!(Report::read("{}").is_err());
    }
}
