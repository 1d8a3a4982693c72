//! The few data types of SSH (RFC 4251, section 5) that we read ourselves: key blobs and the
//! list of algorithms that a server offers. Every read is checked against what is there.

/// Reads from the front of a slice. `None` means that it ends too early.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a>(pub(super) &'a [u8]);

impl<'a> Wire<'a> {
    /// The next `n` bytes.
    pub(super) fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    /// A 32-bit number, most significant byte first.
    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes(4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// A length and that many bytes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.bytes(usize::try_from(length).ok()?)
    }

    /// A string that holds names separated by commas.
    pub(super) fn names(&mut self) -> Option<Vec<String>> {
        let text = std::str::from_utf8(self.string()?).ok()?;
        Some(text.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_string_is_read_and_the_rest_stays() {
        let mut wire = Wire(b"\0\0\0\x03a,brest");
        assert_eq!(wire.names(), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(wire.0, b"rest");
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert_eq!(Wire(b"\0\0\0\x04abc").string(), None);
        assert_eq!(Wire(b"\xff\xff\xff\xffabc").string(), None);
        assert_eq!(Wire(b"\0\0").u32(), None);
    }
}
