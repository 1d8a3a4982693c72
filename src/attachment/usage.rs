//! For what use a node has a volume, and whether it may be asked for another meanwhile: CSI wants
//! ALREADY_EXISTS where a repeated ControllerPublishVolume contradicts the first.
//!
//! What was let in is written into the copy. Copies of older releases do not say it, nor does one
//! that a pass has written after an attempt that broke off, and nothing at all is written for
//! volumes of the first driver. Kubernetes derives every request for a volume from its PV, whose
//! source nobody can change; so what the PV says is never refused for what was not written down.

use std::fmt;

/// What a node may do with a volume, and what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Does it read, and never write?
    pub reads_only: bool,
    /// Is it a block device, without a file system?
    pub is_raw: bool,
}

impl Usage {
    /// Does `wanted` contradict what the node has? `self` is what is written down, `said` what the PV
    /// says of everybody.
    pub fn contradicts(self, wanted: Self, said: Self) -> bool {
        let writes = self.reads_only && !wanted.reads_only;
        let reads = !self.reads_only && wanted.reads_only && !said.reads_only;
        // A copy without a file system is one of a raw device, or of one who has not told.
        let medium = wanted.is_raw != self.is_raw && wanted.is_raw != said.is_raw;
        writes || reads || medium
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_raw { "a block device" } else { "a file system" })?;
        f.write_str(if self.reads_only { " to be read only" } else { " to be written" })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn usage(reads_only: bool, is_raw: bool) -> Usage {
        Usage { reads_only, is_raw }
    }

    #[test]
    fn the_same_use_never_contradicts_itself_and_the_pv_excuses_what_was_not_written_down() {
        for bits in 0..64_u8 {
            let bit = |at: u8| bits & (1 << at) != 0;
            let held = usage(bit(0), bit(1));
            let wanted = usage(bit(2), bit(3));
            let said = usage(bit(4), bit(5));
            let contradicts = held.contradicts(wanted, said);
            if held == wanted {
                assert!(!contradicts, "{held} repeated");
            } else if wanted == said {
                // That it only reads was written down by this release, for this attachment.
                assert_eq!(contradicts, held.reads_only && !wanted.reads_only, "{held}, {wanted}");
            } else if held == said {
                assert!(contradicts, "{held} is held, {wanted} is wanted");
            }
        }
    }

    #[test]
    fn another_use_than_written_down_and_than_the_pv_says_is_refused() {
        let written = usage(false, false);
        assert!(written.contradicts(usage(true, false), written));
        assert!(written.contradicts(usage(false, true), written));
        assert!(!written.contradicts(usage(true, false), usage(true, false)), "an old copy");
        let read = usage(true, false);
        assert!(read.contradicts(written, written), "the PV of one who reads for once");
        assert_eq!(read.to_string(), "a file system to be read only");
    }
}
