//! Blocks of a device, written and read past every cache: an acknowledged write is on the box.
//!
//! Everything here may hang and is called on a thread of its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::signature::{Direct, Source as _};
use super::{Device, Error, files};

/// Bytes of one block; no device of ours has larger ones.
pub const BLOCK: usize = 4096;

/// A device that is held open to be written.
#[derive(Debug)]
pub struct Blocks {
    file: File,
    /// Twice a block: direct writes want memory that begins where a block may.
    room: Vec<u8>,
}

impl Blocks {
    /// Opens a device for direct writes that end when the device has them for good.
    ///
    /// # Errors
    /// Those of [`files::open_device`].
    pub fn open(device: &Device) -> Result<Self, Error> {
        Ok(Self { file: files::open_to_write(device)?, room: vec![0; 2 * BLOCK] })
    }

    /// Writes one block at its place, counted in blocks. Ends when it is acknowledged or failed,
    /// which for a box that is away may be never.
    ///
    /// # Errors
    /// The kernel's; a block that has not [`BLOCK`] bytes.
    pub fn write(&mut self, place: u64, block: &[u8]) -> io::Result<()> {
        let begin = self.room.as_ptr().align_offset(BLOCK);
        let aligned = self.room.get_mut(begin..begin + BLOCK);
        let aligned = aligned.ok_or_else(|| io::Error::other("memory cannot be aligned"))?;
        if block.len() != BLOCK {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        aligned.copy_from_slice(block);
        self.file.write_all_at(aligned, place * BLOCK as u64)
    }
}

/// The first blocks of a device.
///
/// # Errors
/// The kernel's, also where it has fewer.
pub fn read(device: &Device, count: u64) -> Result<Vec<u8>, Error> {
    let source = Direct::new(files::open_device(device)?, device.bytes);
    let bytes = source.read(0, count.saturating_mul(BLOCK as u64));
    bytes.map_err(|error| Error::io(format!("cannot read {}", device.path.display()), error))
}
