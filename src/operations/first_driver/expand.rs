//! ControllerExpandVolume.

use super::Adopted;
use crate::operations::ground::Ground;
use crate::operations::{Error, Kind, Operations};
use crate::rds::{Disk, Treatment};

impl Operations {
    /// Grows the disk to so many bytes; returns what it has then.
    pub(in crate::operations) async fn expand_old(
        &self,
        ground: &Ground,
        old: &Adopted,
        bytes: u64,
        required: u64,
    ) -> Result<u64, Error> {
        if bytes >= required {
            return Ok(bytes);
        }
        let has_grown = |disk: &Disk| disk.bytes >= Some(required);
        match self.treat(ground, old, Treatment::Grow(required), has_grown).await {
            Ok(disk) => Ok(disk.bytes.unwrap_or(required)),
            Err(error) if error.kind == Kind::Refused => {
                Err(self.not_grown(ground, &old.disk, required - bytes, error).await)
            }
            Err(error) => Err(error),
        }
    }
}
