//! Who wrote what: a writer of numbered blocks, and a reader of what arrived.
//!
//! Both run in machines, as subcommands of the guest program. A block carries its writer's name and a
//! number; the writer says a number only when the device has acknowledged its block, so what it said is
//! what must be there.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use super::boot::Vm;
use super::command::Run;
use crate::{Trouble, parts};

/// Bytes of one block.
const BLOCK: usize = 4096;
/// What is written into a block before its text.
const MARK: &str = "written by ";

/// Writes blocks one after the other until it is killed or refused, past every cache, and says the
/// number of each that was acknowledged. It begins at block `from` and starts again there after
/// `count` blocks, with numbers that go on.
///
/// # Errors
/// What the device said.
pub fn write(device: &Path, writer: &str, from: u64, count: u64) -> Result<(), Trouble> {
    let flags = OFlags::DIRECT | OFlags::DSYNC;
    let flags = i32::try_from(flags.bits())?;
    let file = File::options().write(true).custom_flags(flags).open(device)?;
    // Direct I/O wants memory that begins where a block may.
    let mut room = vec![0_u8; 2 * BLOCK];
    let begin = room.as_ptr().align_offset(BLOCK);
    let block = room.get_mut(begin..begin + BLOCK).ok_or("no aligned memory")?;
    let mut out = io::stdout().lock();
    for number in 0_u64.. {
        block.fill(0);
        let text = format!("{MARK}{writer} {number}\n");
        block.get_mut(..text.len()).ok_or("the name is too long")?.copy_from_slice(text.as_bytes());
        let at = from + number % count.max(1);
        file.write_all_at(block, at * u64::try_from(BLOCK)?)?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}

/// Prints of every block of a file or device that carries a mark: its place, writer and number.
///
/// # Errors
/// When it cannot be read.
pub fn read(image: &Path) -> Result<(), Trouble> {
    let file = File::open(image)?;
    let mut block = [0_u8; BLOCK];
    let mut out = io::BufWriter::new(io::stdout().lock());
    for place in 0_u64.. {
        match file.read_at(&mut block, place * u64::try_from(BLOCK)?)? {
            BLOCK => {}
            _ => break,
        }
        if let Some(text) = block.strip_prefix(MARK.as_bytes()) {
            let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            writeln!(out, "{place} {}", String::from_utf8_lossy(line))?;
        }
    }
    Ok(out.flush()?)
}

/// A block as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its place, counted in blocks.
    pub place: u64,
    /// Who wrote it.
    pub writer: String,
    /// The writer's number for it.
    pub number: u64,
}

/// A writer to be started with [`Vm::start`]; its log has the numbers that were acknowledged.
pub fn writer(vm: &Vm, device: &str, name: &str, from: u64, count: u64) -> Run {
    let words = ["write", device, name, &from.to_string(), &count.to_string()];
    program(vm).args(words.map(str::to_owned))
}

/// What can be found in an image or a device of that machine.
///
/// # Errors
/// When it cannot be read.
pub async fn found(vm: &Vm, path: &str) -> Result<Vec<Found>, Trouble> {
    let text = program(vm).args(["read", path]).deadline(Duration::from_secs(120)).text().await?;
    let line = |line: &str| {
        let mut words = line.split(' ');
        let place = words.next()?.parse().ok()?;
        let writer = words.next()?.to_owned();
        Some(Found { place, writer, number: words.next()?.parse().ok()? })
    };
    Ok(text.lines().filter_map(line).collect())
}

/// The highest number that a writer's log says was acknowledged.
pub fn acknowledged(log: &str) -> Option<u64> {
    // The last line may be there in part.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().rev().find_map(|line| line.parse().ok())
}

fn program(vm: &Vm) -> Run {
    vm.command(&parts::target().join("debug/rds-vm-guest").display().to_string())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_number_that_was_said_last_counts_only_when_its_line_is_whole() {
        assert_eq!(acknowledged(""), None);
        assert_eq!(acknowledged("1"), None);
        assert_eq!(acknowledged("0\n1\n2"), Some(1));
        assert_eq!(acknowledged("0\n1\nError: gone\n"), Some(1));
    }
}
