//! `/proc/self/mountinfo`, line by line (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::{DeviceNumber, Mount};

/// All mounts of the text, in its order: of two at one target the later one lies on top. A line
/// that makes no sense is an error that shows it: what is not understood may be a volume.
///
/// # Errors
/// The line.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>, String> {
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let shown = || format!("mountinfo: {}", String::from_utf8_lossy(line));
            mount(line).ok_or_else(shown)
        })
        .collect()
}

/// `36 35 98:0 /root /target rw,noatime shared:1 master:2 - ext4 /dev/root rw,errors=continue`
fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&byte| byte == b' ');
    let _own = words.next()?;
    let _parent = words.next()?;
    let number = device_number(words.next()?)?;
    let root = unescape(words.next()?)?;
    let target = unescape(words.next()?)?;
    let options = words.next()?;
    // Any number of tags about propagation, and a lone dash.
    words.find(|word| *word == b"-")?;
    let kind = unescape(words.next()?)?;
    // A source may be empty (mount("", …)): then two blanks follow each other.
    let source = unescape(words.next()?)?;
    let of_file_system = words.next()?;
    Some(Mount {
        number,
        root: PathBuf::from(root),
        target: PathBuf::from(target),
        read_only: is_read_only(options),
        file_system_read_only: is_read_only(of_file_system),
        kind: kind.to_string_lossy().into_owned(),
        source: source.to_string_lossy().into_owned(),
    })
}

fn is_read_only(options: &[u8]) -> bool {
    options.split(|&byte| byte == b',').any(|option| option == b"ro")
}

fn device_number(word: &[u8]) -> Option<DeviceNumber> {
    let (major, minor) = std::str::from_utf8(word).ok()?.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// Blank, tab, newline, backslash and hash are written as a backslash and three octal digits
/// (`show_mountinfo` in `fs/proc_namespace.c`).
fn unescape(word: &[u8]) -> Option<OsString> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(3)?;
        let value = digits.iter().try_fold(0_u32, |value, digit| match digit {
            b'0'..=b'7' => Some(value * 8 + u32::from(digit - b'0')),
            _ => None,
        })?;
        bytes.push(u8::try_from(value).ok()?);
        rest = after;
    }
    Some(OsString::from_vec(bytes))
}

#[cfg(test)]
mod test {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Mount {
        parse(line.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn a_line_with_tags_of_propagation_is_read() {
        let line = "36 35 259:4 / /var/lib/kubelet/plugins/x rw,noatime shared:1 master:2 \
                    - ext4 /dev/nvme0n1 rw,errors=continue\n";
        let mount = one(line);
        assert_eq!(mount.number, DeviceNumber { major: 259, minor: 4 });
        assert_eq!(mount.root, Path::new("/"));
        assert_eq!(mount.target, Path::new("/var/lib/kubelet/plugins/x"));
        assert!(!mount.read_only && !mount.file_system_read_only);
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("ext4", "/dev/nvme0n1"));
    }

    #[test]
    fn a_read_only_mount_is_told_from_a_read_only_file_system() {
        let by_mount = one("1 2 8:1 / /a ro,relatime - xfs /dev/x rw,attr2");
        assert!(by_mount.read_only && !by_mount.file_system_read_only);
        let by_error = one("1 2 8:1 / /a rw,relatime - ext4 /dev/x ro,errors=remount-ro");
        assert!(!by_error.read_only && by_error.file_system_read_only);
        let named_so = one("1 2 8:1 / /a rw,norecovery - xfs /dev/x rw,root=1");
        assert!(!named_so.read_only && !named_so.file_system_read_only);
    }

    #[test]
    fn a_bound_device_shows_which_node_it_is() {
        let mount = one("99 1 0:6 /nvme0n1//deleted /pods/a\\040b/dev rw - devtmpfs udev rw");
        assert_eq!(mount.root, Path::new("/nvme0n1//deleted"));
        assert_eq!(mount.target, Path::new("/pods/a b/dev"));
    }

    #[test]
    fn an_empty_source_is_read() {
        assert_eq!(one("1 2 0:50 / /a rw - tmpfs  rw,size=1k").source, "");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error_and_not_left_out() {
        let broken = [
            "1 2 8 / /a rw - ext4 /dev/x rw",
            "1 2 8:1 / /a rw ext4 /dev/x rw",
            "1 2 8:1 / /a rw - ext4 /dev/x",
            "1 2 8:1 / /a\\0 rw - ext4 /dev/x rw",
            "1 2 8:1 / /a\\999 rw - ext4 /dev/x rw",
            "1 2 8:1 / /a\\777 rw - ext4 /dev/x rw",
            "x",
        ];
        for line in broken {
            let text = format!("1 2 8:1 / /ok rw - ext4 /dev/x rw\n{line}\n");
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn the_mounts_of_this_process_are_read() {
        let mounts = parse(&std::fs::read("/proc/self/mountinfo").unwrap()).unwrap();
        assert!(mounts.iter().any(|mount| mount.target == Path::new("/")), "{mounts:?}");
    }

    /// As `mangle` in the kernel writes it.
    fn escaped(path: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        for &byte in path {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                    text.extend(format!("\\{byte:03o}").bytes());
                }
                _ => text.push(byte),
            }
        }
        text
    }

    proptest! {
        #[test]
        fn every_path_comes_back(
            target in prop::collection::vec(1_u8..=255, 1..40),
            root in prop::collection::vec(1_u8..=255, 1..40),
            tags in prop::collection::vec("(shared|master|propagate_from):[0-9]{1,3}", 0..3),
        ) {
            let mut line = b"1 2 259:7 ".to_vec();
            line.extend(escaped(&root));
            line.push(b' ');
            line.extend(escaped(&target));
            line.extend(format!(" rw {}{}- xfs /dev/x rw\n", tags.join(" "),
                if tags.is_empty() { "" } else { " " }).bytes());
            let mounts = parse(&line).unwrap();
            prop_assert_eq!(mounts.len(), 1);
            prop_assert_eq!(mounts[0].target.as_os_str().as_bytes(), &target[..]);
            prop_assert_eq!(mounts[0].root.as_os_str().as_bytes(), &root[..]);
        }

        #[test]
        fn nothing_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }
    }
}
