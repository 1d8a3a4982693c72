//! The record of an attachment, in the comment of the disk, and its copy beside the PV.

use serde::{Deserialize, Serialize};

use crate::volume::{ImagePath, NodeName};

/// The PV annotation that holds the [`Copy`] as JSON.
pub const COPY_ANNOTATION: &str = "rds.csi.srvlab.io/attachment";

/// The newest record of a volume, with what the record has no room for. Lies in an annotation of
/// the PV, so that a box which went back in time is noticed and put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Copy {
    /// The record, exactly as it stands in the disk's comment.
    pub record: String,
    /// The nodes that hold the volume, in full.
    pub nodes: Vec<NodeName>,
    /// The image.
    pub image: ImagePath,
    /// Size in bytes.
    pub bytes: u64,
    /// File system, or empty for a raw block volume.
    pub file_system: String,
    /// Nodes from which the volume was fenced and which have not been let in again.
    pub fenced_from: Vec<NodeName>,
}
