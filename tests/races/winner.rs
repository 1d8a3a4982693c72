//! Two controllers of one cluster race over one volume.

use crate::flaws::Flaw;
use crate::pair::Pair;

/// Rounds of one seed: one history of one volume name, with hosts that remember.
const ROUNDS: u64 = 10;

/// What went wrong, and where.
struct Failure {
    seed: u64,
    round: u64,
    what: String,
}

/// Races from one seed, up to the first that goes wrong.
fn races(seed: u64, flaw: Option<Flaw>) -> Result<u64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    chance(seed, flaw);
    runtime.block_on(async {
        let mut pair = Pair::new(seed, flaw).await;
        let mut won = 0;
        for round in 0..ROUNDS {
            let ended = pair.round().await;
            if let Some(what) = pair.hosts.violations().first() {
                let what = format!("{what}\n  in {:?}\n  answers {:?}", ended.race, ended.answers);
                return Err(Failure { seed, round, what });
            }
            won += 1;
        }
        Ok(won)
    })
}

#[cfg(feature = "simulation")]
fn chance(seed: u64, flaw: Option<Flaw>) {
    match flaw {
        Some(Flaw::NoNonce) => rds_csi::volume::chance::draw_from(crate::flaws::Same),
        _ => rds_csi::volume::chance::seed(seed),
    }
}

#[cfg(not(feature = "simulation"))]
fn chance(_: u64, _: Option<Flaw>) {}

/// Races from all these seeds; what went wrong is the answer.
fn race_all(seeds: std::ops::Range<u64>) {
    let mut rounds = 0;
    for seed in seeds.clone() {
        match races(seed, None) {
            Ok(raced) => rounds += raced,
            Err(Failure { seed, round, what }) => panic!("seed {seed}, round {round}: {what}"),
        }
    }
    assert_eq!(rounds, ROUNDS * (seeds.end - seeds.start));
    said(&format!("{rounds} races, seeds {seeds:?}"));
}

#[expect(clippy::disallowed_macros, reason = "a test says which seeds it took")]
fn said(what: &str) {
    println!("{what}");
}

/// The first seed that shows what is missing, within so many.
fn found(flaw: Flaw, within: u64) {
    let failure = (0..within).find_map(|seed| races(seed, Some(flaw)).err());
    let Some(Failure { seed, round, what }) = failure else {
        panic!("{flaw:?}: nothing was found in {} races", within * ROUNDS)
    };
    said(&format!("{flaw:?} is found with seed {seed} in round {round}: {what}"));
}

// Four tests, so that they share the processors: 1,000 races in all.

#[test]
fn the_copy_names_one_winner_and_only_its_host_can_connect() {
    race_all(0..25);
}

#[test]
fn the_copy_names_one_winner_and_only_its_host_can_connect_in_other_races() {
    race_all(25..50);
}

#[test]
fn the_copy_names_one_winner_and_only_its_host_can_connect_in_still_other_races() {
    race_all(50..75);
}

#[test]
fn the_copy_names_one_winner_and_only_its_host_can_connect_in_the_last_races() {
    race_all(75..100);
}

#[test]
fn without_the_compare_the_same_races_find_a_violation() {
    found(Flaw::NoCompare, 20);
}

#[cfg(feature = "simulation")]
#[test]
fn without_the_nonce_the_same_races_find_a_violation() {
    found(Flaw::NoNonce, 20);
}
