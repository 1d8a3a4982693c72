//! The simulation itself: it repeats itself, it holds, and it finds what is wrong.
//!
//! Only with `make simulate-test`: in other builds tokio leaves to chance in which order those wake
//! who wait for one `watch`, and a test that depends on chance proves nothing.

#![cfg(tokio_unstable)]
#![allow(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::collections::BTreeSet;
use std::thread;

use rds_csi_simulate::bug::Bug;
use rds_csi_simulate::run::{Ended, run};
use rds_csi_simulate::world::Plan;

fn simulated(seed: u64, steps: usize, bug: Option<Bug>) -> Ended {
    let plan = Plan { seed, steps, bug, log: false, shown: 50 };
    thread::spawn(move || run(plan).unwrap()).join().unwrap()
}

/// The first of so many seeds that finds the bug, and what it says. The same seed finds nothing
/// without the bug.
fn found(bug: Bug, seeds: u64) -> (u64, String) {
    let first = (1..=seeds)
        .find_map(|seed| Some((seed, simulated(seed, 100, Some(bug)).violation?)))
        .unwrap_or_else(|| panic!("{bug:?} was not found in {seeds} seeds"));
    println!("{bug:?} was found by seed {}: {}", first.0, first.1);
    assert_eq!(simulated(first.0, 100, None).violation, None, "{bug:?} has nothing to do with it");
    first
}

#[test]
fn a_seed_decides_everything_and_another_seed_decides_otherwise() {
    let mut hashes = BTreeSet::new();
    for seed in 1..=8 {
        let [first, again] = [(); 2].map(|()| simulated(seed, 80, None));
        assert_eq!(first.hash, again.hash, "seed {seed}");
        assert_eq!(first.simulated, again.simulated, "seed {seed}");
        assert!(hashes.insert(first.hash), "seed {seed}");
    }
}

#[test]
fn a_failing_seed_fails_the_same_way_again_and_shows_its_last_actions() {
    let bug = Bug::UnpublishAnswersEarly;
    let (seed, violation) = found(bug, 50);
    let again = simulated(seed, 100, Some(bug));
    assert_eq!(again.violation, Some(violation));
    let actions = again.tail.iter().filter(|line| line.contains(" * ")).count();
    assert_eq!(actions, again.steps.min(50));
}

#[test]
fn the_driver_holds() {
    for seed in 1..=20 {
        let ended = simulated(seed, 100, None);
        assert_eq!(ended.violation, None, "seed {seed}:\n{}", ended.tail.join("\n"));
    }
}

#[test]
fn a_repair_under_a_new_name_is_found() {
    let (_, violation) = found(Bug::RepairTakesNewNqn, 100);
    // Its host waits for the old name; nor does the pod ever come up, to be deleted.
    let says = ["cannot be used", "is still going"];
    assert!(says.iter().any(|said| violation.contains(said)), "{violation}");
}

#[test]
fn an_unpublish_that_is_answered_too_early_is_found() {
    let (_, violation) = found(Bug::UnpublishAnswersEarly, 50);
    assert!(violation.contains("dead"), "{violation}");
}

#[test]
fn a_generation_that_is_counted_from_the_box_alone_is_found() {
    let (_, violation) = found(Bug::GenerationFromTheBoxAlone, 100);
    let is_it = violation.contains("dead") || violation.contains("generation");
    assert!(is_it || violation.contains("cannot be used"), "{violation}");
}

#[test]
fn a_line_that_does_not_compare_is_found() {
    let (_, violation) = found(Bug::CompareRemoved, 300);
    assert!(violation.contains("dead"), "{violation}");
}

#[test]
fn a_copy_that_is_not_written_is_found() {
    let (_, violation) = found(Bug::CopyNotWritten, 50);
    assert!(violation.contains("differ") || violation.contains("dead"), "{violation}");
}

#[test]
fn an_image_that_is_left_behind_is_found() {
    let (_, violation) = found(Bug::DeleteLeavesImage, 50);
    assert!(violation.contains("its image is there"), "{violation}");
}
