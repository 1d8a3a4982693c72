//! How a volume is to be used: raw or with a file system, from one node or several.

/// The file systems that a node can make and grow. ext3 is there for volumes of the first driver.
pub const FS_TYPES: [&str; 4] = ["ext4", "ext3", "xfs", "btrfs"];
/// The file system of a volume for which nobody names one.
pub const DEFAULT_FS_TYPE: &str = "ext4";

/// The CSI access modes, under the names of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// One node reads and writes.
    SingleNodeWriter,
    /// One node reads.
    SingleNodeReaderOnly,
    /// Several nodes read.
    MultiNodeReaderOnly,
    /// Several nodes, one of which writes.
    MultiNodeSingleWriter,
    /// Several nodes read and write.
    MultiNodeMultiWriter,
    /// One node, one workload.
    SingleNodeSingleWriter,
    /// One node, several workloads.
    SingleNodeMultiWriter,
}

/// What a workload sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Medium {
    /// A block device.
    Block,
    /// A mounted file system.
    FileSystem {
        /// One of [`FS_TYPES`], or a name that [`Capability::unsupported`] refuses.
        fs_type: String,
        /// Options for mount(8).
        mount_flags: Vec<String>,
    },
}

/// One capability: medium and access mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// From how many nodes, and which of them write.
    pub mode: AccessMode,
    /// Raw or with a file system.
    pub medium: Medium,
}

impl AccessMode {
    /// May more than one node have the volume at a time?
    pub fn is_multi_node(self) -> bool {
        matches!(
            self,
            Self::MultiNodeReaderOnly | Self::MultiNodeSingleWriter | Self::MultiNodeMultiWriter
        )
    }

    /// Does nobody write?
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::SingleNodeReaderOnly | Self::MultiNodeReaderOnly)
    }
}

impl Capability {
    /// Does nobody write: by the access mode, or by the option `ro`?
    pub fn is_read_only(&self) -> bool {
        let asks = match &self.medium {
            Medium::Block => false,
            Medium::FileSystem { mount_flags, .. } => {
                mount_flags.iter().flat_map(|flags| flags.split(',')).any(|flag| flag == "ro")
            }
        };
        asks || self.mode.is_read_only()
    }

    /// Why we cannot serve it, or `None`. A file system that several nodes write to would destroy
    /// itself; a block device is the business of whoever opens it (live migration).
    pub fn unsupported(&self) -> Option<String> {
        let Medium::FileSystem { fs_type, .. } = &self.medium else {
            return None;
        };
        if !FS_TYPES.contains(&fs_type.as_str()) {
            return Some(format!(
                "file system \"{fs_type}\" is not supported; use one of {}",
                FS_TYPES.join(", ")
            ));
        }
        if self.mode.is_multi_node() && !self.mode.is_read_only() {
            return Some(format!(
                "a file system ({fs_type}) cannot be written from several nodes; use volumeMode \
                 Block, or an access mode for one node or for reading only"
            ));
        }
        None
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn file_system(mode: AccessMode, fs_type: &str) -> Capability {
        Capability {
            mode,
            medium: Medium::FileSystem { fs_type: fs_type.into(), mount_flags: Vec::new() },
        }
    }

    #[test]
    fn a_file_system_on_several_nodes_must_not_be_written() {
        let table = [
            (AccessMode::SingleNodeWriter, true),
            (AccessMode::SingleNodeReaderOnly, true),
            (AccessMode::SingleNodeSingleWriter, true),
            (AccessMode::SingleNodeMultiWriter, true),
            (AccessMode::MultiNodeReaderOnly, true),
            (AccessMode::MultiNodeSingleWriter, false),
            (AccessMode::MultiNodeMultiWriter, false),
        ];
        for (mode, served) in table {
            assert_eq!(file_system(mode, "xfs").unsupported().is_none(), served, "{mode:?}");
            let block = Capability { mode, medium: Medium::Block };
            assert_eq!(block.unsupported(), None, "{mode:?}");
        }
    }

    #[test]
    fn only_file_systems_that_a_node_can_make_are_served() {
        for fs_type in FS_TYPES {
            assert_eq!(file_system(AccessMode::SingleNodeWriter, fs_type).unsupported(), None);
        }
        for fs_type in ["ext2", "ntfs", "XFS", ""] {
            let why = file_system(AccessMode::SingleNodeWriter, fs_type).unsupported();
            assert!(why.unwrap().contains("ext4, ext3, xfs, btrfs"), "{fs_type}");
        }
        assert!(FS_TYPES.contains(&DEFAULT_FS_TYPE));
    }
}
