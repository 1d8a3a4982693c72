//! Loop devices: images as block devices that count what is done to them.

use std::io;
use std::path::{Path, PathBuf};

use crate::routeros::Counters;

/// Bytes of a sector in the kernel's statistics, whatever the device's own sectors are.
const SECTOR: u64 = 512;

/// Makes files block devices.
pub trait Loops: Send + Sync {
    /// Detaches whatever is attached of files in that folder.
    ///
    /// # Errors
    /// What the system said.
    fn clear(&self, folder: &Path) -> Result<(), String>;
    /// Makes the file a device.
    ///
    /// # Errors
    /// What the system said.
    fn attach(&self, file: &Path) -> Result<PathBuf, String>;
    /// The device has the size of its file again.
    ///
    /// # Errors
    /// What the system said.
    fn resize(&self, device: &Path) -> Result<(), String>;
    /// The device is one no more.
    ///
    /// # Errors
    /// What the system said.
    fn detach(&self, device: &Path) -> Result<(), String>;
    /// What it has counted since the machine started.
    fn counters(&self, device: &Path) -> Option<Counters>;
}

/// The system's own, by `losetup(8)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Losetup;

impl Loops for Losetup {
    fn clear(&self, folder: &Path) -> Result<(), String> {
        let listed = losetup(&["--list", "--noheadings", "--output", "NAME,BACK-FILE"])?;
        for line in listed.lines() {
            let Some((device, file)) = line.trim().split_once(char::is_whitespace) else {
                continue;
            };
            if Path::new(file.trim()).starts_with(folder) {
                losetup(&["--detach", device])?;
            }
        }
        Ok(())
    }

    fn attach(&self, file: &Path) -> Result<PathBuf, String> {
        let said = losetup(&["--find", "--show", &file.to_string_lossy()])?;
        Ok(PathBuf::from(said.trim()))
    }

    fn resize(&self, device: &Path) -> Result<(), String> {
        losetup(&["--set-capacity", &device.to_string_lossy()]).map(drop)
    }

    fn detach(&self, device: &Path) -> Result<(), String> {
        losetup(&["--detach", &device.to_string_lossy()]).map(drop)
    }

    fn counters(&self, device: &Path) -> Option<Counters> {
        let name = device.file_name()?.to_string_lossy().into_owned();
        let text = std::fs::read_to_string(format!("/sys/block/{name}/stat")).ok()?;
        read(&text)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the box is locked while it changes: nobody may see it changed before its outside is"
)]
fn losetup(arguments: &[&str]) -> Result<String, String> {
    let told = |error: io::Error| format!("losetup {arguments:?}: {error}");
    let ended = std::process::Command::new("losetup").args(arguments).output().map_err(told)?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(format!("losetup {arguments:?}: {said}"));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// Reads `/sys/block/<device>/stat` (Documentation/block/stat.rst of the kernel).
fn read(text: &str) -> Option<Counters> {
    let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [read_ops, _, read_sectors, _, write_ops, _, write_sectors, _, in_flight_ops, ..] =
        numbers[..]
    else {
        return None;
    };
    Some(Counters {
        read_ops,
        read_bytes: read_sectors.saturating_mul(SECTOR),
        write_ops,
        write_bytes: write_sectors.saturating_mul(SECTOR),
        in_flight_ops,
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn statistics_of_a_block_device_are_counters() {
        let text = "  124 0 8192 40   31  0   248  12  2  60  52  0 0 0 0 1 0\n";
        let counters = read(text).unwrap();
        assert_eq!((counters.read_ops, counters.read_bytes), (124, 8192 * 512));
        assert_eq!((counters.write_ops, counters.write_bytes), (31, 248 * 512));
        assert_eq!(counters.in_flight_ops, 2);
        assert_eq!(read("124 0 8192"), None);
    }
}
