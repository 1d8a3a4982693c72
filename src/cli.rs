//! The command line: what it takes, what it teaches, and the exit codes.
//!
//! Parses and answers `--help` and `config-check`; running the rest is `main`'s.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, Sources, render};
use crate::logging::Chain;

/// The command did what was asked.
pub const SUCCESS: u8 = 0;
/// The command failed while it ran.
pub const FAILURE: u8 = 1;
/// The command line or the configuration is wrong (`EX_USAGE` of sysexits.h); trying again without
/// changing it cannot help.
pub const USAGE: u8 = 64;

const TEACHING: &str = "\
Examples:
  rds-csi controller --config /etc/rds-csi/config.toml
  rds-csi node --config /etc/rds-csi/config.toml --node-id worker-1
  RDSCSI__LOG__LEVEL=debug rds-csi controller --config config.toml
  rds-csi config-check config.toml
  rds-csi doctor --config config.toml
  rds-csi sandbox --once
  rds-csi sandbox --all-switches

Configuration, each layer overriding the one before:
  1. config/default.toml, built in: the reference of every key
  2. the file given with --config
  3. variables: RDSCSI__ and the key, parts joined by two underscores,
     such as RDSCSI__RECONCILE__INTERVAL=1m for interval in [reconcile]
The file is followed while the controller runs: intervals, thresholds and the log level change
without a restart.

Exit codes:
  0   done, or stopped as asked
  1   failed while running
  64  wrong command line or configuration";

/// CSI driver for the MikroTik ROSE Data Server.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "rds-csi", version, about, after_help = TEACHING, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// Run the controller, beside the CSI sidecars
    Controller(ControllerArgs),
    /// Run the node plugin, on every node
    Node(NodeArgs),
    /// Rehearse an outage: the controller against a simulated box and cluster on this machine
    Sandbox(SandboxArgs),
    /// Look at a real box before trusting it: what is wrong, and which command mends it
    Doctor(DoctorArgs),
    /// Print the effective configuration, or what is wrong with it
    ConfigCheck(ConfigCheckArgs),
}

/// Arguments of `controller`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ControllerArgs {
    /// Configuration file (TOML); without it, the defaults and the variables alone
    #[arg(long, value_name = "FILE", env = "RDSCSI_CONFIG")]
    pub config: Option<PathBuf>,
    /// Only look at the configuration: print what it comes to, or what is wrong with it
    #[arg(long)]
    pub check_config: bool,
}

/// Arguments of `node`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct NodeArgs {
    /// Configuration file (TOML), the controller's own; what it says of the boxes is not looked at
    #[arg(long, value_name = "FILE", env = "RDSCSI_CONFIG")]
    pub config: Option<PathBuf>,
    /// Name of the Kubernetes Node; without it node.name or the variable NODE_NAME
    #[arg(long, value_name = "NAME")]
    pub node_id: Option<String>,
}

/// Arguments of `sandbox`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct SandboxArgs {
    /// End after the story, with exit code 0 only if every expectation held
    #[arg(long)]
    pub once: bool,
    /// Keep the driver's own log (JSON) in this file; without it, it goes with the sandbox
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// RouterOS version of the simulated box
    #[arg(long, value_name = "VERSION", default_value = "7.24.4", value_parser = version)]
    pub routeros: String,
    /// Turn one fact about RouterOS that nobody has proven into its opposite (`help` names them)
    #[arg(long, value_name = "NAME", conflicts_with = "all_switches")]
    pub switch: Option<String>,
    /// Tell the story once per switch, with short intervals, several at a time; one line each
    #[arg(long)]
    pub all_switches: bool,
    /// Short intervals: the story in ten seconds
    #[arg(long)]
    pub quick: bool,
}

const DOCTOR: &str = "\
Examples:
  rds-csi doctor --config config.toml                  looks, changes nothing
  rds-csi doctor --config config.toml --write          tries what can only be seen by writing
  sudo rds-csi doctor --config config.toml --drill     on a node: does a fence hold?

The drill makes a scratch disk of 16 MiB under a name of its own, exports it to a host that only the
drill knows, connects this kernel to it, writes and reads back. Then it fences as the driver does when
a node dies, and looks whether
  - anything is acknowledged or counted after the fence,
  - the next host finds what was acknowledged and keeps what it writes,
  - the old name, and a host that is not on the list, are refused,
  - a host comes back, with its data, when its export is put back.
Volumes are not touched. What is made is removed, also after Ctrl-C; what cannot be removed is named
with the command that does. The result is written where the controller finds it: ConfigMap
<release>-drills, by the pod's service account or cluster.kubeconfig.

Exit codes:
  0   no faults (warnings are none)
  1   a fault, or the findings could not be printed
  64  wrong command line or configuration";

