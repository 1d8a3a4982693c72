use proptest::prelude::*;

use super::*;
use crate::rds::{Change, Export, NewDisk};
use crate::volume::{ImagePath, Nqn, Slot, VolumePath};

const TAG: &str = "0123456789abcdef";

fn slot(at: usize) -> Slot {
    Slot::parse(&format!("pvc-6f7c1d2e-0000-4000-8000-{at:012}")).unwrap()
}

fn new_disk(at: usize) -> NewDisk {
    let slot = slot(at);
    let image = VolumePath::parse("storage-pool/volumes").unwrap().image(&slot);
    let comment =
        "rds1 c=4f0c2d9a71be s=detached n=- m=single g=0 x=000000000000 r=1 f=never k=1f2e";
    NewDisk { slot, image, bytes: 1 << 40, comment: comment.into() }
}

fn all(commands: &[Command], bytes_max: usize) -> Option<Batch> {
    batch(&commands.iter().collect::<Vec<_>>(), TAG, bytes_max)
}

fn creates(count: usize) -> Vec<Command> {
    (0..count).map(|at| Command::Create(new_disk(at))).collect()
}

#[test]
fn what_rows_have_in_common_is_said_once() {
    let shown: Vec<_> = ["a", "b"].map(|slot| Command::Show(Slot::parse(slot).unwrap())).into();
    assert_eq!(
        all(&shown, 4096).unwrap(),
        Batch {
            line: ":foreach csiRow in={ {t=0;s=\"a\"};{t=1;s=\"b\"} } do={ :do { \
                :local csiT (\"0123456789abcdef-\" . ($csiRow->\"t\") . \" \"); \
                :local csiS ($csiRow->\"s\"); :put ($csiT . \"disks \" . \
                [:serialize to=json options=json.no-string-conversion \
                value=[/disk/print detail as-value where slot=$csiS]]); \
                :put ($csiT . \"end\") } on-error={} }"
                .into(),
            tags: vec!["0123456789abcdef-0".into(), "0123456789abcdef-1".into()],
        }
    );
    let made = all(&creates(2), 4096).unwrap().line;
    assert_eq!(made.matches("rds1 c=").count(), 1, "{made}");
    assert_eq!(made.matches("storage-pool/volumes/").count(), 1, "{made}");
}

