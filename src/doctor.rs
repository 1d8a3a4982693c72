//! `rds-csi doctor`: what a person runs against a real box before trusting it with volumes.
//!
//! It looks at one box after the other, from outside to inside: key file, address, algorithms, host
//! key, login, policies, version, package, console, pool, directory, port; with `--write` also at a
//! scratch disk that it makes and removes. Every finding is a [`row::Row`] with the command or the
//! key of the configuration that mends it. What cannot be looked at says why.
//!
//! - [`access`], [`rights`], [`system`], [`storage`]: what was seen -> rows, pure.
//! - [`scratch`]: the scratch disk. [`console`]: one session, a deadline for every line.
//! - [`capture`] writes down what the box answered, without what [`redact`] takes out, so that the
//!   simulated box can play it. [`show`]: rows as a table or as JSON. [`startup`]: the script that
//!   a box runs when it starts.
//!
//! It changes nothing without `--write`, mends nothing by itself, and needs neither a cluster nor
//! the controller. It runs beside a controller in service: all that it makes has a name of its own
//! and no ledger record, so that no controller takes it for a volume.

pub mod access;
pub mod capture;
pub mod console;
pub mod redact;
pub mod rights;
pub mod row;
pub mod scratch;
pub mod show;
pub mod startup;
pub mod storage;
pub mod system;

use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use slog::{Discard, Logger, o};
use tokio::time::{sleep, timeout};

use self::access::Came;
use self::capture::Capture;
use self::console::{Console, Deadlines};
use self::row::{Report, Row, State};
use self::scratch::Scratch;
use crate::app::over_ssh;
use crate::cli::{self, DoctorArgs};
use crate::config::{BackendConfig, Config};
use crate::rds::question::Answers;
use crate::rds::ssh::Connect;
use crate::rds::ssh::key::PrivateKey;
use crate::rds::ssh::survey::{reach, survey};
use crate::rds::version::has_settable_nqn;
use crate::rds::{Command, Disk};
use crate::volume::BackendName;

/// Looks for a scratch disk that an interrupted line may still be making.
const LOOKS_FOR_REMAINS: usize = 4;
/// Time between two such looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// What to do beside looking.
#[derive(Default)]
pub struct Options {
    /// Make a scratch disk, and remove it.
    pub write: bool,
    /// Write down what the box answers.
    pub capture: Option<Capture>,
}

/// One box under examination.
pub struct Doctor {
    name: BackendName,
    config: BackendConfig,
    console: Console,
    write: bool,
    rows: Vec<Row>,
    /// What may be on the box.
    scratch: Option<Scratch>,
}

impl Doctor {
    /// Looks at nothing yet. Sessions are opened by `connect`.
    pub fn new(
        name: BackendName,
        config: BackendConfig,
        connect: Arc<dyn Connect>,
        options: Options,
    ) -> Self {
        let deadlines =
            Deadlines { connect: config.connect_deadline, command: config.command_deadline };
        let console = Console::new(connect, deadlines, options.capture);
        Self { name, config, console, write: options.write, rows: Vec::new(), scratch: None }
    }

    /// Looks at everything, or until `interrupted` ends; then removes what it made, and reports.
    /// The second value is what went wrong with the capture.
    pub async fn examine(
        mut self,
        interrupted: impl Future<Output = ()>,
    ) -> (Report, Option<String>) {
        let why = tokio::select! {
            () = self.look() => self.console.why().to_owned(),
            () = interrupted => "interrupted".to_owned(),
        };
        self.clean().await;
        self.console.close().await;
        let capture = self.console.take_capture().map(Capture::finish);
        let failed = capture.and_then(Result::err).map(|error| error.to_string());
        let address = self.config.address.to_string();
        let mut report = Report { backend: self.name.to_string(), address, rows: self.rows };
        report.complete(&why);
        (report, failed)
    }

    async fn look(&mut self) {
        if !self.enter().await {
            return;
        }
        let version = self.version().await;
        let Some(answers) = self.inside(version.as_deref()).await else { return };
        let table = self.table(&answers).await;
        self.console_manners().await;
        let has_place = self.places().await;
        let port = self.config.nvme_port;
        let service = system::service_on(&answers, port);
        self.rows.push(match &table {
            Ok(disks) => storage::nvme_port(port, disks, service),
            Err(why) => Row::not_checked("nvme port", format!("the disks cannot be read: {why}")),
        });
        self.scratch_disk(has_place, version.as_deref()).await;
    }

