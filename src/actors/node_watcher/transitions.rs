//! What of the Node watch is a reason to look. Pure.

use std::collections::BTreeMap;

use crate::cluster::{Node, NodeChange};
use crate::volume::NodeName;

/// A change after which volumes may have to be recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transition {
    /// Ready before, not ready now.
    NotReady,
    /// The out-of-service taint has appeared.
    OutOfService,
    /// The watch showed its deletion.
    Deleted,
    /// It was missing after the watch began anew, or another node has its name.
    Vanished,
}

impl Transition {
    /// For logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotReady => "not ready",
            Self::OutOfService => "out of service",
            Self::Deleted => "deleted",
            Self::Vanished => "vanished",
        }
    }
}

/// The nodes as last seen.
#[derive(Debug, Default)]
pub struct Known {
    nodes: BTreeMap<NodeName, Node>,
}

impl Known {
    /// Takes in one observation and says what in it is a reason to look.
    pub fn fold(&mut self, change: NodeChange) -> Vec<(NodeName, Transition)> {
        match change {
            NodeChange::Applied(node) => self.apply(node).into_iter().collect(),
            NodeChange::Deleted(name) => match self.nodes.remove(&name) {
                Some(_) => vec![(name, Transition::Deleted)],
                None => Vec::new(),
            },
            NodeChange::All(nodes) => self.replace(nodes),
            NodeChange::Failed(_) => Vec::new(),
        }
    }

    fn apply(&mut self, now: Node) -> Option<(NodeName, Transition)> {
        let name = now.name.clone();
        let before = self.nodes.insert(name.clone(), now.clone())?;
        let transition = if before.uid != now.uid {
            Transition::Vanished
        } else if now.out_of_service && !before.out_of_service {
            Transition::OutOfService
        } else if before.ready && !now.ready {
            Transition::NotReady
        } else {
            return None;
        };
        Some((name, transition))
    }

    fn replace(&mut self, nodes: Vec<Node>) -> Vec<(NodeName, Transition)> {
        let mut before = std::mem::take(&mut self.nodes);
        let mut seen = Vec::new();
        for node in nodes {
            if let Some(old) = before.remove(&node.name) {
                self.nodes.insert(old.name.clone(), old);
            }
            seen.extend(self.apply(node));
        }
        let gone = before.into_keys();
        seen.extend(gone.map(|name| (name, Transition::Vanished)));
        seen
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn node(name: &str, ready: bool) -> Node {
        Node {
            name: NodeName::parse(name).unwrap(),
            uid: format!("uid of {name}"),
            ready,
            out_of_service: false,
            address: None,
        }
    }

    fn tainted(name: &str) -> Node {
        Node { out_of_service: true, ..node(name, true) }
    }

    fn reborn(name: &str) -> Node {
        Node { uid: "another".into(), ..node(name, true) }
    }

    fn deleted(name: &str) -> NodeChange {
        NodeChange::Deleted(NodeName::parse(name).unwrap())
    }

    /// What is folded of `change` after a watch that began with `before`.
    fn after(before: Vec<Node>, change: NodeChange) -> Vec<Transition> {
        let mut known = Known::default();
        assert_eq!(known.fold(NodeChange::All(before)), []);
        let folded = known.fold(change);
        folded.into_iter().map(|(_, transition)| transition).collect()
    }

    #[test]
    fn these_are_reasons_to_look() {
        use NodeChange::{All, Applied};
        use Transition::*;
        let one = || vec![node("n1", true)];
        let table = [
            (one(), Applied(node("n1", false)), NotReady),
            (one(), Applied(tainted("n1")), OutOfService),
            (vec![node("n1", false)], Applied(tainted("n1")), OutOfService),
            (one(), deleted("n1"), Deleted),
            (vec![node("n1", false)], deleted("n1"), Deleted),
            (one(), All(vec![]), Vanished),
            (one(), All(vec![node("n2", true)]), Vanished),
            (one(), All(vec![node("n1", false)]), NotReady),
            (one(), All(vec![tainted("n1")]), OutOfService),
            (one(), Applied(reborn("n1")), Vanished),
            (one(), All(vec![reborn("n1")]), Vanished),
        ];
        for (before, change, transition) in table {
            let shown = format!("{before:?} {change:?}");
            assert_eq!(after(before, change), [transition], "{shown}");
        }
    }

    #[test]
    fn these_are_none() {
        use NodeChange::{All, Applied};
        let table = [
            (vec![node("n1", false)], Applied(node("n1", false))),
            (vec![node("n1", false)], Applied(node("n1", true))),
            (vec![node("n1", true)], Applied(node("n1", true))),
            (vec![], Applied(node("n1", true))),
            (vec![], Applied(node("n1", false))),
            (vec![tainted("n1")], Applied(tainted("n1"))),
            (vec![tainted("n1")], Applied(node("n1", true))),
            (vec![], deleted("n1")),
            (vec![node("n1", true)], All(vec![node("n1", true), node("n2", true)])),
            (vec![node("n1", true)], NodeChange::Failed("gone".into())),
        ];
        for (before, change) in table {
            let shown = format!("{before:?} {change:?}");
            assert_eq!(after(before, change), [], "{shown}");
        }
    }

    #[test]
    fn what_was_folded_is_known_afterwards() {
        let mut known = Known::default();
        known.fold(NodeChange::All(vec![node("n1", true), node("n2", true)]));
        known.fold(NodeChange::All(vec![node("n2", false)]));
        assert_eq!(known.fold(deleted("n1")), []);
        assert_eq!(known.fold(NodeChange::Applied(node("n2", false))), []);
        assert_eq!(known.fold(NodeChange::Applied(node("n2", true))), []);
        assert_eq!(known.fold(NodeChange::Applied(node("n2", false))).len(), 1);
    }
}
