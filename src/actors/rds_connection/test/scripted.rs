//! A box in memory that does what a test says.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::*;
use crate::actors::doubles::{Restarted, supervision};
use crate::actors::supervision::Faults;
use crate::rds::script::batch::Batch;
use crate::rds::ssh::{ConnectError, ExecOutput, Session, SessionError};
use crate::rds::{Rds, Reply, System};
use crate::volume::turns::Turns;
use crate::volume::{BackendName, Slot, VolumeId};

/// What becomes of a command.
#[derive(Debug, Clone, Copy)]
pub enum Doing {
    /// Answered after so many seconds.
    Takes(u64),
    /// Never answered.
    Hangs,
    /// Done, and then the connection ends.
    Drops,
    /// No channel is opened.
    Refuses,
    /// Answered without the sentinel.
    Garbles,
    /// Nothing of a line with this in it is answered.
    Spoils,
    /// Answered so that reading the answer panics.
    Confuses,
}

#[derive(Default)]
pub struct Behaviour {
    /// Connections are refused.
    pub refuses: bool,
    /// Connections are not answered.
    pub unreachable: bool,
    /// Nothing is answered in a session.
    pub silent: bool,
    pub uptime: u64,
    /// By the beginning of the command.
    doing: HashMap<&'static str, Doing>,
}

/// The box.
pub struct Box_ {
    start: Instant,
    behaviour: Mutex<Behaviour>,
    attempts: Mutex<Vec<u64>>,
    sessions: Mutex<Vec<(CancellationToken, Arc<AtomicBool>)>>,
    lines: Mutex<Vec<String>>,
    goodbyes: Mutex<usize>,
    /// Sessions that were open at once, at most.
    open_max: Mutex<usize>,
}

impl Box_ {
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    pub fn does(&self, command: &'static str, doing: Doing) {
        self.set(|peer| peer.doing.extend([(command, doing)]));
    }

    /// Whole seconds at which somebody connected.
    pub fn attempts(&self) -> Vec<u64> {
        self.attempts.lock().unwrap().clone()
    }

    /// Every TCP connection ends.
    pub fn cut(&self) {
        for (closed, _) in self.sessions.lock().unwrap().iter() {
            closed.cancel();
        }
    }

    /// Every session that is open now answers nothing any more.
    pub fn freeze(&self) {
        for (_, frozen) in self.sessions.lock().unwrap().iter() {
            frozen.store(true, SeqCst);
        }
    }

    /// Sessions that are open.
    pub fn open(&self) -> usize {
        let sessions = self.sessions.lock().unwrap();
        sessions.iter().filter(|(_, frozen)| Arc::strong_count(frozen) > 1).count()
    }

    pub fn open_max(&self) -> usize {
        *self.open_max.lock().unwrap()
    }

    pub fn goodbyes(&self) -> usize {
        *self.goodbyes.lock().unwrap()
    }

    /// How many commands were in each line that held one that began like this.
    pub fn shared(&self, command: &str) -> Vec<usize> {
        let lines = self.lines.lock().unwrap();
        let found = lines.iter().filter(|line| line.contains(&format!(" {command}")));
        found.map(|line| line.lines().count()).collect()
    }

    /// How many lines held a command that began like this.
    pub fn count(&self, command: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.contains(&format!(" {command}"))).count()
    }

    pub fn refusing(settings: ConnectionSettings) -> Subject {
        let subject = subject(settings);
        subject.peer.set(|peer| peer.refuses = true);
        subject
    }
}

struct Shared(Arc<Box_>);

#[async_trait]
impl Connect for Shared {
    async fn connect(&self) -> Result<Box<dyn Session>, ConnectError> {
        let peer = &self.0;
        let seconds = peer.start.elapsed().as_millis() as u64 / 1000;
        peer.attempts.lock().unwrap().push(seconds);
        let (refuses, unreachable) = {
            let behaviour = peer.behaviour.lock().unwrap();
            (behaviour.refuses, behaviour.unreachable)
        };
        if refuses {
            return Err(ConnectError::Unreachable {
                address: self.address().into(),
                reason: "refused".into(),
            });
        }
        if unreachable {
            std::future::pending::<()>().await;
        }
        let (closed, frozen) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        peer.sessions.lock().unwrap().push((closed.clone(), frozen.clone()));
        let open = peer.open();
        let mut open_max = peer.open_max.lock().unwrap();
        *open_max = open.max(*open_max);
        Ok(Box::new(Scripted { peer: peer.clone(), closed, frozen }))
    }

    fn address(&self) -> &str {
        "10.0.0.1:22"
    }
}

struct Scripted {
    peer: Arc<Box_>,
    closed: CancellationToken,
    frozen: Arc<AtomicBool>,
}

impl Scripted {
    fn doing(&self, line: &str) -> Doing {
        let behaviour = self.peer.behaviour.lock().unwrap();
        if behaviour.silent || self.frozen.load(SeqCst) {
            return Doing::Hangs;
        }
        let command = line.split_once(' ').unwrap().1;
        let found = behaviour.doing.iter().find(|(start, _)| command.starts_with(**start));
        found.map_or(Doing::Takes(0), |(_, doing)| *doing)
    }
}

