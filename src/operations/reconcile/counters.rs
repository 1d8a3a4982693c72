//! Do counters of a node's volumes move? Then it writes or reads, whatever its Node object says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};

use super::facts::Found;
use super::{ABREAST, Table};
use crate::attachment::verdict::Io;
use crate::rds::{Command, Counters};
use crate::volume::{NodeName, VolumeId};

/// How often a counter is read.
const READS: usize = 3;

/// What the counters of all single-node volumes of these nodes say (`volumes`), read three times.
pub(super) async fn read(
    tables: &[Table],
    volumes: &[Found<'_>],
    nodes: &BTreeSet<&NodeName>,
    interval: Duration,
) -> BTreeMap<NodeName, Io> {
    let mut io: BTreeMap<NodeName, Io> = BTreeMap::new();
    let mut reads: Vec<Vec<Read>> = vec![Vec::new(); volumes.len()];
    for round in 0..READS {
        if round > 0 {
            tokio::time::sleep(interval).await;
        }
        let mut jobs: Vec<BoxFuture<'_, Read>> = Vec::new();
        for found in volumes {
            jobs.push(counters(tables, &found.id).boxed());
        }
        let row: Vec<_> = futures::stream::iter(jobs).buffered(ABREAST).collect().await;
        reads.iter_mut().zip(row).for_each(|(reads, counters)| reads.push(counters));
    }
    for (found, reads) in volumes.iter().zip(reads) {
        for holder in found.holder_names() {
            let entry = io.entry(holder.clone()).or_insert(Io::Untold);
            *entry = worse(*entry, movement(&reads));
        }
    }
    nodes.iter().for_each(|node| {
        io.entry((*node).clone()).or_insert(Io::Untold);
    });
    io
}

/// One read of a disk's counters.
#[derive(Debug, Clone, Copy)]
enum Read {
    /// The box gave no answer, or has no such disk: nothing is known.
    Failed,
    /// The box has no counters for it.
    Untold,
    /// These.
    Told(Counters),
}

async fn counters(tables: &[Table], id: &VolumeId) -> Read {
    let Some((backend, _)) = tables.iter().find(|(backend, _)| backend.name == id.backend) else {
        return Read::Failed;
    };
    let Ok(reply) = backend.rds.execute(Command::Show(id.slot.clone()), None).await else {
        return Read::Failed;
    };
    match reply.disks.into_iter().find(|disk| disk.slot == id.slot.as_str()) {
        None => Read::Failed,
        Some(disk) => disk.counters.map_or(Read::Untold, Read::Told),
    }
}

/// Reads that all stand still prove something. A read that failed proves nothing, so whatever
/// waits for the proof waits on.
fn movement(reads: &[Read]) -> Io {
    let told: Vec<Counters> = reads
        .iter()
        .filter_map(|read| match read {
            Read::Told(counters) => Some(*counters),
            Read::Failed | Read::Untold => None,
        })
        .collect();
    let moved = |pair: &[Counters]| {
        pair[1].writes != pair[0].writes || pair[1].reads != pair[0].reads || pair[1].in_flight > 0
    };
    if told.windows(2).any(moved) {
        return Io::Moving;
    }
    if told.len() == reads.len() {
        return Io::Still;
    }
    let none_has_any = reads.iter().all(|read| matches!(read, Read::Untold));
    if none_has_any { Io::Untold } else { Io::Unread }
}

/// Of several volumes of a node, the one that says most against acting counts.
fn worse(a: Io, b: Io) -> Io {
    let rank = |io| match io {
        Io::Untold => 0,
        Io::Still => 1,
        Io::Unread => 2,
        Io::Moving => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn counters_move_when_anything_ended_or_is_under_way() {
        let at = |writes, reads, in_flight| Read::Told(Counters { writes, reads, in_flight });
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(1, 1, 0)]), Io::Still);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(2, 1, 0)]), Io::Moving);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 2, 0), at(1, 2, 0)]), Io::Moving);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(1, 1, 1)]), Io::Moving);
    }

    #[test]
    fn a_read_that_failed_is_no_proof_that_nobody_writes() {
        let at = |writes| Read::Told(Counters { writes, reads: 0, in_flight: 0 });
        assert_eq!(movement(&[at(1), Read::Failed, at(1)]), Io::Unread);
        assert_eq!(movement(&[at(1), Read::Failed, at(2)]), Io::Moving);
        assert_eq!(movement(&[Read::Failed, Read::Failed, Read::Failed]), Io::Unread);
        assert_eq!(movement(&[Read::Untold, Read::Untold, Read::Untold]), Io::Untold);
        assert_eq!(worse(Io::Still, Io::Unread), Io::Unread);
        assert_eq!(worse(Io::Unread, Io::Moving), Io::Moving);
    }
}
