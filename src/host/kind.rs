//! What an error of the kernel lets a caller conclude.

use std::io;

use rustix::io::Errno;

use super::Kind;

/// The kind of an error of the kernel, as far as it does not depend on what was asked.
pub fn of(error: &io::Error) -> Kind {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR) => Kind::Missing,
        Some(Errno::BUSY | Errno::NOTEMPTY | Errno::TXTBSY) => Kind::Busy,
        // XFS answers EIO once it has shut itself down, ext4 ESHUTDOWN; both EUCLEAN or EBADMSG
        // where what they read makes no sense.
        Some(Errno::IO | Errno::SHUTDOWN | Errno::UCLEAN | Errno::BADMSG | Errno::STALE) => {
            Kind::Broken
        }
        Some(Errno::INVAL | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::ROFS) => {
            Kind::Refused
        }
        _ => Kind::Failed,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_dead_device_is_told_from_a_missing_one() {
        let cases = [
            (Errno::IO, Kind::Broken),
            (Errno::UCLEAN, Kind::Broken),
            (Errno::NOENT, Kind::Missing),
            (Errno::NXIO, Kind::Missing),
            (Errno::BUSY, Kind::Busy),
            (Errno::INVAL, Kind::Refused),
            (Errno::NOSPC, Kind::Failed),
        ];
        for (errno, kind) in cases {
            assert_eq!(of(&errno.into()), kind, "{errno:?}");
        }
        assert_eq!(of(&io::Error::other("no number")), Kind::Failed);
    }
}