#[test]
fn kinds_that_meet_in_a_line_are_told_apart_by_their_rows() {
    let shown = Command::Show(slot(7));
    let unexport = Command::Unexport { slot: slot(8), expect: "rds1 x".into() };
    let line = all(&[creates(1).remove(0), shown, unexport], 4096).unwrap().line;
    for part in [
        "{t=0;k=0;",
        "{t=1;k=1;",
        "{t=2;k=2;",
        ":if (($csiRow->\"k\")=0) do={ :if ([:len [/disk/find where slot=$csiS]]=0)",
        ":if (($csiRow->\"k\")=2) do={ :local csiItem",
        ":if ([:len $csiD]>0) do={ :put ($csiT . \"images \"",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(!line.contains("\"k\")=1"), "a row that only looks has nothing to do: {line}");
}

#[test]
fn a_job_costs_less_than_250_bytes_of_a_default_line() {
    for (bytes_max, at_least) in [(1024, 2), (2048, 17), (4096, 45)] {
        let batch = all(&creates(64), bytes_max).unwrap();
        let (jobs, bytes) = (batch.tags.len(), batch.line.len());
        assert!(jobs >= at_least && bytes <= bytes_max, "{jobs} jobs in {bytes} of {bytes_max}");
    }
    let line = |count: usize| all(&creates(count), 1 << 20).unwrap().line.len();
    let one_more = line(11) - line(10);
    let own = slot(0).as_str().len() + (1u64 << 40).to_string().len();
    assert!(one_more < own + 20, "{one_more} bytes, {own} of them its own");

    let change = |at: usize| {
        let nqn = Nqn::parse(&format!("nqn.2000-02.com.mikrotik:{}.g12-0a1b2c3d4e5f", slot(at)));
        let host = Nqn::parse(&format!("nqn.2014-08.org.nvmexpress:uuid:{}", slot(at))).unwrap();
        let export =
            Export { on: true, nqn: Some(nqn.unwrap()), allow_host: Some(host), port: 4420 };
        let comment = |n| format!("{} {n}", "c".repeat(95));
        Command::Change(Change {
            slot: slot(at),
            expect: comment(at),
            comment: comment(at + 1),
            export: Some(export),
            grow_to: None,
        })
    };
    let line = |count: usize| {
        all(&(0..count).map(change).collect::<Vec<_>>(), 1 << 20).unwrap().line.len()
    };
    let own = 40 + 2 * 98 + 83 + 67;
    let one_more = line(11) - line(10);
    assert!(one_more < own + 50, "{one_more} bytes, {own} of them its own");
}

#[test]
fn what_cannot_share_a_line_ends_it() {
    let mut strange = new_disk(2);
    strange.image = ImagePath::parse("pool/other.img").unwrap();
    let mut bare = new_disk(2);
    bare.image = ImagePath::parse(&format!("{}.img", bare.slot)).unwrap();
    let mut huge = new_disk(2);
    huge.bytes = u64::MAX;
    for alone in [
        Command::Poll,
        Command::Table,
        Command::Pool(VolumePath::parse("pool").unwrap()),
        Command::Create(strange),
        Command::Create(bare),
        Command::Create(huge),
    ] {
        let mut commands = creates(4);
        commands[2] = alone.clone();
        assert_eq!(all(&commands, 4096).unwrap().tags.len(), 2, "{alone:?}");
        commands.swap(1, 2);
        assert_eq!(all(&commands, 4096), None, "{alone:?}");
        commands.swap(0, 1);
        assert_eq!(all(&commands, 4096), None, "{alone:?}");
    }
    assert_eq!(all(&[], 4096), None);
    assert_eq!(all(&creates(1), 4096), None, "one has a plain line");
    assert_eq!(all(&creates(9), 600), None);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\"\\\\$?;{}\\[\\]()=> \n\r\t]{0,40}", "rds1 [a-z0-9= ]{0,90}"]
}

fn nqn() -> impl Strategy<Value = Nqn> {
    "nqn\\.[a-zA-Z0-9.:_-]{1,60}".prop_map(|text| Nqn::parse(&text).unwrap())
}

fn any_slot() -> impl Strategy<Value = Slot> {
    "[a-z][a-z0-9-]{0,62}".prop_map(|text| Slot::parse(&text).unwrap())
}

fn disk() -> impl Strategy<Value = NewDisk> {
    let path = "[a-zA-Z0-9]{1,9}(/[a-zA-Z0-9_-]{1,3}){0,2}";
    (any_slot(), any::<u64>(), text(), path).prop_map(|(slot, bytes, comment, path)| {
        let image =
            VolumePath::parse(&path).unwrap_or(VolumePath::parse("a").unwrap()).image(&slot);
        NewDisk { image, slot, bytes: bytes >> 1, comment }
    })
}

fn command() -> impl Strategy<Value = Command> {
    let export = (any::<bool>(), prop::option::of(nqn()), prop::option::of(nqn()), any::<u16>())
        .prop_map(|(on, nqn, allow_host, port)| Export { on, nqn, allow_host, port });
    let export = prop::option::of(export);
    let change = (any_slot(), text(), text(), export, prop::option::of(0u64..1 << 62)).prop_map(
        |(slot, expect, comment, export, grow_to)| {
            Command::Change(Change { slot, expect, comment, export, grow_to })
        },
    );
    prop_oneof![
        disk().prop_map(Command::Create),
        disk().prop_map(Command::Rebuild),
        (disk(), text()).prop_map(|(disk, expect)| Command::Delete {
            slot: disk.slot,
            expect,
            deleting: disk.comment,
            image: disk.image,
        }),
        disk().prop_map(|disk| Command::RemoveImage { slot: disk.slot, image: disk.image }),
        change,
        (any_slot(), text()).prop_map(|(slot, expect)| Command::Unexport { slot, expect }),
        any_slot().prop_map(Command::Show),
    ]
}

