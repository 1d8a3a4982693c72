//! The log of a driver under test, as it is written: one JSON object a record.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

/// Longest wait for a record.
const WITHIN: Duration = Duration::from_secs(30);

/// All records so far. Clones are the same log.
#[derive(Clone)]
pub struct Records {
    seen: Arc<watch::Sender<Vec<Value>>>,
    unfinished: Vec<u8>,
}

impl Default for Records {
    fn default() -> Self {
        Self { seen: Arc::new(watch::Sender::new(Vec::new())), unfinished: Vec::new() }
    }
}

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unfinished.extend_from_slice(bytes);
        while let Some(end) = self.unfinished.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unfinished.drain(..=end).collect();
            let record = serde_json::from_slice(&line)?;
            self.seen.send_modify(|seen| seen.push(record));
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Records {
    /// All records so far.
    pub fn all(&self) -> Vec<Value> {
        self.seen.borrow().clone()
    }

    /// How many there are: where later ones begin.
    pub fn now(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Waits for the first record from `from` on that `is` the one; its position.
    pub async fn find(&self, from: usize, what: &str, is: impl Fn(&Value) -> bool) -> usize {
        let mut seen = self.seen.subscribe();
        let at = |seen: &Vec<Value>| (from..seen.len()).find(|at| is(&seen[*at]));
        let found = tokio::time::timeout(WITHIN, async {
            let seen = seen.wait_for(|seen| at(seen).is_some()).await.unwrap();
            at(&seen).unwrap()
        });
        found.await.unwrap_or_else(|_| panic!("no record within {WITHIN:?}: {what}"))
    }

    /// Waits for a record with this message.
    pub async fn says(&self, from: usize, message: &str) -> usize {
        self.find(from, message, |record| record["msg"] == message).await
    }

    /// Waits for the end of a pass that this cause asked for.
    pub async fn pass(&self, from: usize, cause: &str) -> usize {
        self.find(from, &format!("a pass by {cause}"), |record| is_pass(record, cause)).await
    }
}

/// Is this the end of a pass that this cause asked for?
pub fn is_pass(record: &Value, cause: &str) -> bool {
    let causes = record["causes"].as_str().unwrap_or_default();
    record["msg"] == "pass ended" && causes.split(',').any(|one| one == cause)
}
