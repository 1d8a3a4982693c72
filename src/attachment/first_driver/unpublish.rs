//! How a volume without a record is taken from a node.

use super::Allowed;
use crate::volume::NodeName;

/// How those who leave have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Departure {
    /// They are Ready: kubelet has unmounted before it lets Kubernetes detach.
    LetGo,
    /// They are not, and somebody vouches for it that they are off.
    Vouched,
    /// They are not, and nobody knows what they do.
    Silent,
}

/// What is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Is the disk exported? `None` where the box did not say.
    pub exported: Option<bool>,
    /// For whom.
    pub allowed: Allowed,
    /// Does a VolumeAttachment of those who leave say that it is attached?
    pub was_attached: bool,
    /// The nodes that stay and whose VolumeAttachments say so.
    pub others: Vec<NodeName>,
    /// How they have left.
    pub departure: Departure,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// They do not hold it, or need not be shut out: change nothing.
    Leave,
    /// Close the export, and let it be for nobody.
    Close,
    /// The same once it is proven that nobody writes.
    CloseProven,
    /// Close the export, remember for whom it was, and do not let Kubernetes give it away: under
    /// the same NQN the old host would come back.
    CloseAndWait,
    /// One of two leaves and may still be writing. It cannot be shut out alone.
    Refuse,
}

/// Takes the volume from those who leave.
pub fn judge(seen: &Seen) -> Answer {
    if matches!(seen.allowed, Allowed::Node(_) | Allowed::Stranger) {
        return Answer::Leave;
    }
    if !seen.others.is_empty() {
        let need_not = !seen.was_attached || seen.departure == Departure::LetGo;
        return if need_not { Answer::Leave } else { Answer::Refuse };
    }
    let is_open = seen.exported != Some(false);
    if seen.allowed == Allowed::Nobody && !is_open {
        return Answer::Leave;
    }
    let is_theirs = seen.allowed == Allowed::Asking || seen.was_attached;
    match seen.departure {
        Departure::LetGo if is_open || seen.allowed == Allowed::Asking => Answer::Close,
        Departure::Vouched if is_open || is_theirs => Answer::CloseProven,
        Departure::Silent if is_theirs => Answer::CloseAndWait,
        _ => Answer::Leave,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_table() {
        use Allowed::{All, Asking, Nobody, Stranger};
        use Answer::{Close, CloseAndWait, CloseProven, Leave, Refuse};
        use Departure::{LetGo, Silent, Vouched};
        let n2 = || NodeName::parse("n2").unwrap();
        let (yes, no) = (Some(true), Some(false));
        let table = [
            // exported, allowed, was attached, another stays, departure
            (yes, Asking, true, false, LetGo, Close),
            (yes, All, true, false, LetGo, Close),
            (None, All, true, false, LetGo, Close),
            (no, Asking, true, false, LetGo, Close),
            (no, All, true, false, LetGo, Leave),
            (yes, Asking, true, false, Vouched, CloseProven),
            (no, Asking, true, false, Vouched, CloseProven),
            (no, All, true, false, Vouched, CloseProven),
            (no, All, false, false, Vouched, Leave),
            (no, Nobody, true, false, LetGo, Leave),
            (no, Nobody, true, false, Silent, Leave),
            (yes, Nobody, true, false, LetGo, Close),
            (yes, Asking, true, false, Silent, CloseAndWait),
            (yes, All, true, false, Silent, CloseAndWait),
            (no, Asking, false, false, Silent, CloseAndWait),
            (no, All, true, false, Silent, CloseAndWait),
            (no, All, false, false, Silent, Leave),
            (yes, Allowed::Node(n2()), true, false, Silent, Leave),
            (yes, Stranger, true, false, LetGo, Leave),
            (yes, All, true, true, LetGo, Leave),
            (yes, All, false, true, Silent, Leave),
            (yes, All, true, true, Silent, Refuse),
            (yes, All, true, true, Vouched, Refuse),
        ];
        for (exported, allowed, was_attached, stays, departure, expected) in table {
            let others = if stays { vec![n2()] } else { Vec::new() };
            let seen = Seen { exported, allowed, was_attached, others, departure };
            assert_eq!(judge(&seen), expected, "{seen:?}");
        }
    }
}