/// Arguments of `doctor`.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = DOCTOR)]
pub struct DoctorArgs {
    /// Configuration file (TOML); without it, the defaults and the variables alone
    #[arg(long, value_name = "FILE", env = "RDSCSI_CONFIG")]
    pub config: Option<PathBuf>,
    /// Look at this box only; without it, at every one in the configuration
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// Make a small scratch disk on the box, look how it behaves, and remove it
    #[arg(long)]
    pub write: bool,
    /// Prove, from a node, that a fence on this box shuts a host out: connect to a scratch disk, write,
    /// fence, and look (root; needs the module nvme-tcp; takes about a minute)
    #[arg(long)]
    pub drill: bool,
    /// Write down what the box answers, secrets taken out, for rds-sim --replay
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
    /// Print the findings as one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print the commands of a script with which a box unexports every volume when it starts
    #[arg(long, conflicts_with_all = ["backend", "write", "drill", "capture", "json"])]
    pub startup_script: bool,
}

/// Arguments of `config-check`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ConfigCheckArgs {
    /// Configuration file (TOML); without it, the defaults and the variables alone
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Why the sandbox cannot run, in a binary that was built without it.
pub const NO_SANDBOX: &str = "\
this binary was built without the simulator, as every one for a cluster is.
Build one that has it:  cargo run --features sandbox -- sandbox";

impl Cli {
    /// Parses the arguments of the process. On `--help`, `--version` and wrong arguments the answer
    /// is already printed, and only the exit code is left.
    pub fn from_process() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            // Help goes to standard output, complaints to standard error. If nobody reads them,
            // nothing can be done about it.
            let _ = error.print();
            exit_code(&error)
        })
    }
}

fn exit_code(error: &clap::Error) -> ExitCode {
    ExitCode::from(if error.use_stderr() { USAGE } else { SUCCESS })
}

/// The configuration that a process with these arguments runs on.
pub fn load(file: Option<PathBuf>) -> Result<(Sources, Config), ConfigError> {
    let sources = Sources::of_process(file)?;
    let config = Config::load(&sources)?;
    Ok((sources, config))
}

/// `config-check`: the effective configuration as TOML on standard output, or what is wrong with it
/// on standard error.
pub fn config_check(args: ConfigCheckArgs) -> ExitCode {
    let config = match load(args.file) {
        Ok((_, config)) => config,
        Err(error) => return refuse(&error),
    };
    match render::toml(&config) {
        Ok(text) => {
            let _ = write!(std::io::stdout(), "{text}");
            ExitCode::from(SUCCESS)
        }
        Err(error) => {
            complain(&Chain(&error).to_string());
            ExitCode::from(FAILURE)
        }
    }
}

/// Says on standard error why the configuration was refused; for the time before there is a logger.
pub fn refuse(error: &ConfigError) -> ExitCode {
    complain(&format!("configuration refused\n{}", Chain(error)));
    ExitCode::from(USAGE)
}

/// Says `what` on standard error, under the program's name.
pub fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "rds-csi: {what}");
}

fn version(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.split('.').map(str::parse::<u32>).collect();
    if matches!(parts.len(), 2 | 3) && parts.iter().all(Result::is_ok) {
        return Ok(text.to_owned());
    }
    Err("a version is written like 7.21 or 7.24.4".into())
}

#[cfg(test)]
mod test {
    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn each_command_takes_its_arguments() {
        let file = Some(PathBuf::from("a.toml"));
        let sandbox = SandboxArgs {
            once: false,
            log: None,
            routeros: "7.24.4".into(),
            switch: None,
            all_switches: false,
            quick: false,
        };
        for (line, command) in [
            (
                "rds-csi controller --config a.toml",
                Command::Controller(ControllerArgs { config: file.clone(), check_config: false }),
            ),
            (
                "rds-csi controller --check-config",
                Command::Controller(ControllerArgs { config: None, check_config: true }),
            ),
            (
                "rds-csi node --config a.toml --node-id n1",
                Command::Node(NodeArgs { config: file.clone(), node_id: Some("n1".into()) }),
            ),
            ("rds-csi config-check a.toml", Command::ConfigCheck(ConfigCheckArgs { file })),
            (
                "rds-csi sandbox --once --routeros 7.21",
                Command::Sandbox(SandboxArgs {
                    once: true,
                    routeros: "7.21".into(),
                    ..sandbox.clone()
                }),
            ),
            (
                "rds-csi sandbox --quick --switch no-counters",
                Command::Sandbox(SandboxArgs {
                    quick: true,
                    switch: Some("no-counters".into()),
                    ..sandbox.clone()
                }),
            ),
            ("rds-csi sandbox", Command::Sandbox(sandbox.clone())),
        ] {
            assert_eq!(parse(line).unwrap(), command, "{line}");
        }
    }

    #[test]
    fn wrong_arguments_end_with_64_and_help_with_0() {
        for line in [
            "rds-csi",
            "rds-csi fly",
            "rds-csi controller --conf a",
            "rds-csi sandbox --routeros new",
            "rds-csi sandbox --all-switches --switch no-counters",
            "rds-csi doctor --drill --startup-script",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::from(USAGE), "{line}");
        }
        for line in ["rds-csi --help", "rds-csi --version", "rds-csi doctor --help"] {
            assert_eq!(exit_code(&parse(line).unwrap_err()), ExitCode::from(SUCCESS), "{line}");
        }
    }

    #[test]
    fn the_definition_is_sound_and_help_teaches() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        for lesson in ["rds-csi sandbox --once", "RDSCSI__RECONCILE__INTERVAL=1m", "64  wrong"] {
            assert!(help.contains(lesson), "{lesson}");
        }
    }
}
