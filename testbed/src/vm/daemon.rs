//! Programs that go on running in a machine.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::command::{self, Run};
use super::wire::{self, Answer, End, Request};
use crate::Trouble;
use crate::process::tail;

/// How long to wait for its start.
const START: Duration = Duration::from_secs(20);

/// A program that runs in a machine until it ends, is killed, or this is dropped.
pub struct Daemon {
    process: i32,
    address: Ipv4Addr,
    log: PathBuf,
    ended: watch::Receiver<Option<Result<End, String>>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Daemon {
    pub(super) async fn start(run: Run, logs: &Path, name: &str) -> Result<Self, Trouble> {
        let (machine, address, program) = run.into_parts();
        let what = program.program.clone();
        let started = async {
            let mut stream = command::connect(address).await?;
            wire::say(&mut stream, &Request::Start(program)).await?;
            match wire::hear(&mut stream).await? {
                Answer::Started { process } => Ok((stream, process)),
                Answer::Refused { why } => Err(Trouble::from(why)),
                other => Err(format!("the guest answered {other:?}").into()),
            }
        };
        let started = timeout(START, started).await.map_err(|_| "no answer".into());
        let (stream, process) =
            started.and_then(|s| s).map_err(|error| format!("{machine}: {what}: {error}"))?;
        let log = logs.join(format!("{machine}.{name}.log"));
        let file = tokio::fs::File::options().create(true).append(true).open(&log).await?;
        let (ends, ended) = watch::channel(None);
        let reader = tokio::spawn(async move {
            let end = read(stream, file).await.map_err(|error| error.to_string());
            ends.send_replace(Some(end));
        });
        Ok(Self { process, address, log, ended, reader })
    }

    /// Its id in the machine.
    pub fn id(&self) -> i32 {
        self.process
    }

    /// What it said so far lies here.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All that it said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// When it does not: how it ended, and the end of its log.
    pub fn check(&self) -> Result<(), Trouble> {
        match &*self.ended.borrow() {
            None => Ok(()),
            Some(end) => {
                let said = tail(&self.log);
                Err(format!("ended with {end:?}; {} ends with\n{said}", self.log.display()).into())
            }
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended, or the machine does not answer.
    pub async fn signal(&self, signal: Signal) -> Result<(), Trouble> {
        let request = Request::Signal { process: self.process, signal: signal.as_raw() };
        command::ask(self.address, &request).await.map(drop)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the machine is gone, or time is over.
    pub async fn wait(&mut self, within: Duration) -> Result<End, Trouble> {
        let waited = timeout(within, self.ended.wait_for(Option::is_some)).await;
        let ended = waited.map_err(|_| format!("it runs after {within:?}"))?;
        match ended.as_deref() {
            Ok(Some(Ok(end))) => Ok(*end),
            Ok(Some(Err(error))) => Err(error.clone().into()),
            _ => Err("nobody reads from it any more".into()),
        }
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> Result<(), Trouble> {
        if self.ended.borrow().is_none() {
            self.signal(Signal::KILL).await?;
        }
        self.wait(START).await.map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The guest sees the connection end, and ends the program.
        self.reader.abort();
    }
}

/// Writes what it says into the log until its end.
async fn read(mut stream: TcpStream, mut log: tokio::fs::File) -> Result<End, Trouble> {
    loop {
        let said = wire::receive(&mut stream).await?;
        if said.is_empty() {
            break;
        }
        log.write_all(&said).await?;
        log.flush().await?;
    }
    match wire::hear(&mut stream).await? {
        Answer::Ended(end) => Ok(end),
        other => Err(format!("the guest answered {other:?}").into()),
    }
}
