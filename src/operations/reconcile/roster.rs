//! The nodes of a cluster, found by how records and exports name them.
//!
//! These names are hashes, and stay the same as long as the cluster does: they are kept between
//! passes.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::attachment::export::Hosts;
use crate::attachment::ledger::NodeTag;
use crate::cluster::{Identity, Node, View};
use crate::volume::NodeName;

/// What the nodes are called, kept for the next pass.
#[derive(Default)]
pub(super) struct Names(Option<Known>);

struct Known {
    identity: Identity,
    tags: HashMap<NodeName, NodeTag, RandomState>,
    hosts: Hosts,
}

impl Names {
    /// Those of the nodes of this view.
    fn of(&mut self, identity: &Identity, view: &View) -> &Known {
        let is_current = |known: &Known| {
            known.identity == *identity
                && known.tags.len() == view.nodes.len()
                && view.nodes.keys().all(|node| known.tags.contains_key(node))
        };
        let known = self.0.take().filter(is_current);
        self.0.insert(known.unwrap_or_else(|| Known::new(identity, view)))
    }
}

impl Known {
    fn new(identity: &Identity, view: &View) -> Self {
        let nodes = view.nodes.keys();
        let tag = |node: &NodeName| NodeTag::of(&identity.cluster_id, node);
        Self {
            identity: identity.clone(),
            tags: nodes.clone().map(|node| (node.clone(), tag(node))).collect(),
            hosts: Hosts::new(identity.secret.clone()).knowing(nodes),
        }
    }
}

/// The nodes as of one view.
pub(super) struct Roster<'a> {
    identity: &'a Identity,
    view: &'a View,
    nodes: HashMap<NodeTag, Member<'a>, RandomState>,
    /// Found when the first tag of none of these nodes is met.
    gone: OnceCell<HashMap<NodeTag, &'a NodeName, RandomState>>,
    any_out_of_service: bool,
    /// Knows them all.
    pub hosts: Hosts,
}

/// A node that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    /// Below the number of nodes, and no other's.
    pub number: usize,
    pub node: &'a Node,
}

impl<'a> Roster<'a> {
    pub fn new(identity: &'a Identity, view: &'a View, names: &mut Names) -> Self {
        let known = names.of(identity, view);
        let member = |(number, node): (usize, &'a Node)| {
            Some((*known.tags.get(&node.name)?, Member { number, node }))
        };
        Self {
            nodes: view.nodes.values().enumerate().filter_map(member).collect(),
            hosts: known.hosts.clone(),
            gone: OnceCell::new(),
            any_out_of_service: view.nodes.values().any(|node| node.out_of_service),
            identity,
            view,
        }
    }

    /// The node behind a tag, where it is there: known to Kubernetes, or named in the copy.
    pub fn named(
        &self,
        tag: NodeTag,
        copied: &'a [NodeName],
    ) -> Option<(&'a NodeName, Option<Member<'a>>)> {
        if let Some(member) = self.nodes.get(&tag) {
            return Some((&member.node.name, Some(*member)));
        }
        let gone = self.gone.get_or_init(|| self.gone());
        let known = gone.get(&tag).copied();
        known.or_else(|| copied.iter().find(|name| self.tag(name) == tag)).map(|name| (name, None))
    }

    /// Is one of these tainted so?
    pub fn is_any_out_of_service(&self, names: &[NodeName]) -> bool {
        let is_out = |name| self.view.nodes.get(name).is_some_and(|node| node.out_of_service);
        self.any_out_of_service && names.iter().any(is_out)
    }

    /// The nodes that only VolumeAttachments know.
    fn gone(&self) -> HashMap<NodeTag, &'a NodeName, RandomState> {
        let attached = self.view.attachments.values().map(|attachment| &attachment.node);
        let attached: HashSet<&NodeName, RandomState> = attached.collect();
        let gone = attached.into_iter().filter(|node| !self.view.nodes.contains_key(*node));
        gone.map(|node| (self.tag(node), node)).collect()
    }

    fn tag(&self, node: &NodeName) -> NodeTag {
        NodeTag::of(&self.identity.cluster_id, node)
    }
}
