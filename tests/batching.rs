//! Several commands in one line, on the simulated console: the same effects and the same replies
//! as one after the other.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::sync::Arc;

use proptest::prelude::*;
use rds_csi::rds::script::{self, batch};
use rds_csi::rds::ssh::ExecOutput;
use rds_csi::rds::{Change, Command, Export, NewDisk, Reply, reply};
use rds_csi::volume::{Nqn, Slot, VolumePath};
use rds_sim::routeros::{ManualClock, Quirks, RouterOs, Setup, Version};

/// Where volumes lie.
const FOLDER: &str = "storage-pool/volumes";
const VERSIONS: [Version; 2] = [Version::V7_21_5, Version::V7_24_4];
/// What the console refuses beyond its own bound is another story.
const LINE_BYTES_MAX: usize = 4096;

/// A box with a folder for volumes, on which no time passes.
fn furnished(setup: Setup) -> RouterOs {
    let os = RouterOs::with(Setup { clock: Arc::new(ManualClock::default()), ..setup });
    let made = os.exec(&format!("/file/add name={FOLDER} type=directory")).text();
    assert_eq!(made, "");
    os
}

fn slot(text: &str) -> Slot {
    Slot::parse(text).unwrap()
}

fn create(name: &str, bytes: u64, comment: &str) -> Command {
    Command::Create(new_disk(name, bytes, comment))
}

fn new_disk(name: &str, bytes: u64, comment: &str) -> NewDisk {
    let slot = slot(name);
    let image = VolumePath::parse(FOLDER).unwrap().image(&slot);
    NewDisk { slot, image, bytes, comment: comment.into() }
}

fn delete(name: &str, expect: &str) -> Command {
    let NewDisk { slot, image, .. } = new_disk(name, 0, "");
    Command::Delete { slot, expect: expect.into(), deleting: "deleting".into(), image }
}

fn remove_image(name: &str) -> Command {
    let NewDisk { slot, image, .. } = new_disk(name, 0, "");
    Command::RemoveImage { slot, image }
}

fn change(
    name: &str,
    expect: &str,
    comment: &str,
    grow_to: Option<u64>,
    on: Option<bool>,
) -> Command {
    let export = on.map(|on| Export {
        on,
        nqn: Nqn::parse(&format!("nqn.2000-02.com.mikrotik:{name}.g1-0a")).ok(),
        allow_host: on.then(|| Nqn::parse("nqn.2014-08.org.nvmexpress:uuid:A_b").unwrap()),
        port: 4420,
    });
    let (slot, expect, comment) = (slot(name), expect.into(), comment.into());
    Command::Change(Change { slot, expect, comment, export, grow_to })
}

fn unexport(name: &str, expect: &str) -> Command {
    Command::Unexport { slot: slot(name), expect: expect.into() }
}

type Answer = Result<Reply, String>;

fn say(os: &RouterOs, line: &str) -> ExecOutput {
    let result = os.exec(line);
    let (stdout, stderr, exit_status) = (result.stdout, result.stderr, result.exit_status);
    ExecOutput { stdout, stderr, exit_status }
}

/// Each command in a line of its own.
fn one_by_one(os: &RouterOs, commands: &[Command]) -> Vec<Answer> {
    let one = |command| reply::read(&say(os, &script::line(command, "tag")), "tag");
    commands.iter().map(one).collect()
}

/// As many as fit in every line; and how many lines those were.
fn together(os: &RouterOs, commands: &[Command], bytes_max: usize) -> (Vec<Answer>, usize) {
    let (mut answers, mut lines) = (Vec::new(), 0);
    while answers.len() < commands.len() {
        let left: Vec<&Command> = commands[answers.len()..].iter().collect();
        match batch::batch(&left, "tag", bytes_max) {
            Some(batch) => {
                assert!(batch.line.len() <= bytes_max);
                let output = say(os, &batch.line);
                answers.extend(batch.tags.iter().map(|tag| reply::read(&output, tag)));
            }
            None => answers.extend(one_by_one(os, &commands[answers.len()..=answers.len()])),
        }
        lines += 1;
    }
    (answers, lines)
}

/// Everything that there is on the box.
fn state(os: &RouterOs) -> String {
    let all = ":put [:serialize to=json value=[/disk/print detail as-value]]; \
               :put [:serialize to=json value=[/file/print detail as-value]]";
    os.exec(all).text()
}

