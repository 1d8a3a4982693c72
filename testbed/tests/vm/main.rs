//! Stories on real kernels: NVMe/TCP hosts and a target in virtual machines. `make vm-test` fetches
//! kernels and runs these in a network of their own, two at a time; plain `cargo test` leaves them out.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]
#![expect(clippy::disallowed_macros, reason = "what was measured is what a person wants to read")]

mod again;
mod agent;
mod clones;
mod conformance;
mod drill;
mod dropped;
mod export;
mod fenced;
mod half_done;
mod health;
mod life;
mod machine;
mod outage;
mod refused;
mod teller;
mod world;
