//! Every moment at which something can break, one after the other.
//!
//! Each operation is run once to see where its points are: before and after every exec and every
//! write to Kubernetes, and every moment of every line at which the power of the box can go. Then
//! it is run once for each of them, with that fault; afterwards the next controller has to finish
//! or undo it. The list comes out of the scripts, so a new command is a new point.
//!
//! `RDS_CSI_FAULT_POINT=publish/exec-1 cargo test --test fault_points` runs the points whose names
//! contain that text, and says how each went.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

#[path = "fault_points/act.rs"]
mod act;
#[path = "fault_points/api.rs"]
mod api;
#[path = "fault_points/campaign.rs"]
mod campaign;
#[path = "fault_points/check.rs"]
mod check;
#[path = "fault_points/hosts.rs"]
mod hosts;
#[path = "support/in_memory.rs"]
#[expect(dead_code, reason = "shared with other tests, which need the rest")]
mod in_memory;
#[path = "fault_points/point.rs"]
mod point;
#[path = "fault_points/stories.rs"]
mod stories;
#[path = "fault_points/wire.rs"]
mod wire;
