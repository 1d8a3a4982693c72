//! An external program: found in known folders, ended at a deadline with all that it started, its
//! output kept within a bound.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::blocking::CALLS_MAX;
use super::stuck::{Stuck, Visit};
use super::{Error, Kind};

/// How much of its output goes into an error: what a program says last.
const OUTPUT_BYTES_MAX: usize = 2048;
/// How long a killed program may take to go. One that is not in state D goes at once.
const REAP: Duration = Duration::from_secs(2);
/// How long the output is read on once the program itself has ended: something that it started may
/// hold the pipe open.
const DRAIN: Duration = Duration::from_millis(500);

/// Where programs are looked for, and what hangs.
#[derive(Debug, Clone)]
pub struct Programs {
    folders: Vec<PathBuf>,
    stuck: Stuck,
}

impl Programs {
    /// In the folders of every system.
    pub fn on(stuck: Stuck) -> Self {
        let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
        Self::new(folders.iter().map(PathBuf::from).collect(), stuck)
    }

    /// Looks in these folders, in this order.
    pub fn new(folders: Vec<PathBuf>, stuck: Stuck) -> Self {
        Self { folders, stuck }
    }

    /// Runs a program that works at a place (a device, a mount), and answers with the end of its
    /// output. Nothing is inherited but the path; texts are in English.
    ///
    /// # Errors
    /// [`Kind::Missing`]: not installed. [`Kind::Deadline`]: it was killed. [`Kind::Stuck`]: it was
    /// killed and stays in the kernel, or another one does. [`Kind::Failed`]: it said no; the text
    /// has the end of its output.
    pub async fn run(
        &self,
        place: &Path,
        name: &str,
        arguments: &[OsString],
        deadline: Duration,
    ) -> Result<String, Error> {
        let program = self.find(name)?;
        let what = format!("{name} of {}", place.display());
        let visit = self.stuck.enter(place, &what, CALLS_MAX)?;
        let cannot = |error| Error::io(format!("{what} cannot be started"), error);
        let (child, output) = self.start(&program, arguments).map_err(cannot)?;
        let mut running = Running::new(child, visit, self.stuck.clone());
        let Ok(ended) = timeout(deadline, running.wait()).await else {
            return Err(end(running, output, &what, deadline).await);
        };
        let text = output.end().await;
        match ended {
            Ok(status) if status.success() => Ok(text),
            Ok(status) => Err(Error::new(Kind::Failed, format!("{what} failed ({status}){text}"))),
            Err(error) => Err(Error::io(format!("{what} cannot be waited for"), error)),
        }
    }

    fn find(&self, name: &str) -> Result<PathBuf, Error> {
        let places = self.folders.iter().map(|folder| folder.join(name));
        places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            let folders: Vec<_> = self.folders.iter().map(|it| it.display().to_string()).collect();
            let why = format!("the program {name} is not in {}", folders.join(", "));
            Error::new(Kind::Missing, why)
        })
    }

    fn start(&self, program: &Path, arguments: &[OsString]) -> std::io::Result<(Child, Output)> {
        let (reader, writer) = std::io::pipe()?;
        let path = std::env::join_paths(&self.folders).unwrap_or_default();
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        Ok((child, Output::of(reader)))
    }
}

/// Kills what did not end, and tells whether it went.
async fn end(mut running: Running, output: Output, what: &str, deadline: Duration) -> Error {
    running.kill();
    if timeout(REAP, running.wait()).await.is_ok() {
        let text = output.end().await;
        let why = format!("{what} did not end within {deadline:?} and was killed{text}");
        return Error::new(Kind::Deadline, why);
    }
    output.reader.abort();
    let state = running.child.as_ref().and_then(Child::id).and_then(state_of).unwrap_or('?');
    running.hangs();
    let why = format!("{what} hangs in the kernel (state {state}): killed after {deadline:?}");
    Error::new(Kind::Stuck, why)
}

/// A program under way, in a process group of its own. Whoever goes away without having waited for
/// its end leaves it killed, and its place taken until the kernel has let it go.
struct Running {
    child: Option<Child>,
    visit: Option<Visit>,
    stuck: Stuck,
}

impl Running {
    fn new(child: Child, visit: Visit, stuck: Stuck) -> Self {
        Self { child: Some(child), visit: Some(visit), stuck }
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let Some(child) = &mut self.child else {
            return Err(std::io::Error::other("it has been waited for"));
        };
        let ended = child.wait().await?;
        self.child = None;
        Ok(ended)
    }

