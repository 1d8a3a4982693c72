//! `rds-csi doctor`: what a person runs against a real box before trusting it with volumes.
//!
//! It looks at one box after the other, from outside to inside: key file, address, algorithms, host
//! key, login, policies, version, package, console, pool, directory, port; with `--write` also at a
//! scratch disk that it makes and removes. Every finding is a [`row::Row`] with the command or the
//! key of the configuration that mends it. What cannot be looked at says why.
//!
//! - [`examination`]: one box, from the key file to the removal of the scratch disk.
//! - [`access`], [`rights`], [`system`], [`storage`]: what was seen -> rows, pure.
//! - [`scratch`]: the scratch disk. [`console`]: one session, a deadline for every line.
//! - [`drill`]: from a node, with a scratch disk and this kernel as its host: does a fence hold?
//! - [`capture`] writes down what the box answered, without what [`redact`] takes out, so that the
//!   simulated box can play it. [`show`]: rows as a table or as JSON. [`startup`]: the script that
//!   a box runs when it starts.
//!
//! It changes nothing without `--write` or `--drill`, mends nothing by itself, and needs neither a cluster nor
//! the controller; a drill tells the controller its result where it can. It runs beside a controller in service: all that it makes has a name of its own
//! and no ledger record, so that no controller takes it for a volume.

pub mod access;
pub mod capture;
pub mod console;
pub mod drill;
pub mod examination;
pub mod redact;
pub mod rights;
pub mod row;
pub mod scratch;
pub mod show;
pub mod startup;
pub mod storage;
pub mod system;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use slog::{Discard, Logger, o};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::capture::Capture;
use self::examination::{Examination, Options};
use self::row::{Report, State};
use crate::app::over_ssh;
use crate::cli::{self, DoctorArgs};
use crate::config::{BackendConfig, Config};
use crate::volume::BackendName;

/// Runs the command.
pub fn run(args: &DoctorArgs) -> ExitCode {
    if args.startup_script {
        let _ = write!(io::stdout(), "{}", startup::commands());
        return ExitCode::from(cli::SUCCESS);
    }
    let config = match cli::load(args.config.clone()) {
        Ok((_, config)) => config,
        Err(error) => return cli::refuse(&error),
    };
    let chosen = match choose(&config, args) {
        Ok(chosen) => chosen,
        Err(why) => {
            cli::complain(&why);
            return ExitCode::from(cli::USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime
        .map_err(|error| format!("no runtime: {error}"))
        .and_then(|runtime| runtime.block_on(examine_all(&config, chosen, args)));
    match outcome.and_then(|reports| show(&reports, args)) {
        Ok(true) => ExitCode::from(cli::SUCCESS),
        Ok(false) => ExitCode::from(cli::FAILURE),
        Err(why) => {
            cli::complain(&why);
            ExitCode::from(cli::FAILURE)
        }
    }
}

/// Prints the reports; whether none of them has a fault.
fn show(reports: &Reports, args: &DoctorArgs) -> Result<bool, String> {
    let mut out = io::stdout();
    let coloured = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let shown = match args.json {
        true => show::json(&mut out, &reports.reports),
        false => show::table(&mut out, &reports.reports, coloured),
    };
    shown.map_err(|error| format!("the findings cannot be printed: {error}"))?;
    if let Some(trouble) = &reports.trouble {
        return Err(trouble.clone());
    }
    Ok(reports.reports.iter().all(|report| report.count(State::Fault) == 0))
}

/// The boxes that are meant.
fn choose(config: &Config, args: &DoctorArgs) -> Result<Vec<(BackendName, BackendConfig)>, String> {
    let wanted = |name: &BackendName| args.backend.as_ref().is_none_or(|b| b == name.as_str());
    let all = config.backends.iter().filter(|(name, _)| wanted(name));
    let chosen: Vec<_> = all.map(|(name, backend)| (name.clone(), backend.clone())).collect();
    let known: Vec<&str> = config.backends.keys().map(BackendName::as_str).collect();
    let known = known.join(", ");
    match chosen.len() {
        0 => {
            let name = args.backend.as_deref().unwrap_or_default();
            Err(format!("--backend {name}: the configuration knows {known}"))
        }
        1 => Ok(chosen),
        _ if args.capture.is_some() => {
            Err(format!("a capture is of one box: choose one with --backend, of {known}"))
        }
        _ => Ok(chosen),
    }
}

/// What came of it all.
#[derive(Default)]
struct Reports {
    reports: Vec<Report>,
    /// What went wrong beside the boxes.
    trouble: Option<String>,
}

async fn examine_all(
    config: &Config,
    chosen: Vec<(BackendName, BackendConfig)>,
    args: &DoctorArgs,
) -> Result<Reports, String> {
    let log = Logger::root(Discard, o!());
    let interrupted = CancellationToken::new();
    let told = interrupted.clone();
    tokio::spawn(async move {
        // A pod that is deleted is told so by this.
        let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => if pressed.is_err() { return },
            _ = terminated.recv() => {}
        }
        told.cancel();
    });
    let mut all = Reports::default();
    let drill = match args.drill {
        true => Some(drill::Setup::of_this_node(config, &log).await),
        false => None,
    };
    for (name, backend) in chosen {
        let capture = args.capture.as_deref().map(begin_capture).transpose()?;
        let connect = over_ssh()(&backend, &log).map_err(|why| format!("backends.{name}.{why}"))?;
        let options = Options { write: args.write, capture, drill: drill.clone() };
        let examination = Examination::new(name, backend, connect, options);
        let (report, failed) = examination.run(interrupted.clone().cancelled_owned()).await;
        all.reports.push(report);
        all.trouble = failed.map(|why| format!("the capture is not complete: {why}"));
        if interrupted.is_cancelled() {
            all.trouble = Some("interrupted".to_owned());
            break;
        }
    }
    Ok(all)
}

fn begin_capture(path: &Path) -> Result<Capture, String> {
    let file = std::fs::File::create(path)
        .map_err(|error| format!("--capture {}: {error}", path.display()))?;
    Ok(Capture::new(Box::new(file)))
}
