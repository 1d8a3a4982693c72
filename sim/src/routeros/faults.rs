//! Faults that a test or a person arms.
//!
//! Faults of one line are armed with [`super::RouterOs::arm`] and go off once, on the next line or
//! on the next one that contains a text. States of the whole box (half-open, refusing, off) are
//! switched on and off there as well.

use std::collections::VecDeque;
use std::time::Duration;

use super::moment::Moment;

/// What goes wrong with one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut; nothing runs.
    DropBefore,
    /// The line runs; the connection is cut before the answer.
    DropAfter,
    /// Nothing runs and no answer ever comes; the connection stays.
    Stall,
    /// The line runs and no answer ever comes; the connection stays.
    StallAfter,
    /// From this line on the box neither reads nor writes on any connection, and new ones hang.
    HalfOpen,
    /// The power goes after that many commands of menus; what they changed stays.
    PowerCut {
        /// Commands that still run.
        after: u32,
        /// How long the box is away.
        downtime: Duration,
    },
    /// The power goes at this moment, if the line comes to it.
    CutAt {
        /// When. [`super::Entry::moments`] tells which moments a line has.
        moment: Moment,
        /// What becomes of disk items that were not saved.
        what: Reboot,
        /// How long the box is away.
        downtime: Duration,
    },
    /// The answer comes that much later.
    Slow(Duration),
}

#[derive(Debug, Clone)]
struct Armed {
    fault: Fault,
    needle: Option<String>,
}

/// Armed faults, first in first out.
#[derive(Debug, Default)]
pub struct Faults {
    armed: VecDeque<Armed>,
}

impl Faults {
    /// Armed faults at most; the oldest is forgotten.
    const BOUND: usize = 256;

    /// Arms a fault for the next line, or the next line with `needle` in it.
    pub fn arm(&mut self, fault: Fault, needle: Option<&str>) {
        if self.armed.len() == Self::BOUND {
            self.armed.pop_front();
        }
        self.armed.push_back(Armed { fault, needle: needle.map(str::to_owned) });
    }

    /// The fault that this line sets off.
    pub fn take(&mut self, line: &str) -> Option<Fault> {
        let fits = |armed: &Armed| armed.needle.as_ref().is_none_or(|part| line.contains(part));
        let at = self.armed.iter().position(fits)?;
        self.armed.remove(at).map(|armed| armed.fault)
    }

    /// Forgets every armed fault.
    pub fn clear(&mut self) {
        self.armed.clear();
    }

    /// How many have not gone off yet.
    pub fn pending(&self) -> usize {
        self.armed.len()
    }
}

/// What is lost at a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reboot {
    /// Nothing: every change was saved.
    KeepEverything,
    /// Disk items go back to what they were at [`super::RouterOs::mark_saved`]; images stay.
    LoseUnsaved,
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_fault_waits_for_its_line_and_goes_off_once() {
        let mut faults = Faults::default();
        faults.arm(Fault::Stall, Some("remove"));
        faults.arm(Fault::DropAfter, None);
        assert_eq!(faults.take("/disk/add"), Some(Fault::DropAfter));
        assert_eq!(faults.take("/disk/add"), None);
        assert_eq!(faults.take("/disk/remove x"), Some(Fault::Stall));
        assert_eq!(faults.pending(), 0);
    }
}
