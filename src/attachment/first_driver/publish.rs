//! May this node have a volume without a record? Decided from the export and VolumeAttachments.

use super::Allowed;
use crate::attachment::ledger::{HOLDERS_MAX, Sharing};
use crate::volume::NodeName;

/// What is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Is the disk exported? `None` where the box did not say.
    pub exported: Option<bool>,
    /// Under the NQN and on the port that the PV names?
    pub as_named: bool,
    /// For whom.
    pub allowed: Allowed,
    /// Does the VolumeAttachment of the node say that it is attached already?
    pub was_attached: bool,
    /// The other nodes whose VolumeAttachments say so.
    pub others: Vec<NodeName>,
    /// Is each of those Ready?
    pub others_are_well: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is so already: change nothing.
    Held,
    /// Open the export just as it was: somebody may wait for it.
    Reopen,
    /// Close the export and open it for this node.
    Export,
    /// The same, once somebody vouches for the node from which it was taken.
    ExportAfter(NodeName),
    /// No.
    Refuse(Refusal),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Other nodes hold it.
    HeldBy(Vec<NodeName>),
    /// It is shared with nodes of which not all are Ready.
    NotWell(Vec<NodeName>),
    /// It is exported for a host that this cluster does not know.
    Stranger,
}

/// Judges a wish. A volume that was attached when the first driver still served it is open to
/// everybody; it stays so until it is detached, since its host has a name of its own.
pub fn judge(seen: &Seen, sharing: Sharing) -> Answer {
    let shared = sharing == Sharing::Multi;
    let most = if shared { HOLDERS_MAX - 1 } else { 0 };
    if seen.others.len() > most {
        return Answer::Refuse(Refusal::HeldBy(seen.others.clone()));
    }
    if !seen.others.is_empty() && !seen.others_are_well {
        return Answer::Refuse(Refusal::NotWell(seen.others.clone()));
    }
    let in_use = seen.was_attached || !seen.others.is_empty();
    let is_open = seen.exported != Some(false);
    let is_right = seen.exported == Some(true) && seen.as_named;
    match (&seen.allowed, is_open) {
        (Allowed::Stranger, _) => Answer::Refuse(Refusal::Stranger),
        (Allowed::Node(node), true) => Answer::Refuse(Refusal::HeldBy(vec![node.clone()])),
        (Allowed::Node(node), false) => Answer::ExportAfter(node.clone()),
        (Allowed::All, true) if in_use && is_right => Answer::Held,
        (Allowed::All, false) if in_use => Answer::Reopen,
        (Allowed::Asking, true) if is_right && (!shared || seen.was_attached) => Answer::Held,
        _ => Answer::Export,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_table() {
        use Allowed::{All, Asking, Nobody, Stranger};
        use Answer::{Export, ExportAfter, Held, Refuse, Reopen};
        let node = |name| NodeName::parse(name).unwrap();
        let other = || Allowed::Node(node("n2"));
        let held_by_n2 = || Refuse(Refusal::HeldBy(vec![node("n2")]));
        let (yes, no) = (Some(true), Some(false));
        let (single, multi) = (Sharing::Single, Sharing::Multi);
        let table = [
            // exported, allowed, was attached, others, sharing
            (yes, All, true, 0, single, Held),
            (yes, All, false, 0, single, Export),
            (no, All, true, 0, single, Reopen),
            (no, All, false, 0, single, Export),
            (yes, Asking, true, 0, single, Held),
            (yes, Asking, false, 0, single, Held),
            (no, Asking, true, 0, single, Export),
            (None, Asking, true, 0, single, Export),
            (no, Nobody, false, 0, single, Export),
            (no, Nobody, true, 0, single, Export),
            (yes, Nobody, true, 0, single, Export),
            (yes, other(), false, 0, single, held_by_n2()),
            (None, other(), false, 0, single, held_by_n2()),
            (no, other(), false, 0, single, ExportAfter(node("n2"))),
            (yes, Stranger, true, 0, single, Refuse(Refusal::Stranger)),
            (no, Stranger, false, 0, single, Refuse(Refusal::Stranger)),
            (yes, All, true, 1, single, held_by_n2()),
            (no, Asking, true, 1, single, held_by_n2()),
            (yes, All, false, 1, multi, Held),
            (yes, All, false, 0, multi, Export),
            (no, All, false, 1, multi, Reopen),
            (yes, Asking, false, 0, multi, Export),
            (yes, other(), false, 1, multi, held_by_n2()),
            (yes, All, false, 2, multi, Refuse(Refusal::HeldBy(vec![node("n2"), node("n3")]))),
        ];
        for (exported, allowed, was_attached, others, sharing, expected) in table {
            let others: Vec<NodeName> = ["n2", "n3"].map(node).into_iter().take(others).collect();
            let others_are_well = true;
            let seen =
                Seen { exported, as_named: true, allowed, was_attached, others, others_are_well };
            assert_eq!(judge(&seen, sharing), expected, "{seen:?}");
        }
    }

    #[test]
    fn another_nqn_is_put_right_and_nobody_joins_a_node_that_is_not_well() {
        let seen = Seen {
            exported: Some(true),
            as_named: false,
            allowed: Allowed::All,
            was_attached: true,
            others: Vec::new(),
            others_are_well: true,
        };
        assert_eq!(judge(&seen, Sharing::Single), Answer::Export);
        let others = vec![NodeName::parse("n2").unwrap()];
        let late = Seen { as_named: true, others: others.clone(), others_are_well: false, ..seen };
        let refused = Answer::Refuse(Refusal::NotWell(others));
        assert_eq!(judge(&late, Sharing::Multi), refused);
    }
}
