//! Is what a node has attached still its own? Decided from what Kubernetes says of the volume.
//!
//! Only a plain statement ends anything: of a volume of which nothing can be read, of which the copy
//! is behind, or of which nobody wrote one, everything stays as it is.

use super::ledger::{Record, State};
use crate::agent::generation;
use crate::volume::{NodeName, Slot};

/// What Kubernetes says of a volume, read after the controller was seen on the host: what was
/// attached later is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// Its PV.
    pub volume: Claimed,
    /// Its VolumeAttachment for this node.
    pub attachment: Option<Bound>,
}

/// What the PV says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// There is no such PV.
    Gone,
    /// There is one, and no copy that can be read.
    Untold,
    /// The newest record, and the nodes that hold the volume by it.
    Told(Record, Vec<NodeName>),
}

/// A VolumeAttachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The NQN in its `status.attachmentMetadata`: what ControllerPublish answered.
    pub nqn: Option<String>,
    /// Is it attached, and not on its way out?
    pub holds: bool,
}

/// What is to become of an NQN on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the node's own now.
    Current,
    /// It never comes back for this node.
    Over(&'static str),
    /// Nobody says so: it stays as it is.
    Unknown(&'static str),
}

/// Judges an NQN that this node has or had. `is_live`: does its connection work?
pub fn standing(
    nqn: &str,
    slot: &Slot,
    node: &NodeName,
    is_live: bool,
    attested: &Attested,
) -> Standing {
    use Standing::{Current, Over, Unknown};
    let (record, nodes) = match &attested.volume {
        Claimed::Told(record, nodes) => (record, nodes),
        Claimed::Untold => return Unknown("its PersistentVolume has no copy that can be read"),
        Claimed::Gone if attested.attachment.is_some() => {
            return Unknown("its PersistentVolume is gone, and its VolumeAttachment is not");
        }
        // A volume that was deleted has no export, so nobody is connected to it.
        Claimed::Gone if is_live => {
            return Unknown("its PersistentVolume is gone, and its connection works");
        }
        Claimed::Gone => return Over("its PersistentVolume is gone"),
    };
    let is_held_here = record.state == State::Attached && nodes.contains(node);
    let Some((number, nonce)) = generation(nqn) else {
        return by_the_slot(nqn, slot, record, is_held_here);
    };
    match record.generation.cmp(&number) {
        std::cmp::Ordering::Greater => Over("the volume was attached anew or fenced since"),
        std::cmp::Ordering::Less => Unknown("the copy of its record is older than it"),
        std::cmp::Ordering::Equal if record.nonce.to_string() != nonce => {
            Unknown("another attachment has its generation")
        }
        std::cmp::Ordering::Equal if is_held_here => Current,
        std::cmp::Ordering::Equal => Over("the volume is not held by this node any more"),
    }
}

/// The name of the slot comes back with every attachment: it is this node's while this node holds
/// the volume under it, and a danger when another one does.
fn by_the_slot(nqn: &str, slot: &Slot, record: &Record, is_held_here: bool) -> Standing {
    if nqn != slot.as_str() {
        return Standing::Unknown("it is no name that this driver gave");
    }
    match is_held_here && record.is_static() {
        true => Standing::Current,
        false => Standing::Over("the volume is not held by this node under this name"),
    }
}

/// Is it certain that this node is to be connected to exactly this NQN?
pub fn is_wanted(nqn: &str, standing: Standing, attested: &Attested) -> bool {
    let bound = |it: &Bound| it.holds && it.nqn.as_deref() == Some(nqn);
    standing == Standing::Current && attested.attachment.as_ref().is_some_and(bound)
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;
    use crate::attachment::ledger::{ClusterTag, NodeTag, Nonce, Sharing};

    const BASE: &str = "nqn.x";

    fn slot() -> Slot {
        Slot::parse("v").unwrap()
    }
    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }
    fn attached(sharing: Sharing, nonce: Nonce) -> Record {
        let created = Record::created(ClusterTag::of("c"));
        created.attach(NodeTag::of("c", &node("n1")), sharing, 0, nonce)
    }
    fn nqn(record: &Record) -> String {
        record.nqn(BASE, &slot()).unwrap().to_string()
    }
    fn told(record: &Record, nodes: &[&str]) -> Attested {
        let nodes = nodes.iter().map(|name| node(name)).collect();
        Attested { volume: Claimed::Told(record.clone(), nodes), attachment: None }
    }
    fn judged(nqn: &str, attested: &Attested) -> &'static str {
        match standing(nqn, &slot(), &node("n1"), false, attested) {
            Standing::Current => "current",
            Standing::Over(_) => "over",
            Standing::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn an_nqn_is_over_only_when_the_copy_says_who_has_the_volume_instead() {
        let held = attached(Sharing::Single, Nonce::random());
        let fixed = attached(Sharing::Single, Nonce::ZERO);
        let shared = attached(Sharing::Multi, Nonce::random());
        let twin = Record { nonce: Nonce::random(), ..held.clone() };
        let table = [
            (nqn(&held), told(&held, &["n1"]), "current"),
            (nqn(&held), told(&held.next(), &["n1"]), "current"),
            (nqn(&held), told(&held, &["n2"]), "over"),
            (nqn(&shared), told(&shared, &["n2", "n1"]), "current"),
            (nqn(&shared), told(&shared, &["n2"]), "over"),
            (nqn(&held), told(&held.detach(), &[]), "over"),
            (nqn(&held), told(&held.delete(), &[]), "over"),
            (nqn(&held), told(&held.fence(0, Nonce::random()), &["n1"]), "over"),
            (nqn(&held), told(&Record { generation: 0, ..held.clone() }, &["n1"]), "unknown"),
            (nqn(&held), told(&twin, &["n1"]), "unknown"),
            ("v".into(), told(&fixed, &["n1"]), "current"),
            ("v".into(), told(&fixed, &["n2"]), "over"),
            ("v".into(), told(&fixed.detach(), &[]), "over"),
            ("v".into(), told(&held, &["n1"]), "over"),
            ("nqn.x:v".into(), told(&held, &["n2"]), "unknown"),
            ("nqn.other:thing".into(), told(&held, &["n2"]), "unknown"),
        ];
        for (nqn, attested, expected) in table {
            assert_eq!(judged(&nqn, &attested), expected, "{nqn} {attested:?}");
        }
    }

    #[test]
    fn without_a_pv_nothing_that_works_is_ended() {
        let held = attached(Sharing::Single, Nonce::random());
        let nqn = nqn(&held);
        let gone = Attested { volume: Claimed::Gone, attachment: None };
        let bound = Some(Bound { nqn: Some(nqn.clone()), holds: true });
        let kept = Attested { attachment: bound, ..gone.clone() };
        let untold = Attested { volume: Claimed::Untold, attachment: None };
        let judged = |live, attested| standing(&nqn, &slot(), &node("n1"), live, attested);
        assert!(matches!(judged(false, &gone), Standing::Over(_)));
        assert!(matches!(judged(true, &gone), Standing::Unknown(_)));
        assert!(matches!(judged(false, &kept), Standing::Unknown(_)));
        assert!(matches!(judged(false, &untold), Standing::Unknown(_)));
    }

    #[test]
    fn it_is_connected_again_only_to_the_nqn_that_was_published_and_is_current() {
        let held = attached(Sharing::Single, Nonce::random());
        let nqn = nqn(&held);
        let bound = |nqn: &str, holds| Attested {
            attachment: Some(Bound { nqn: Some(nqn.to_owned()), holds }),
            ..told(&held, &["n1"])
        };
        let wanted = |attested: &Attested| {
            is_wanted(&nqn, standing(&nqn, &slot(), &node("n1"), false, attested), attested)
        };
        assert!(wanted(&bound(&nqn, true)));
        assert!(!wanted(&bound(&nqn, false)));
        assert!(!wanted(&bound("nqn.x:v.g9-000000000000", true)));
        assert!(!wanted(&told(&held, &["n1"])));
        let fenced = Attested { ..bound(&nqn, true) };
        let volume = told(&held.fence(0, Nonce::random()), &["n1"]).volume;
        assert!(!wanted(&Attested { volume, ..fenced }));
    }

    proptest! {
        /// Whatever becomes of a volume: what its holder has is current, and after anything that
        /// takes the volume away it is over, for ever.
        #[test]
        fn what_a_node_holds_is_current_until_it_is_taken_and_over_ever_after(
            steps in prop::collection::vec(0..4u8, 1..12),
        ) {
            let mut record = Record::created(ClusterTag::of("c"));
            let mut holder: Option<(&str, String)> = None;
            let mut former: Vec<String> = Vec::new();
            for step in steps {
                let before = holder.take();
                match step {
                    0 | 1 if record.state != State::Attached => {
                        let name = if step == 0 { "n1" } else { "n2" };
                        let tag = NodeTag::of("c", &node(name));
                        record = record.attach(tag, Sharing::Single, 0, Nonce::random());
                        holder = Some((name, nqn(&record)));
                    }
                    2 if record.state == State::Attached => record = record.detach(),
                    3 if record.state == State::Attached => {
                        record = record.fence(0, Nonce::random());
                    }
                    _ => {
                        record = record.next();
                        holder = before.clone();
                    }
                }
                if before != holder {
                    former.extend(before.filter(|(name, _)| *name == "n1").map(|(_, nqn)| nqn));
                }
                let nodes: Vec<&str> = holder.iter().map(|(name, _)| *name).collect();
                let attested = told(&record, &nodes);
                if let Some(("n1", nqn)) = &holder {
                    prop_assert_eq!(judged(nqn, &attested), "current");
                }
                for nqn in &former {
                    prop_assert_eq!(judged(nqn, &attested), "over");
                }
            }
        }
    }
}
