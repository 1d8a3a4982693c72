//! Numbered blocks: what a host writes in the drill, and what must be found of it later. Pure.
//!
//! A writer goes round and round over [`PLACES`] blocks, one write at a time, so that at most one is
//! not acknowledged. Every byte of a block says whose it is and which number it has.

use crate::host::blocks::BLOCK;

/// Blocks that a writer goes round over.
pub const PLACES: u64 = 256;

/// The blocks of one writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// What is random in the name of the drill's disk: blocks of another drill are no blocks of this.
    pub drill: String,
    /// Who writes.
    pub writer: &'static str,
}

impl Series {
    fn text(&self, number: u64) -> String {
        format!("{}{number}\n", self.mark())
    }

    fn mark(&self) -> String {
        format!("rds-csi drill {} {} ", self.drill, self.writer)
    }

    /// The block of a number, from 0 on.
    pub fn block(&self, number: u64) -> Vec<u8> {
        self.text(number).bytes().cycle().take(BLOCK).collect()
    }

    /// The number of a block of this writer.
    fn number(&self, block: &[u8]) -> Option<u64> {
        let text = block.strip_prefix(self.mark().as_bytes())?;
        let digits = text.split(|byte| *byte == b'\n').next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// The place of a block.
pub fn place(number: u64) -> u64 {
    number % PLACES
}

/// What a look at all places shows of a writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Places that do not hold the newest acknowledged block.
    pub lost: u64,
    /// Of those, places that hold a block that came after everything that may be there.
    pub later: u64,
    /// Is the one block there that was sent and not acknowledged? It may be.
    pub unacknowledged: bool,
}

impl Found {
    /// Is everything that was acknowledged there, and nothing that must not be?
    pub fn is_right(&self) -> bool {
        self.lost == 0
    }
}

/// Looks for what `series` wrote, of which the first `acknowledged` blocks were acknowledged, in the
/// bytes of all places.
pub fn find(bytes: &[u8], series: &Series, acknowledged: u64) -> Found {
    let mut found = Found::default();
    for at in 0..PLACES {
        let begin = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(BLOCK);
        let block = bytes.get(begin..begin.saturating_add(BLOCK)).unwrap_or_default();
        let newest = newest_at(at, acknowledged);
        let wanted = newest.map_or_else(|| vec![0; BLOCK], |number| series.block(number));
        if block == wanted {
            continue;
        }
        if at == place(acknowledged) && block == series.block(acknowledged) {
            found.unacknowledged = true;
            continue;
        }
        found.lost += 1;
        found.later += u64::from(series.number(block).is_some_and(|it| it > acknowledged));
    }
    found
}

/// The newest of the first `acknowledged` blocks that has its place at `at`.
fn newest_at(at: u64, acknowledged: u64) -> Option<u64> {
    let last = acknowledged.checked_sub(1)?;
    let rounds = last.checked_sub(at)? / PLACES;
    Some(rounds * PLACES + at)
}

#[cfg(test)]
mod test {
    use super::*;

    fn series(writer: &'static str) -> Series {
        Series { drill: "0123".into(), writer }
    }

    /// All places, after so many blocks of a writer.
    fn written(bytes: &mut Vec<u8>, by: &Series, numbers: std::ops::Range<u64>) {
        bytes.resize(usize::try_from(PLACES).unwrap() * BLOCK, 0);
        for number in numbers {
            let begin = usize::try_from(place(number)).unwrap() * BLOCK;
            bytes[begin..begin + BLOCK].copy_from_slice(&by.block(number));
        }
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_one_more_block_may() {
        for acknowledged in [0, 1, 255, 256, 257, 1000] {
            let mut bytes = Vec::new();
            written(&mut bytes, &series("a"), 0..acknowledged);
            let found = find(&bytes, &series("a"), acknowledged);
            assert_eq!(found, Found::default(), "{acknowledged}");
            written(&mut bytes, &series("a"), acknowledged..acknowledged + 1);
            let found = find(&bytes, &series("a"), acknowledged);
            assert!(found.is_right() && found.unacknowledged, "{acknowledged} {found:?}");
            written(&mut bytes, &series("a"), acknowledged + 1..acknowledged + 2);
            let found = find(&bytes, &series("a"), acknowledged);
            assert_eq!((found.lost, found.later), (1, 1), "{acknowledged}");
        }
    }

    #[test]
    fn blocks_of_others_torn_ones_and_older_ones_are_lost_ones() {
        let mut bytes = Vec::new();
        written(&mut bytes, &series("a"), 0..600);
        assert_eq!(find(&bytes, &series("b"), 256).lost, PLACES, "all of another writer");
        let other = Series { drill: "4567".into(), writer: "a" };
        assert_eq!(find(&bytes, &other, 600).lost, PLACES, "all of another drill");
        assert_eq!(find(&bytes, &series("a"), 700).lost, 100, "a hundred did not arrive");
        bytes[5 * BLOCK + 4000] ^= 1;
        assert_eq!(find(&bytes, &series("a"), 600).lost, 1);
        let mut bytes = Vec::new();
        written(&mut bytes, &series("a"), 0..1);
        assert_eq!(find(&bytes[..BLOCK], &series("a"), 1).lost, PLACES - 1, "a short read");
    }
}
