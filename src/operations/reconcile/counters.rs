//! Do counters of a node's volumes move? Then it writes or reads, whatever its Node object says.

use std::collections::BTreeMap;
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

/// What the counters of all single-node volumes of these nodes say, read three times.
pub(super) async fn read(
    tables: &[Table],
    everything: &[&Found],
    nodes: &[&NodeName],
    interval: Duration,
) -> BTreeMap<NodeName, Io> {
    let mut io: BTreeMap<NodeName, Io> = BTreeMap::new();
    let of_node = |found: &Found| found.holders.iter().any(|holder| nodes.contains(&holder));
    let mut volumes: Vec<&Found> = everything.to_vec();
    volumes.retain(|found| found.is_single() && of_node(found));
    let mut reads: Vec<Vec<Option<Counters>>> = vec![Vec::new(); volumes.len()];
    for round in 0..READS {
        if round > 0 {
            tokio::time::sleep(interval).await;
        }
        let mut jobs: Vec<BoxFuture<'_, Option<Counters>>> = Vec::new();
        for found in &volumes {
            jobs.push(counters(tables, &found.id).boxed());
        }
        let row: Vec<_> = futures::stream::iter(jobs).buffered(ABREAST).collect().await;
        reads.iter_mut().zip(row).for_each(|(reads, counters)| reads.push(counters));
    }
    for (found, reads) in volumes.iter().zip(reads) {
        for holder in &found.holders {
            let entry = io.entry(holder.clone()).or_insert(Io::Untold);
            *entry = worse(*entry, movement(&reads));
        }
    }
    nodes.iter().for_each(|node| {
        io.entry((*node).clone()).or_insert(Io::Untold);
    });
    io
}

async fn counters(tables: &[Table], id: &VolumeId) -> Option<Counters> {
    let (backend, _) = tables.iter().find(|(backend, _)| backend.name == id.backend)?;
    let reply = backend.rds.execute(Command::Show(id.slot.clone()), None).await.ok()?;
    reply.disks.into_iter().find(|disk| disk.slot == id.slot.as_str())?.counters
}

/// Reads that all stand still prove something; one that is missing proves nothing.
fn movement(reads: &[Option<Counters>]) -> Io {
    let Some(reads) = reads.iter().copied().collect::<Option<Vec<Counters>>>() else {
        return Io::Untold;
    };
    let moved = |pair: &[Counters]| {
        pair[1].writes != pair[0].writes || pair[1].reads != pair[0].reads || pair[1].in_flight > 0
    };
    if reads.windows(2).any(moved) { Io::Moving } else { Io::Still }
}

fn worse(a: Io, b: Io) -> Io {
    let rank = |io| match io {
        Io::Unread => 0,
        Io::Untold => 1,
        Io::Still => 2,
        Io::Moving => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn counters_move_when_anything_ended_or_is_under_way() {
        let at = |writes, reads, in_flight| Some(Counters { writes, reads, in_flight });
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(1, 1, 0)]), Io::Still);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(2, 1, 0)]), Io::Moving);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 2, 0), at(1, 2, 0)]), Io::Moving);
        assert_eq!(movement(&[at(1, 1, 0), at(1, 1, 0), at(1, 1, 1)]), Io::Moving);
        assert_eq!(movement(&[at(1, 1, 0), None, at(1, 1, 0)]), Io::Untold);
    }
}
