//! Stories on a box in memory, under paused time.

use std::time::Duration;

use rds_sim::routeros::{
    Connection, ExecError, ExistingFile, Fault, JsonBool, OpenError, Outcome, Quirks, Reboot,
    Refusal, RouterOs, SecondChannel, Session, Setup, TokioClock, Version,
};
use std::sync::Arc;

const CREATE: &str = "/disk/add type=file slot=a file-path=storage-pool/a.img file-size=1G \
                      nvme-tcp-server-nqn=nqn.a:g1 nvme-tcp-export=yes comment=one";

fn fresh(quirks: Quirks) -> RouterOs {
    let clock = Arc::new(TokioClock::start());
    RouterOs::with(Setup { quirks, clock, ..Setup::default() })
}

fn put(os: &RouterOs, expression: &str) -> String {
    os.exec(&format!(":put {expression}")).text().trim_end().to_owned()
}

fn comment(os: &RouterOs) -> String {
    put(os, "[/disk/get a comment]")
}

async fn login(os: &RouterOs) -> Session {
    os.open_session().await.expect("logs in")
}

fn host(os: &RouterOs, name: &str, nqn: &str) -> Result<Connection, Refusal> {
    os.connect_host(name, nqn, 4420)
}

#[tokio::test(start_paused = true)]
async fn latency_takes_virtual_time() {
    let os = fresh(Quirks::default());
    os.set_latency(Duration::from_millis(60), Duration::from_millis(200));
    let start = tokio::time::Instant::now();
    let session = login(&os).await;
    assert_eq!(session.exec(":put hello").await.map(|r| r.text()), Ok("hello\r\n".to_owned()));
    assert_eq!(start.elapsed(), Duration::from_millis(260));
    assert!(session.exec(":delay 3s").await.is_ok());
    assert_eq!(start.elapsed(), Duration::from_millis(3320));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_leaves_the_effect_or_not() {
    let os = fresh(Quirks::default());
    os.exec(CREATE);
    for (fault, after, outcome) in [
        (Fault::DropBefore, "one", Outcome::Dropped),
        (Fault::DropAfter, "two", Outcome::AppliedThenDropped),
    ] {
        let session = login(&os).await;
        os.arm_on("comment", fault);
        assert!(session.exec(":put unharmed").await.is_ok());
        assert_eq!(session.exec("/disk/set a comment=two").await, Err(ExecError::Dropped));
        assert!(session.closed().is_cancelled());
        assert_eq!(comment(&os), after);
        assert_eq!(os.journal().last().map(|entry| entry.outcome.clone()), Some(outcome));
        os.exec("/disk/set a comment=one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_line_never_answers_and_keeps_the_connection() {
    let os = fresh(Quirks::default());
    os.exec(CREATE);
    for (fault, after) in [(Fault::Stall, "one"), (Fault::StallAfter, "two")] {
        let session = login(&os).await;
        os.arm(fault);
        let line = session.exec("/disk/set a comment=two");
        assert!(tokio::time::timeout(Duration::from_secs(3600), line).await.is_err());
        assert!(!session.closed().is_cancelled());
        assert_eq!(comment(&os), after);
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_nobody_waits_for_still_runs() {
    let os = fresh(Quirks::default());
    os.exec(CREATE);
    os.set_latency(Duration::from_secs(5), Duration::ZERO);
    let session = login(&os).await;
    let impatient = session.exec("/disk/set a comment=two");
    assert!(tokio::time::timeout(Duration::from_secs(1), impatient).await.is_err());
    assert_eq!(comment(&os), "one");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(comment(&os), "two");
}

#[tokio::test(start_paused = true)]
async fn a_half_open_box_hangs_old_and_new_connections() {
    let os = fresh(Quirks::default());
    let old = login(&os).await;
    os.set_half_open(true);
    let hour = Duration::from_secs(3600);
    assert!(tokio::time::timeout(hour, old.exec(":put a")).await.is_err());
    assert!(tokio::time::timeout(hour, os.open_session()).await.is_err());
    os.set_half_open(false);
    assert!(login(&os).await.exec(":put a").await.is_ok());
    assert!(tokio::time::timeout(hour, old.exec(":put a")).await.is_err(), "frozen for good");
}

#[tokio::test(start_paused = true)]
async fn a_reboot_cuts_everything_and_keeps_the_configuration() {
    let os = fresh(Quirks::default());
    os.exec(CREATE);
    os.mark_saved();
    os.exec("/disk/set a comment=unsaved");
    let session = login(&os).await;
    let writer = host(&os, "h", "nqn.a:g1").expect("connects");
    tokio::time::sleep(Duration::from_secs(100)).await;
    os.reboot(Reboot::KeepEverything, Duration::from_secs(90));
    assert!(session.closed().is_cancelled() && !writer.is_live());
    assert_eq!(os.open_session().await.err(), Some(OpenError::Refused));
    assert_eq!(host(&os, "h", "nqn.a:g1").err(), Some(Refusal::NoListener));
    tokio::time::sleep(Duration::from_secs(91)).await;
    assert!(login(&os).await.exec(":put a").await.is_ok());
    assert_eq!(put(&os, "[/system/resource get uptime]"), "00:00:01");
    assert_eq!(comment(&os), "unsaved");
    os.reboot(Reboot::LoseUnsaved, Duration::ZERO);
    assert_eq!(comment(&os), "one");
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_falls_between_any_two_commands_of_a_line() {
    let line = "/disk/set a comment=1; /disk/set a comment=2; /disk/set a comment=3";
    for (after, want) in [(0, "one"), (1, "1"), (2, "2")] {
        let os = fresh(Quirks::default());
        os.exec(CREATE);
        let session = login(&os).await;
        os.arm(Fault::PowerCut { after, downtime: Duration::from_secs(60) });
        let caught = format!(":onerror e in={{ {line} }} do={{ /disk/set a comment=caught }}");
        assert_eq!(session.exec(&caught).await, Err(ExecError::Dropped));
        assert_eq!(os.open_session().await.err(), Some(OpenError::Refused));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(login(&os).await.exec(":put a").await.is_ok());
        assert_eq!(comment(&os), want);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_brings_back_items_and_a_reset_loses_them_but_images_stay() {
    let os = fresh(Quirks::default());
    os.exec(CREATE);
    let before = os.snapshot();
    os.exec("/disk/set a comment=two");
    os.exec("/disk/add type=file slot=b file-path=storage-pool/b.img file-size=1G");
    os.restore(&before, Duration::ZERO);
    assert_eq!(
        (comment(&os).as_str(), put(&os, "[:len [/disk/find slot=b]]").as_str()),
        ("one", "0")
    );
    let content = os.content_of("storage-pool/a.img");
    os.reset_configuration(Duration::ZERO);
    assert_eq!(put(&os, "[:len [/disk/find type=file]]"), "0");
    assert!(content.is_some() && os.content_of("storage-pool/a.img") == content);
    assert!(os.content_of("storage-pool/b.img").is_some());
    os.exec(CREATE);
    assert!(os.lose_disk("a") && !os.lose_disk("a"));
}

#[tokio::test(start_paused = true)]
async fn an_old_host_is_shut_out_by_a_new_name_and_not_by_the_list() {
    let os = fresh(Quirks::default());
    os.exec(CREATE);
    let old = host(&os, "old", "nqn.a:g1").expect("connects");
    assert_eq!(os.connected_hosts("a"), ["old"]);
    os.exec("/disk/set a nvme-tcp-server-allow-host-name=new");
    assert!(old.write(4096).is_ok(), "a changed list alone does not cut");
    assert_eq!(host(&os, "other", "nqn.a:g1").err(), Some(Refusal::HostNotAllowed));
    os.exec("/disk/set a nvme-tcp-export=no");
    assert!(old.write(4096).is_err());
    assert_eq!(host(&os, "new", "nqn.a:g1").err(), Some(Refusal::NoListener));
    os.exec("/disk/set a nvme-tcp-server-nqn=nqn.a:g2 nvme-tcp-export=yes");
    assert_eq!(host(&os, "old", "nqn.a:g1").err(), Some(Refusal::InvalidSubsystem));
    let new = host(&os, "new", "nqn.a:g2").expect("connects");
    assert!(new.write(512).is_ok());
    let writers: Vec<_> = os.writes().into_iter().map(|w| (w.host_nqn, w.image, w.bytes)).collect();
    let image = "storage-pool/a.img".to_owned();
    assert_eq!(writers, [("old".to_owned(), image.clone(), 4096), ("new".to_owned(), image, 512)]);
    assert_eq!(put(&os, "[/disk/get a write-bytes]"), "4608");
    let traffic = os.exec("/disk/monitor-traffic a once").text();
    assert!(traffic.contains("           write-bytes: 4 608\r\n"), "{traffic}");
}

#[tokio::test(start_paused = true)]
async fn switches_turn_the_fate_of_hosts_round() {
    let unexport = "/disk/set a nvme-tcp-export=no";
    let rename = "/disk/set a nvme-tcp-server-nqn=nqn.a:g2";
    let forbid = "/disk/set a nvme-tcp-server-allow-host-name=other";
    for (switch, line) in [
        ("unexport-keeps-hosts", unexport),
        ("new-nqn-keeps-hosts", rename),
        ("acl-change-cuts", forbid),
    ] {
        let survives = |quirks: Quirks| {
            let os = fresh(quirks);
            os.exec(CREATE);
            let connection = host(&os, "h", "nqn.a:g1").expect("connects");
            os.exec(line);
            connection.is_live()
        };
        let mut turned = Quirks::default();
        assert!(turned.turn_on(switch));
        assert_ne!(survives(Quirks::default()), survives(turned), "{switch}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pool_runs_full_and_images_are_fully_allocated() {
    let os = fresh(Quirks::default());
    let free = |os: &RouterOs| put(os, "[/disk/get storage-pool free]").parse::<i64>();
    let before = free(&os).expect("a number");
    os.exec(CREATE);
    assert_eq!(free(&os), Ok(before - (1 << 30)));
    assert!(os.fill_pool("storage-pool", 1 << 20));
    assert_eq!(free(&os), Ok(1 << 20));
    let more = "/disk/add type=file slot=b file-path=storage-pool/b.img file-size=2M";
    assert_eq!(os.exec(more).text(), "failure: not enough space\r\n");
    assert_eq!(os.exec("/disk/set a file-size=2G").text(), "failure: not enough space\r\n");
    assert!(os.content_of("storage-pool/b.img").is_none(), "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn an_existing_image_is_attached_refused_or_emptied() {
    for existing in [ExistingFile::Attach, ExistingFile::Refuse, ExistingFile::Truncate] {
        let os = fresh(Quirks { existing_file: existing, ..Quirks::default() });
        os.exec(CREATE);
        let data = os.content_of("storage-pool/a.img");
        os.exec("/disk/remove a");
        let again = "/disk/add type=file slot=a file-path=storage-pool/a.img file-size=2G";
        let refused = os.exec(again).text();
        let size = put(&os, "[/file/get storage-pool/a.img size]");
        let kept = os.content_of("storage-pool/a.img") == data;
        match existing {
            ExistingFile::Attach => assert_eq!((refused.len(), size.len(), kept), (0, 10, true)),
            ExistingFile::Refuse => assert!(refused.starts_with("failure:") && kept),
            ExistingFile::Truncate => assert_eq!((size.as_str(), kept), ("2147483648", false)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lines_interleave_only_where_the_switch_says_so() {
    let line = |tag: &str| {
        format!(
            ":for i from=1 to=20 do={{ /disk/set a comment=([/disk/get a comment] . \"{tag}\") }}"
        )
    };
    for interleave in [false, true] {
        let os = fresh(Quirks { interleave, ..Quirks::default() });
        os.exec(CREATE);
        let (one, two) = (login(&os).await, login(&os).await);
        let (x, y) = (line("x"), line("y"));
        let (a, b) = tokio::join!(one.exec(&x), two.exec(&y));
        assert!(a.is_ok() && b.is_ok());
        let written = comment(&os);
        let alone = written.contains(&"x".repeat(20)) && written.contains(&"y".repeat(20));
        assert_eq!(alone, !interleave, "{written}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_and_channels_have_a_bound() {
    let os = fresh(Quirks { max_sessions: 2, ..Quirks::default() });
    let (one, _two) = (login(&os).await, login(&os).await);
    assert_eq!(os.open_session().await.err(), Some(OpenError::TooManySessions));
    let (first, second) = tokio::join!(one.exec(":delay 1s"), one.exec(":put a"));
    assert_eq!((first.is_ok(), second.err()), (true, Some(ExecError::ChannelRefused)));
    os.change_quirks(|quirks| quirks.second_channel = SecondChannel::Serve);
    let (first, second) = tokio::join!(one.exec(":delay 1s"), one.exec(":put a"));
    assert!(first.is_ok() && second.is_ok());
    drop(one);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(os.open_sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn json_shapes_follow_their_switches() {
    let read = "[:serialize to=json value=[/disk/print detail as-value proplist=\"slot,size,nvme-tcp-export,file-path,comment,block-device\" where slot=a]]";
    let with = |change: fn(&mut Quirks)| {
        let mut quirks = Quirks::default();
        change(&mut quirks);
        let os = fresh(quirks);
        os.exec(&CREATE.replace(" comment=one", ""));
        put(&os, read)
    };
    let plain = with(|_| {});
    assert_eq!(
        plain,
        "[{\"block-device\":true,\"file-path\":\"/storage-pool/a.img\",\"nvme-tcp-export\":true,\
         \"size\":1073741824,\"slot\":\"a\"}]"
    );
    assert_eq!(with(|q| q.json_bool = JsonBool::YesText), plain.replace("true", "\"yes\""));
    assert_eq!(with(|q| q.json_bool = JsonBool::TrueText), plain.replace("true", "\"true\""));
    assert_eq!(
        with(|q| q.json_numbers_as_text = true),
        plain.replace("1073741824", "\"1073741824\"")
    );
    assert_eq!(
        with(|q| q.export_as_word = true),
        plain.replace("export\":true", "export\":\"yes\"")
    );
    assert_eq!(with(|q| q.path_slash = false), plain.replace("/storage", "storage"));
    assert!(with(|q| q.missing_as_empty = true).contains("\"comment\":\"\""));
}

#[tokio::test(start_paused = true)]
async fn long_comments_and_lines_meet_their_limits() {
    let os = fresh(Quirks::default());
    os.exec(CREATE);
    os.change_quirks(|quirks| {
        quirks.turn_on("comment-truncated");
    });
    let long = "ä".repeat(80);
    os.exec(&format!("/disk/set a comment=\"{long}\""));
    assert_eq!(comment(&os), "ä".repeat(50));
    os.change_quirks(|quirks| {
        quirks.turn_on("comment-refused");
        quirks.turn_on("short-lines");
    });
    let refused = os.exec(&format!("/disk/set a comment=\"{long}\"")).text();
    assert_eq!(refused, "failure: comment too long\r\n");
    let line = format!(":put {}", "a".repeat(5000));
    assert_eq!(os.exec(&line).text(), "max line length 4096 exceeded!\r\n");
    assert!(os.exec(":put a\n:put b").text().starts_with("syntax error (line 1 column 7)"));
}

#[tokio::test(start_paused = true)]
async fn the_journal_and_the_hook_see_what_was_sent() {
    let os = fresh(Quirks::default());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let copy = Arc::clone(&seen);
    os.on_exec(move |line| copy.lock().expect("not poisoned").push(line.to_owned()));
    let session = login(&os).await;
    session.exec(":put a; :error b").await.expect("answers");
    let journal = os.journal();
    assert_eq!(journal.len(), 1);
    assert_eq!((journal[0].output.as_str(), journal[0].error.as_deref()), ("a\n", Some("b")));
    assert_eq!(journal[0].session, session.number());
    assert_eq!(*seen.lock().expect("not poisoned"), [":put a; :error b"]);
    assert_eq!(os.exec_count(), 1);
}

#[test]
fn a_box_with_any_one_switch_still_creates_and_removes() {
    for switch in Quirks::all_switches() {
        let mut quirks = Quirks::default();
        quirks.turn_on(switch.name);
        let os = RouterOs::new(Version::V7_24_4, quirks);
        os.exec(CREATE);
        assert_eq!(put(&os, "[:len [/disk/find slot=a]]"), "1", "{}", switch.name);
        os.exec("/disk/set a nvme-tcp-export=no; /disk/remove a; /file/remove storage-pool/a.img");
        assert_eq!(put(&os, "[:len [/disk/find slot=a]]"), "0", "{}", switch.name);
        assert!(os.content_of("storage-pool/a.img").is_none(), "{}", switch.name);
    }
}

#[test]
fn the_readme_lists_every_switch() {
    let readme = include_str!("../README.md");
    for switch in Quirks::all_switches() {
        let row = format!("| `{}` | {} | {} |", switch.name, switch.doc, switch.grade);
        assert!(readme.contains(&row), "README.md lacks the row\n{row}");
    }
    let rows = readme.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Quirks::all_switches().len(), "README.md has rows of switches that are gone");
}

const ADD: &str = "/disk/add type=file slot=b file-path=storage-pool/b.img file-size=1G";

/// What a line comes to, by name, and what is left of it after each: size of the image, slot.
#[tokio::test(start_paused = true)]
async fn every_moment_of_a_line_has_a_name_and_the_power_can_go_then() {
    let line =
        format!(":if ([:len [/disk/find slot=b]]=0) do={{ {ADD} }}; /file/remove storage-pool/c");
    let before = || {
        let os = fresh(Quirks::default());
        os.exec(CREATE);
        os.exec("/file/add name=storage-pool/c contents=text");
        os
    };
    let os = before();
    assert!(login(&os).await.exec(&line).await.is_ok());
    let moments = os.journal().pop().map(|entry| entry.moments).unwrap_or_default();
    let table = [
        ("cut-before-1:disk-find", "", "0", "4"),
        ("cut-before-2:disk-add", "", "0", "4"),
        ("inside-2:disk-add:image-part", "536870912", "0", "4"),
        ("inside-2:disk-add:image-made", "1073741824", "0", "4"),
        ("inside-2:disk-add:items-only", "", "1", "4"),
        ("cut-before-3:file-remove", "1073741824", "1", "4"),
        ("inside-3:file-remove:image-emptied", "1073741824", "1", "0"),
        ("cut-at-end", "1073741824", "1", ""),
    ];
    let names: Vec<String> = moments.iter().map(ToString::to_string).collect();
    assert_eq!(names, table.map(|(name, ..)| name));
    let size = |os: &RouterOs, file: &str| {
        let each = format!("[/file/find name=\"storage-pool/{file}\"]");
        let said = os.exec(&format!(":foreach f in={each} do={{ :put [/file/get $f size] }}"));
        said.text().trim_end().to_owned()
    };
    for (moment, (name, image, items, other)) in moments.into_iter().zip(table) {
        for what in [Reboot::KeepEverything, Reboot::LoseUnsaved] {
            let os = before();
            os.mark_saved();
            let downtime = Duration::from_secs(60);
            os.arm(Fault::CutAt { moment, what, downtime });
            assert_eq!(login(&os).await.exec(&line).await, Err(ExecError::Dropped), "{name}");
            assert_eq!(os.open_session().await.err(), Some(OpenError::Refused), "{name}");
            tokio::time::sleep(downtime).await;
            let lost = what == Reboot::LoseUnsaved;
            let items = if lost { "0" } else { items };
            assert_eq!(put(&os, "[:len [/disk/find slot=b]]"), items, "{name} {what:?}");
            assert_eq!(
                (size(&os, "b.img").as_str(), size(&os, "c").as_str()),
                (image, other),
                "{name}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_moment_that_a_line_does_not_come_to_is_none() {
    let os = fresh(Quirks::default());
    let session = login(&os).await;
    assert!(session.exec(ADD).await.is_ok());
    let inside =
        |entry: rds_sim::routeros::Entry| entry.moments.into_iter().find(|m| m.is_inside());
    let moment = os.journal().pop().and_then(inside).expect("it made an image");
    os.arm(Fault::CutAt { moment, what: Reboot::KeepEverything, downtime: Duration::ZERO });
    assert!(session.exec(":put hello").await.is_ok());
    assert_eq!(os.armed(), 0);
}
