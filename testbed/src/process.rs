//! A process that we started: its log, its signals, its end.
//!
//! It ends with the thread that started it, whatever becomes of that thread: setpriv asks the kernel
//! for a SIGKILL then (`prctl(2)`, `PR_SET_PDEATHSIG`). Dropping it kills it, too.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Trouble;

/// How much of a log a failure shows.
const TAIL: usize = 2000;

/// A running process, or one that has ended.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with these arguments; what it says is appended to `<logs>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        name: &str,
        logs: &Path,
        program: &Path,
        arguments: &[String],
    ) -> Result<Self, Trouble> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        Self::spawn(name, logs, command)
    }

    /// Starts a command that was prepared elsewhere.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(name: &str, logs: &Path, mut command: Command) -> Result<Self, Trouble> {
        let log = logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its id; `None` once it has ended and that was noticed.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When it does not: its exit status, and the end of its log.
    pub fn check(&mut self) -> Result<(), Trouble> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    fn ended(&self, status: ExitStatus) -> Trouble {
        let said = tail(&self.log);
        format!("{} has ended: {status}; {} ends with\n{said}", self.name, self.log.display())
            .into()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Trouble> {
        let id = self.id().ok_or_else(|| format!("{} has ended", self.name))?;
        send(id, signal)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system does not say how it ended.
    pub async fn wait(&mut self) -> Result<ExitStatus, Trouble> {
        Ok(self.child.wait().await?)
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(&mut self) -> Result<(), Trouble> {
        if self.id().is_some() {
            self.child.start_kill()?;
        }
        self.child.wait().await?;
        Ok(())
    }

    /// SIGTERM, and SIGKILL where it does not end in time.
    ///
    /// # Errors
    /// When it does not end even then.
    pub async fn stop(&mut self, within: Duration) -> Result<(), Trouble> {
        if self.id().is_some() {
            self.signal(Signal::TERM)?;
            if timeout(within, self.child.wait()).await.is_ok() {
                return Ok(());
            }
        }
        self.kill().await
    }
}

/// Sends a signal to a process that we started and that has not been waited for.
///
/// # Errors
/// When there is no such process.
pub fn send(id: u32, signal: Signal) -> Result<(), Trouble> {
    let id = i32::try_from(id)?;
    let id = Pid::from_raw(id).ok_or("no process has the id 0")?;
    kill_process(id, signal).map_err(|error| format!("process {id:?}: {error}").into())
}

/// The end of every process's log in a folder, each under its name.
pub fn tails(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_log = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "log") && !path.ends_with("audit.log")
    };
    let mut logs: Vec<PathBuf> = all.map(|entry| entry.path()).filter(is_log).collect();
    logs.sort();
    logs.iter().map(|log| format!("--- {} ends with\n{}", log.display(), tail(log))).collect()
}

/// The end of a log.
pub fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let from = text.char_indices().rev().nth(TAIL).map_or(0, |(at, _)| at);
    text.get(from..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod test {
    use super::*;

    fn logs(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rds-csi-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn runs(id: u32) -> bool {
        let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::test_kill_process(id).is_ok()
    }

    #[tokio::test]
    async fn a_process_that_has_ended_is_reported_with_the_end_of_its_log() {
        let folder = logs("ended");
        let arguments = ["-c".to_owned(), "echo no room left; exit 3".to_owned()];
        let mut process = Process::start("p", &folder, Path::new("/bin/sh"), &arguments).unwrap();
        process.wait().await.unwrap();
        let error = process.check().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no room left"), "{error}");
        std::fs::write(folder.join("audit.log"), "{}").unwrap();
        let [only] = &tails(&folder)[..] else { panic!("one log") };
        assert!(only.contains("p.log ends with\nno room left"), "{only}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed_after_the_grace() {
        let folder = logs("grace");
        let arguments = ["-c".to_owned(), "trap '' TERM; echo deaf; sleep 5 & wait".to_owned()];
        let mut process = Process::start("p", &folder, Path::new("/bin/sh"), &arguments).unwrap();
        let id = process.id().unwrap();
        crate::wait::until("it is deaf", Duration::from_secs(10), async || {
            let said = tail(&folder.join("p.log"));
            if said.contains("deaf") { Ok(()) } else { Err(said) }
        })
        .await
        .unwrap();
        process.stop(Duration::from_millis(100)).await.unwrap();
        assert!(!runs(id));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_process_ends_with_the_thread_that_started_it() {
        let folder = logs("thread");
        let inside = folder.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let arguments = ["60".to_owned()];
                let process =
                    Process::start("p", &inside, Path::new("/bin/sleep"), &arguments).unwrap();
                let id = process.id().unwrap();
                sees(id, "(sleep)").await;
                // As where a test is killed: nothing is dropped.
                std::mem::forget(process);
                id
            })
        });
        let id = thread.join().unwrap();
        // Nobody waits for it any more, so it may stay as a zombie.
        sees(id, ") Z ").await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    async fn sees(id: u32, wanted: &str) {
        crate::wait::until(wanted, Duration::from_secs(10), async || {
            let state = std::fs::read_to_string(format!("/proc/{id}/stat"));
            let state = state.unwrap_or_else(|_| "gone () Z ".into());
            if state.contains(wanted) { Ok(()) } else { Err(state) }
        })
        .await
        .unwrap();
    }
}
