//! `/statusz` of the cluster: what somebody who was woken up looks for. Pure.
//!
//! Whatever is as it should be is a number; whatever may be a reason to be awake has a name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::attachment::ledger::{Record, State};
use crate::cluster::{CopyState, View, Volume};

/// Most names of one list; a page must stay readable, and small.
const NAMES_MAX: usize = 100;

/// The nodes, volumes and attachments of a view.
pub fn of(view: &View) -> Value {
    json!({ "nodes": nodes(view), "volumes": volumes(view), "attachments": attachments(view) })
}

fn nodes(view: &View) -> Value {
    let those = |wanted: fn(&crate::cluster::Node) -> bool| {
        names(view.nodes.values().filter(|node| wanted(node)).map(|node| node.name.to_string()))
    };
    json!({
        "count": view.nodes.len(),
        "not_ready": those(|node| !node.ready),
        "out_of_service": those(|node| node.out_of_service),
    })
}

fn volumes(view: &View) -> Value {
    let mut states: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for volume in view.volumes.values() {
        states.entry(state(volume)).or_default().push(named(volume));
    }
    let count = |state| states.get(state).map_or(0, Vec::len);
    let listed = |state| names(states.get(state).into_iter().flatten().cloned());
    json!({
        "count": view.volumes.len(),
        "detached": count(State::Detached.word()),
        "without_record": count(WITHOUT_RECORD),
        "attached": listed(State::Attached.word()),
        "fenced": listed(State::Fenced.word()),
        "deleting": listed(State::Deleting.word()),
        "unreadable": listed(UNREADABLE),
    })
}

const UNREADABLE: &str = "unreadable";
const WITHOUT_RECORD: &str = "without_record";

/// What the copy beside the PV says of the volume.
fn state(volume: &Volume) -> &'static str {
    match &volume.copy {
        CopyState::Absent => WITHOUT_RECORD,
        CopyState::Unreadable(_) => UNREADABLE,
        CopyState::Present(copy) => {
            Record::parse(&copy.record).map_or(UNREADABLE, |record| record.state.word())
        }
    }
}

/// The PV, and the nodes that hold the volume or were shut out of it.
fn named(volume: &Volume) -> String {
    let nodes = match &volume.copy {
        CopyState::Present(copy) => copy.nodes.iter().map(ToString::to_string).collect(),
        CopyState::Absent | CopyState::Unreadable(_) => Vec::new(),
    };
    match nodes.is_empty() {
        true => volume.name.clone(),
        false => format!("{} ({})", volume.name, nodes.join(", ")),
    }
}

fn attachments(view: &View) -> Value {
    let those = |wanted: &dyn Fn(&crate::cluster::Attachment) -> bool| {
        let some = view.attachments.values().filter(|attachment| wanted(attachment));
        names(some.map(|attachment| format!("{} ({})", attachment.name, attachment.node)))
    };
    json!({
        "count": view.attachments.len(),
        "not_attached": those(&|attachment| !attachment.attached && !attachment.deleting),
        "detaching": those(&|attachment| attachment.deleting),
        "of_missing_nodes": those(&|attachment| !view.nodes.contains_key(&attachment.node)),
    })
}

/// A list that has an end.
fn names(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = all.collect();
    if all.len() > NAMES_MAX {
        let more = all.len() - NAMES_MAX;
        all.truncate(NAMES_MAX);
        all.push(format!("and {more} more"));
    }
    all
}

#[cfg(test)]
mod test {
    use std::sync::Arc;

    use super::*;
    use crate::attachment::usage::Usage;
    use crate::cluster::{Attachment, Node, Version};
    use crate::volume::NodeName;

    fn node(name: &str, ready: bool) -> Node {
        let name = NodeName::parse(name).unwrap();
        Node { name, uid: String::new(), ready, out_of_service: !ready, address: None }
    }

    fn volume(name: &str, copy: CopyState) -> Volume {
        Volume {
            name: name.into(),
            version: Version::default(),
            handle: name.into(),
            attributes: BTreeMap::new(),
            bytes: 1,
            going: false,
            claim: None,
            copy,
            copied: None,
            names: None,
            nvme_port: None,
            usage: Usage { reads_only: false, is_raw: false },
        }
    }

    #[test]
    fn what_may_be_a_reason_to_be_awake_has_a_name() {
        let mut view = View::default();
        for node in [node("a", true), node("b", false)] {
            Arc::make_mut(&mut view.nodes).insert(node);
        }
        for volume in [
            volume("pvc-1", CopyState::Unreadable("no JSON".into())),
            volume("pvc-2", CopyState::Absent),
        ] {
            Arc::make_mut(&mut view.volumes).insert(Arc::new(volume));
        }
        let attachment = Attachment {
            name: "csi-1".into(),
            version: Version::default(),
            volume: "pvc-1".into(),
            node: NodeName::parse("c").unwrap(),
            attached: true,
            deleting: false,
        };
        Arc::make_mut(&mut view.attachments).insert(Arc::new(attachment));
        let shown = of(&view);
        assert_eq!(shown["nodes"]["count"], 2);
        assert_eq!(shown["nodes"]["not_ready"], json!(["b"]));
        assert_eq!(shown["nodes"]["out_of_service"], json!(["b"]));
        assert_eq!(shown["volumes"]["unreadable"], json!(["pvc-1"]));
        assert_eq!(shown["volumes"]["without_record"], 1);
        assert_eq!(shown["attachments"]["of_missing_nodes"], json!(["csi-1 (c)"]));
        assert_eq!(shown["attachments"]["not_attached"], json!([]));
    }

    #[test]
    fn a_list_has_an_end() {
        let shown = names((0..1000).map(|n| n.to_string()));
        assert_eq!(shown.len(), NAMES_MAX + 1);
        assert_eq!(shown.last().unwrap(), "and 900 more");
    }
}
