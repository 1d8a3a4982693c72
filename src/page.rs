//! A page in memory: one part writes on it, another reads what it says so far.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Takes text as a file would. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    /// Everything that was written so far; what is no UTF-8 becomes replacement characters.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_clone_reads_what_was_written() {
        let page = Page::default();
        let reader = page.clone();
        write!(page.clone(), "one\ntwo").unwrap();
        assert_eq!(reader.text(), "one\ntwo");
    }
}
