//! What a box runs by itself when it starts, and what of it survives which way back in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rds_sim::routeros::{Quirks, Reboot, Refusal, RouterOs, Setup, TokioClock};
use tokio::time::sleep;

const CREATE: &str = "/disk/add type=file slot=a file-path=storage-pool/a.img file-size=1G \
                      nvme-tcp-server-nqn=nqn.a:g1 nvme-tcp-export=yes comment=mine";
const SCRIPT: &str = "/system/script/add name=close policy=read,write source=\
                      \"/disk/set [/disk/find where comment=mine] nvme-tcp-export=no\"";
const EVENT: &str = "/system/scheduler/add name=close start-time=startup interval=0s \
                     policy=read,write on-event=\"/system/script/run close\"";

fn fresh(quirks: Quirks) -> RouterOs {
    let clock = Arc::new(TokioClock::start());
    RouterOs::with(Setup { quirks, clock, ..Setup::default() })
}

fn run(os: &RouterOs, lines: &[&str]) {
    for line in lines {
        assert_eq!(os.exec(line).text(), "", "{line}");
    }
}

fn put(os: &RouterOs, expression: &str) -> String {
    os.exec(&format!(":put {expression}")).text().trim_end().to_owned()
}

fn lets_in(os: &RouterOs) -> bool {
    let connected = os.connect_host("nqn.host", "nqn.a:g1", 4420);
    connected.map(|connection| connection.disconnect()).is_ok()
}

#[tokio::test(start_paused = true)]
async fn what_is_scheduled_for_startup_runs_before_anybody_connects() {
    let os = fresh(Quirks::default());
    run(&os, &[SCRIPT, EVENT, CREATE]);
    assert!(lets_in(&os), "a scheduler that is added does not run");
    os.reboot(Reboot::KeepEverything, Duration::from_secs(3));
    assert_eq!(os.connect_host("nqn.host", "nqn.a:g1", 4420).err(), Some(Refusal::NoListener));
    sleep(Duration::from_secs(3)).await;
    assert!(!lets_in(&os));
    assert_eq!(put(&os, "[/system/scheduler/get close run-count]"), "1");
    assert_eq!(put(&os, "[/system/script/get close run-count]"), "1");
    run(&os, &["/disk/set a nvme-tcp-export=yes"]);
    assert!(lets_in(&os), "it runs once for each start");
}

#[tokio::test(start_paused = true)]
async fn an_event_may_name_a_script_be_one_or_be_disabled() {
    for (event, closes) in [
        ("on-event=close", true),
        ("on-event=\"/disk/set a nvme-tcp-export=no\"", true),
        ("on-event=close disabled=yes", false),
    ] {
        let os = fresh(Quirks::default());
        let add = format!("/system/scheduler/add name=s start-time=startup {event}");
        run(&os, &[SCRIPT, CREATE, &add]);
        os.reboot(Reboot::KeepEverything, Duration::ZERO);
        assert_eq!(lets_in(&os), !closes, "{event}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_script_has_the_rights_that_it_was_given() {
    let os = fresh(Quirks::default());
    run(&os, &[&SCRIPT.replace("read,write", "read"), EVENT, CREATE]);
    os.reboot(Reboot::KeepEverything, Duration::ZERO);
    assert!(lets_in(&os), "without write nothing is closed");
    let refused = os.exec("/system/script/run close").text();
    assert_eq!(refused, "not enough permissions (9)\r\n");
    run(&os, &["/system/script/set close policy=read,write", "/system/script/run close"]);
    assert!(!lets_in(&os));
}

#[tokio::test(start_paused = true)]
async fn scripts_are_configuration() {
    let os = fresh(Quirks::default());
    let before = os.snapshot();
    run(&os, &[SCRIPT, EVENT, CREATE]);
    let with = os.snapshot();
    let count = |os: &RouterOs| put(os, "[:len [/system/scheduler/find]]");
    os.mark_saved();
    run(&os, &["/system/scheduler/remove close"]);
    os.reboot(Reboot::LoseUnsaved, Duration::ZERO);
    assert_eq!(count(&os), "1");
    os.restore(&before, Duration::ZERO);
    assert_eq!(count(&os), "0");
    os.restore(&with, Duration::ZERO);
    assert_eq!(count(&os), "1");
    os.reset_configuration(Duration::ZERO);
    assert_eq!(count(&os), "0");
}

#[tokio::test(start_paused = true)]
async fn a_box_may_start_its_scripts_after_its_ports_are_open() {
    let mut quirks = Quirks::default();
    assert!(quirks.turn_on("late-startup-scripts"));
    let os = fresh(quirks);
    run(&os, &[SCRIPT, EVENT, CREATE]);
    os.reboot(Reboot::KeepEverything, Duration::ZERO);
    sleep(Duration::from_secs(4)).await;
    let early = os.connect_host("nqn.host", "nqn.a:g1", 4420);
    assert!(early.as_ref().is_ok_and(|connection| connection.write(1).is_ok()));
    sleep(Duration::from_secs(1)).await;
    assert!(early.is_ok_and(|connection| connection.write(1).is_err()), "it is cut off");
    assert!(!lets_in(&os));
}

#[tokio::test(start_paused = true)]
async fn scripts_within_scripts_end() {
    let os = fresh(Quirks::default());
    run(&os, &["/system/script/add name=again source=\"/system/script/run again\""]);
    assert!(os.exec("/system/script/run again").text().contains("too many scripts"));
    let twice = os.exec("/system/script/add name=again source=\"\"").text();
    assert!(twice.contains("already exists"), "{twice}");
    let nameless = os.exec("/system/script/add source=\"\"").text();
    assert!(nameless.contains("name"), "{nameless}");
}

#[tokio::test(start_paused = true)]
async fn one_item_comes_back_as_it_was_while_the_box_runs() {
    let os = fresh(Quirks::default());
    run(&os, &[CREATE]);
    let old = os.snapshot();
    run(&os, &["/disk/set a nvme-tcp-server-nqn=nqn.a:g2"]);
    assert!(!lets_in(&os));
    assert!(os.restore_disk(&old, "a") && lets_in(&os));
    assert!(os.lose_disk("a") && os.restore_disk(&old, "a") && lets_in(&os));
    assert!(!os.restore_disk(&old, "b"));
}

#[tokio::test(start_paused = true)]
async fn hosts_try_between_two_commands_and_not_between_those_of_a_start() {
    let os = fresh(Quirks::default());
    run(&os, &[SCRIPT, EVENT, CREATE]);
    let (trying, times) = (os.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = times.clone();
    os.on_change(move || {
        counted.fetch_add(usize::from(lets_in(&trying)), Ordering::Relaxed);
    });
    os.exec("/disk/set a nvme-tcp-export=yes; /disk/set a nvme-tcp-export=no; /disk/print");
    assert_eq!(times.load(Ordering::Relaxed), 1, "not after the second");
    run(&os, &["/disk/set a nvme-tcp-export=yes"]);
    times.store(0, Ordering::Relaxed);
    os.reboot(Reboot::KeepEverything, Duration::ZERO);
    assert!(!lets_in(&os));
    assert_eq!(times.load(Ordering::Relaxed), 0);
}
