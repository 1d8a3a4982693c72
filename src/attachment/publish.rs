//! May this node have the volume? Decided from record and copy alone.

use super::ledger::{HOLDERS_MAX, NodeTag, Nonce, Record, Sharing, State};
use super::standing::{Standing, standing};

/// Who asks, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The node.
    pub node: NodeTag,
    /// Alone, or beside another node.
    pub sharing: Sharing,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The node holds it already: change nothing, give the same context again.
    Held,
    /// The node holds it, and only the copy was not written: write it.
    HeldButUncopied,
    /// Write this record and export.
    Attach(Record),
    /// The same, after it is proven that the node it was fenced from writes no more.
    AttachOnceConfirmed(Record),
    /// Write this record; the export stays as it is.
    Join(Record),
    /// No.
    Refuse(Refusal),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Other nodes hold it.
    HeldBy(Vec<NodeTag>),
    /// This node holds it, for another kind of use.
    HeldOtherwise(Sharing),
    /// It is being deleted.
    Deleting,
    /// Record and copy contradict each other; a pass puts that right.
    Contradiction(Standing),
}

/// Judges a wish. `copy` is the record in the copy, where there is one.
pub fn judge(record: &Record, copy: Option<&Record>, wish: Wish, nonce: Nonce) -> Answer {
    let standing = standing(record, copy);
    if matches!(standing, Standing::RolledBack | Standing::Differs) {
        return Answer::Refuse(Refusal::Contradiction(standing));
    }
    let floor = copy.map_or(0, |copy| copy.generation);
    let attached = || record.attach(wish.node, wish.sharing, floor, nonce);
    match record.state {
        State::Deleting => Answer::Refuse(Refusal::Deleting),
        State::Detached => Answer::Attach(attached()),
        State::Fenced => Answer::AttachOnceConfirmed(attached()),
        State::Attached if record.is_held_by(wish.node) => match standing {
            _ if record.sharing != wish.sharing => {
                Answer::Refuse(Refusal::HeldOtherwise(record.sharing))
            }
            Standing::Current => Answer::Held,
            _ => Answer::HeldButUncopied,
        },
        // Somebody else's unfinished write: whether it counts is for a pass to find out.
        State::Attached if standing != Standing::Current => {
            Answer::Refuse(Refusal::Contradiction(standing))
        }
        State::Attached => join(record, wish),
    }
}

fn join(record: &Record, wish: Wish) -> Answer {
    let shared = record.sharing == Sharing::Multi && wish.sharing == Sharing::Multi;
    if shared && record.nodes.len() < HOLDERS_MAX {
        return Answer::Join(record.join(wish.node));
    }
    Answer::Refuse(Refusal::HeldBy(record.nodes.clone()))
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::attachment::ledger::ClusterTag;
    use crate::volume::NodeName;

    fn tag(name: &str) -> NodeTag {
        NodeTag::of("c", &NodeName::parse(name).unwrap())
    }
    fn wish(name: &str, sharing: Sharing) -> Wish {
        Wish { node: tag(name), sharing }
    }
    fn created() -> Record {
        Record::created(ClusterTag::of("c"))
    }
    fn held_by(name: &str, sharing: Sharing) -> Record {
        created().attach(tag(name), sharing, 0, Nonce::random())
    }
    const SINGLE: Sharing = Sharing::Single;
    const MULTI: Sharing = Sharing::Multi;

    #[test]
    fn a_repeated_publish_changes_nothing() {
        let held = held_by("n1", SINGLE);
        let again = judge(&held, Some(&held), wish("n1", SINGLE), Nonce::random());
        assert_eq!(again, Answer::Held);
        let uncopied = judge(&held, Some(&created()), wish("n1", SINGLE), Nonce::random());
        assert_eq!(uncopied, Answer::HeldButUncopied);
    }

    #[test]
    fn no_second_node_gets_a_single_node_volume() {
        let held = held_by("n1", SINGLE);
        for sharing in [SINGLE, MULTI] {
            let answer = judge(&held, Some(&held), wish("n2", sharing), Nonce::random());
            assert_eq!(answer, Answer::Refuse(Refusal::HeldBy(vec![tag("n1")])));
        }
        let uncopied = judge(&held, Some(&created()), wish("n2", SINGLE), Nonce::random());
        let refusal = Refusal::Contradiction(Standing::Ahead);
        assert_eq!(uncopied, Answer::Refuse(refusal));
    }

    #[test]
    fn two_nodes_share_a_multi_node_volume_and_a_third_does_not() {
        let held = held_by("n1", MULTI);
        let Answer::Join(both) = judge(&held, Some(&held), wish("n2", MULTI), Nonce::random())
        else {
            panic!("n2 was not let in")
        };
        assert_eq!((both.generation, both.nonce), (held.generation, held.nonce), "the same NQN");
        let third = judge(&both, Some(&both), wish("n3", MULTI), Nonce::random());
        assert_eq!(third, Answer::Refuse(Refusal::HeldBy(both.nodes.clone())));
    }

    #[test]
    fn a_fenced_volume_is_given_away_only_after_the_fence_is_confirmed() {
        let fenced = held_by("n1", SINGLE).fence(0, Nonce::random());
        let answer = judge(&fenced, Some(&fenced), wish("n2", SINGLE), Nonce::random());
        let Answer::AttachOnceConfirmed(next) = answer else { panic!("{answer:?}") };
        assert!(next.generation > fenced.generation);
    }

    #[test]
    fn nothing_is_given_away_while_the_box_is_back_in_time() {
        let copy = held_by("n1", SINGLE).detach();
        let answer = judge(&created(), Some(&copy), wish("n1", SINGLE), Nonce::random());
        let refusal = Refusal::Contradiction(Standing::RolledBack);
        assert_eq!(answer, Answer::Refuse(refusal));
    }

    #[test]
    fn the_generation_rises_above_both() {
        let copy = Record { generation: 40, ..created() };
        let record = Record { generation: 7, ..created() }.next();
        let Answer::Attach(next) = judge(&record, Some(&copy), wish("n1", SINGLE), Nonce::random())
        else {
            panic!("not attached")
        };
        assert_eq!(next.generation, 41);
    }
}
