use super::*;
use crate::host::DeviceNumber;
use crate::node::look::fixture::*;
use crate::node::staged::Use;

struct Row {
    wanted: &'static str,
    block: bool,
    read_only: bool,
    alone: bool,
    entry: Entry,
    mounts: Vec<Mount>,
    noted: Option<bool>,
    published: &'static [&'static str],
}

fn row(wanted: &'static str) -> Row {
    Row {
        wanted,
        block: false,
        read_only: false,
        alone: false,
        entry: Entry::Directory,
        mounts: vec![mount(STAGING, 0)],
        noted: Some(false),
        published: &[],
    }
}

fn word(row: &Row) -> String {
    let (volume, device) = (volume(), device());
    let mut seen = connected(if row.block { Use::Block } else { as_file_system() });
    seen.mounts.clone_from(&row.mounts);
    if let Some(read_only) = row.noted {
        seen.note.as_mut().unwrap().targets.insert(TARGET.into(), read_only);
    }
    let wanted = Wanted {
        volume: &volume,
        staging: Path::new(STAGING),
        target: Path::new(TARGET),
        block: row.block,
        read_only: row.read_only,
        alone: row.alone,
        device: &device,
    };
    let published: Vec<PathBuf> = row.published.iter().map(PathBuf::from).collect();
    match next(&wanted, &seen, Target { entry: row.entry, published: &published }) {
        Err(error) => format!("{:?}", error.kind),
        Ok(Step::Unmount(target)) => format!("unmount {}", target.display()),
        Ok(Step::Note(note)) => format!("note {}", note.targets[Path::new(TARGET)]),
        Ok(Step::MakeDirectory) => "directory".to_owned(),
        Ok(Step::MakeFile) => "file".to_owned(),
        Ok(Step::Bind(source)) => format!("bind {}", source.display()),
        Ok(Step::Done) => "done".to_owned(),
    }
}

#[test]
fn a_file_system_is_bound_where_it_is_not_yet_to_be_seen() {
    let here = || vec![mount(STAGING, 0), mount(TARGET, 0)];
    let read_only = |read_only| vec![mount(STAGING, 0), Mount { read_only, ..mount(TARGET, 0) }];
    let foreign = || Mount { source: "tmpfs".into(), ..mount(TARGET, 7) };
    let rows = [
        Row { noted: None, ..row("note false") },
        Row { read_only: true, ..row("note true") },
        Row { entry: Entry::Absent, ..row("directory") },
        row("bind /k/staging"),
        Row { entry: Entry::File, ..row("Precondition") },
        Row { entry: Entry::Other, ..row("Precondition") },
        Row { mounts: here(), ..row("done") },
        Row { mounts: vec![mount(TARGET, 7)], ..row("unmount /k/pod") },
        Row { mounts: vec![foreign()], ..row("Precondition") },
        Row { mounts: read_only(true), ..row("Exists") },
        Row { mounts: read_only(false), read_only: true, ..row("Exists") },
        // The bind was cut off before it was made read-only.
        Row { mounts: here(), read_only: true, noted: Some(true), ..row("unmount /k/pod") },
        Row { mounts: read_only(true), read_only: true, noted: Some(true), ..row("done") },
        Row { alone: true, published: &["/other"], ..row("Precondition") },
        Row { alone: true, published: &[TARGET], ..row("bind /k/staging") },
        Row { published: &["/other"], ..row("bind /k/staging") },
    ];
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(word(row), row.wanted, "row {at}");
    }
}

#[test]
fn a_device_is_known_by_its_number_and_by_nothing_else() {
    let device = |minor| Entry::Block(DeviceNumber { major: 259, minor });
    let bound = || vec![Mount { source: "udev".into(), ..mount(TARGET, 99) }];
    let block = |wanted| Row { block: true, mounts: Vec::new(), ..row(wanted) };
    let rows = [
        Row { entry: Entry::Absent, ..block("file") },
        Row { entry: Entry::File, ..block("bind /dev/nvme0n1") },
        Row { entry: Entry::Directory, ..block("Precondition") },
        // A node that somebody made there is not a mount of ours.
        Row { entry: device(0), ..block("Precondition") },
        Row { entry: device(0), mounts: bound(), ..block("done") },
        Row { entry: device(1), mounts: bound(), ..block("unmount /k/pod") },
        Row { entry: Entry::Directory, mounts: bound(), ..block("Precondition") },
        // A device where a file system is asked for.
        Row { entry: device(0), mounts: bound(), ..row("Precondition") },
    ];
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(word(row), row.wanted, "row {at}");
    }
}
