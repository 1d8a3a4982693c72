//! A row of a box, as far as a volume's verdict is made of it, in one piece.

use crate::rds::Disk;

/// Ends a text. No byte of UTF-8 has this value (RFC 3629, 1).
const END: u8 = 0xff;

/// What the box said. What has no part in the verdict of a volume with a record is not kept: image and
/// size are those of the copy, counters move all the time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Slot, record, NQN and host, each with its [`END`]; the slot is first.
    texts: Box<[u8]>,
    exported: Option<bool>,
    port: Option<u16>,
}

fn parts(disk: &Disk) -> ([&str; 4], Option<bool>, Option<u16>) {
    // Whoever adds a field must say whether it counts.
    let Disk {
        slot,
        comment,
        nqn,
        allow_host,
        exported,
        port,
        image: _,
        bytes: _,
        free: _,
        mount_point: _,
        disabled: _,
        counters: _,
    } = disk;
    ([slot, comment, nqn, allow_host], *exported, *port)
}

impl Row {
    /// That of this disk.
    pub fn of(disk: &Disk) -> Self {
        let (texts, exported, port) = parts(disk);
        let mut all = Vec::with_capacity(texts.iter().map(|text| text.len() + 1).sum());
        for text in texts {
            all.extend_from_slice(text.as_bytes());
            all.push(END);
        }
        Self { texts: all.into(), exported, port }
    }

    /// Is it what the box says of this disk?
    pub fn shows(&self, disk: &Disk) -> bool {
        let (texts, exported, port) = parts(disk);
        let mut rest = Some(&*self.texts);
        for text in texts {
            rest = rest.and_then(|rest| after(rest, text));
        }
        rest.is_some_and(<[u8]>::is_empty) && self.exported == exported && self.port == port
    }

    /// Is it that of a disk of this name?
    pub fn is_of(&self, slot: &str) -> bool {
        after(&self.texts, slot).is_some()
    }

    /// The name of the disk.
    pub fn slot(&self) -> &str {
        let slot = self.texts.split(|byte| *byte == END).next();
        slot.and_then(|slot| std::str::from_utf8(slot).ok()).unwrap_or_default()
    }
}

/// What follows this text.
fn after<'t>(texts: &'t [u8], text: &str) -> Option<&'t [u8]> {
    texts.strip_prefix(text.as_bytes())?.strip_prefix(&[END])
}
