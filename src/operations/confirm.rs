//! Proof that a fenced host writes no more.
//!
//! The export being closed is what the box says; that nothing is in flight and the write counter
//! stands still is what its disk says. Both are needed before a volume is detached, released or
//! given to another node.

use tokio::time::sleep;

use super::change::lost;
use super::ground::Ground;
use super::{Error, Kind, Operations};
use crate::attachment::ledger::Record;
use crate::rds::{Counters, Disk};

/// How many reads a fence may take to be confirmed.
const READS: usize = 10;

impl Operations {
    /// Returns once `record` stands on the box, the export is closed and nothing is written.
    pub(super) async fn confirm(&self, ground: &Ground, record: &Record) -> Result<Disk, Error> {
        self.confirm_closed(ground, &record.text()).await
    }

    /// The same for a disk with this comment.
    pub(super) async fn confirm_closed(
        &self,
        ground: &Ground,
        comment: &str,
    ) -> Result<Disk, Error> {
        let mut before = self.closed(ground, comment).await?;
        if before.counters.is_none() {
            let drain = self.limits.borrow().drain;
            sleep(drain).await;
            return self.closed(ground, comment).await;
        }
        for _ in 1..READS {
            let apart = self.limits.borrow().counter_interval;
            sleep(apart).await;
            let now = self.closed(ground, comment).await?;
            if is_still(before.counters, now.counters) {
                return Ok(now);
            }
            before = now;
        }
        let message = format!(
            "volume {} is closed, and still something is written to it; it is not released",
            ground.id
        );
        Err(Error::new(Kind::Unknown, message))
    }

    /// The disk, if it has this comment and its export is closed.
    async fn closed(&self, ground: &Ground, comment: &str) -> Result<Disk, Error> {
        let disk = self.show(ground).await?.ok_or_else(|| ground.no_disk())?;
        if disk.comment != comment {
            return Err(lost(ground));
        }
        if disk.exported == Some(false) {
            return Ok(disk);
        }
        let (address, id) = (&ground.backend.address, &ground.id);
        let message = format!("{address} does not say that the export of volume {id} is closed");
        Err(Error::new(Kind::Unknown, message))
    }
}

/// Did no write end between two reads, and is nothing under way?
fn is_still(before: Option<Counters>, now: Option<Counters>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => now.writes == before.writes && now.in_flight == 0,
        _ => false,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_a_counter_that_stands_with_nothing_in_flight_is_still() {
        let at = |writes, in_flight| Some(Counters { writes, reads: 0, in_flight });
        assert!(is_still(at(5, 1), at(5, 0)));
        assert!(!is_still(at(5, 0), at(6, 0)));
        assert!(!is_still(at(5, 0), at(5, 1)));
        assert!(!is_still(at(6, 0), at(5, 0)), "the box has started anew");
        assert!(!is_still(at(5, 0), None));
    }
}
