//! The program inside a machine: runs commands, keeps daemons, lends its unix sockets.
//!
//! Whoever reaches its port commands the machine; only the test's own network does.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::Command;
use tokio::time::timeout;

use super::wire::{self, Answer, End, Program, Request};
use crate::Trouble;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What is kept of what a program says: half of it for each stream.
const KEPT: usize = 8 << 20;

/// Listens and serves for ever.
///
/// # Errors
/// When the port cannot be listened on.
pub async fn serve() -> Result<(), Trouble> {
    let listener = TcpListener::bind(("0.0.0.0", wire::PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // Whoever hung up needs no answer; whoever sent nonsense sees the connection end.
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) -> Result<(), Trouble> {
    match wire::hear(&mut stream).await? {
        Request::Run(program) => run(stream, program).await,
        Request::Start(program) => keep(stream, program).await,
        Request::Signal { process, signal } => {
            let answer = match send(process, signal) {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Refused { why: error.to_string() },
            };
            wire::say(&mut stream, &answer).await
        }
        Request::Forward { socket } => match UnixStream::connect(&socket).await {
            Ok(mut there) => {
                wire::say(&mut stream, &Answer::Done).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut there).await?;
                Ok(())
            }
            Err(error) => refuse(&mut stream, &format!("{socket}: {error}")).await,
        },
    }
}

async fn refuse(stream: &mut TcpStream, why: &str) -> Result<(), Trouble> {
    wire::say(stream, &Answer::Refused { why: why.to_owned() }).await
}

fn send(process: i32, signal: i32) -> Result<(), Trouble> {
    let process = Pid::from_raw(process).ok_or("no process has the id 0")?;
    let signal = Signal::from_named_raw(signal).ok_or("no such signal")?;
    Ok(kill_process(process, signal)?)
}

fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.program);
    command
        .args(&program.arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .envs(program.environment.iter().cloned())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn run(mut stream: TcpStream, program: Program) -> Result<(), Trouble> {
    let input = wire::receive(&mut stream).await?;
    let mut child = match command(&program).spawn() {
        Ok(child) => child,
        Err(error) => {
            return refuse(&mut stream, &format!("{}: {error}", program.program)).await;
        }
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program may well not read what it is given.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, &input).await;
        }
    };
    let whole = async {
        tokio::join!(feed, collect(stdout, &mut said), collect(stderr, &mut complained));
        child.wait().await
    };
    let end = match timeout(Duration::from_millis(program.deadline), whole).await {
        Ok(status) => end(status?),
        Err(_) => {
            kill_group(child.id());
            End::TimedOut
        }
    };
    wire::say(&mut stream, &Answer::Ended(end)).await?;
    wire::send(&mut stream, &said).await?;
    wire::send(&mut stream, &complained).await
}

/// Reads to the end, and keeps the beginning.
async fn collect(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let room = KEPT.saturating_sub(into.len());
        into.extend(piece.iter().take(count.min(room)));
    }
}

fn end(status: ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Killed(signal.unwrap_or_default()),
    }
}

fn kill_group(leader: Option<u32>) {
    let group = leader.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// A daemon: what it says goes to the test; when the test is gone, so is it.
async fn keep(mut stream: TcpStream, program: Program) -> Result<(), Trouble> {
    let mut child = match command(&program).stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            return refuse(&mut stream, &format!("{}: {error}", program.program)).await;
        }
    };
    let id = child.id();
    let process = i32::try_from(id.ok_or("it has no id")?)?;
    wire::say(&mut stream, &Answer::Started { process }).await?;
    let stdout = child.stdout.take().ok_or("no pipe")?;
    let stderr = child.stderr.take().ok_or("no pipe")?;
    let (mut hears, mut says) = stream.into_split();
    let told = tokio::select! {
        told = tell(stdout, stderr, &mut says) => told,
        // The test says nothing more: this is its end.
        _ = hears.read_u8() => Err("the test has hung up".into()),
    };
    if let Err(error) = told {
        kill_group(id);
        return Err(error);
    }
    let ended = child.wait().await?;
    wire::send(&mut says, &[]).await?;
    wire::say(&mut says, &Answer::Ended(end(ended))).await
}

/// Sends what a daemon says until it says nothing any more.
async fn tell(
    mut stdout: impl AsyncRead + Unpin,
    mut stderr: impl AsyncRead + Unpin,
    says: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> Result<(), Trouble> {
    let (mut out, mut err) = (vec![0; 16_384], vec![0; 16_384]);
    let (mut more_out, mut more_err) = (true, true);
    while more_out || more_err {
        tokio::select! {
            count = stdout.read(&mut out), if more_out => match count? {
                0 => more_out = false,
                count => wire::send(says, &out[..count]).await?,
            },
            count = stderr.read(&mut err), if more_err => match count? {
                0 => more_err = false,
                count => wire::send(says, &err[..count]).await?,
            },
        }
    }
    Ok(())
}
