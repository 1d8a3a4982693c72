//! rds-sim: a RouterOS box that exists only in memory, and an API server that does the same.
//!
//! - [`routeros`]: the console, the disks and the files of one box, pure; with transports.
//! - [`apiserver`]: the part of a Kubernetes API server that a storage driver talks to.

pub mod apiserver;
pub mod routeros;