/// The line without what stands between quotes, or `None` where a string does not end.
fn skeleton(line: &str) -> Option<String> {
    let mut outside = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        outside.push(c);
        if c != '"' {
            continue;
        }
        loop {
            match chars.next()? {
                '\\' => drop(chars.next()?),
                '"' => break,
                _ => {}
            }
        }
    }
    Some(outside)
}

proptest! {
    #[test]
    fn a_line_never_exceeds_its_bound_and_is_never_shorter_than_it_could_be(
        commands in prop::collection::vec(command(), 0..12), bytes_max in 0usize..6000,
    ) {
        let every = all(&commands, usize::MAX);
        let batch = all(&commands, bytes_max);
        let tags = batch.as_ref().map_or(1, |batch| batch.tags.len());
        if let Some(batch) = &batch {
            prop_assert!(batch.line.len() <= bytes_max);
            prop_assert!(batch.tags.len() >= 2);
        }
        if let Some(every) = every && tags < every.tags.len() {
            let one_more = all(&commands[..tags + 1], usize::MAX).unwrap();
            prop_assert!(one_more.line.len() > bytes_max);
        }
    }

    #[test]
    fn no_text_leaves_its_quotes(commands in prop::collection::vec(command(), 2..8)) {
        let line = all(&commands, usize::MAX).unwrap().line;
        prop_assert!(line.bytes().all(|b| (0x20..=0x7e).contains(&b)));
        let outside = skeleton(&line).expect("a string does not end");
        // What is outside is the same for texts that hold nothing at all, but for what is said once
        // where all are the same: so it is made of our own words, and balanced.
        for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
            let count = |c| outside.matches(c).count();
            prop_assert_eq!(count(open), count(close), "{}", outside);
        }
        prop_assert_eq!(outside.matches(":foreach").count(), 1);
        for word in outside.split(|c: char| !(c.is_ascii_alphanumeric() || "/-.:$".contains(c))) {
            prop_assert!(word.is_empty() || OURS.contains(&word) || word.parse::<u64>().is_ok(), "{}", word);
        }
    }
}

/// Every word that a line may have outside of quotes.
const OURS: &[&str] = &[
    ":local",
    ":foreach",
    ":do",
    ":put",
    ":if",
    ":len",
    ":error",
    ":onerror",
    ":serialize",
    "in",
    "do",
    "on-error",
    "csiRow",
    "csiT",
    "csiS",
    "csiB",
    "csiC",
    "csiE",
    "csiN",
    "csiP",
    "csiH",
    "csiX",
    "csiD",
    "csiI",
    "csiItem",
    "csiError",
    "$csiRow-",
    "$csiT",
    "$csiS",
    "$csiB",
    "$csiC",
    "$csiE",
    "$csiN",
    "$csiP",
    "$csiH",
    "$csiX",
    "$csiD",
    "$csiI",
    "$csiItem",
    "$csiError",
    ".",
    "t",
    "k",
    "s",
    "b",
    "c",
    "e",
    "n",
    "p",
    "h",
    "x",
    "d",
    "to",
    "json",
    "options",
    "json.no-string-conversion",
    "value",
    "/disk/print",
    "/disk/find",
    "/disk/set",
    "/disk/add",
    "/disk/remove",
    "/file/find",
    "/file/remove",
    "detail",
    "as-value",
    "where",
    "slot",
    "comment",
    "and",
    "or",
    "file-path",
    "file-size",
    "name",
    "type",
    "file",
    "mount-filesystem",
    "nvme-tcp-export",
    "nvme-tcp-server-nqn",
    "nvme-tcp-server-port",
    "nvme-tcp-server-allow-host-name",
    "no",
];
