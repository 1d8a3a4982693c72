//! rds-csi: parse, load the configuration, log, start, wait, stop, exit code. Nothing else.

use std::process::ExitCode;

use rds_csi::cli::{self, Cli, Command};
use rds_csi::{controller, node_plugin};

fn main() -> ExitCode {
    let cli = match Cli::from_process() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match cli.command {
        Command::Controller(args) if args.check_config => {
            cli::config_check(cli::ConfigCheckArgs { file: args.config })
        }
        Command::Controller(args) => match cli::load(args.config) {
            Ok((sources, config)) => controller::run(sources, config),
            Err(error) => cli::refuse(&error),
        },
        Command::Node(args) => node_plugin::run(args),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => rds_csi::sandbox::run(&args),
        #[cfg(not(feature = "sandbox"))]
        Command::Sandbox(_) => {
            cli::complain(cli::NO_SANDBOX);
            ExitCode::from(cli::USAGE)
        }
        Command::Doctor(args) => rds_csi::doctor::run(&args),
        Command::ConfigCheck(args) => cli::config_check(args),
    }
}