    /// As long as it has not been waited for, its number is nobody else's.
    fn kill(&self) {
        let number = self.child.as_ref().and_then(Child::id);
        let number = number.and_then(|number| i32::try_from(number).ok());
        if let Some(group) = number.and_then(Pid::from_raw) {
            // It may just have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn hangs(&self) {
        if let Some(visit) = &self.visit {
            self.stuck.hangs(visit.id());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let (Some(mut child), Some(visit)) = (self.child.take(), self.visit.take()) else { return };
        let stuck = self.stuck.clone();
        // Without a runtime this process is at its end.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if timeout(REAP, child.wait()).await.is_err() {
                stuck.hangs(visit.id());
                let _ = child.wait().await;
            }
            drop(visit);
        });
    }
}

/// The letter in `/proc/N/stat`, behind the name in parentheses (proc_pid_stat(5)).
fn state_of(number: u32) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

/// The last bytes that a program printed, on whichever of its two outputs.
struct Output {
    tail: Arc<Mutex<VecDeque<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn of(mut from: pipe::Receiver) -> Self {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&tail);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                keep(&mut locked(&kept), &buffer[..length]);
            }
        });
        Self { tail, reader }
    }

    /// `: ` and its lines, or nothing.
    async fn end(mut self) -> String {
        if timeout(DRAIN, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        let bytes: Vec<u8> = locked(&self.tail).iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
    }
}

fn locked(tail: &Mutex<VecDeque<u8>>) -> MutexGuard<'_, VecDeque<u8>> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(tail: &mut VecDeque<u8>, bytes: &[u8]) {
    tail.extend(bytes);
    let surplus = tail.len().saturating_sub(OUTPUT_BYTES_MAX);
    tail.drain(..surplus);
}

#[cfg(test)]
mod test {
    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn shell(script: &str, deadline: Duration) -> Result<String, Error> {
        let arguments = ["-c".into(), script.into()];
        Programs::on(Stuck::default()).run(Path::new("/dev/test"), "sh", &arguments, deadline).await
    }

    #[tokio::test]
    async fn a_failure_names_program_place_status_and_what_was_said_on_both_outputs() {
        let failed = shell("echo one; echo two >&2; exit 3", LONG).await.unwrap_err();
        assert_eq!(failed.kind, Kind::Failed);
        assert_eq!(failed.what, "sh of /dev/test failed (exit status: 3): one; two");
    }

    #[tokio::test]
    async fn only_the_end_of_a_long_output_is_kept() {
        let long = shell("yes word | head -c 1000000; echo last; exit 1", LONG).await.unwrap_err();
        assert!(long.what.len() < OUTPUT_BYTES_MAX * 2, "{}", long.what.len());
        assert!(long.what.ends_with("; last"), "{long}");
    }

    #[tokio::test]
    async fn a_program_gets_neither_input_nor_environment() {
        let said = shell("read line || echo no input; echo home=$HOME", LONG).await.unwrap();
        assert_eq!(said, ": no input; home=");
    }

    #[tokio::test]
    async fn a_program_that_is_not_installed_is_missing() {
        let missing =
            Programs::on(Stuck::default()).run(Path::new("/dev/x"), "mkfs.none", &[], LONG).await;
        let missing = missing.unwrap_err();
        assert_eq!(missing.kind, Kind::Missing);
        assert!(missing.what.contains("mkfs.none is not in /usr/sbin, /sbin"), "{missing}");
    }

    #[tokio::test]
    async fn at_the_deadline_a_program_that_ignores_signals_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        // The child is the one that would go on: it must have gone, too.
        let script = format!(
            "trap '' TERM INT HUP; echo begun; sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait",
            pid.display()
        );
        let begun = Instant::now();
        let killed = shell(&script, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(killed.kind, Kind::Deadline);
        assert!(killed.what.contains("within 1s and was killed: begun"), "{killed}");
        assert!(begun.elapsed() < LONG);
        let child: u32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let gone = async {
            // Whoever adopted it may be slow to reap it.
            while !matches!(state_of(child), None | Some('Z' | 'X')) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, gone).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_is_killed_when_nobody_waits_for_it_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("echo $$ >{0}.new; mv {0}.new {0}; sleep 1000", pid.display());
        let asked = tokio::spawn(async move { shell(&script, LONG).await });
        let number = async {
            while !pid.exists() {
                tokio::task::yield_now().await;
            }
            fs::read_to_string(&pid).unwrap().trim().parse::<u32>().unwrap()
        };
        let number = timeout(LONG, number).await.unwrap();
        asked.abort();
        let gone = async {
            while !matches!(state_of(number), None | Some('Z' | 'X')) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, gone).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_does_not_hold_up_its_answer() {
        let begun = Instant::now();
        let said = shell("echo done; sleep 20 &", LONG).await.unwrap();
        assert_eq!(said, ": done");
        assert!(begun.elapsed() < Duration::from_secs(15));
    }
}
