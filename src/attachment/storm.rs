//! Too many nodes at once: more likely the API server, a switch or we ourselves than all of them.
//!
//! While a storm lasts nothing is fenced on the word of the Node objects. It lasts until no further
//! node has joined for the window; then nodes are acted on one by one, one per [`STEP`].

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::volume::NodeName;

/// Time between two nodes that are acted on after a storm.
pub const STEP: Duration = Duration::from_secs(60);

/// When a storm begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The share of the nodes that hold our volumes, 0 to 1.
    pub share: f64,
    /// The time within which they became unhealthy.
    pub window: Duration,
}

/// What has been seen of unhealthy nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storm {
    /// Nodes that are unhealthy now, and since when.
    unhealthy: BTreeMap<NodeName, Instant>,
    /// The nodes of a storm that has begun.
    caught: Vec<NodeName>,
    acted: Option<Instant>,
}

impl Storm {
    /// Takes note of all nodes that are unhealthy (not Ready, or gone) now, of `holders` nodes
    /// that hold our volumes.
    pub fn observe(
        &mut self,
        unhealthy: impl IntoIterator<Item = NodeName>,
        holders: usize,
        limits: Limits,
        now: Instant,
    ) {
        let before = std::mem::take(&mut self.unhealthy);
        for node in unhealthy {
            let since = before.get(&node).copied().unwrap_or(now);
            self.unhealthy.insert(node, since);
        }
        self.caught.retain(|node| self.unhealthy.contains_key(node));
        let recent: Vec<&NodeName> = self.recent(limits, now).collect();
        #[expect(clippy::cast_precision_loss, reason = "nodes are few")]
        let share = recent.len() as f64 / holders.max(1) as f64;
        if recent.len() > 1 && share >= limits.share {
            self.caught = self.unhealthy.keys().cloned().collect();
        }
    }

    fn recent(&self, limits: Limits, now: Instant) -> impl Iterator<Item = &NodeName> {
        let is_recent = move |since: Instant| now.duration_since(since) < limits.window;
        self.unhealthy.iter().filter(move |(_, since)| is_recent(**since)).map(|(node, _)| node)
    }

    /// How long nothing may be done about `node`, or `None` when it may. Asking for a node that
    /// may be acted on counts as acting on it.
    pub fn hold(&mut self, node: &NodeName, limits: Limits, now: Instant) -> Option<Duration> {
        if !self.caught.contains(node) {
            return None;
        }
        let newest = self.unhealthy.values().max().copied().unwrap_or(now);
        let mut free = newest + limits.window;
        if let Some(acted) = self.acted {
            free = free.max(acted + STEP);
        }
        if free > now {
            return Some(free - now);
        }
        self.acted = Some(now);
        self.caught.retain(|caught| caught != node);
        None
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const LIMITS: Limits = Limits { share: 0.4, window: Duration::from_secs(120) };

    fn nodes(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|name| NodeName::parse(name).unwrap()).collect()
    }

    /// Is anything held back for the first node?
    fn holds(storm: &mut Storm, now: Instant) -> bool {
        storm.hold(&nodes(&["a"])[0], LIMITS, now).is_some()
    }

    #[test]
    fn one_node_is_never_a_storm() {
        let mut storm = Storm::default();
        let now = Instant::now();
        storm.observe(nodes(&["a"]), 1, LIMITS, now);
        assert!(!holds(&mut storm, now));
    }

    #[test]
    fn two_of_four_within_the_window_are_one_and_two_of_ten_are_not() {
        let now = Instant::now();
        let mut storm = Storm::default();
        storm.observe(nodes(&["a", "b"]), 4, LIMITS, now);
        assert!(holds(&mut storm, now));
        let mut calm = Storm::default();
        calm.observe(nodes(&["a", "b"]), 10, LIMITS, now);
        assert!(!holds(&mut calm, now));
    }

    #[test]
    fn it_lasts_until_nobody_joins_and_then_lets_one_go_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let [a, b] = [nodes(&["a"]).remove(0), nodes(&["b"]).remove(0)];
        let mut storm = Storm::default();
        storm.observe(nodes(&["a"]), 2, LIMITS, at(0));
        storm.observe(nodes(&["a", "b"]), 2, LIMITS, at(60));
        assert_eq!(storm.hold(&a, LIMITS, at(61)), Some(Duration::from_secs(119)));
        assert_eq!(storm.hold(&a, LIMITS, at(180)), None);
        assert_eq!(storm.hold(&b, LIMITS, at(181)), Some(Duration::from_secs(59)));
        assert_eq!(storm.hold(&b, LIMITS, at(240)), None);
        assert!(!holds(&mut storm, at(240)));
    }

    #[test]
    fn it_is_over_for_a_node_that_is_well_again() {
        let now = Instant::now();
        let mut storm = Storm::default();
        storm.observe(nodes(&["a", "b"]), 2, LIMITS, now);
        storm.observe(nodes(&[]), 2, LIMITS, now);
        assert!(!holds(&mut storm, now));
    }
}
