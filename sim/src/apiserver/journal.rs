//! What clients asked for: counts of requests, and every attempt to write.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::route::{Call, Verb};

/// How many attempts to write are kept; the oldest go first.
const KEPT: usize = 10_000;

/// One attempt to write, as it came in over HTTP or the in-memory service.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Grows with each attempt.
    pub sequence: u64,
    /// Create, update, patch or delete.
    pub verb: Verb,
    /// The resource's plural, with its group where it has one.
    pub resource: String,
    /// Whether it was about the status subresource.
    pub status: bool,
    /// The namespace; empty for cluster-wide resources.
    pub namespace: String,
    /// The name; for a create the one in the body, empty when the server makes it.
    pub name: String,
    /// The body as sent; null when there was none or it was not JSON.
    pub body: Value,
    /// The status code of the answer; none when a fault let no answer out, or not yet.
    pub code: Option<u16>,
    /// Whether the store took it.
    pub applied: bool,
}

/// The journal.
#[derive(Debug, Default)]
pub struct Journal {
    counts: BTreeMap<(Verb, String), u64>,
    writes: VecDeque<Write>,
    sequence: u64,
}

impl Journal {
    /// Notes that a request came in. For a write, the answer is its sequence number.
    pub fn came(&mut self, call: &Call, body: &Value) -> Option<u64> {
        let name = call.resource().map(|resource| resource.qualified()).unwrap_or_default();
        *self.counts.entry((call.verb(), name.clone())).or_default() += 1;
        if !call.verb().writes() {
            return None;
        }
        let target = call.target();
        let in_body = || body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let namespace = match call {
            Call::Create(_, namespace) => namespace.clone(),
            _ => target.map(|target| target.namespace.clone()).unwrap_or_default(),
        };
        self.sequence += 1;
        self.writes.push_back(Write {
            sequence: self.sequence,
            verb: call.verb(),
            resource: name,
            status: target.is_some_and(|target| target.part == super::core::Part::Status),
            namespace,
            name: target.map_or_else(in_body, |target| target.name.clone()),
            body: body.clone(),
            code: None,
            applied: false,
        });
        if self.writes.len() > KEPT {
            self.writes.pop_front();
        }
        Some(self.sequence)
    }

    /// Notes that the store took a write.
    pub fn applied(&mut self, sequence: Option<u64>) {
        if let Some(write) = self.find(sequence) {
            write.applied = true;
        }
    }

    /// Notes which answer went out.
    pub fn answered(&mut self, sequence: Option<u64>, code: u16) {
        if let Some(write) = self.find(sequence) {
            write.code = Some(code);
        }
    }

    fn find(&mut self, sequence: Option<u64>) -> Option<&mut Write> {
        let sequence = sequence?;
        self.writes.iter_mut().rev().find(|write| write.sequence == sequence)
    }

    /// How many requests came, by verb and resource; documents count under an empty resource.
    pub fn counts(&self) -> &BTreeMap<(Verb, String), u64> {
        &self.counts
    }

    /// The attempts to write, oldest first.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.writes.iter()
    }

    /// Forgets what it noted; sequence numbers go on.
    pub fn forget(&mut self) {
        self.counts.clear();
        self.writes.clear();
    }
}
