//! The operations and passes, told as stories over a box and a cluster in memory, under paused
//! time.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "operations/agents.rs"]
mod agents;
#[path = "operations/create.rs"]
mod create;
#[path = "operations/delete.rs"]
mod delete;
#[path = "operations/fences.rs"]
mod fences;
#[path = "support/in_memory.rs"]
mod in_memory;
#[path = "operations/interruptions.rs"]
mod interruptions;
#[path = "operations/looking.rs"]
mod looking;
#[path = "operations/passes.rs"]
mod passes;
#[path = "operations/publish.rs"]
mod publish;
#[path = "operations/random.rs"]
mod random;
#[path = "operations/repeated.rs"]
mod repeated;
#[path = "operations/rollbacks.rs"]
mod rollbacks;
#[path = "operations/switches.rs"]
mod switches;
#[path = "operations/unpublish.rs"]
mod unpublish;
