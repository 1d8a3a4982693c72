//! The node's side, told as stories: kubelet's calls to the Node service over a kernel in memory,
//! under paused time.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "node_plugin/formatting.rs"]
mod formatting;
#[path = "node_plugin/generations.rs"]
mod generations;
#[path = "node_plugin/idempotence.rs"]
mod idempotence;
#[path = "node_plugin/interruptions.rs"]
mod interruptions;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/kubelet.rs"]
mod kubelet;
#[path = "node_plugin/life.rs"]
mod life;
#[path = "node_plugin/notes.rs"]
mod notes;
#[path = "node_plugin/outage.rs"]
mod outage;
#[path = "node_plugin/random.rs"]
mod random;
#[path = "node_plugin/requests.rs"]
mod requests;

use kernel::Kernel;
use kubelet::{Attachment, Kubelet, file_system};
use tonic::{Code, Status};

/// 1 GiB.
const GIB: u64 = 1 << 30;

/// The code of a refusal.
fn code<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

/// A kernel, and a box that exports the new volume `v` for its first attachment.
fn first(kind: &str) -> (Kernel, Kubelet, Attachment) {
    let kernel = Kernel::new();
    kernel.make_disk("v", GIB);
    let volume = Attachment::new("v", 1, true, file_system(kind));
    kernel.export("v", &volume.nqn);
    (kernel.clone(), Kubelet::new(&kernel), volume)
}
