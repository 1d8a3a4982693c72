//! What a story costs: time, execs on the box and requests to the API server, beside each other.

use std::io::Write as _;

use rds_csi_testbed::{Cluster, audit};
use tokio::time::Instant;

/// From one moment on.
pub struct Figures {
    begun: Instant,
    execs: u64,
    requests: usize,
}

impl Figures {
    /// Counts from now.
    pub fn from_now(cluster: &Cluster) -> Self {
        let entries = cluster.storage.rds.exec_count();
        let requests = cluster.requests().unwrap().len();
        Self { begun: Instant::now(), execs: entries, requests }
    }

    /// Prints what it took until now.
    pub fn tell(&self, cluster: &Cluster, what: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let execs = cluster.storage.work_since(self.execs).len();
        let requests = cluster.requests().unwrap();
        let mine = &requests[self.requests..];
        let by: Vec<String> = audit::by_program(mine)
            .into_iter()
            .map(|(program, count)| format!("{program} {count}"))
            .collect();
        let text = format!(
            "{what}: {seconds:.1} s, {execs} execs on the box, {} API requests ({})",
            mine.len(),
            by.join(", ")
        );
        say(&format!("{}: {text}", cluster.name()));
    }
}

/// A line for who runs the stories.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
