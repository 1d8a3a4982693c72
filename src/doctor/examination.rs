//! One box, looked at from outside to inside.
//!
//! ```text
//! enter: key file ─▶ address ─▶ algorithms ─▶ host key, login
//! look:  version ─▶ policies, package, JSON ─▶ console ─▶ places ─▶ scratch disk
//! drill: a scratch disk of its own, and this node as its host
//! end:   what is left of a scratch disk is removed in a session of its own
//! ```
//!
//! Asks and notes; what the answers mean is said in the modules of the rows. A step that leads no
//! further leaves the rest unchecked. Every wait has a deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::access::{self, Came};
use super::capture::Capture;
use super::console::{Console, Deadlines};
use super::drill::{Drill, Setup, record, rows};
use super::row::{CHECKS, Report, Row, State};
use super::scratch::{self, Scratch};
use super::{rights, storage, system};
use crate::attachment::static_form::Mode;
use crate::config::BackendConfig;
use crate::rds::question::Answers;
use crate::rds::ssh::Connect;
use crate::rds::ssh::key::PrivateKey;
use crate::rds::ssh::survey::{Survey, reach, survey};
use crate::rds::version;
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
    /// Prove on a scratch disk that a fence shuts a host out.
    pub drill: Option<Setup>,
}

/// One box under examination.
pub struct Examination {
    name: BackendName,
    config: BackendConfig,
    console: Console,
    write: bool,
    rows: Vec<Row>,
    /// What may be on the box.
    scratch: Option<Scratch>,
    /// What a drill is run with.
    setup: Option<Setup>,
    /// What may be connected here.
    drill: Option<Drill>,
    /// The box's RouterOS, once it is known.
    version: Option<String>,
}

impl Examination {
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
        Self {
            name,
            config,
            console,
            write: options.write,
            rows: Vec::new(),
            scratch: None,
            setup: options.drill,
            drill: None,
            version: None,
        }
    }

    /// Looks at everything, or until `interrupted` ends; then removes what it made, and reports.
    /// The second value is what went wrong with the capture.
    pub async fn run(mut self, interrupted: impl Future<Output = ()>) -> (Report, Option<String>) {
        let why = tokio::select! {
            () = self.look() => self.console.why().to_owned(),
            () = interrupted => "interrupted".to_owned(),
        };
        self.clean().await;
        self.record().await;
        self.console.close().await;
        let capture = self.console.take_capture().map(Capture::finish);
        let failed = capture.and_then(Result::err).map(|error| error.to_string());
        let address = self.config.address.to_string();
        let mut report = Report { backend: self.name.to_string(), address, rows: self.rows };
        report.complete(CHECKS, &why);
        if self.setup.is_some() {
            let why = if self.version.is_some() { "the drill ended before" } else { &why };
            report.complete(rows::CHECKS, why);
        }
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
        self.drill(has_place).await;
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

    fn begin_capture(&mut self, survey: Option<&Survey>) {
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
        self.version = Some(version.clone());
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
            let mode = version.map_or(Mode::Usual, version::mode);
            let rows = scratch.examine(&mut self.console, &self.config, mode).await;
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

    /// The drill, where one is wanted, on a disk of its own.
    async fn drill(&mut self, has_place: bool) {
        let Some(setup) = self.setup.clone() else { return };
        let named = (has_place && self.scratch.is_none()).then(|| Scratch::name(&self.config));
        let Some(mut scratch) = named.flatten() else {
            let why = "there is no place for a scratch disk (see pool, directory and removal)";
            return self.rows.push(Row::not_checked("drill disk", why));
        };
        let mode = self.version.as_deref().map_or(Mode::Usual, version::mode);
        let mut drill = match Drill::new(setup, &self.config, mode, scratch.number()) {
            Ok(drill) => drill,
            Err(row) => return self.rows.push(row),
        };
        if !drill.is_ready(&mut self.rows).await {
            return;
        }
        self.console.mark_fresh(scratch.number());
        self.scratch = Some(scratch.clone());
        self.drill = Some(drill.clone());
        let made = scratch::created(self.console.run(&scratch.create()).await.as_ref());
        if made.state == State::Ok {
            drill.run(&mut self.console, &mut scratch, &mut self.rows).await;
        } else {
            self.rows.push(Row { check: "drill disk", ..made });
        }
    }

    /// Removes a scratch disk that is left, in a session of its own. Connections to it go first.
    async fn clean(&mut self) {
        let Some(mut scratch) = self.scratch.take() else { return };
        let drill = self.drill.take();
        let left = match &drill {
            Some(drill) => drill.leave().await,
            None => Ok(Vec::new()),
        };
        let row = self.remove(&mut scratch).await;
        let of_drill = drill.is_some();
        let row = if of_drill { rows::removal(&left, row) } else { row };
        self.rows.retain(|old| old.check != row.check);
        self.rows.push(row);
    }

    async fn remove(&mut self, scratch: &mut Scratch) -> Row {
        self.console.close().await;
        let _ = self.console.open().await;
        let mut row = scratch.remove(&mut self.console).await;
        // A line that was being run when it was given up may make it only now.
        for _ in 0..LOOKS_FOR_REMAINS {
            sleep(BETWEEN_LOOKS).await;
            row = scratch.remove(&mut self.console).await;
        }
        row
    }

    /// Tells the controller what a drill came to.
    async fn record(&mut self) {
        let Some(setup) = &self.setup else { return };
        let Some(version) = &self.version else { return };
        let result = record::result(&self.rows, &self.config.address.to_string(), version);
        let row = record::tell(&setup.memory, &setup.elsewhere, &self.name, result.as_ref()).await;
        self.rows.push(row);
    }
}

async fn within<T>(deadline: Duration, wait: impl Future<Output = T>) -> Came<T> {
    timeout(deadline, wait).await.map_or(Came::Late(deadline), Came::Ended)
}
