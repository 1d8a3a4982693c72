//! The incident, told on boxes that differ in what nobody has proven about RouterOS.
//!
//! Each story runs the whole controller over real sockets, with short intervals, and holds every
//! expectation; what was told is printed when one breaks.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use rds_csi::page::Page;
use rds_csi::process::system;
use rds_csi::sandbox::incident::incident;
use rds_csi::sandbox::narrator::Narrator;
use rds_csi::sandbox::simulated::{Plan, Simulated};
use rds_sim::routeros::{ExitStatus, Fault, Outcome, Quirks, RouterOs, Version};

/// Tells the incident on this box, after something else; all must hold. Returns the box.
fn tell(plan: Plan, before: impl AsyncFnOnce(&Simulated)) -> RouterOs {
    let scratch = tempfile::tempdir().unwrap();
    let log = slog::Logger::root(slog::Discard, slog::o!());
    system(&log).unwrap().block_on(async {
        let page = Page::default();
        let narrator = Narrator::new(Box::new(page.clone()), false);
        let world = Simulated::start(plan.quick(), scratch.path(), log.clone()).await.unwrap();
        before(&world).await;
        let told = incident(&world, &narrator).await;
        let tally = narrator.end();
        let text = page.text();
        assert!(told.is_ok() && tally.all_held(), "{told:?}\n{text}");
        world.stop().await.rds
    })
}

fn on(version: Version, change: impl FnOnce(&mut Quirks)) -> Plan {
    let mut quirks = Quirks::default();
    change(&mut quirks);
    Plan { version, quirks, ..Plan::default() }
}

#[test]
fn the_incident_on_routeros_7_21() {
    tell(on(Version::V7_21_5, |_| {}), nothing);
}

#[test]
fn the_incident_on_routeros_7_24() {
    tell(on(Version::V7_24_4, |_| {}), nothing);
}

#[test]
fn the_incident_on_a_box_that_says_exit_status_0_after_errors() {
    tell(on(Version::V7_24_4, |quirks| quirks.exit_status = ExitStatus::AlwaysZero), errors);
}

#[test]
fn the_incident_on_a_box_that_says_exit_status_1_after_errors() {
    tell(on(Version::V7_24_4, |quirks| quirks.exit_status = ExitStatus::OneOnError), errors);
}

#[test]
fn the_incident_on_a_box_that_breaks_and_pads_its_lines() {
    let plan = on(Version::V7_24_4, |quirks| {
        quirks.crlf = true;
        quirks.json_rows_on_lines = true;
        quirks.pad_lines = true;
        quirks.wrap_width = 80;
    });
    tell(plan, nothing);
}

async fn nothing(_: &Simulated) {}

/// The box refuses something: a volume that is larger than its pool.
async fn errors(world: &Simulated) {
    let refused = world.controller.sidecars.create("pvc-huge", 1 << 50, &[]).await;
    let (code, text) = refused.unwrap_err();
    assert_eq!(code, "ResourceExhausted", "{text}");
}

/// The lines that create, attach and fence, by what only they contain.
const CHANGES: [&str; 3] = ["/disk/add", "nvme-tcp-export=yes", "s=fenced"];

#[test]
fn the_incident_on_a_box_that_drops_the_connection_between_doing_and_answering() {
    let rds = tell(on(Version::V7_24_4, |_| {}), async |world: &Simulated| {
        for line in CHANGES {
            world.doubles.rds.arm_on(line, Fault::DropAfter);
        }
    });
    assert_eq!(rds.armed(), 0, "a fault did not go off");
    let journal = rds.journal();
    let dropped = journal.iter().filter(|entry| entry.outcome == Outcome::AppliedThenDropped);
    assert_eq!(dropped.count(), CHANGES.len());
}
