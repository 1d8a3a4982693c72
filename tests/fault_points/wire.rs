//! The box as a controller under fault sees it. Commands that are asked for at the same time share a
//! line, as they do in the daemon.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::rds::{Command, Failure, Link, Rds, Reply, script};
use rds_csi::volume::turns::Turn;
use rds_sim::routeros::{ExecResult, Fault as BoxFault, RouterOs, Session};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::in_memory::{read, up};
use crate::point::{Fault, Step, Watch};

/// How long the box is away after a power cut.
pub const DOWNTIME: Duration = Duration::from_secs(2);
/// Longest line in bytes.
const LINE_BYTES_MAX: usize = 16_384;

pub struct Wire {
    os: RouterOs,
    watch: Arc<Watch>,
    waiting: Arc<Mutex<Vec<Job>>>,
}

struct Job {
    command: Command,
    turn: Option<Turn>,
    answer: oneshot::Sender<Result<Reply, Failure>>,
}

static TAGS: AtomicU64 = AtomicU64::new(1);

impl Wire {
    pub fn new(os: RouterOs, watch: Arc<Watch>) -> Self {
        Self { os, watch, waiting: Arc::default() }
    }
}

#[async_trait]
impl Rds for Wire {
    async fn execute(&self, command: Command, turn: Option<Turn>) -> Result<Reply, Failure> {
        let (answer, reply) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap();
            waiting.push(Job { command, turn, answer });
            waiting.len() == 1
        };
        if is_first {
            let (os, watch, waiting) = (self.os.clone(), self.watch.clone(), self.waiting.clone());
            tokio::spawn(async move {
                // Whatever is asked for without waiting in between goes together.
                sleep(Duration::from_millis(1)).await;
                let mut jobs = std::mem::take(&mut *waiting.lock().unwrap());
                while !jobs.is_empty() {
                    let rest = jobs.split_off(sharing(&jobs));
                    send(&os, &watch, jobs).await;
                    jobs = rest;
                }
            });
        }
        match reply.await {
            Ok(reply) => reply,
            Err(_) => std::future::pending().await,
        }
    }

    fn link(&self) -> Link {
        up(&self.os)
    }
}

fn unanswered(why: &str) -> Failure {
    Failure::Unanswered { address: "box:22".into(), why: why.into() }
}

async fn send(os: &RouterOs, watch: &Watch, jobs: Vec<Job>) {
    let commands: Vec<&Command> = jobs.iter().map(|job| &job.command).collect();
    let (line, tags) = line(&commands);
    let written = ["/disk/", "/file/", "/system/"].map(|menu| line.matches(menu).count());
    let step = Step::Exec {
        commands: words(&commands),
        written: written.iter().sum(),
        moments: Vec::new(),
    };
    let (at, fault) = watch.begin(step).await;
    if fault == Some(Fault::Lost) {
        return tell(jobs, |_| Err(unanswered("the connection ended")));
    }
    let session = match os.open_session().await {
        Ok(session) => session,
        Err(error) => {
            return tell(jobs, |_| {
                let why = error.to_string();
                let next_attempt = Duration::from_secs(1);
                Err(Failure::NotConnected { address: "box:22".into(), why, next_attempt })
            });
        }
    };
    if let Some(Fault::Cut(moment, what)) = fault {
        os.arm(BoxFault::CutAt { moment, what, downtime: DOWNTIME });
    }
    let mut turns = Vec::new();
    let mut jobs = jobs;
    if fault == Some(Fault::Late) {
        turns.extend(jobs.iter_mut().map(|job| job.turn.take()));
        tell(std::mem::take(&mut jobs), |_| Err(unanswered("silent")));
    }
    if fault == Some(Fault::DiesSent) {
        watch.death.cancel();
    }
    let answer = run(os, watch, at, &session, &line).await;
    drop(turns);
    match fault {
        Some(Fault::DiesSent | Fault::DiesDone) => watch.death.cancel(),
        Some(Fault::AnswerLost) => tell(jobs, |_| Err(unanswered("the connection ended"))),
        fault => {
            if fault == Some(Fault::DiesAnswered) {
                watch.dying();
            }
            tell(jobs, |job| read_or_lost(&answer, &tags[job]));
        }
    }
}

/// The line to its end, and what it came to.
async fn run(
    os: &RouterOs,
    watch: &Watch,
    at: usize,
    session: &Session,
    line: &str,
) -> Option<ExecResult> {
    let answer = session.exec(line).await.ok();
    let journal = os.journal();
    let entry = journal.iter().rev().find(|entry| entry.session == session.number());
    watch.came_to(at, entry.map(|entry| entry.moments.clone()).unwrap_or_default());
    answer
}

fn read_or_lost(answer: &Option<ExecResult>, tag: &str) -> Result<Reply, Failure> {
    match answer {
        Some(answer) => read(answer.clone(), tag),
        None => Err(unanswered("the connection ended")),
    }
}

fn tell(jobs: Vec<Job>, say: impl Fn(usize) -> Result<Reply, Failure>) {
    for (number, job) in jobs.into_iter().enumerate() {
        drop(job.turn);
        // The caller may have gone.
        let _ = job.answer.send(say(number));
    }
}

/// How many of them, from the first on, go in one line.
fn sharing(jobs: &[Job]) -> usize {
    let commands: Vec<&Command> = jobs.iter().map(|job| &job.command).collect();
    script::batch::batch(&commands, "t", LINE_BYTES_MAX).map_or(1, |batch| batch.tags.len())
}

/// One line for all, and the tag of each.
fn line(commands: &[&Command]) -> (String, Vec<String>) {
    let tag = format!("t{}", TAGS.fetch_add(1, Ordering::Relaxed));
    if let [one] = commands {
        return (script::line(one, &tag), vec![tag]);
    }
    let batch = script::batch::batch(commands, &tag, LINE_BYTES_MAX).unwrap();
    assert_eq!(batch.tags.len(), commands.len(), "not all of them fit");
    (batch.line, batch.tags)
}

/// `create`, or `change+change`.
fn words(commands: &[&Command]) -> String {
    let word = |command: &&Command| {
        let text = format!("{command:?}");
        let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
        text[..end].to_lowercase()
    };
    commands.iter().map(word).collect::<Vec<_>>().join("+")
}