    /// From the key file to the login; whether it leads anywhere.
    async fn enter(&mut self) -> bool {
        let path = self.config.key_path.clone();
        let shown = path.display().to_string();
        let loaded = tokio::task::spawn_blocking(move || PrivateKey::load(&path)).await;
        let outcome = match loaded {
            Ok(Ok(key)) => Ok(key.kind().to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("reading it was interrupted".to_owned()),
        };
        self.rows.push(access::key_file(&shown, outcome));

        let address = self.config.address.to_string();
        let deadline = self.console.deadlines().connect;
        let reached = within(deadline, reach(&address)).await;
        self.rows.push(access::address(&address, &reached));
        if !matches!(reached, Came::Ended(Ok(()))) {
            self.begin_capture(None);
            return false;
        }
        let offered = within(deadline, survey(&address)).await;
        self.rows.push(access::algorithms(&offered, self.config.second_session));
        let seen = match &offered {
            Came::Ended(Ok(survey)) => Some(survey),
            _ => None,
        };
        self.begin_capture(seen);
        if self.rows.iter().any(|row| row.state == State::Fault) {
            return false;
        }
        let came = self.console.open().await;
        self.rows.extend(access::login(&self.config, &came));
        self.console.is_open()
    }

    fn begin_capture(&mut self, survey: Option<&crate::rds::ssh::survey::Survey>) {
        if let Some(capture) = self.console.capture() {
            capture.begin(survey);
        }
    }

    async fn version(&mut self) -> Option<String> {
        let polled = self.console.run(&Command::Poll).await;
        let version = polled.and_then(|reply| {
            let said = reply.complaint.unwrap_or_else(|| "it was not printed".to_owned());
            reply.system.map(|system| system.version).ok_or(said)
        });
        let row = system::version(version.as_deref().map_err(String::as_str));
        self.rows.push(row);
        let version = version.ok()?;
        self.console.set_version(&version);
        Some(version)
    }

    /// What is asked in one line: policies, package, services, JSON.
    async fn inside(&mut self, version: Option<&str>) -> Option<Answers> {
        let mut parts = rights::questions(&self.config.user).to_vec();
        parts.extend(system::questions());
        let asked = self.console.ask(&parts).await;
        self.rows.push(rights::policies(&self.config.user, asked.as_ref()));
        match asked {
            Ok(answers) => {
                self.rows.push(system::json(&answers));
                self.rows.push(system::sessions(&answers, self.config.lanes));
                Some(answers)
            }
            Err(why) => {
                let version = version.unwrap_or("unknown");
                let found = format!("RouterOS {version} does not answer in JSON: {why}");
                self.rows.push(Row::fault("json", found).mend(
                    "/system/package/update/check-for-updates; /system/package/update/install",
                ));
                None
            }
        }
    }

    async fn table(&mut self, answers: &Answers) -> Result<Vec<Disk>, String> {
        let table = self.console.run(&Command::Table).await.map(|reply| reply.disks);
        let exports = table.as_ref().ok().and_then(|disks| {
            (!disks.is_empty()).then(|| disks.iter().any(|disk| disk.exported.is_some()))
        });
        self.rows.push(system::package(answers, exports));
        if let Err(why) = &table {
            self.rows.retain(|row| row.check != "json");
            let found = format!("the disks cannot be read: {why}");
            self.rows.push(Row::fault("json", found).mend("/disk/print detail where type=file"));
        }
        table
    }

    /// Exit status and length of lines.
    async fn console_manners(&mut self) {
        let tag = Console::tag();
        match self.console.exec(&system::failing_line(&tag), &tag).await {
            Ok(output) => self.rows.push(system::exit_status(&output, &tag)),
            Err(why) => self.rows.push(Row::not_checked("exit status", why)),
        }
        let configured = self.config.line_bytes_max;
        let shorter = system::SHORTER_LINES.into_iter().filter(|bytes| *bytes < configured);
        let mut works = None;
        for bytes in std::iter::once(configured).chain(shorter) {
            let tag = Console::tag();
            match self.console.exec(&system::long_line(&tag, bytes), &tag).await {
                Ok(output) if system::is_whole(&output, &tag, bytes) => {
                    works = Some(bytes);
                    break;
                }
                Ok(_) => {}
                Err(why) => {
                    self.rows.push(Row::not_checked("line length", why));
                    return;
                }
            }
        }
        self.rows.push(system::line_length(configured, works));
    }

    /// Pool and directory of every volume path; whether the first ones are good.
    async fn places(&mut self) -> bool {
        let mut good = true;
        for (at, path) in self.config.volume_paths.clone().iter().enumerate() {
            let pool = match self.console.run(&Command::Pool(path.clone())).await {
                Ok(reply) => storage::pool(path, &reply.disks),
                Err(why) => Row::not_checked("pool", format!("{path} cannot be looked up: {why}")),
            };
            let asked = self.console.ask(&storage::questions(path)).await;
            let directory = storage::directory(path, asked.as_ref());
            let usable = |row: &Row| matches!(row.state, State::Ok | State::Warning);
            good &= at > 0 || usable(&pool) && usable(&directory);
            self.rows.extend([pool, directory]);
        }
        good
    }

    async fn scratch_disk(&mut self, has_place: bool, version: Option<&str>) {
        let not_checked: &[&str] = match (self.write, has_place) {
            (true, true) => &[],
            _ => &["scratch disk", "comment length", "export", "counters", "removal"],
        };
        for check in not_checked {
            let why = match self.write {
                false => "nothing is written without --write",
                true => "there is no place for a scratch disk (see pool and directory)",
            };
            self.rows.push(Row::not_checked(check, why));
        }
        let named = not_checked.is_empty().then(|| Scratch::name(&self.config)).flatten();
        let Some(mut scratch) = named else { return };
        self.console.mark_fresh(scratch.number());
        // From here on there may be something to remove.
        self.scratch = Some(scratch.clone());
        let made = self.console.run(&scratch.create()).await;
        let row = scratch::created(made.as_ref());
        let good = row.state == State::Ok;
        self.rows.push(row);
        if good {
            let nqns = version.is_none_or(has_settable_nqn);
            let rows = scratch.examine(&mut self.console, &self.config, nqns).await;
            self.rows.extend(rows);
        }
        if self.console.is_open() {
            let row = scratch.remove(&mut self.console).await;
            if row.state == State::Ok {
                self.scratch = None;
            }
            self.rows.push(row);
        }
    }

    /// Removes a scratch disk that is left, in a session of its own.
    async fn clean(&mut self) {
        let Some(mut scratch) = self.scratch.take() else { return };
        self.rows.retain(|row| row.check != "removal");
        self.console.close().await;
        let _ = self.console.open().await;
        let mut row = scratch.remove(&mut self.console).await;
        // A line that was being run when it was given up may make it only now.
        for _ in 0..LOOKS_FOR_REMAINS {
            sleep(BETWEEN_LOOKS).await;
            row = scratch.remove(&mut self.console).await;
        }
        self.rows.push(row);
    }
}

async fn within<T>(deadline: Duration, wait: impl Future<Output = T>) -> Came<T> {
    timeout(deadline, wait).await.map_or(Came::Late(deadline), Came::Ended)
}

/// Runs the command.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let mut out = io::stdout();
    if args.startup_script {
        let _ = write!(out, "{}", startup::commands());
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
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::complain(&format!("no runtime: {error}"));
            return ExitCode::from(cli::FAILURE);
        }
    };
    let reports = match runtime.block_on(examine_all(chosen, args)) {
        Ok(reports) => reports,
        Err(why) => {
            cli::complain(&why);
            return ExitCode::from(cli::FAILURE);
        }
    };
    let coloured = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let shown = match args.json {
        true => show::json(&mut out, &reports),
        false => show::table(&mut out, &reports, coloured),
    };
    let faults: usize = reports.iter().map(|report| report.count(State::Fault)).sum();
    let good = faults == 0 && shown.is_ok();
    ExitCode::from(if good { cli::SUCCESS } else { cli::FAILURE })
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

