//! What was promised to the user, a test each, through the public surfaces: the gRPC socket, the
//! API server double, the box, the HTTP endpoint and the log.
//!
//! Where seconds matter and nothing is to be seen from outside, the actors are run under paused time
//! through the library's public API.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "promises/connection.rs"]
mod connection;
#[path = "promises/in_memory.rs"]
mod in_memory;
#[path = "promises/nodes.rs"]
mod nodes;
#[path = "promises/passes.rs"]
mod passes;
#[path = "promises/probe.rs"]
mod probe;
#[path = "support/records.rs"]
mod records;
#[path = "promises/stage.rs"]
mod stage;
#[path = "promises/told.rs"]
mod told;
#[path = "promises/wiring.rs"]
mod wiring;
