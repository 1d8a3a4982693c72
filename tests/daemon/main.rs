//! The controller as a process of its own, between simulated boxes over SSH and the API server
//! double over HTTP: how it starts and stops, what it does while one of them is away, and how it
//! follows its configuration.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "../support/csi.rs"]
mod csi;
#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/surroundings.rs"]
mod surroundings;

mod backends;
mod configuration;
mod keys;
mod leadership;
mod outage;
mod process;
mod stop;
