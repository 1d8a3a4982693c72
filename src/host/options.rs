//! Mount options as mount(8) takes them, sorted into what the kernel's parts take.
//!
//! They come from a StorageClass, that is from whoever may make one. Refused is what reaches beyond
//! the volume: another device, another mount, another namespace. Everything that is not known here
//! is the file system's own, and the kernel refuses what it does not know.

use rustix::mount::MountAttrFlags;

use super::{Error, Kind};

/// What each part of the kernel gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Of the mount.
    pub mount: MountAttrFlags,
    /// Of the file system, in the order given: a word, and its value where it has one.
    pub file_system: Vec<(String, Option<String>)>,
}

/// Words of the mount: what is set, what is taken away.
const OF_MOUNT: [(&str, MountAttrFlags, MountAttrFlags); 11] = {
    use MountAttrFlags as Flags;
    const NONE: MountAttrFlags = MountAttrFlags::empty();
    // In the kernel's numbers `atime` and `relatime` are the absence of the others (rustix calls
    // the mask of all of them `MOUNT_ATTR__ATIME`).
    const TIMES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR__ATIME;
    [
        ("noatime", Flags::MOUNT_ATTR_NOATIME, TIMES),
        ("strictatime", Flags::MOUNT_ATTR_STRICTATIME, TIMES),
        ("relatime", NONE, TIMES),
        ("atime", NONE, TIMES),
        ("nodiratime", Flags::MOUNT_ATTR_NODIRATIME, NONE),
        ("diratime", NONE, Flags::MOUNT_ATTR_NODIRATIME),
        ("nosuid", Flags::MOUNT_ATTR_NOSUID, NONE),
        ("nodev", Flags::MOUNT_ATTR_NODEV, NONE),
        ("noexec", Flags::MOUNT_ATTR_NOEXEC, NONE),
        ("exec", NONE, Flags::MOUNT_ATTR_NOEXEC),
        ("nosymfollow", Flags::MOUNT_ATTR_NOSYMFOLLOW, NONE),
    ]
};

/// Words for programs other than the kernel: without a meaning here, and harmless.
const IGNORED: [&str; 10] = [
    "defaults", "_netdev", "nofail", "auto", "noauto", "user", "nouser", "users", "owner", "group",
];

/// Refused, with the reason.
const REFUSED: [(&str, &[&str]); 4] = [
    (
        "acts on other mounts or namespaces",
        &[
            "bind",
            "rbind",
            "move",
            "remount",
            "shared",
            "rshared",
            "slave",
            "rslave",
            "private",
            "rprivate",
            "unbindable",
            "runbindable",
        ],
    ),
    (
        "reaches another device or file",
        &[
            "loop",
            "offset",
            "sizelimit",
            "encryption",
            "source",
            "device",
            "journal_dev",
            "journal_path",
            "logdev",
            "rtdev",
            "fd",
            "helper",
            "uhelper",
            "users_xattr_source",
        ],
    ),
    ("would undo a restriction", &["dev", "suid", "symfollow"]),
    (
        "labels more than the volume's files; kubelet gives `context` itself",
        &["fscontext", "defcontext", "rootcontext", "seclabel"],
    ),
];

/// Sorts the options; each may be several, separated by commas outside quotes.
///
/// # Errors
/// [`Kind::Refused`], naming the option and the reason.
pub fn sort(options: &[String]) -> Result<Options, Error> {
    let mut sorted = Options { mount: MountAttrFlags::empty(), file_system: Vec::new() };
    for option in options.iter().flat_map(|text| split(text)) {
        let (word, value) = match option.split_once('=') {
            Some((word, value)) => (word, Some(unquoted(value))),
            None => (option, None),
        };
        accept(option, word)?;
        if IGNORED.contains(&word) || word.starts_with("x-") || word == "comment" {
            continue;
        }
        if value.is_none()
            && let Some((_, set, clear)) = OF_MOUNT.iter().find(|(name, ..)| *name == word)
        {
            sorted.mount = sorted.mount.difference(*clear).union(*set);
            continue;
        }
        // The kernel knows both parts of these: a mount may be read-only on a file system that is
        // not.
        match word {
            "ro" => sorted.mount.insert(MountAttrFlags::MOUNT_ATTR_RDONLY),
            "rw" => sorted.mount.remove(MountAttrFlags::MOUNT_ATTR_RDONLY),
            _ => {}
        }
        sorted.file_system.push((word.to_owned(), value.map(str::to_owned)));
    }
    Ok(sorted)
}

