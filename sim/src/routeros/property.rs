//! The properties of `/disk`: their names, types and first release.
//!
//! Source: the RouterOS manual's command reference for `/disk` and the extracted command trees.

/// How an argument is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `yes` or `no`.
    Bool,
    /// A whole number.
    Number,
    /// Bytes, perhaps with a binary suffix.
    Size,
    /// A file name.
    Path,
    /// One of the disk types.
    DiskType,
    /// Printed, never set.
    ReadOnly,
}

/// One property of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property {
    /// The name on the console.
    pub name: &'static str,
    /// How it is read.
    pub kind: Kind,
    /// The first minor release of RouterOS 7 that has it.
    pub since: u16,
}

const fn is(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, since: 0 }
}

const fn from(since: u16, name: &'static str, kind: Kind) -> Property {
    Property { name, kind, since }
}

/// Every property, in the order in which `print detail` shows them (transcript of an RDS2216,
/// 7.24).
pub const DISK: &[Property] = &[
    is("type", Kind::DiskType),
    is("slot", Kind::Text),
    is("slot-default", Kind::ReadOnly),
    is("parent", Kind::Text),
    is("fs-label", Kind::ReadOnly),
    is("fs-uuid", Kind::ReadOnly),
    is("fs", Kind::ReadOnly),
    is("model", Kind::ReadOnly),
    is("serial", Kind::ReadOnly),
    is("fw-version", Kind::ReadOnly),
    is("interface", Kind::ReadOnly),
    is("interface-speed", Kind::ReadOnly),
    is("size", Kind::ReadOnly),
    is("free", Kind::ReadOnly),
    is("total-inodes", Kind::ReadOnly),
    is("free-inodes", Kind::ReadOnly),
    is("use", Kind::ReadOnly),
    is("mount-point", Kind::ReadOnly),
    from(17, "mount-filesystem", Kind::Bool),
    from(17, "mount-read-only", Kind::Bool),
    from(18, "compress", Kind::Bool),
    is("sector-size", Kind::ReadOnly),
    is("raid-type", Kind::Text),
    is("raid-device-count", Kind::Number),
    is("raid-max-component-size", Kind::Text),
    is("raid-chunk-size", Kind::Text),
    is("raid-master", Kind::Text),
    is("raid-role", Kind::Text),
    is("raid-member-failed", Kind::Bool),
    is("raid-member-state", Kind::ReadOnly),
    is("state", Kind::ReadOnly),
    is("raid-uuid", Kind::ReadOnly),
    is("nvme-tcp-export", Kind::Bool),
    is("nvme-tcp-server-port", Kind::Number),
    from(21, "nvme-tcp-server-nqn", Kind::Text),
    is("nvme-tcp-server-allow-host-name", Kind::Text),
    is("nvme-tcp-server-password", Kind::Text),
    is("iscsi-export", Kind::Bool),
    is("nfs-sharing", Kind::Bool),
    is("smb-sharing", Kind::Bool),
    is("media-sharing", Kind::Bool),
    is("media-interface", Kind::Text),
    from(17, "swap", Kind::Bool),
    from(17, "file-path", Kind::Path),
    from(17, "file-size", Kind::Size),
    from(17, "file-offset", Kind::Number),
    is("read-ops", Kind::ReadOnly),
    is("read-bytes", Kind::ReadOnly),
    is("write-ops", Kind::ReadOnly),
    is("write-bytes", Kind::ReadOnly),
    is("in-flight-ops", Kind::ReadOnly),
    is("active-time", Kind::ReadOnly),
    is("wait-time", Kind::ReadOnly),
    is("io-errors", Kind::ReadOnly),
    is("comment", Kind::Text),
    is("disabled", Kind::Bool),
];

/// The counters among them.
pub const COUNTERS: [&str; 8] = [
    "read-ops",
    "read-bytes",
    "write-ops",
    "write-bytes",
    "in-flight-ops",
    "active-time",
    "wait-time",
    "io-errors",
];

/// Values of `type=`.
pub const DISK_TYPES: [&str; 12] = [
    "raid",
    "nvme-tcp",
    "iscsi",
    "nfs",
    "smb",
    "partition",
    "tmpfs",
    "ramdisk",
    "crypted",
    "sshfs",
    "file",
    "hardware",
];

/// The property of that name.
pub fn disk(name: &str) -> Option<&'static Property> {
    DISK.iter().find(|property| property.name == name)
}

/// A flag: the letter in front of a row, and the name that `where` and `as-value` know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The letter.
    pub letter: char,
    /// The name.
    pub name: &'static str,
    /// The column of letters it stands in.
    pub column: u8,
}

/// Flags of `/disk`, in the order of the legend.
pub const DISK_FLAGS: &[Flag] = &[
    Flag { letter: 'X', name: "disabled", column: 0 },
    Flag { letter: 'E', name: "empty", column: 0 },
    Flag { letter: 'B', name: "block-device", column: 0 },
    Flag { letter: 'M', name: "mounted", column: 1 },
    Flag { letter: 'F', name: "formatting", column: 1 },
    Flag { letter: 'f', name: "raid-member-failed", column: 2 },
    Flag { letter: 'r', name: "raid-member", column: 2 },
    Flag { letter: 't', name: "nvme-tcp-export", column: 3 },
];
