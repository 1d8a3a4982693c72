//! `rds-csi-simulate`: many seeds, and what came of them.

#![expect(clippy::disallowed_macros, reason = "it prints its own answers")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum as _};
use rds_csi_simulate::bug::Bug;
use rds_csi_simulate::run::{Ended, run};
use rds_csi_simulate::world::Plan;
use tokio::time::Instant;

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

/// Progress is told so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Real time that one seed may take. Time in it may stand still for ever.
const AT_MOST: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Sum {
    seeds: u64,
    steps: usize,
    simulated: Duration,
    failed: u64,
    told: Duration,
}

impl Sum {
    fn sentence(&self, took: Duration) -> String {
        format!(
            "{} seeds, {} steps, {:.1} simulated hours in {:.1} s ({:.1} seeds a second), {} violations",
            self.seeds,
            self.steps,
            self.simulated.as_secs_f64() / 3600.0,
            took.as_secs_f64(),
            self.seeds as f64 / took.as_secs_f64().max(0.001),
            self.failed,
        )
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let began = Instant::now();
    let next = AtomicU64::new(options.seed);
    let sum = Mutex::new(Sum::default());
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| work(&options, &next, &sum, began));
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("simulation: {}", sum.sentence(began.elapsed()));
    if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(options: &Options, next: &AtomicU64, sum: &Mutex<Sum>, began: Instant) {
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
        let ended = alone(plan);
        let is_good = matches!(&ended, Ok(ended) if ended.violation.is_none());
        show(options, plan, &ended);
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.seeds += 1;
        sum.failed += u64::from(!is_good);
        if let Ok(ended) = ended {
            sum.steps += ended.steps;
            sum.simulated += ended.simulated;
        }
        let now = began.elapsed();
        if now - sum.told >= TELL_EVERY {
            sum.told = now;
            println!("{}", sum.sentence(now));
        }
        drop(sum);
        if !is_good && !options.keep_going {
            next.store(u64::MAX / 2, Ordering::Relaxed);
        }
    }
}

/// Runs a seed on a thread of its own: generators of a thread begin with it.
fn alone(plan: Plan) -> Result<Ended, String> {
    let (done, ended) = mpsc::sync_channel(1);
    thread::spawn(move || done.send(run(plan).map_err(|error| error.to_string())));
    ended.recv_timeout(AT_MOST).unwrap_or_else(|why| {
        Err(match why {
            RecvTimeoutError::Disconnected => "the simulation panicked".into(),
            RecvTimeoutError::Timeout => format!("it has not come to an end within {AT_MOST:?}"),
        })
    })
}

/// Says what went wrong, and how to see it again.
fn show(options: &Options, plan: Plan, ended: &Result<Ended, String>) {
    let seed = plan.seed;
    match ended {
        Err(why) => println!("seed {seed}: {why}"),
        Ok(ended) => {
            if !options.brief && !ended.tail.is_empty() {
                println!("{}", ended.tail.join("\n"));
            }
            let Some(violation) = &ended.violation else { return };
            println!("seed {seed}, step {}: VIOLATION {violation}", ended.steps);
            println!("  trace {:016x}; once more: {}", ended.hash, once_more(plan, ended));
        }
    }
    let bug = options.bug.and_then(|bug| Some(bug.to_possible_value()?.get_name().to_owned()));
    let bug = bug.map_or(String::new(), |bug| format!(" --bug {bug}"));
    println!(
        "  repeat it with: make simulate SEEDS=1 SEED={seed} ARGS='--steps {} --log{bug}'",
        options.steps
    );
}

/// Does the seed do the same again?
fn once_more(plan: Plan, before: &Ended) -> &'static str {
    match alone(plan) {
        Ok(again) if again.hash == before.hash => "the same",
        // Without it tokio's own generator has no seed.
        Ok(_) if !cfg!(tokio_unstable) => "another; build with RUSTFLAGS='--cfg tokio_unstable'",
        _ => "ANOTHER, the simulation leaves something to chance",
    }
}