/// Runs the commands on two boxes that are the same, `before` on both, and compares.
fn same(setup: &Setup, before: &[Command], commands: &[Command], bytes_max: usize) -> Vec<Answer> {
    let (one, other) = (furnished(setup.clone()), furnished(setup.clone()));
    for os in [&one, &other] {
        one_by_one(os, before);
        // Somebody removed this disk by hand, which leaves its image.
        os.exec("/disk/remove [/disk/find where slot=\"gone\"]");
    }
    let answers = one_by_one(&one, commands);
    let (answers_together, lines) = together(&other, commands, bytes_max);
    assert_eq!(answers, answers_together);
    assert_eq!(state(&one), state(&other));
    assert!(lines < commands.len() || commands.len() < 2, "nothing went together");
    answers
}

/// A volume's whole life for several volumes, all kinds of commands and of errors.
fn life() -> (Vec<Command>, Vec<Command>) {
    let before = ["a", "b", "c", "gone"].map(|name| create(name, 1 << 20, "rds1 old"));
    let commands = vec![
        create("d", 1 << 20, "rds1 new"),
        create("a", 1 << 30, "rds1 another"),
        create("full", 1 << 60, "rds1 new"),
        create("gone", 1 << 20, "rds1 new"),
        Command::Rebuild(new_disk("gone", 0, "rds1 rebuilt")),
        Command::Rebuild(new_disk("nothing", 0, "rds1 rebuilt")),
        create("nvme1", 1 << 20, "rds1 new"),
        change("a", "rds1 old", "rds1 attached", None, Some(true)),
        change("a", "rds1 old", "rds1 too late", None, Some(false)),
        change("b", "rds1 old", "rds1 grown", Some(1 << 21), None),
        change("c", "rds1 old", "rds1 shrunk", Some(1), Some(true)),
        change("nobody", "rds1 old", "rds1 new", None, None),
        unexport("a", "rds1 attached"),
        unexport("b", "rds1 old"),
        Command::Show(slot("a")),
        Command::Show(slot("nobody")),
        delete("b", "rds1 old"),
        delete("b", "rds1 grown"),
        remove_image("c"),
        remove_image("nobody"),
        Command::Show(slot("b")),
        Command::Table,
    ];
    (before.to_vec(), commands)
}

#[test]
fn a_life_in_shared_lines_is_the_life_in_single_ones() {
    let (before, commands) = life();
    for version in VERSIONS {
        for bytes_max in [2048, LINE_BYTES_MAX, 65_536] {
            let setup = Setup { version, ..Setup::default() };
            let answers = same(&setup, &before, &commands, bytes_max);
            let reply = |at: usize| answers[at].as_ref().unwrap();
            assert_eq!(reply(0).disks[0].comment, "rds1 new");
            assert_eq!(reply(1).disks[0].comment, "rds1 old", "a taken slot stays");
            assert!(reply(2).complaint.is_some() && reply(2).disks.is_empty(), "a full pool");
            assert_eq!(reply(3).complaint.as_deref(), Some("image exists"));
            assert_eq!((reply(4).image, reply(4).disks.len()), (Some(true), 1));
            assert_eq!((reply(5).image, reply(5).disks.len()), (Some(false), 0));
            assert_eq!(reply(7).disks[0].exported, Some(true));
            assert_eq!(reply(8).disks[0].comment, "rds1 attached", "the compare failed");
            assert_eq!(reply(9).disks[0].bytes, Some(1 << 21));
            assert!(reply(10).complaint.is_some(), "an image does not get smaller");
            assert_eq!(reply(12).disks[0].exported, Some(false));
            assert_eq!((reply(17).image, reply(17).disks.len()), (Some(false), 0));
            assert_eq!(reply(18).image, Some(true), "a disk refers to it");
        }
    }
}

#[test]
fn whatever_nobody_has_proven_about_the_box_is_the_same_in_shared_lines() {
    let (before, commands) = life();
    for switch in Quirks::all_switches() {
        let mut quirks = Quirks::default();
        quirks.turn_on(switch.name);
        let answers =
            same(&Setup { quirks, ..Setup::default() }, &before, &commands, LINE_BYTES_MAX);
        let unfinished = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(unfinished, 0, "{}", switch.name);
    }
}