#[async_trait]
impl Session for Scripted {
    async fn exec(&mut self, line: &str) -> Result<ExecOutput, SessionError> {
        if self.closed.is_cancelled() {
            return Err(SessionError::Closed("it was closed before".into()));
        }
        let parts: Vec<_> = line.lines().map(|part| (part, self.doing(part))).collect();
        if !parts.iter().any(|(_, doing)| matches!(doing, Doing::Refuses)) {
            self.peer.lines.lock().unwrap().push(line.to_owned());
        }
        if parts.iter().any(|(_, doing)| matches!(doing, Doing::Spoils)) {
            return Ok(ExecOutput { stdout: b"syntax error".to_vec(), ..ExecOutput::default() });
        }
        let mut stdout = String::new();
        for (part, doing) in parts {
            stdout += &self.run(part, doing).await?;
            stdout.push('\n');
        }
        Ok(ExecOutput { stdout: stdout.into_bytes(), ..ExecOutput::default() })
    }

    fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    async fn close(self: Box<Self>) {
        *self.peer.goodbyes.lock().unwrap() += 1;
        self.closed.cancel();
    }
}

impl Scripted {
    /// What is printed by one command.
    async fn run(&self, command: &str, doing: Doing) -> Result<String, SessionError> {
        let tag = command.split_once(' ').unwrap().0;
        let uptime = self.peer.behaviour.lock().unwrap().uptime;
        Ok(match doing {
            Doing::Takes(seconds) => {
                let closed = self.closed.clone();
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
                    () = closed.cancelled() => return Err(SessionError::Closed("cut".into())),
                }
                format!("{tag} {uptime}")
            }
            Doing::Hangs => {
                let closed = self.closed.clone();
                closed.cancelled().await;
                return Err(SessionError::Closed("cut".into()));
            }
            Doing::Drops => {
                self.closed.cancel();
                return Err(SessionError::Closed("dropped".into()));
            }
            Doing::Refuses => return Err(SessionError::Channel("too many".into())),
            Doing::Garbles | Doing::Spoils => "syntax error".into(),
            Doing::Confuses => "confusing".into(),
        })
    }
}

fn line(command: &Command, tag: &str) -> String {
    format!("{tag} {command:?}")
}

/// Several commands: one on each line, as many as the bound has bytes.
fn batch(commands: &[&Command], tag: &str, bytes_max: usize) -> Option<Batch> {
    let count = commands.len().min(bytes_max);
    let tags: Vec<_> = (0..count).map(|at| format!("{tag}-{at}")).collect();
    let lines: Vec<_> = commands.iter().zip(&tags).map(|(c, tag)| line(c, tag)).collect();
    (count > 1).then(|| Batch { line: lines.join("\n"), tags })
}

fn read(output: &ExecOutput, tag: &str) -> Result<Reply, String> {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(!said.contains("confusing"), "the answer is read wrongly");
    let mut answers = said.lines().filter_map(|line| line.split_once(' '));
    let Some((_, uptime)) = answers.find(|(marked, _)| *marked == tag) else {
        return Err(said.trim().to_owned());
    };
    let system = System {
        version: "7.21".into(),
        // The largest stands for one that cannot be read.
        uptime: uptime.trim().parse().ok().filter(|n| *n < u64::MAX).map(Duration::from_secs),
    };
    Ok(Reply { system: Some(system), ..Reply::default() })
}

/// A connection to the box, and everything around it.
pub struct Subject {
    pub peer: Arc<Box_>,
    pub settings: watch::Sender<ConnectionSettings>,
    pub handles: Handles,
    pub faults: Faults,
    pub restarted: Arc<Restarted>,
    pub turns: Turns,
}

/// Every command goes alone.
pub fn subject(settings: ConnectionSettings) -> Subject {
    subject_with(settings, |_, _, _| None)
}

/// As many commands share a line as [`ConnectionSettings::line_bytes_max`] has bytes.
pub fn sharing(settings: ConnectionSettings) -> Subject {
    subject_with(settings, batch)
}

fn subject_with(
    settings: ConnectionSettings,
    batch: fn(&[&Command], &str, usize) -> Option<Batch>,
) -> Subject {
    let (supervision, faults, restarted) = supervision();
    let peer = Arc::new(Box_ {
        start: Instant::now(),
        behaviour: Mutex::new(Behaviour { uptime: 1000, ..Behaviour::default() }),
        attempts: Mutex::default(),
        sessions: Mutex::default(),
        lines: Mutex::default(),
        goodbyes: Mutex::default(),
        open_max: Mutex::default(),
    });
    let (settings, settings_seen) = watch::channel(settings);
    let handles = start(Parts {
        supervision,
        connect: Arc::new(Shared(peer.clone())),
        language: Language { line, batch, read },
        settings: settings_seen,
        metrics: Arc::new(NoMetrics),
    });
    Subject { peer, settings, handles, faults, restarted, turns: Turns::default() }
}

impl Subject {
    pub async fn execute(&self, command: Command) -> Result<Reply, Failure> {
        self.handles.rds.execute(command, None).await
    }

    pub fn spawn(
        &self,
        command: Command,
        turn: Option<Turn>,
    ) -> JoinHandle<Result<Reply, Failure>> {
        let rds = self.handles.rds.clone();
        tokio::spawn(async move { rds.execute(command, turn).await })
    }

    pub fn turn(&self, slot: &str) -> Option<Turn> {
        self.turns.take(&VolumeId {
            backend: BackendName::parse("box").unwrap(),
            slot: Slot::parse(slot).unwrap(),
        })
    }
}
