//! Volume capabilities: from the wire to [`Capability`].

use super::{invalid, text};
use crate::grpc::csi as pb;
use crate::grpc::csi::volume_capability::access_mode::Mode;
use crate::grpc::csi::volume_capability::{AccessType, MountVolume};
use crate::operations::Error;
use crate::volume::Refused;
use crate::volume::capability::{AccessMode, Capability, DEFAULT_FS_TYPE, Medium};

/// Most capabilities in one request: there are seven modes of two media.
const CAPABILITIES_MAX: usize = 32;
/// Most mount flags of one capability.
const MOUNT_FLAGS_MAX: usize = 64;
/// Largest sum of all mount flags in bytes (CSI specification, Size Limits).
const MOUNT_FLAGS_LENGTH_MAX: usize = 4096;

/// Reads a list of capabilities that must not be empty. Whether we can serve them is another
/// question: [`Capability::unsupported`]. `class` is the file system that the StorageClass names.
pub fn several(
    field: &str,
    given: &[pb::VolumeCapability],
    class: Option<&str>,
) -> Result<Vec<Capability>, Error> {
    if given.is_empty() {
        return Err(invalid(field, "must not be empty: say how the volume will be used"));
    }
    if given.len() > CAPABILITIES_MAX {
        let what = format!("has {} entries; at most {CAPABILITIES_MAX} are allowed", given.len());
        return Err(invalid(field, what));
    }
    let read = |(at, one)| single(&format!("{field}[{at}]"), one, class);
    given.iter().enumerate().map(read).collect()
}

/// Reads one capability that must be there.
pub fn required(
    field: &str,
    given: Option<&pb::VolumeCapability>,
    class: Option<&str>,
) -> Result<Capability, Error> {
    let given =
        given.ok_or_else(|| invalid(field, "is missing: say how the volume will be used"))?;
    single(field, given, class)
}

/// Reads one capability.
pub fn single(
    field: &str,
    given: &pb::VolumeCapability,
    class: Option<&str>,
) -> Result<Capability, Error> {
    let mode = mode(&format!("{field}.access_mode"), given.access_mode)?;
    let medium = match &given.access_type {
        None => {
            return Err(invalid(field, "names neither block nor mount; give one of them"));
        }
        Some(AccessType::Block(_)) => Medium::Block,
        Some(AccessType::Mount(mount)) => file_system(&format!("{field}.mount"), mount, class)?,
    };
    Ok(Capability { mode, medium })
}

/// Is the file system left to what the volume was made with?
pub fn names_no_file_system(given: Option<&pb::VolumeCapability>) -> bool {
    let access = given.and_then(|capability| capability.access_type.as_ref());
    matches!(access, Some(AccessType::Mount(mount)) if mount.fs_type.is_empty())
}

/// Refuses what we cannot serve.
pub fn supported(field: &str, capability: &Capability) -> Result<(), Error> {
    match capability.unsupported() {
        None => Ok(()),
        Some(why) => Err(invalid(field, why)),
    }
}

fn mode(
    field: &str,
    given: Option<pb::volume_capability::AccessMode>,
) -> Result<AccessMode, Error> {
    let number = given.ok_or_else(|| invalid(field, "is missing"))?.mode;
    match Mode::try_from(number) {
        Ok(Mode::SingleNodeWriter) => Ok(AccessMode::SingleNodeWriter),
        Ok(Mode::SingleNodeReaderOnly) => Ok(AccessMode::SingleNodeReaderOnly),
        Ok(Mode::MultiNodeReaderOnly) => Ok(AccessMode::MultiNodeReaderOnly),
        Ok(Mode::MultiNodeSingleWriter) => Ok(AccessMode::MultiNodeSingleWriter),
        Ok(Mode::MultiNodeMultiWriter) => Ok(AccessMode::MultiNodeMultiWriter),
        Ok(Mode::SingleNodeSingleWriter) => Ok(AccessMode::SingleNodeSingleWriter),
        Ok(Mode::SingleNodeMultiWriter) => Ok(AccessMode::SingleNodeMultiWriter),
        Ok(Mode::Unknown) => Err(invalid(field, "UNKNOWN is no access mode; name one")),
        Err(_) => Err(invalid(field, format!("{number} is no access mode of CSI 1.13"))),
    }
}

fn file_system(field: &str, mount: &MountVolume, class: Option<&str>) -> Result<Medium, Error> {
    let fs_field = format!("{field}.fs_type");
    let fs_type = text::text(&fs_field, &mount.fs_type, text::TEXT_LENGTH_MAX)?;
    let group = format!("{field}.volume_mount_group");
    text::text(&group, &mount.volume_mount_group, text::TEXT_LENGTH_MAX)?;
    if !mount.volume_mount_group.is_empty() {
        return Err(invalid(&group, "is not supported; use the pod's fsGroup"));
    }
    mount_flags(&format!("{field}.mount_flags"), &mount.mount_flags)?;
    let fs_type = match (fs_type, class) {
        ("", class) => class.unwrap_or(DEFAULT_FS_TYPE),
        (asked, Some(class)) if asked != class => {
            let what = format!(
                "contradicts the file system of the StorageClass, {class}; name it once, in \
                 csi.storage.k8s.io/fstype"
            );
            return Err(invalid(&fs_field, Refused::value(asked, what)));
        }
        (asked, _) => asked,
    };
    Ok(Medium::FileSystem { fs_type: fs_type.to_owned(), mount_flags: mount.mount_flags.clone() })
}

fn mount_flags(field: &str, flags: &[String]) -> Result<(), Error> {
    let length: usize = flags.iter().map(String::len).sum();
    if flags.len() > MOUNT_FLAGS_MAX || length > MOUNT_FLAGS_LENGTH_MAX {
        let what = format!(
            "has {} entries of {length} bytes in all; at most {MOUNT_FLAGS_MAX} entries and \
             {MOUNT_FLAGS_LENGTH_MAX} bytes are allowed",
            flags.len()
        );
        return Err(invalid(field, what));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-=.,:/+%@".contains(&b);
    for flag in flags {
        if flag.is_empty() || flag.starts_with('-') || !flag.bytes().all(allowed) {
            let what = "is no mount option: A-Z a-z 0-9 _ - = . , : / + % @, not starting with -";
            return Err(invalid(field, Refused::value(flag, what)));
        }
    }
    Ok(())
}
