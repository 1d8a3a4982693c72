//! The kernels that machines boot, as `testbed/vm/kernels` unpacked them.

use std::path::PathBuf;

use crate::{Trouble, parts};

/// One of Debian 12's kernels. NVMe hosts differ between them: when a reconnect is refused because
/// the subsystem is not there, 6.1 tries again for ever and 6.12 removes the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// 6.1, of the release.
    Debian12,
    /// 6.12, of the backports that security updates bring.
    Debian12Linux612,
}

impl Kernel {
    /// Both.
    pub const ALL: [Kernel; 2] = [Kernel::Debian12, Kernel::Debian12Linux612];

    /// How `uname -r` begins.
    pub fn series(self) -> &'static str {
        match self {
            Kernel::Debian12 => "6.1.",
            Kernel::Debian12Linux612 => "6.12.",
        }
    }

    /// The folder with `vmlinuz`, `initramfs.cpio` and `modules`.
    pub(super) fn folder(self) -> Result<PathBuf, Trouble> {
        let name = match self {
            Kernel::Debian12 => "debian12",
            Kernel::Debian12Linux612 => "debian12-6.12",
        };
        let folder = parts::target().join("vm/kernels").join(name);
        if !folder.join("stamp").is_file() {
            return Err(
                format!("{} is not there; `make vm-parts` makes it", folder.display()).into()
            );
        }
        Ok(folder)
    }
}
