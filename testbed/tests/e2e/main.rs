//! The driver in a real Kubernetes: what it says to the API server and to the sidecars, said to the
//! real ones. `make e2e` builds the parts and runs these, one after the other, in a network of their
//! own; plain `cargo test` leaves them out.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

mod admission;
mod api_server;
mod claims;
mod fencing;
mod figures;
mod heal;
mod incident;
mod installable;
mod kills;
mod lease;
mod life;
mod many;
mod readme;
mod release;
mod rolling;
mod support;
mod tools;
mod upgrade;
