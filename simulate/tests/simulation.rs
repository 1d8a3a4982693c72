//! The simulation itself: it repeats itself, it holds, and it finds what is wrong.
//!
//! Only with `make simulate-test`: in other builds tokio leaves to chance in which order those wake
//! who wait for one `watch`, and a test that depends on chance proves nothing.

#![cfg(tokio_unstable)]
#![allow(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::thread;

use rds_csi_simulate::bug::Bug;
use rds_csi_simulate::run::{Ended, run};
use rds_csi_simulate::world::Plan;

fn simulated(seed: u64, steps: usize, bug: Option<Bug>) -> Ended {
    let plan = Plan { seed, steps, bug, log: false, shown: 50 };
    thread::spawn(move || run(plan).unwrap()).join().unwrap()
}

/// The first of so many seeds that finds the bug, and what it says.
fn found(bug: Bug, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| Some((seed, simulated(seed, 100, Some(bug)).violation?)))
}

#[test]
fn a_seed_decides_everything_and_another_seed_decides_otherwise() {
    let [first, again, other] = [7, 7, 8].map(|seed| simulated(seed, 80, None));
    assert_eq!(first.hash, again.hash);
    assert_eq!(first.simulated, again.simulated);
    assert_ne!(first.hash, other.hash);
}

#[test]
fn a_failing_seed_fails_the_same_way_again_and_shows_its_last_actions() {
    let bug = Bug::UnpublishAnswersEarly;
    let (seed, violation) = found(bug, 20).unwrap();
    let again = simulated(seed, 100, Some(bug));
    assert_eq!(again.violation, Some(violation));
    let actions = again.tail.iter().filter(|line| line.contains(" * ")).count();
    assert_eq!(actions, again.steps.min(50));
}

#[test]
fn the_driver_holds() {
    for seed in 1..=5 {
        let ended = simulated(seed, 100, None);
        assert_eq!(ended.violation, None, "seed {seed}:\n{}", ended.tail.join("\n"));
    }
}

#[test]
fn a_repair_under_a_new_name_is_found() {
    let (_, violation) = found(Bug::RepairTakesNewNqn, 20).unwrap();
    // Its host waits for the old name; nor does the pod ever come up, to be deleted.
    let says = ["cannot be used", "is still going"];
    assert!(says.iter().any(|said| violation.contains(said)), "{violation}");
}

#[test]
fn an_unpublish_that_is_answered_too_early_is_found() {
    let (_, violation) = found(Bug::UnpublishAnswersEarly, 20).unwrap();
    assert!(violation.contains("dead"), "{violation}");
}

#[test]
fn a_copy_that_is_not_written_is_found() {
    let (_, violation) = found(Bug::CopyNotWritten, 20).unwrap();
    assert!(violation.contains("differ") || violation.contains("dead"), "{violation}");
}

#[test]
fn an_image_that_is_left_behind_is_found() {
    let (_, violation) = found(Bug::DeleteLeavesImage, 20).unwrap();
    assert!(violation.contains("its image is there"), "{violation}");
}
