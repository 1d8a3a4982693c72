//! `rds-csi sandbox`: the whole controller against a simulated box and a simulated cluster, on
//! loopback, while a story is told. Only with the feature `sandbox`.
//!
//! - [`narrator`]: tells, in colour on a terminal, and counts what held.
//! - [`world`]: what a story does and sees, as a trait: stories run on real parts, too.
//! - [`mod@incident`]: the story of the night in which people repaired by hand for five hours.
//! - [`simulated`]: the world of the doubles.
//! - [`sidecars`]: plays external-provisioner and external-attacher against our socket.

pub mod incident;
pub mod narrator;
pub mod sidecars;
pub mod simulated;
pub mod world;

use std::process::ExitCode;

use rds_sim::routeros::Version;

use self::incident::incident;
use self::narrator::Narrator;
use self::simulated::{Plan, Simulated};
use self::world::{Trouble, World as _};
use crate::cli::{self, SandboxArgs};
use crate::config::LogConfig;
use crate::controller::system;
use crate::logging::Logging;

/// Tells the story; stays up until Ctrl-C where somebody watches and did not say `--once`.
pub fn run(args: &SandboxArgs) -> ExitCode {
    let told = tell(args);
    match told {
        Ok(true) => ExitCode::from(cli::SUCCESS),
        Ok(false) => ExitCode::from(cli::FAILURE),
        Err(trouble) => {
            cli::complain(&format!("sandbox: {trouble}"));
            ExitCode::from(cli::FAILURE)
        }
    }
}

fn tell(args: &SandboxArgs) -> Result<bool, Trouble> {
    use std::io::IsTerminal as _;

    let version: Version = args.routeros.parse()?;
    let scratch = tempfile::tempdir()?;
    let log_file = scratch.path().join("rds-csi.log");
    let config = LogConfig {
        level: crate::config::log::Level::Info,
        format: crate::config::log::Format::Json,
    };
    let logging = Logging::json(&config, std::fs::File::create(&log_file)?);
    let system = system(&logging.log)?;
    let stays = !args.once && std::io::stdout().is_terminal();
    system.block_on(async {
        let narrator = Narrator::on_stdout();
        narrator.say(&format!("the driver's own log is {}", log_file.display()));
        let plan = Plan { version, ..Plan::default() };
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
