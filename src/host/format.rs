//! Making a file system.

use std::ffi::OsString;
use std::time::Duration;

use super::command::Programs;
use super::{Device, Error, Kind};

/// A program, and its arguments before the device.
///
/// Over whatever is there: the caller has looked, and a run that was killed must not stand in the
/// way of the next. Nothing is discarded: a new image is empty, and discarding a large one takes
/// minutes. Root keeps no share: what a volume has is its user's.
const KINDS: [(&str, &str, &[&str]); 4] = [
    ("ext4", "mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "nodiscard"]),
    ("ext3", "mkfs.ext3", &["-q", "-F", "-m", "0", "-E", "nodiscard"]),
    ("xfs", "mkfs.xfs", &["-q", "-f", "-K"]),
    ("btrfs", "mkfs.btrfs", &["-q", "-f", "-K"]),
];

/// Makes a file system of this kind.
///
/// # Errors
/// [`Kind::Refused`]: none that we make. Else as [`Programs::run`].
pub async fn format(
    programs: &Programs,
    device: &Device,
    kind: &str,
    deadline: Duration,
) -> Result<(), Error> {
    let (program, arguments) = command(kind)?;
    let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    arguments.push(device.path.clone().into());
    programs.run(&device.path, program, &arguments, deadline).await.map(drop)
}

fn command(kind: &str) -> Result<(&'static str, &'static [&'static str]), Error> {
    let found = KINDS.iter().find(|(name, ..)| *name == kind);
    found.map(|(_, program, arguments)| (*program, *arguments)).ok_or_else(|| {
        let kinds: Vec<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
        let what = format!("no {kind} can be made; there are {}", kinds.join(", "));
        Error::new(Kind::Refused, what)
    })
}

#[cfg(test)]
mod test {
    use std::fs::File;
    use std::path::Path;

    use super::*;
    use crate::host::signature::{self, Direct};
    use crate::host::stuck::Stuck;
    use crate::host::{DeviceNumber, Signature};
    use crate::volume::Nqn;

    const LONG: Duration = Duration::from_secs(120);
    const BYTES: u64 = 320 << 20;

    fn device(path: &Path) -> Device {
        Device {
            nqn: Nqn::parse("nqn.2000-02.com.mikrotik:pvc-1").unwrap(),
            path: path.to_owned(),
            number: DeviceNumber { major: 259, minor: 0 },
            namespace: 1,
            identity: None,
            bytes: BYTES,
            read_only: false,
        }
    }

    #[tokio::test]
    async fn every_kind_is_made_over_whatever_is_there_and_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        File::create(&path).unwrap().set_len(BYTES).unwrap();
        // One over the other: as after a run that was killed.
        for (wanted, ..) in KINDS.iter().chain(&KINDS[..1]) {
            format(&Programs::on(Stuck::default()), &device(&path), wanted, LONG).await.unwrap();
            let found = signature::of(&Direct::new(File::open(&path).unwrap(), BYTES)).unwrap();
            assert!(
                matches!(&found, Signature::FileSystem { kind, .. } if kind == wanted),
                "{wanted}: {found:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_told_with_the_programs_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let failed =
            format(&Programs::on(Stuck::default()), &device(&path), "xfs", LONG).await.unwrap_err();
        assert_eq!(failed.kind, Kind::Failed);
        assert!(failed.what.contains("mkfs.xfs of "), "{failed}");
        assert!(failed.what.contains("size"), "{failed}");
        let refused = format(&Programs::on(Stuck::default()), &device(&path), "vfat", LONG)
            .await
            .unwrap_err();
        assert_eq!(refused.kind, Kind::Refused);
        assert!(refused.what.contains("ext4, ext3, xfs, btrfs"), "{refused}");
    }
}
