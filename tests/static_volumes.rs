//! Static mode: boxes that cannot be told an NQN, and volumes of the first driver. The real
//! operations and passes over the simulated box and cluster in memory, under paused time.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "static_volumes/adopted.rs"]
mod adopted;
#[expect(dead_code, reason = "only some stories are told here")]
#[path = "support/in_memory.rs"]
mod in_memory;
#[path = "static_volumes/old_box.rs"]
mod old_box;
#[path = "static_volumes/random.rs"]
mod random;
#[path = "static_volumes/releases.rs"]
mod releases;
