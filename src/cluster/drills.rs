//! What drills have shown of boxes: a ConfigMap in our namespace, `<backend>` → JSON.
//!
//! Whoever drills writes it (`rds-csi doctor --drill`); the controller only reads. An entry that
//! cannot be read counts as none: a person wrote it, or a later version.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ClusterError;
use super::entries::{Edits, Entries};
use super::request::Requests;
use super::volumes::seconds;
use crate::volume::BackendName;

/// Longest entry that is read, in bytes.
const ENTRY_LENGTH_MAX: usize = 4096;

/// What a drill came to. Unknown fields are those of a later version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillResult {
    /// The box, as the configuration names it: `host:port`.
    pub address: String,
    /// Its RouterOS then.
    pub routeros: String,
    /// Did every step show what it must?
    pub passed: bool,
    /// The rows that did not.
    pub faults: Vec<String>,
    /// The Linux release of the node.
    pub kernel: String,
    /// When (RFC 3339).
    pub when: String,
}

/// The time, as it is written down.
pub fn now() -> String {
    seconds(Timestamp::now())
}

/// The results of the newest drill on each box.
pub struct Drills {
    entries: Entries,
    namespace: String,
    name: String,
}

impl Drills {
    /// Those in the ConfigMap `namespace`/`<release>-drills`.
    pub fn new(client: kube::Client, deadline: Duration, namespace: &str, release: &str) -> Self {
        let (namespace, name) = (namespace.to_owned(), name(release));
        let requests = Requests::new(client, deadline);
        let entries = Entries::new(requests, namespace.clone(), name.clone());
        Self { entries, namespace, name }
    }

    /// `namespace`/`name` of the ConfigMap.
    pub fn what(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// All that can be read.
    ///
    /// # Errors
    /// When the API server does not show them.
    pub async fn all(&self) -> Result<BTreeMap<BackendName, DrillResult>, ClusterError> {
        Ok(read(&self.entries.all().await?))
    }

    /// Writes down the newest result of a box.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn keep(&self, backend: &BackendName, new: &DrillResult) -> Result<(), ClusterError> {
        let text = text(new)?;
        let edit = |_: &BTreeMap<String, String>| {
            Ok(Edits::from([(backend.to_string(), Some(text.clone()))]))
        };
        self.entries.edit(edit).await
    }
}

/// The name of the ConfigMap.
pub fn name(release: &str) -> String {
    format!("{release}-drills")
}

/// An entry as it is written.
///
/// # Errors
/// When it cannot be printed.
pub fn text(result: &DrillResult) -> Result<String, ClusterError> {
    serde_json::to_string(result)
        .map_err(|error| ClusterError::Refused(format!("a result cannot be printed: {error}")))
}

fn read(data: &BTreeMap<String, String>) -> BTreeMap<BackendName, DrillResult> {
    let parse = |(key, text): (&String, &String)| {
        let short = text.len() <= ENTRY_LENGTH_MAX;
        let entry = short.then(|| serde_json::from_str(text).ok()).flatten()?;
        Some((BackendName::parse(key).ok()?, entry))
    };
    data.iter().filter_map(parse).collect()
}

#[cfg(test)]
mod test {
    use rds_sim::apiserver::ApiServer;

    use super::*;

    fn result(routeros: &str) -> DrillResult {
        DrillResult {
            address: "10.0.0.10:22".into(),
            routeros: routeros.into(),
            passed: true,
            faults: Vec::new(),
            kernel: "6.1".into(),
            when: now(),
        }
    }

    fn drills(api: &ApiServer) -> Drills {
        let client = kube::Client::new(api.service(), "default");
        Drills::new(client, Duration::from_secs(5), "rds-csi", "rds-csi")
    }

    #[tokio::test]
    async fn what_one_wrote_another_reads_and_the_newest_counts() {
        let api = ApiServer::new();
        let namespace = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rds-csi"},
        });
        api.create(namespace).unwrap();
        let (main, other) =
            (BackendName::parse("main").unwrap(), BackendName::parse("other").unwrap());
        assert!(drills(&api).all().await.unwrap().is_empty());
        drills(&api).keep(&main, &result("7.21")).await.unwrap();
        drills(&api).keep(&other, &result("7.22")).await.unwrap();
        drills(&api).keep(&main, &result("7.24.4")).await.unwrap();
        let read = drills(&api).all().await.unwrap();
        assert_eq!(read[&main].routeros, "7.24.4");
        assert_eq!(read[&other].routeros, "7.22");
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        let text = text(&result("7.24")).unwrap();
        let entries = [("main", text.clone()), ("old", "no JSON".into()), ("A b", text)];
        let data = entries.map(|(key, text)| (key.to_owned(), text)).into();
        assert_eq!(read(&data).len(), 1);
    }
}
