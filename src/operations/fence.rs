//! Fence: shut the holders of a volume out, for good, and prove it.

use std::collections::BTreeMap;

use super::change::Wanted;
use super::ground::Ground;
use super::static_form::order;
use super::{Error, Happened, Operations};
use crate::attachment::ledger::{FencedFrom, Nonce, Record};
use crate::attachment::static_form::{Mode, Order};
use crate::attachment::verdict::FenceCause;
use crate::cluster::{About, Notice, Reason, View};
use crate::volume::NodeName;

impl Operations {
    /// The start of this node's kernel that its agent told of last.
    pub(super) fn boot_of(&self, node: &NodeName) -> Option<String> {
        self.agents.baseline(node).map(|known| known.boot_id)
    }

    /// Fences the volume, if its record still is `judged`, and returns when it is proven that its
    /// holders write no more. The record that is current then is returned.
    pub(super) async fn fence(
        &self,
        ground: &mut Ground,
        judged: &Record,
        cause: FenceCause,
    ) -> Result<Record, Error> {
        let outcome = self.try_fence(ground, judged, cause).await;
        let told = outcome.as_ref().map(|_| ()).map_err(|error| error.kind);
        self.observer.happened(Happened::Fenced(cause, told));
        outcome
    }

    async fn try_fence(
        &self,
        ground: &mut Ground,
        judged: &Record,
        cause: FenceCause,
    ) -> Result<Record, Error> {
        let floor = ground.copied.as_ref().map_or(0, |copied| copied.generation);
        let fenced = judged.fence(floor, Nonce::random());
        let view = self.cluster.view();
        let nodes = ground.names(&judged.nodes, &view);
        let terms = ground.terms(&fenced, &nodes)?;
        let from = judged.text();
        let wanted = Wanted { from: &from, to: &fenced, terms: Some(&terms), grow_to: None };
        let disk = self.must_change(ground, wanted).await?;
        slog::warn!(self.log, "volume fenced"; "volume" => %ground.id, "cause" => cause.word(),
            "nodes" => ?nodes, "generation" => fenced.generation);
        self.follow(ground, &fenced, &disk).await?;
        self.confirm(ground, &fenced).await?;
        self.tell_fenced(ground, &nodes, cause);
        Ok(fenced)
    }

    fn tell_fenced(&self, ground: &Ground, nodes: &[NodeName], cause: FenceCause) {
        let Some(volume) = &ground.volume else { return };
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        self.cluster.post(Notice {
            reason: Reason::VolumeFenced,
            about: About::Volume(volume.name.clone()),
            note: format!(
                "volume {} can no longer be written from {}: {}{}",
                ground.id,
                names.join(", "),
                cause.sentence(),
                match ground.mode() {
                    Mode::Usual => "",
                    Mode::Static => "; the export is closed, its name stays the same",
                }
            ),
        });
    }
}

/// Those who may not come back before their old VolumeAttachment is gone: those of before, and
/// `nodes`, where they have one. Of those who know the name of the slot (the static form), and whom
/// no operator ordered off, the Node object is written down, too.
pub(super) fn shut_out(
    ground: &Ground,
    record: &Record,
    nodes: &[NodeName],
    view: &View,
    boot_of: impl Fn(&NodeName) -> Option<String>,
) -> Vec<FencedFrom> {
    let mut out = ground.copy.as_ref().map(|copy| copy.fenced_from.clone()).unwrap_or_default();
    let Some(volume) = &ground.volume else {
        return out;
    };
    // Only those that were used: the next one, which waits for its first attachment, is not the one
    // that was fenced.
    let of_volume = view.attachments_of(&volume.name).into_iter();
    let used: Vec<_> = of_volume.filter(|va| va.attached || va.deleting).collect();
    for node in nodes {
        let now = view.nodes.get(node);
        let waits = record.is_static() && order(now, None) == Order::None;
        let node_uid = now.filter(|_| waits).map(|now| now.uid.clone());
        let theirs = used.iter().filter(|va| va.node == *node);
        let mut uids: Vec<String> = theirs.map(|va| va.version.uid.clone()).collect();
        if uids.is_empty() && waits {
            uids.push(String::new());
        }
        for attachment in uids {
            let entry = FencedFrom {
                node: node.clone(),
                attachment,
                node_uid: node_uid.clone(),
                boot_id: boot_of(node),
                unknown: BTreeMap::new(),
            };
            let is_it = |other: &FencedFrom| {
                other.node == entry.node
                    && other.attachment == entry.attachment
                    && other.node_uid == entry.node_uid
            };
            if !out.iter().any(is_it) {
                out.push(entry);
            }
        }
    }
    out
}
