//! ControllerUnpublishVolume.

use super::{Adopted, attached_nodes, known_nodes};
use crate::attachment::first_driver::unpublish::{Answer, Departure, Seen, judge};
use crate::attachment::first_driver::{Allowed, allowed, nobody};
use crate::cluster::{Reason, View};
use crate::operations::ground::Ground;
use crate::operations::unpublish::not_alone;
use crate::operations::{Error, Kind, Operations};
use crate::rds::Treatment;
use crate::volume::NodeName;

impl Operations {
    /// Takes a volume from a node, or from all.
    pub(in crate::operations) async fn unpublish_old(
        &self,
        ground: &Ground,
        node: Option<NodeName>,
        old: &Adopted,
    ) -> Result<(), Error> {
        let view = self.cluster.view();
        let attached: Vec<NodeName> =
            ground.volume.iter().flat_map(|volume| attached_nodes(volume, &view)).collect();
        let leaving = match node {
            Some(node) => vec![node],
            None => everybody(ground, old, &attached, &view),
        };
        let (departure, silent) = self.departure(ground, &leaving, &view).await?;
        let stays = |node: &&NodeName| !leaving.contains(node);
        let others: Vec<NodeName> = attached.iter().filter(stays).cloned().collect();
        let seen = Seen {
            exported: old.disk.exported,
            allowed: allowed(&old.disk.allow_host, &leaving, known_nodes(&view), &ground.hosts),
            was_attached: others.len() < attached.len(),
            others,
            departure,
        };
        match judge(&seen) {
            Answer::Leave => return Ok(()),
            Answer::Close => self.leave_old(ground, old).await?,
            Answer::CloseProven => {
                self.close_old(ground, old, Treatment::Close).await?;
                self.confirm_closed(ground, &old.disk.comment).await?;
                self.leave_old(ground, old).await?;
            }
            Answer::CloseAndWait => {
                self.close_old(ground, old, Treatment::Close).await?;
                return Err(silent.unwrap_or_else(|| not_alone(ground, &leaving)));
            }
            Answer::Refuse => return Err(not_alone(ground, &attached)),
        }
        slog::info!(self.log, "volume of the first driver detached"; "volume" => %ground.id,
            "nodes" => ?leaving);
        self.tell(ground, Reason::VolumeDetached, format!("detached from {leaving:?}"));
        Ok(())
    }

    /// Closes the export and lets it be for nobody: not even by hand is it opened for whom had it.
    async fn leave_old(&self, ground: &Ground, old: &Adopted) -> Result<(), Error> {
        let host = nobody().map_err(|why| Error::new(Kind::Refused, why.to_string()))?;
        self.close_old(ground, old, Treatment::Leave(host)).await
    }

    /// How they have left; of several the one that says most against going on. With it, what is to
    /// be said of one that is silent.
    async fn departure(
        &self,
        ground: &Ground,
        leaving: &[NodeName],
        view: &View,
    ) -> Result<(Departure, Option<Error>), Error> {
        let mut worst = (Departure::LetGo, None);
        for node in leaving {
            if self.is_ready(ground, view, ground.tag(node)) {
                continue;
            }
            let found = match self.vouch_by_order(ground, node).await {
                Ok(_) => (Departure::Vouched, None),
                Err(error) if error.kind == Kind::Precondition => (Departure::Silent, Some(error)),
                Err(error) => return Err(error),
            };
            if found.0 > worst.0 {
                worst = found;
            }
        }
        Ok(worst)
    }
}

/// Those who have it by their VolumeAttachments, or by the export.
fn everybody(ground: &Ground, old: &Adopted, attached: &[NodeName], view: &View) -> Vec<NodeName> {
    let mut all = attached.to_vec();
    let by_export = allowed(&old.disk.allow_host, &[], known_nodes(view), &ground.hosts);
    if let Allowed::Node(node) = by_export
        && !all.contains(&node)
    {
        all.push(node);
    }
    all
}
