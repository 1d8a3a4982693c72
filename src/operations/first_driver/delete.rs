//! DeleteVolume.

use super::{Adopted, attached_nodes};
use crate::operations::change::row;
use crate::operations::delete::{entry, is_own};
use crate::operations::ground::Ground;
use crate::operations::{Error, Kind, Operations};
use crate::rds::Treatment;

impl Operations {
    /// Removes the disk and its image, which the PV names.
    pub(in crate::operations) async fn delete_old(
        &self,
        ground: &Ground,
        old: &Adopted,
    ) -> Result<(), Error> {
        let (id, image) = (&ground.id, &old.claim.image);
        let refused = |message| Err(Error::new(Kind::Precondition, message));
        let view = self.cluster.view();
        let attached: Vec<_> =
            ground.volume.iter().flat_map(|volume| attached_nodes(volume, &view)).collect();
        if !attached.is_empty() {
            return refused(format!("volume {id} is attached to {attached:?}"));
        }
        if !is_own(ground, image) {
            return refused(format!(
                "the image {image} of volume {id} lies in no directory of volume_paths of the \
                 backend {}",
                id.backend
            ));
        }
        if old.disk.exported != Some(false) {
            // The first driver leaves exports open: somebody may be writing all the same.
            self.close_old(ground, old, Treatment::Close).await?;
            self.confirm_closed(ground, &old.disk.comment).await?;
        }
        let entry = entry(ground, image);
        self.cluster.begin_deleting(&entry).await?;
        let reply = self.run(ground, old.command(ground, Treatment::Remove)).await?;
        let said = reply.complaint.unwrap_or_else(|| "it said nothing".into());
        match (row(reply.disks, ground), reply.image) {
            (None, Some(false)) => Ok(self.cluster.end_deleting(&entry).await?),
            (None, _) => self.delete_image(ground).await,
            (Some(_), _) => {
                self.cluster.end_deleting(&entry).await?;
                let address = &ground.backend.address;
                let message = format!("{address} did not remove the disk of volume {id}: {said}");
                Err(Error::new(Kind::Refused, message))
            }
        }
    }
}
