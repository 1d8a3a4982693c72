//! What the verdicts of all volumes are made of alike.

use std::sync::Arc;

use super::super::survey::Survey;
use crate::attachment::static_form::Mode;
use crate::attachment::verdict::Rules;
use crate::cluster::indexed::Indexed;
use crate::cluster::{Deleting, Identity, Node};
use crate::volume::BackendName;

/// All that a verdict is made of beside the volume's own row, PV and VolumeAttachments. If anything of
/// it differs, everything is judged anew.
#[derive(Debug, PartialEq)]
pub(super) struct Grounds {
    identity: Identity,
    /// All nodes and their taints. Most of what they report of themselves is not kept in it.
    nodes: Arc<Indexed<Node>>,
    deleting: Vec<Deleting>,
    rules: Rules,
    bare_ids: BackendName,
    boxes: Vec<StorageBox>,
}

/// A box that was read.
#[derive(Debug, PartialEq)]
struct StorageBox {
    name: BackendName,
    address: String,
    nvme_port: u16,
    nqn_base: String,
    mode: Mode,
}

impl Grounds {
    /// Those of a pass.
    pub fn of(survey: &Survey<'_>, rules: Rules) -> Self {
        let boxes =
            survey.tables.iter().zip(&survey.modes).map(|((backend, _), mode)| StorageBox {
                name: backend.name.clone(),
                address: backend.address.clone(),
                nvme_port: backend.nvme_port,
                nqn_base: backend.nqn_base.clone(),
                mode: *mode,
            });
        Self {
            identity: survey.identity.clone(),
            nodes: Arc::clone(&survey.view.nodes),
            deleting: survey.deleting.to_vec(),
            rules,
            bare_ids: survey.backends.bare_ids.clone(),
            boxes: boxes.collect(),
        }
    }
}