#[test]
fn names_and_comments_of_every_character_arrive_unharmed() {
    let names = [
        "abcdefghijklmnopqrstuvwxyz0123456789-".to_owned(),
        format!("z{}", "-9".repeat(31)),
        "slot".into(),
        "comment".into(),
        "csi-row".into(),
        "no".into(),
    ];
    let printable: String = (' '..='~').collect();
    let comments = [
        format!("{printable}{printable}"),
        "\"$\\?;{}[]()=".repeat(16),
        "ä€😀".repeat(22),
        "yes".into(),
        "1d2h".into(),
        "\") do={ /disk/remove [find] }; \"$csiError$[/disk/remove [find]]".into(),
    ];
    for version in VERSIONS {
        let setup = Setup { version, ..Setup::default() };
        let pairs = || names.iter().zip(&comments);
        let creates = pairs().map(|(name, comment)| create(name, 1 << 20, comment));
        let on = Some(true);
        let changes =
            pairs().map(|(name, comment)| change(name, comment, &format!("{comment}!"), None, on));
        let removals = pairs().map(|(name, comment)| delete(name, &format!("{comment}!")));
        let commands: Vec<_> = creates.chain(changes).chain(removals).collect();
        let answers = same(&setup, &[], &commands, LINE_BYTES_MAX);
        for (at, answer) in answers.iter().enumerate() {
            let reply = answer.as_ref().unwrap();
            assert_eq!(reply.complaint, None);
            let (name, comment) = (&names[at % 6], &comments[at % 6]);
            match at / 6 {
                0 => assert_eq!((&reply.disks[0].slot, &reply.disks[0].comment), (name, comment)),
                1 => assert_eq!(reply.disks[0].comment, format!("{comment}!")),
                _ => assert!(reply.disks.is_empty() && reply.image == Some(false)),
            }
        }
    }
}

#[test]
fn a_line_that_does_not_parse_runs_nothing_and_answers_nobody() {
    let os = furnished(Setup { version: Version::V7_20_8, ..Setup::default() });
    let before = state(&os);
    let commands = [create("a", 1 << 20, "rds1"), change("b", "x", "y", None, Some(true))];
    let (answers, lines) = together(&os, &commands, LINE_BYTES_MAX);
    assert_eq!(lines, 1);
    for answer in answers {
        let said = answer.unwrap_err();
        assert!(said.starts_with("bad parameter nvme-tcp-server-nqn"), "{said}");
    }
    assert_eq!(state(&os), before);
}

/// Any command about one of a few volumes, with one of a few comments, so that compares succeed and
/// fail, and names meet.
fn any_command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["a", "b", "c", "nvme1"]);
    let comment = || prop::sample::select(vec!["", "one", "t\"w$o\\", "1"]);
    let bytes = || prop::sample::select(vec![0, 1 << 20, 1 << 21, 1 << 60]);
    let grow = prop::option::of(bytes());
    prop_oneof![
        3 => (name(), bytes(), comment()).prop_map(|(name, bytes, c)| create(name, bytes, c)),
        1 => (name(), comment()).prop_map(|(name, c)| Command::Rebuild(new_disk(name, 0, c))),
        3 => (name(), comment(), comment(), grow, prop::option::of(any::<bool>()))
            .prop_map(|(name, expect, c, grow, on)| change(name, expect, c, grow, on)),
        2 => (name(), comment()).prop_map(|(name, expect)| unexport(name, expect)),
        2 => (name(), comment()).prop_map(|(name, expect)| delete(name, expect)),
        1 => name().prop_map(remove_image),
        1 => name().prop_map(|name| Command::Show(slot(name))),
        1 => Just(Command::Pool(VolumePath::parse(FOLDER).unwrap())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn shared_lines_never_change_what_a_sequence_of_commands_does(
        commands in prop::collection::vec(any_command(), 0..20),
        bytes_max in 500usize..5000,
        version in prop::sample::select(VERSIONS.to_vec()),
    ) {
        let setup = || Setup { version, ..Setup::default() };
        let (one, other) = (furnished(setup()), furnished(setup()));
        let answers = one_by_one(&one, &commands);
        let (answers_together, _) = together(&other, &commands, bytes_max);
        prop_assert_eq!(answers, answers_together);
        prop_assert_eq!(state(&one), state(&other));
    }
}