fn accept(option: &str, word: &str) -> Result<(), Error> {
    let refused = |why: &str| {
        let what = format!("the mount option {} is not allowed: it {why}", option.escape_debug());
        Err(Error::new(Kind::Refused, what))
    };
    if word.is_empty() || option.chars().any(|c| c.is_control()) {
        return refused("has no name, or a control character");
    }
    // mount(8) would act on these itself, for instance make directories.
    if word.starts_with("X-") {
        return refused("is for mount(8), and may change files");
    }
    for (why, words) in REFUSED {
        if words.contains(&word) {
            return refused(why);
        }
    }
    Ok(())
}

/// At commas, but not within quotes: an SELinux context has some.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|option| !option.is_empty())
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    fn sorted(options: &[&str]) -> Options {
        sort(&options.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn words(options: &[&str]) -> Vec<String> {
        let one = |(word, value): (String, Option<String>)| match value {
            Some(value) => format!("{word}={value}"),
            None => word,
        };
        sorted(options).file_system.into_iter().map(one).collect()
    }

    #[test]
    fn options_of_the_mount_are_told_from_those_of_the_file_system() {
        let options = sorted(&["noatime,nosuid", "discard", "nouuid", "data=ordered", "noexec"]);
        let flags = MountAttrFlags::MOUNT_ATTR_NOATIME
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        assert_eq!(options.mount, flags);
        assert_eq!(
            words(&["noatime,nosuid", "discard", "nouuid", "data=ordered"]),
            ["discard", "nouuid", "data=ordered"]
        );
    }

    #[test]
    fn nothing_is_set_that_was_not_asked_for() {
        let options = sorted(&[]);
        assert_eq!((options.mount, options.file_system), (MountAttrFlags::empty(), vec![]));
        assert_eq!(words(&["defaults", "_netdev,nofail", "x-systemd.automount", ""]), [""; 0]);
    }

    #[test]
    fn of_words_that_contradict_each_other_the_last_one_counts() {
        assert_eq!(sorted(&["noatime", "relatime"]).mount, MountAttrFlags::empty());
        assert_eq!(sorted(&["strictatime,noatime"]).mount, MountAttrFlags::MOUNT_ATTR_NOATIME);
        assert_eq!(sorted(&["noexec", "exec"]).mount, MountAttrFlags::empty());
        assert_eq!(sorted(&["ro,rw"]).mount, MountAttrFlags::empty());
        assert_eq!(words(&["ro,rw"]), ["ro", "rw"]);
    }

    #[test]
    fn read_only_is_for_the_mount_and_the_file_system() {
        let options = sorted(&["ro"]);
        assert_eq!(options.mount, MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert_eq!(options.file_system, [("ro".to_owned(), None)]);
    }

    #[test]
    fn the_label_that_kubelet_gives_keeps_its_commas() {
        let label = "system_u:object_r:container_file_t:s0:c1,c2";
        assert_eq!(
            words(&[&format!("noatime,context=\"{label}\",discard")]),
            [format!("context={label}"), "discard".to_owned()]
        );
    }

    #[test]
    fn what_reaches_beyond_the_volume_is_refused_by_name() {
        let refused = [
            "bind",
            "rbind",
            "move",
            "remount",
            "remount,ro",
            "shared",
            "rslave",
            "private",
            "unbindable",
            "loop",
            "loop=/dev/loop0",
            "offset=4096",
            "journal_dev=0x801",
            "journal_path=/dev/sda",
            "logdev=/dev/sda",
            "rtdev=/dev/sda",
            "device=/dev/sda",
            "source=/dev/sda",
            "dev",
            "suid",
            "fscontext=x",
            "rootcontext=x",
            "X-mount.mkdir",
            "noatime,bind",
            " bind ",
            "=x",
            "a\nb",
        ];
        for option in refused {
            let error = sort(&[option.to_owned()]).unwrap_err();
            assert_eq!(error.kind, Kind::Refused, "{option}");
            let word = option.trim().split(['=', '\n']).next().unwrap();
            assert!(
                error.what.contains(word.rsplit(',').next().unwrap()) || word == "remount,ro",
                "{option}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_refused_word_gets_through_whatever_surrounds_it(
            before in "[a-z=,\" ]{0,12}", after in "[a-z=,\" ]{0,12}",
        ) {
            if let Ok(options) = sort(&[format!("{before},bind,{after}")]) {
                // Only as part of a quoted value.
                prop_assert!(before.matches('"').count() % 2 == 1);
                prop_assert!(options.file_system.iter().all(|(word, _)| word != "bind"));
            }
        }
    }
}
