//! rds-sim: a RouterOS box that exists only in memory, and an API server that does the same.
//!
//! - [`routeros`]: the console, the disks and the files of one box, pure; with transports.
//! - [`control`]: orders faults of a box that runs as a program.
//! - [`nvmet`]: makes what the box exports real, with the Linux kernel.
//! - [`apiserver`]: the part of a Kubernetes API server that a storage driver talks to.

pub mod apiserver;
pub mod control;
pub mod nvmet;
pub mod routeros;
