//! How a volume is to be used: raw or with a file system, from one node or several.

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
        /// `ext4`, `xfs` or `btrfs`.
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
    /// Why we cannot serve it, or `None`. A file system that several nodes write to would destroy
    /// itself; a block device is the business of whoever opens it (live migration).
    pub fn unsupported(&self) -> Option<String> {
        match &self.medium {
            Medium::FileSystem { fs_type, .. }
                if self.mode.is_multi_node() && !self.mode.is_read_only() =>
            {
                Some(format!(
                    "a file system ({fs_type}) cannot be written from several nodes; use \
                     volumeMode Block, or an access mode for one node or for reading only"
                ))
            }
            _ => None,
        }
    }
}
