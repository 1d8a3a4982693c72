//! `rds-csi-bench`: what the driver costs, in a table and as JSON, against its goals.
//!
//! Times are wall-clock times of the machine at hand: nothing here is a test, and a goal that is
//! missed ends it with 1 only where `--strict` asks for that. What is compared is measured in the
//! same run. Figures of the first driver were measured once, on a box of the same pace.

#![expect(clippy::disallowed_macros, reason = "it prints its own answers")]

mod alone;
mod batch;
mod clock;
mod daemon;
mod domain;
mod execs;
mod figure;
mod fleet;
mod memory;
mod pass;
mod probe;
mod report;
mod start;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use self::clock::Failure;
use self::figure::Figure;
use self::report::Report;

/// Measures what the driver costs, against its goals.
#[derive(Debug, Parser)]
struct Options {
    /// Only this; may be given several times.
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Group>,
    /// End with 1 when a goal does not hold.
    #[arg(long)]
    strict: bool,
    /// The release build of the driver.
    #[arg(long, default_value = "target/release/rds-csi")]
    binary: PathBuf,
    /// Where the figures are written as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
}

/// Figures that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Execs per operation.
    Execs,
    /// One create, one delete, through the whole process.
    Alone,
    /// 64 creates at once.
    Batch,
    /// A pass over 10,000 attachments.
    Pass,
    /// The pure core of a pass over 10,000 and 100,000 attachments.
    Core,
    /// Probe while the box hangs.
    Probe,
    /// From the start until it serves.
    Start,
    /// Resident memory.
    Memory,
}

impl Group {
    fn doing(self) -> &'static str {
        match self {
            Self::Execs => "counting execs per operation",
            Self::Alone => "one create after the other, gRPC to SSH",
            Self::Batch => "64 creates at once, with lines of three lengths",
            Self::Pass => "a pass over 10,000 attachments",
            Self::Core => "the pure core of passes over 10,000 and 100,000 attachments",
            Self::Probe => "Probe while the box answers and while it hangs",
            Self::Start => "starting the process, box up and down",
            Self::Memory => "resident memory, small and large cluster",
        }
    }

    async fn measure(self, binary: &Path) -> Result<Vec<Figure>, Failure> {
        match self {
            Self::Execs => execs::measure().await,
            Self::Alone => alone::measure(binary).await,
            Self::Batch => batch::measure().await,
            Self::Pass => pass::measure().await,
            Self::Core => pass::core::measure().await,
            Self::Probe => probe::measure(binary).await,
            Self::Start => start::measure(binary).await,
            Self::Memory => memory::measure(binary).await,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let silent = slog::Logger::root(slog::Discard, slog::o!());
    let outcome = rds_csi::process::system(&silent)
        .map_err(Failure::from)
        .and_then(|system| system.block_on(run(&options)));
    match outcome {
        Ok(all_hold) if all_hold || !options.strict => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("no figures: {error}");
            ExitCode::from(2)
        }
    }
}

/// What it runs on; on a machine that is busy with other things, times say less.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let busy = load.parse::<f64>().is_ok_and(|load| load > 0.5);
    let hint = if busy { "; the machine is busy, times are too long" } else { "" };
    format!("{cpus} processors, load average {load}{hint}")
}

/// Do all goals hold?
async fn run(options: &Options) -> Result<bool, Failure> {
    let mut report = Report::new();
    report.doing(&machine());
    for group in Group::value_variants() {
        if options.only.is_empty() || options.only.contains(group) {
            report.doing(group.doing());
            report.take(group.measure(&options.binary).await?);
        }
    }
    report.table();
    report.write(&options.json).map_err(|error| format!("{}: {error}", options.json.display()))?;
    let (held, all) = report.goals();
    println!("\n{held} of {all} goals hold; {}", options.json.display());
    Ok(held == all)
}
