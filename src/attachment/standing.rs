//! A record against its copy: is the box where we left it?

use super::ledger::Record;

/// How a record on the box stands to the copy on the PV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They are equal. Nothing else proves that a record is current.
    Current,
    /// The record is newer, or there is no copy: a write of ours that was not finished.
    Ahead,
    /// The record is older: the box has gone back in time.
    RolledBack,
    /// Same revision, other content: two writers met. The copy wins.
    Differs,
}

/// Compares what the box says with what the copy says.
pub fn standing(record: &Record, copy: Option<&Record>) -> Standing {
    let Some(copy) = copy else {
        return Standing::Ahead;
    };
    match record.revision.cmp(&copy.revision) {
        std::cmp::Ordering::Less => Standing::RolledBack,
        std::cmp::Ordering::Greater => Standing::Ahead,
        std::cmp::Ordering::Equal if record == copy => Standing::Current,
        std::cmp::Ordering::Equal => Standing::Differs,
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::attachment::ledger::{ClusterTag, Nonce};

    #[test]
    fn only_an_equal_copy_makes_a_record_current() {
        let record = Record::created(ClusterTag::of("c"));
        let newer = record.next();
        let other = Record { generation: 7, nonce: Nonce::random(), ..record.clone() };
        assert_eq!(standing(&record, Some(&record)), Standing::Current);
        assert_eq!(standing(&record, None), Standing::Ahead);
        assert_eq!(standing(&newer, Some(&record)), Standing::Ahead);
        assert_eq!(standing(&record, Some(&newer)), Standing::RolledBack);
        assert_eq!(standing(&record, Some(&other)), Standing::Differs);
    }
}
