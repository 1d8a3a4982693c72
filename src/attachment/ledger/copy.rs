//! The copy of a record beside the PV, and what of it a newer release may have written.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::volume::{ImagePath, NodeName};

/// The newest form of the [`struct@Copy`] that this release knows.
pub const COPY_FORM: u32 = 1;
/// From so many nodes a volume may be fenced and not let in again before it is attached to no further
/// one: so the copy always has room for those that a fence adds, and none has to be forgotten.
pub const FENCED_FROM_MAX: usize = 24;

/// The newest record of a volume, with what the record has no room for. Lies in an annotation of
/// the PV, so that a box which went back in time is noticed and put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// The record, exactly as it stands in the disk's comment.
    pub record: String,
    /// The nodes that hold the volume or that it was fenced from, in full.
    pub nodes: Vec<NodeName>,
    /// The image.
    pub image: ImagePath,
    /// Size in bytes.
    pub bytes: u64,
    /// File system, or empty for a raw block volume.
    pub file_system: String,
    /// Its UUID, where a node has told it; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// Those of `nodes` that may only read. Left out where there are none, as a copy of an older
    /// release has it: who is not named here writes, or it was not written down how he was let in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<NodeName>,
    /// Nodes from which the volume was fenced and which have not been let in again.
    pub fenced_from: Vec<FencedFrom>,
    /// What a newer release has written, too.
    #[serde(flatten)]
    pub further: Further,
}

/// What this release does not know of a copy, carried through unchanged: so that one that was
/// downgraded can go on with its volumes, and takes nothing from the release that comes after it. A
/// field that an older release must not overlook, because it restricts who may write or stops being
/// true when others change, comes with a higher `needs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Further {
    /// The form of the copy that a release must know to act on it at all: [`COPY_FORM`] at most.
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "known_form")]
    needs: u32,
    /// Fields that are not known here.
    #[serde(flatten)]
    unknown: BTreeMap<String, serde_json::Value>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn known_form<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        needs if needs <= COPY_FORM => Ok(needs),
        needs => Err(D::Error::custom(format_args!(
            "it needs form {needs} of the copy, and this release knows {COPY_FORM}: a newer one \
             wrote it"
        ))),
    }
}

/// A node that was shut out, until its old VolumeAttachment is gone and, where it knows the name
/// of the slot, until it is shown or ordered to be off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FencedFrom {
    /// The node.
    pub node: NodeName,
    /// The UID of the VolumeAttachment that it had then; empty where it had none.
    pub attachment: String,
    /// The UID of its Node object then, where it was shut out without an order, and from the name of
    /// the slot (the static form): its host may still wait for that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_uid: Option<String>,
    /// The start of its kernel that held the volume, where its agent had told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Fields that are not known here: as in [`Further`].
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}
