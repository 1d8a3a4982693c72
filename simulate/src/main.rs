//! `rds-csi-simulate`: many seeds, and what came of them.

#![expect(clippy::disallowed_macros, reason = "it prints its own answers")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;
use rds_csi_simulate::bug::Bug;
use rds_csi_simulate::run::{Ended, run};
use rds_csi_simulate::world::Plan;

/// Runs the whole controller against a simulated box and cluster, from seeds.
#[derive(Debug, Parser)]
struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Actions per seed.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// A bug on purpose: is it found?
    #[arg(long)]
    bug: Option<Bug>,
    /// Show every trace, and the driver's log in it.
    #[arg(long)]
    log: bool,
    /// Actions shown of a seed that fails, with all that happened since.
    #[arg(long, default_value_t = 50)]
    shown: usize,
    /// Go on after a violation.
    #[arg(long)]
    keep_going: bool,
    /// Show no traces.
    #[arg(long)]
    brief: bool,
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    steps: usize,
    simulated: Duration,
    failed: Vec<Ended>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let began = tokio::time::Instant::now();
    let next = AtomicU64::new(options.seed);
    let sum = std::sync::Mutex::new(Sum::default());
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| work(&options, &next, &sum));
        }
    });
    let sum = sum.into_inner().unwrap_or_default();
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} seeds, {} steps, {:.1} simulated hours in {took:.1} s ({:.1} seeds a second); {} failed",
        sum.seeds,
        sum.steps,
        sum.simulated.as_secs_f64() / 3600.0,
        sum.seeds as f64 / took,
        sum.failed.len(),
    );
    if sum.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(options: &Options, next: &AtomicU64, sum: &std::sync::Mutex<Sum>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= options.seed.saturating_add(options.seeds) {
            return;
        }
        let plan = Plan {
            seed,
            steps: options.steps,
            bug: options.bug,
            log: options.log,
            shown: options.shown,
        };
        // A thread of its own: generators of a thread begin with it.
        let ended = thread::spawn(move || run(plan).map_err(|error| error.to_string())).join();
        let ended = match ended {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return println!("seed {seed}: {error}"),
            Err(_) => return println!("seed {seed}: the simulation panicked"),
        };
        let Ok(mut sum) = sum.lock() else { return };
        sum.seeds += 1;
        sum.steps += ended.steps;
        sum.simulated += ended.simulated;
        if !options.brief && !ended.tail.is_empty() {
            println!("{}", ended.tail.join("\n"));
        }
        if let Some(violation) = &ended.violation {
            println!("seed {seed}, step {}: {violation}", ended.steps);
            println!("  trace {:016x}; once more: {}", ended.hash, once_more(plan, &ended));
            sum.failed.push(ended);
            if !options.keep_going {
                next.store(u64::MAX / 2, Ordering::Relaxed);
            }
        }
    }
}

/// Does the seed do the same again?
fn once_more(plan: Plan, before: &Ended) -> &'static str {
    let again = thread::spawn(move || run(plan).map(|ended| ended.hash).ok()).join();
    match again.ok().flatten() {
        Some(hash) if hash == before.hash => "the same",
        // Without it tokio's own generator has no seed.
        Some(_) if !cfg!(tokio_unstable) => "another; build with RUSTFLAGS='--cfg tokio_unstable'",
        _ => "ANOTHER, the simulation leaves something to chance",
    }
}
