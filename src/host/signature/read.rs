//! Reading a device past the page cache: what another host wrote must not be hidden by what this
//! one once read under the same number.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where signatures are read from.
pub trait Source {
    /// Its size in bytes.
    fn bytes(&self) -> u64;
    /// Exactly `length` bytes from `at` on.
    ///
    /// # Errors
    /// Of reading, also when it ends before.
    fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>>;
}

/// What direct reads must be aligned to, in memory and on the device: no device of ours has larger
/// blocks.
const ALIGNED: usize = 4096;

/// A file that was opened with `O_DIRECT`.
#[derive(Debug)]
pub struct Direct {
    file: File,
    bytes: u64,
}

impl Direct {
    /// `file` of this size.
    pub fn new(file: File, bytes: u64) -> Self {
        Self { file, bytes }
    }
}

impl Source for Direct {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let block = ALIGNED as u64;
        let from = at / block * block;
        // The end of the device may lie within such a block; it is aligned to its own blocks.
        let to = (at + length).next_multiple_of(block).min(self.bytes);
        let wanted = usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
        let skip = usize::try_from(at - from).map_err(io::Error::other)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if wanted < skip + length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut buffer = vec![0; wanted + ALIGNED];
        let offset = buffer.as_ptr().align_offset(ALIGNED);
        let Some(aligned) = buffer.get_mut(offset..offset + wanted) else {
            return Err(io::Error::other("memory cannot be aligned"));
        };
        self.file.read_exact_at(aligned, from)?;
        Ok(aligned[skip..skip + length].to_vec())
    }
}
