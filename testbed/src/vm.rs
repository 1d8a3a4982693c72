//! Virtual machines with a real kernel: NVMe/TCP hosts and targets, file systems, mounts.
//!
//! A [`Vm`] is QEMU without KVM, which boots one of Debian's kernels ([`Kernel`]) in seconds. Its root is
//! the machine's own, read-only over 9p, under a tmpfs that takes what is written: any program that
//! was built here runs in it, and nothing that it does is left. [`Network`] joins machines; a small
//! program in each ([`guest`]) runs commands, keeps daemons and lets the test reach their sockets.
//!
//! ```no_run
//! # async fn story() -> Result<(), rds_csi_testbed::Trouble> {
//! use rds_csi_testbed::vm::{Kernel, Network, Vm};
//! let network = Network::start("a_story").await?;
//! let mut node = Vm::boot(&network, Kernel::Debian12, "node-a").await?;
//! let release = node.shell("uname -r").await?;
//! node.power_off().await?;
//! # Ok(())
//! # }
//! ```

mod boot;
pub mod cluster;
mod cluster_objects;
mod command;
mod daemon;
pub mod driver;
pub mod guest;
mod host;
pub mod image;
mod kernel;
mod kubelet;
pub mod lend;
mod network;
pub mod node_plugin;
pub mod oracle;
mod provisioner;
mod storage;
mod volume;
mod wire;

pub use boot::Vm;
pub use cluster::VmCluster;
pub use command::{Output, Run};
pub use daemon::Daemon;
pub use driver::Driver;
pub use host::{Connect, Controller};
pub use kernel::Kernel;
pub use kubelet::{KubeletVm, LABEL};
pub use network::{Cable, Network};
pub use node_plugin::NodePlugin;
pub use provisioner::Provisioner;
pub use storage::{NVME_PORT, StorageVm, USER, VOLUMES};
pub use volume::{Kind, Volume};
pub use wire::End;
