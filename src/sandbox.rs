//! `rds-csi sandbox`: the whole controller against a simulated box and a simulated cluster, on
//! loopback, while a story is told. Only with the feature `sandbox`.
//!
//! - [`narrator`]: tells, in colour on a terminal, and counts what held.
//! - [`world`]: what a story does and sees, as a trait: stories run on real parts, too.
//! - [`mod@incident`]: the story of the night in which people repaired by hand for five hours.
//! - [`simulated`]: the world of the doubles: what is simulated, and the controller between.
//! - [`switches`]: the story on every kind of box that may be real.
//! - [`endpoint`]: looks at metrics and health as Prometheus and kubelet do.
//! - [`sidecars`]: plays external-provisioner and external-attacher against our socket.

pub mod endpoint;
pub mod incident;
pub mod narrator;
pub mod sidecars;
pub mod simulated;
pub mod switches;
pub mod world;

use std::path::Path;
use std::process::ExitCode;

use rds_sim::routeros::Version;

use self::incident::incident;
use self::narrator::Narrator;
use self::simulated::{Plan, Simulated};
use self::switches::Kind;
use self::world::{Trouble, World as _};
use crate::cli::{self, SandboxArgs};
use crate::config::LogConfig;
use crate::logging::Logging;
use crate::process::system;

/// Stories told at a time: they mostly wait, for the time of a box and a cluster to pass.
pub const ABREAST: usize = 8;

/// Tells the story; stays up until Ctrl-C where somebody watches and did not say `--once`.
pub fn run(args: &SandboxArgs) -> ExitCode {
    let told = match plan(args) {
        Err(wrong) => {
            cli::complain(&format!("sandbox: {wrong}"));
            return ExitCode::from(cli::USAGE);
        }
        Ok((version, _)) if args.all_switches => tell_all(args, version),
        Ok((_, plan)) => tell(args, plan),
    };
    match told {
        Ok(true) => ExitCode::from(cli::SUCCESS),
        Ok(false) => ExitCode::from(cli::FAILURE),
        Err(trouble) => {
            cli::complain(&format!("sandbox: {trouble}"));
            ExitCode::from(cli::FAILURE)
        }
    }
}

/// What the arguments ask for.
fn plan(args: &SandboxArgs) -> Result<(Version, Plan), String> {
    let version: Version = args.routeros.parse().map_err(|wrong| format!("{wrong}"))?;
    let kind = args.switch.as_deref().map(|name| Kind::named(version, name)).transpose()?;
    let quirks = kind.map(|kind| kind.quirks).unwrap_or_default();
    let plan = Plan { version, quirks, ..Plan::default() };
    Ok((version, if args.quick { plan.quick() } else { plan }))
}

/// The driver's own log, in the file that was asked for, or in `scratch`.
fn logging(args: &SandboxArgs, scratch: &Path) -> Result<Logging, Trouble> {
    let file = args.log.clone().unwrap_or_else(|| scratch.join("rds-csi.log"));
    let config = LogConfig {
        level: crate::config::log::Level::Info,
        format: crate::config::log::Format::Json,
    };
    let logging = Logging::json(&config, std::fs::File::create(&file)?);
    Narrator::on_stdout().say(&format!("the driver's own log is {}", file.display()));
    Ok(logging)
}

fn tell_all(args: &SandboxArgs, version: Version) -> Result<bool, Trouble> {
    let scratch = tempfile::tempdir()?;
    let logging = logging(args, scratch.path())?;
    let kinds = Kind::all(version);
    if let Some(kind) = kinds.first() {
        Narrator::on_stdout().say(&format!("short intervals: {}", kind.plan().differences()));
    }
    let told = switches::tell_all(kinds, ABREAST, &logging.log, &mut std::io::stdout())?;
    Ok(!told.is_empty() && told.iter().all(switches::Told::all_held))
}

fn tell(args: &SandboxArgs, plan: Plan) -> Result<bool, Trouble> {
    use std::io::IsTerminal as _;

    let scratch = tempfile::tempdir()?;
    let logging = logging(args, scratch.path())?;
    let system = system(&logging.log)?;
    let stays = !args.once && std::io::stdout().is_terminal();
    system.block_on(async {
        let narrator = Narrator::on_stdout();
        if args.quick {
            narrator.say(&format!("short intervals: {}", plan.differences()));
        }
        let simulated = Simulated::start(plan, scratch.path(), logging.log.clone()).await?;
        let story = incident(&simulated, &narrator).await;
        let tally = narrator.end();
        let held = tally.all_held() && story.is_ok();
        if stays {
            narrator.chapter("The sandbox stays up until Ctrl-C");
            for line in simulated.describe() {
                narrator.say(&line);
            }
            tokio::signal::ctrl_c().await?;
        }
        simulated.stop().await;
        story.map(|()| held)
    })
}
