//! A real Kubernetes control plane and the driver in it, as plain processes of one machine.
//!
//! What a user runs is here in one piece, but for the box and the machines of the nodes: etcd,
//! kube-apiserver with RBAC, kube-controller-manager, kube-scheduler, the CSI sidecars and helm are
//! the real ones, built from their Go modules ([`parts`]); kwok plays the nodes and the pods of
//! workloads; the driver's own pods are run by [`kubelet`], each container a process with arguments,
//! environment, user and volumes from its pod; rds-sim is the box ([`storage`]).
//!
//! A test reads like a story:
//!
//! ```no_run
//! # async fn story() -> Result<(), rds_csi_testbed::Trouble> {
//! let cluster = rds_csi_testbed::Cluster::start("a_story").await?;
//! cluster.node("node-a")?.power_off().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything listens in a network namespace that the caller made (`unshare --net`), so two runs
//! never meet. Every process is a child that ends with the thread that started it, also when that is
//! killed; its log lies in the cluster's folder, which a failure names.

pub mod audit;
pub mod cluster;
pub mod control_plane;
pub mod kubelet;
pub mod network;
pub mod node;
pub mod parts;
pub mod process;
pub mod storage;
pub mod vm;
pub mod wait;

pub use cluster::Cluster;
pub use rds_csi::sandbox::world::Trouble;
pub use rustix::process::Signal;
