//! `[node]`: what `rds-csi node` is to Kubernetes and to its kernel.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Check;
use crate::volume::NodeName;

/// `[node]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Name of the Kubernetes Node; the variable `NODE_NAME` where there is none.
    #[serde(deserialize_with = "super::value::optional")]
    pub name: Option<NodeName>,
    /// Most volumes at a time; 0 where kubelet need not count.
    pub volumes_max: u32,
    /// kubelet's own directory.
    pub kubelet_dir: PathBuf,
    /// Does the driver register itself with kubelet?
    pub register: bool,
    /// Where the notes of what is staged are kept; below [`NodeConfig::kubelet_dir`] where there is
    /// none. Filled in while loading.
    pub notes_dir: PathBuf,
    /// The cluster Secret's key, as it is mounted. Without it there is no agent.
    #[serde(deserialize_with = "super::value::optional")]
    pub cluster_secret_path: Option<PathBuf>,
    /// Longest wait for the device of a connection, and for its new size.
    #[serde(with = "humantime_serde")]
    pub device_deadline: Duration,
    /// Longest wait for the kernel to accept or refuse a connection.
    #[serde(with = "humantime_serde")]
    pub connect_deadline: Duration,
    /// Longest wait for a mount or an unmount.
    #[serde(with = "humantime_serde")]
    pub mount_deadline: Duration,
    /// Longest wait for mkfs and for a file system to grow.
    #[serde(with = "humantime_serde")]
    pub format_deadline: Duration,
}

impl NodeConfig {
    /// Puts what depends on the driver's name where nothing is given.
    pub(super) fn fill_in(&mut self, driver: &str) {
        if self.notes_dir.as_os_str().is_empty() {
            self.notes_dir = self.kubelet_dir.join("plugins").join(driver).join("staged");
        }
    }

    pub(super) fn validate(&self, check: &mut Check) {
        let seconds = Duration::from_secs;
        let bounds = [seconds(1), seconds(3600)];
        check
            .part("node")
            .that(self.kubelet_dir.is_absolute(), "kubelet_dir", "must be an absolute path")
            .that(self.notes_dir.is_absolute(), "notes_dir", "must be an absolute path")
            .that(
                self.cluster_secret_path.as_ref().is_none_or(|path| path.is_absolute()),
                "cluster_secret_path",
                "must be an absolute path",
            )
            .lasts("device_deadline", self.device_deadline, bounds)
            .lasts("connect_deadline", self.connect_deadline, bounds)
            .lasts("mount_deadline", self.mount_deadline, bounds)
            .lasts("format_deadline", self.format_deadline, bounds);
    }
}
