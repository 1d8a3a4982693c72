//! What is asked for, and what was made.

use std::collections::HashMap;

use rds_csi::grpc::csi::VolumeCapability;
use rds_csi::grpc::csi::volume_capability::access_mode::Mode;
use rds_csi::grpc::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};

/// What a pod sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file system of this type.
    Files(&'static str),
    /// The device itself.
    Block,
    /// The device itself, on several nodes at a time.
    SharedBlock,
}

/// A volume that was provisioned.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The PV's name; on the box, the slot.
    pub name: String,
    /// The CSI volume id.
    pub handle: String,
    /// What a pod sees.
    pub kind: Kind,
    /// The volume context.
    pub context: HashMap<String, String>,
}

impl Kind {
    /// Is it a device?
    pub fn is_block(self) -> bool {
        matches!(self, Kind::Block | Kind::SharedBlock)
    }

    /// For one node that reads and writes, or for several.
    pub fn capability(self) -> VolumeCapability {
        let access_type = match self {
            Kind::Files(fs_type) => {
                AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..MountVolume::default() })
            }
            Kind::Block | Kind::SharedBlock => AccessType::Block(BlockVolume {}),
        };
        let mode = match self {
            Kind::SharedBlock => Mode::MultiNodeMultiWriter,
            Kind::Files(_) | Kind::Block => Mode::SingleNodeWriter,
        };
        VolumeCapability {
            access_mode: Some(AccessMode { mode: mode.into() }),
            access_type: Some(access_type),
        }
    }
}
