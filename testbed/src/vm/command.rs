//! Programs that run in a machine, from the test's side.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::{self, Answer, End, Program, Request};
use crate::Trouble;

/// How long a program may run where nothing else was said.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a machine may take to answer; it is emulated, and others use the processors, too.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long one question to a machine that boots takes at most.
const PROBE: Duration = Duration::from_millis(1500);

/// What a program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub end: End,
    /// What it said.
    pub stdout: String,
    /// What it said on the error stream.
    pub stderr: String,
}

/// A program that is to run in a machine.
#[derive(Debug, Clone)]
#[must_use]
pub struct Run {
    machine: String,
    address: Ipv4Addr,
    program: Program,
    input: Vec<u8>,
}

impl Output {
    /// Did it end with status 0?
    pub fn is_success(&self) -> bool {
        self.end == End::Exited(0)
    }
}

impl Run {
    pub(super) fn new(machine: &str, address: Ipv4Addr, program: &str) -> Self {
        let program = Program {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            deadline: DEADLINE.as_millis().try_into().unwrap_or(u64::MAX),
        };
        Self { machine: machine.to_owned(), address, program, input: Vec::new() }
    }

    /// More arguments.
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.program.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.program.environment.push((name.to_owned(), value.into()));
        self
    }

    /// What it reads.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// How long it may run; a minute where nothing is said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.program.deadline = deadline.as_millis().try_into().unwrap_or(u64::MAX);
        self
    }

    /// Runs it to its end, or to its deadline.
    ///
    /// # Errors
    /// When it cannot be started, or the machine does not answer.
    pub async fn output(self) -> Result<Output, Trouble> {
        let deadline = Duration::from_millis(self.program.deadline) + PATIENCE;
        let (machine, program) = (self.machine.clone(), self.program.program.clone());
        match timeout(deadline, self.talk()).await {
            Ok(talked) => talked.map_err(|error| format!("{machine}: {program}: {error}").into()),
            Err(_) => {
                Err(format!("{machine} did not answer within {deadline:?}: {program}").into())
            }
        }
    }

    async fn talk(self) -> Result<Output, Trouble> {
        let mut stream = connect(self.address).await?;
        wire::say(&mut stream, &Request::Run(self.program)).await?;
        wire::send(&mut stream, &self.input).await?;
        match wire::hear(&mut stream).await? {
            Answer::Ended(end) => Ok(Output {
                end,
                stdout: String::from_utf8_lossy(&wire::receive(&mut stream).await?).into_owned(),
                stderr: String::from_utf8_lossy(&wire::receive(&mut stream).await?).into_owned(),
            }),
            Answer::Refused { why } => Err(why.into()),
            other => Err(format!("the guest answered {other:?}").into()),
        }
    }

    /// What it said, where it ended well.
    ///
    /// # Errors
    /// Also when it did not: how it ended, and what it said.
    pub async fn text(self) -> Result<String, Trouble> {
        let told =
            format!("{}: {} {:?}", self.machine, self.program.program, self.program.arguments);
        let output = self.output().await?;
        if output.is_success() {
            return Ok(output.stdout);
        }
        let Output { end, stdout, stderr } = output;
        Err(format!("{told} ended with {end:?}: {stdout}{stderr}").into())
    }

    /// Whether the guest at that address runs programs already.
    pub(super) async fn probe(address: Ipv4Addr) -> bool {
        let run = Self::new("", address, "true").output();
        matches!(timeout(PROBE, run).await, Ok(Ok(_)))
    }

    /// What it is, for a daemon.
    pub(super) fn into_parts(self) -> (String, Ipv4Addr, Program) {
        (self.machine, self.address, self.program)
    }
}

/// A connection to a guest.
pub(super) async fn connect(address: Ipv4Addr) -> Result<TcpStream, Trouble> {
    let connecting = TcpStream::connect((address, wire::PORT));
    let stream =
        timeout(PATIENCE, connecting).await.map_err(|_| "no connection to the guest")??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks for something that is answered with [`Answer::Done`], and returns the connection.
pub(super) async fn ask(address: Ipv4Addr, request: &Request) -> Result<TcpStream, Trouble> {
    let asked = async {
        let mut stream = connect(address).await?;
        wire::say(&mut stream, request).await?;
        match wire::hear(&mut stream).await? {
            Answer::Done => Ok(stream),
            Answer::Refused { why } => Err(why.into()),
            other => Err(format!("the guest answered {other:?}").into()),
        }
    };
    timeout(PATIENCE, asked).await.map_err(|_| "the guest does not answer")?
}
