//! What is remembered of an agent: an entry of a ConfigMap, `<node>` → JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterError;
use crate::cluster::volumes::seconds;
use crate::volume::NodeName;

/// Most entries. At about 200 bytes each, and names of usual length, this stays below the 1 MiB of
/// a ConfigMap; the 5000 nodes that Kubernetes supports at most are not all used for storage.
const ENTRIES_MAX: usize = 3000;
/// Longest entry that is read, in bytes.
const ENTRY_LENGTH_MAX: usize = 1024;
/// `last` is for people, and not worth a write more often than this.
const LAST_EVERY: Duration = Duration::from_secs(3600);

/// An agent that has spoken while its node was Ready. Unknown fields are those of a later version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// The UID of the Node object then.
    pub uid: String,
    /// Which start of its kernel answered last.
    pub boot_id: String,
    /// Where it was found.
    pub address: IpAddr,
    /// When it spoke first (RFC 3339).
    pub first: String,
    /// When it spoke last, to the hour (RFC 3339).
    pub last: String,
}

/// The time, as it is written down.
pub fn now() -> String {
    seconds(Timestamp::now())
}

/// All entries that can be read, and how many cannot.
pub fn read(data: &BTreeMap<String, String>) -> (BTreeMap<NodeName, Baseline>, usize) {
    let parse = |(key, text): (&String, &String)| {
        let short = text.len() <= ENTRY_LENGTH_MAX;
        let entry = short.then(|| serde_json::from_str(text).ok()).flatten()?;
        Some((NodeName::parse(key).ok()?, entry))
    };
    let known: BTreeMap<_, _> = data.iter().filter_map(parse).collect();
    let damaged = data.len() - known.len();
    (known, damaged)
}

/// An entry as it is written.
pub fn text(entry: &Baseline) -> Result<String, ClusterError> {
    serde_json::to_string(entry).map_err(|error| {
        ClusterError::Refused(format!("what was heard cannot be printed: {error}"))
    })
}

/// What is to be written: who was heard anew, and `None` for who is gone. Where there is no room,
/// who comes last is not remembered, and counts as never heard.
pub fn changes(
    written: &BTreeMap<NodeName, Baseline>,
    heard: &BTreeMap<NodeName, Baseline>,
    is_there: impl Fn(&NodeName) -> bool,
) -> BTreeMap<NodeName, Option<Baseline>> {
    let gone = written.keys().filter(|node| !is_there(node));
    let mut edits: BTreeMap<_, _> = gone.map(|node| (node.clone(), None)).collect();
    let mut room = ENTRIES_MAX.saturating_sub(written.len() - edits.len());
    for (node, now) in heard.iter().filter(|(node, _)| is_there(node)) {
        match written.get(node) {
            Some(before) if !differs(before, now) => continue,
            Some(_) => {}
            None if room == 0 => continue,
            None => room -= 1,
        }
        edits.insert(node.clone(), Some(now.clone()));
    }
    edits
}

fn differs(before: &Baseline, now: &Baseline) -> bool {
    let said = |it: &Baseline| (it.uid.clone(), it.boot_id.clone(), it.address);
    said(before) != said(now) || is_old(&before.last, &now.last)
}

fn is_old(before: &str, now: &str) -> bool {
    match (before.parse::<Timestamp>(), now.parse::<Timestamp>()) {
        (Ok(before), Ok(now)) => {
            let age = now.duration_since(before);
            age.unsigned_abs() >= LAST_EVERY
        }
        _ => true,
    }
}
