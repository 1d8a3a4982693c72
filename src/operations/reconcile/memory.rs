//! Since when something has been missing, and how often something failed. All that a reconciler remembers between passes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::facts::Found;
use super::settled::Entry;
use crate::attachment::storm::{Limits, Storm};
use crate::cluster::{Node, View};
use crate::volume::{BackendName, NodeName, VolumeId};

/// When a volume is tried again with which something failed; doubles with each further failure,
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// up to this: what a person must put right shall not keep the box busy.
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// What a pass sees of all volumes that [`Memory::remember`] must know.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    gone: Vec<NodeName>,
    detached: Vec<(VolumeId, NodeName)>,
    unclaimed: Vec<VolumeId>,
    /// Those of them with which something has failed.
    failed: BTreeSet<VolumeId>,
    /// Which nodes hold anything, by their number,
    holding: Vec<bool>,
    /// and those that are gone.
    holding_gone: BTreeSet<&'a NodeName>,
}

impl<'a> Tally<'a> {
    /// Nothing yet.
    pub fn new(view: &View) -> Self {
        Self {
            gone: Vec::new(),
            detached: Vec::new(),
            unclaimed: Vec::new(),
            failed: BTreeSet::new(),
            holding: vec![false; view.nodes.len()],
            holding_gone: BTreeSet::new(),
        }
    }

    /// One volume more, which is as it was. Nothing is missing, and its nodes are there.
    pub fn note_settled(&mut self, entry: &Entry) {
        if entry.is_attached {
            for number in entry.holders.iter().flatten() {
                self.holding[*number as usize] = true;
            }
        }
    }

    /// One volume more.
    pub fn note(&mut self, volume: &Found<'a>, memory: &Memory) {
        if volume.is_unclaimed() {
            self.unclaimed.push(volume.id.clone());
        }
        if !memory.failed.is_empty() && memory.failed.contains_key(&volume.id) {
            self.failed.insert(volume.id.clone());
        }
        let is_attached = volume.is_attached();
        for held in volume.holders() {
            if held.attachment.is_none() {
                self.detached.push((volume.id.clone(), held.name.clone()));
            }
            match held.member {
                Some(member) if is_attached => self.holding[member.number] = true,
                Some(_) => {}
                None => {
                    self.gone.push(held.name.clone());
                    if is_attached {
                        self.holding_gone.insert(held.name);
                    }
                }
            }
        }
    }
}

/// The nodes that hold attached volumes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Holders<'a> {
    /// Those that are there,
    pub there: Vec<&'a Node>,
    /// and those that are not.
    pub gone: BTreeSet<&'a NodeName>,
}

/// Since when.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(PartialEq))]
pub(super) struct Memory {
    nodes: BTreeMap<NodeName, Instant>,
    attachments: BTreeMap<(VolumeId, NodeName), Instant>,
    claims: BTreeMap<VolumeId, Instant>,
    failed: BTreeMap<VolumeId, u32>,
    pub storm: Storm,
}

impl Memory {
    /// Takes note of what is missing now, and forgets what is back. Of boxes that could not be read
    /// (`blind`) nothing is forgotten: an outage must not make grace times start anew. Says who holds
    /// anything.
    pub fn remember<'a>(
        &mut self,
        tally: Tally<'a>,
        blind: &BTreeSet<BackendName>,
        view: &'a View,
        storm: Limits,
        now: Instant,
    ) -> Holders<'a> {
        let Tally { gone, detached, unclaimed, failed, holding, holding_gone } = tally;
        let is_gone = |node: &NodeName| !view.nodes.contains_key(node);
        let gone = gone.into_iter();
        keep(&mut self.nodes, gone, now, |node| !blind.is_empty() && is_gone(node));
        let detached = detached.into_iter();
        keep(&mut self.attachments, detached, now, |(id, _)| blind.contains(&id.backend));
        let unclaimed = unclaimed.into_iter();
        keep(&mut self.claims, unclaimed, now, |id| blind.contains(&id.backend));
        self.failed.retain(|id, _| blind.contains(&id.backend) || failed.contains(id));
        let holds = view.nodes.values().zip(holding);
        let there: Vec<&Node> = holds.filter_map(|(node, holds)| holds.then_some(node)).collect();
        let holders = Holders { there, gone: holding_gone };
        let not_ready = holders.there.iter().filter(|node| !node.ready).map(|node| &node.name);
        let unhealthy: BTreeSet<NodeName> =
            not_ready.chain(holders.gone.iter().copied()).cloned().collect();
        let count = holders.there.len() + holders.gone.len();
        self.storm.observe(unhealthy, count, storm, now);
        holders
    }

    /// The volumes with which something has failed.
    pub fn failing(&self) -> impl Iterator<Item = &VolumeId> {
        self.failed.keys()
    }

    /// Something failed with this volume again: when to try it anew.
    pub fn failed(&mut self, id: &VolumeId) -> Duration {
        let times = self.failed.entry(id.clone()).or_default();
        let delay = RETRY_FIRST.saturating_mul(1 << (*times).min(16)).min(RETRY_LONGEST);
        *times = times.saturating_add(1);
        delay
    }

    /// Something succeeded with this volume.
    pub fn succeeded(&mut self, id: &VolumeId) {
        self.failed.remove(id);
    }

    /// How long the Node object has been gone.
    pub fn node_gone(&self, node: &NodeName, now: Instant) -> Duration {
        since(self.nodes.get(node), now)
    }

    /// How long the VolumeAttachment has been gone.
    pub fn attachment_gone(&self, id: &VolumeId, node: &NodeName, now: Instant) -> Duration {
        since(self.attachments.get(&(id.clone(), node.clone())), now)
    }

    /// How long no PV has named the item.
    pub fn claim_gone(&self, id: &VolumeId, now: Instant) -> Duration {
        since(self.claims.get(id), now)
    }
}

fn since(at: Option<&Instant>, now: Instant) -> Duration {
    at.map(|at| now.duration_since(*at)).unwrap_or_default()
}

fn keep<K: Ord + Clone>(
    times: &mut BTreeMap<K, Instant>,
    missing: impl Iterator<Item = K>,
    now: Instant,
    is_unknown: impl Fn(&K) -> bool,
) {
    let before = std::mem::take(times);
    times.extend(before.iter().filter(|(key, _)| is_unknown(key)).map(|(k, at)| (k.clone(), *at)));
    times.extend(missing.map(|key| {
        let since = before.get(&key).copied().unwrap_or(now);
        (key, since)
    }));
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_is_missing_keeps_its_time_and_what_is_back_loses_it() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut times = BTreeMap::new();
        keep(&mut times, ["a", "b"].into_iter(), start, |_| false);
        keep(&mut times, ["b", "c"].into_iter(), later, |_| false);
        assert_eq!(times, BTreeMap::from([("b", start), ("c", later)]));
    }

    #[test]
    fn what_cannot_be_seen_keeps_its_time() {
        let start = Instant::now();
        let mut times = BTreeMap::from([("a", start), ("b", start)]);
        keep(&mut times, [].into_iter(), start + Duration::from_secs(5), |key| *key == "a");
        assert_eq!(times, BTreeMap::from([("a", start)]));
    }

    #[test]
    fn a_key_that_is_named_twice_keeps_its_first_time() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut times = BTreeMap::from([("a", start)]);
        keep(&mut times, ["a", "a"].into_iter(), later, |_| false);
        assert_eq!(times, BTreeMap::from([("a", start)]));
    }
}
