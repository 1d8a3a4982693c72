//! Letting a mounted file system take up what its device has grown by.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::command::Programs;
use super::{Device, Error, Kind};

/// Grows it; each of the programs ends well where there is nothing to do.
///
/// # Errors
/// [`Kind::Refused`]: a kind that cannot grow. Else as [`Programs::run`].
pub async fn grow(
    programs: &Programs,
    device: &Device,
    kind: &str,
    mounted_at: &Path,
    deadline: Duration,
) -> Result<(), Error> {
    let (program, arguments) = command(&device.path, kind, mounted_at)?;
    programs.run(&device.path, program, &arguments, deadline).await.map(drop)
}

/// ext is grown by its device, the others by the place where they are mounted.
fn command(
    device: &Path,
    kind: &str,
    mounted_at: &Path,
) -> Result<(&'static str, Vec<OsString>), Error> {
    let (device, mounted_at) = (OsString::from(device), OsString::from(mounted_at));
    match kind {
        "ext4" | "ext3" | "ext2" => Ok(("resize2fs", vec![device])),
        "xfs" => Ok(("xfs_growfs", vec!["-d".into(), mounted_at])),
        "btrfs" => {
            Ok(("btrfs", vec!["filesystem".into(), "resize".into(), "max".into(), mounted_at]))
        }
        _ => Err(Error::new(Kind::Refused, format!("a file system {kind} cannot grow here"))),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn words(kind: &str) -> String {
        let (program, arguments) =
            command(Path::new("/dev/nvme0n1"), kind, Path::new("/staging")).unwrap();
        let arguments: Vec<_> = arguments.iter().map(|it| it.to_str().unwrap()).collect();
        format!("{program} {}", arguments.join(" "))
    }

    #[test]
    fn each_kind_is_grown_by_what_its_program_wants() {
        assert_eq!(words("ext4"), "resize2fs /dev/nvme0n1");
        assert_eq!(words("ext3"), "resize2fs /dev/nvme0n1");
        assert_eq!(words("xfs"), "xfs_growfs -d /staging");
        assert_eq!(words("btrfs"), "btrfs filesystem resize max /staging");
        let refused = command(Path::new("/dev/x"), "vfat", Path::new("/a")).unwrap_err();
        assert_eq!(refused.kind, Kind::Refused);
    }
}