async fn examine_all(
    chosen: Vec<(BackendName, BackendConfig)>,
    args: &DoctorArgs,
) -> Result<Vec<Report>, String> {
    let log = Logger::root(Discard, o!());
    let interrupted = tokio_util::sync::CancellationToken::new();
    let told = interrupted.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            told.cancel();
        }
    });
    let mut reports = Vec::new();
    for (name, backend) in chosen {
        if interrupted.is_cancelled() {
            break;
        }
        let capture = match &args.capture {
            None => None,
            Some(path) => {
                let file = std::fs::File::create(path)
                    .map_err(|error| format!("--capture {}: {error}", path.display()))?;
                Some(Capture::new(Box::new(file)))
            }
        };
        let connect = over_ssh()(&backend, &log).map_err(|why| format!("backends.{name}.{why}"))?;
        let options = Options { write: args.write, capture };
        let doctor = Doctor::new(name, backend, connect, options);
        let (report, failed) = doctor.examine(interrupted.clone().cancelled_owned()).await;
        reports.push(report);
        if let Some(why) = failed {
            return Err(format!("the capture is not complete: {why}"));
        }
    }
    match interrupted.is_cancelled() {
        true => {
            Err("interrupted; what was made on the box is removed, as far as it answered"
                .to_owned())
        }
        false => Ok(reports),
    }
}
