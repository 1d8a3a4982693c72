//! How a volume is taken from a node. Decided from the record and what is known of its holders.

use super::ledger::{NodeTag, Record, Sharing, State};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The node does not hold it. The export must be as the record says.
    NotHeld,
    /// It was fenced: prove once more that nobody writes.
    Confirm,
    /// All that leave are alive and have let go: close the export.
    Detach,
    /// Who leaves may still be writing: fence.
    Fence,
    /// One of two leaves, and is alive: write the record, leave the export alone.
    Leave(NodeTag),
    /// One of two leaves and may still be writing. It cannot be shut out alone.
    Refuse,
}

/// Takes the volume from `leaving`, or from all where that is `None`. `is_ready` says whether
/// kubelet reports that node as Ready: it unpublishes only what it has unmounted.
pub fn judge(
    record: &Record,
    leaving: Option<NodeTag>,
    is_ready: impl Fn(NodeTag) -> bool,
) -> Answer {
    match record.state {
        State::Detached | State::Deleting => return Answer::NotHeld,
        State::Fenced => return Answer::Confirm,
        State::Attached => {}
    }
    match leaving {
        Some(node) if !record.nodes.contains(&node) => Answer::NotHeld,
        Some(node) if record.sharing == Sharing::Multi && record.nodes.len() > 1 => {
            if is_ready(node) { Answer::Leave(node) } else { Answer::Refuse }
        }
        _ if record.nodes.iter().all(|node| is_ready(*node)) => Answer::Detach,
        _ => Answer::Fence,
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::attachment::ledger::{ClusterTag, Nonce};
    use crate::volume::NodeName;

    fn tag(name: &str) -> NodeTag {
        NodeTag::of("c", &NodeName::parse(name).unwrap())
    }
    fn held(sharing: Sharing) -> Record {
        let created = Record::created(ClusterTag::of("c"));
        created.attach(tag("n1"), sharing, 0, Nonce::random())
    }

    #[test]
    fn the_table() {
        let single = held(Sharing::Single);
        let both = held(Sharing::Multi).join(tag("n2"));
        let fenced = single.fence(0, Nonce::random());
        let n1_is_ready = |node| node == tag("n1");
        let table = [
            (&single, Some("n1"), Answer::Detach),
            (&single, None, Answer::Detach),
            (&single, Some("n2"), Answer::NotHeld),
            (&both, Some("n1"), Answer::Leave(tag("n1"))),
            (&both, Some("n2"), Answer::Refuse),
            (&both, None, Answer::Fence),
            (&fenced, Some("n1"), Answer::Confirm),
        ];
        for (record, leaving, answer) in table {
            assert_eq!(judge(record, leaving.map(tag), n1_is_ready), answer, "{leaving:?}");
        }
        assert_eq!(judge(&single, Some(tag("n1")), |_| false), Answer::Fence);
        assert_eq!(judge(&single.detach(), Some(tag("n1")), |_| false), Answer::NotHeld);
    }
}
