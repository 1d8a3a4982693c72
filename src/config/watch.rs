//! Follows the configuration file: live keys take effect without a restart.
//!
//! ```text
//! change in the directory ─┐                     ┌─ unchanged, or refused before ─▶ nothing
//!                          ├▶ settle ▶ read ▶ examine ─ accepted ─▶ publish live keys, log the rest
//! slow timer ──────────────┘                     └─ refused ─▶ one log line, old values stay
//! ```
//!
//! A ConfigMap swaps the link `..data` and never touches the file, so the directory is watched and
//! the content compared. inotify loses events (queue overflow, a directory made anew), so a timer
//! looks, too. [`Reloader`] decides and does no I/O; [`follow`] waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use slog::{Logger, error, info, o, warn};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::live::{self, Diff};
use super::{Config, ConfigError, Sources};
use crate::logging::Chain;

/// Quiet time after a change before the file is read: an editor writes in several steps.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest wait for that quiet: a directory that always changes must not starve us.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// Time between two looks when nothing is heard.
const RECHECK: Duration = Duration::from_secs(30);

/// What became of a look at the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing new: the same content as before, or another content with the same meaning.
    Unchanged,
    /// A valid new configuration, or, after one that was refused, the old one again.
    Accepted {
        /// The running configuration with the live changes.
        config: Arc<Config>,
        /// What changed, and what waits for a restart.
        diff: Diff,
    },
    /// An invalid one, or none. The old values stay. Said once for the same content.
    Refused {
        /// Why, in words for a person.
        reason: String,
    },
}

/// Compares what is in the file with what is running.
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    running: Arc<Config>,
    /// What was examined last: the text, or why there was none.
    seen: Option<Result<Option<String>, String>>,
    /// Was it refused?
    refused: bool,
}

impl Reloader {
    /// `sources` as they were loaded into `running`.
    pub fn new(sources: Sources, running: Arc<Config>) -> Self {
        Self { sources, running, seen: None, refused: false }
    }

    /// Looks at what was read from the file.
    pub fn examine(&mut self, read: Result<Option<String>, ConfigError>) -> Outcome {
        let read = read.map_err(|error| Chain(&error).to_string());
        if self.seen.as_ref() == Some(&read) {
            return Outcome::Unchanged;
        }
        self.seen = Some(read.clone());
        let merged = read.and_then(|text| self.merge(text.as_deref()));
        let was_refused = std::mem::replace(&mut self.refused, merged.is_err());
        match merged {
            Err(reason) => Outcome::Refused { reason },
            Ok((_, diff)) if diff.is_empty() && !was_refused => Outcome::Unchanged,
            Ok((config, diff)) => {
                self.running = Arc::new(config);
                Outcome::Accepted { config: Arc::clone(&self.running), diff }
            }
        }
    }

    /// The running configuration with the live changes that `text` brings.
    fn merge(&self, text: Option<&str>) -> Result<(Config, Diff), String> {
        let shown = |error: ConfigError| Chain(&error).to_string();
        let unclear = |error: serde_json::Error| Chain(&error).to_string();
        let new = Config::parse(&self.sources, text).map_err(shown)?;
        let diff = live::live_changes(&self.running, &new).map_err(unclear)?;
        let merged = live::apply(&self.running, &diff).map_err(unclear)?;
        // New live values may contradict old ones that wait for a restart.
        let findings = merged.check().findings();
        if let Some(finding) = findings.first() {
            let key = &finding.key;
            return Err(format!("{key}, as it is until a restart: {}", finding.what));
        }
        Ok((merged, diff))
    }
}

/// Publishes the configuration as it changes. The future ends when `shutdown` is cancelled;
/// `outcome` is called for everything but [`Outcome::Unchanged`] and must not block.
pub fn follow<F: FnMut(&Outcome) + Send + 'static>(
    sources: Sources,
    running: Arc<Config>,
    log: &Logger,
    mut outcome: F,
    shutdown: CancellationToken,
) -> (watch::Receiver<Arc<Config>>, impl Future<Output = ()> + Send + use<F>) {
    let log = log.new(o!("component" => "config"));
    let (publish, config) = watch::channel(Arc::clone(&running));
    let follow = async move {
        let Some(path) = sources.file.clone() else {
            return shutdown.cancelled().await;
        };
        let mut reloader = Reloader::new(sources.clone(), running);
        let work = async {
            // Heard from the first look on: a change between the load and now is not missed.
            let mut changes = Changes::of(&path, &log);
            loop {
                let result = reloader.examine(read(&sources).await);
                if let Outcome::Accepted { config, diff } = &result
                    && !diff.live.is_empty()
                {
                    publish.send_replace(Arc::clone(config));
                }
                if result != Outcome::Unchanged {
                    outcome(&result);
                }
                // Said last: whoever reads it finds it done.
                say(&log, &path, &result);
                changes.next(&path, &log).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    };
    (config, follow)
}

async fn read(sources: &Sources) -> Result<Option<String>, ConfigError> {
    let sources = sources.clone();
    let path = sources.file.clone().unwrap_or_default();
    let read = tokio::task::spawn_blocking(move || sources.read()).await;
    read.unwrap_or_else(|error| {
        Err(ConfigError::File { path, source: std::io::Error::other(error) })
    })
}

fn say(log: &Logger, path: &Path, outcome: &Outcome) {
    match outcome {
        Outcome::Unchanged => {}
        Outcome::Accepted { diff, .. } => {
            if diff.is_empty() {
                info!(log, "configuration is valid again, nothing has changed");
            }
            for change in &diff.live {
                info!(log, "configuration changed";
                    "key" => &change.key, "from" => %change.from, "to" => %change.to);
            }
            for change in &diff.restart {
                warn!(log, "configuration change takes effect after a restart";
                    "key" => &change.key);
            }
        }
        Outcome::Refused { reason } => {
            error!(log, "new configuration refused, the old values stay";
                "file" => %path.display(), "error" => reason);
        }
    }
}

/// Changes in the directory of the file.
struct Changes {
    heard: mpsc::Receiver<()>,
    /// Held for its `Drop`; `None` where the directory cannot be watched (yet).
    watcher: Option<RecommendedWatcher>,
    wake: mpsc::Sender<()>,
}

impl Changes {
    fn of(path: &Path, log: &Logger) -> Self {
        // One place: any number of changes before we look are one reason to look.
        let (wake, heard) = mpsc::channel(1);
        let watcher = listen(path, wake.clone());
        if let Err(error) = &watcher {
            warn!(log, "configuration directory cannot be watched, looking at it by timer only";
                "file" => %path.display(), "error" => %Chain(error));
        }
        Self { heard, watcher: watcher.ok(), wake }
    }

    /// Waits for a change, and for the quiet after it; at most for [`RECHECK`].
    async fn next(&mut self, path: &Path, log: &Logger) {
        if timeout(RECHECK, self.heard.recv()).await.is_err() {
            if self.watcher.is_none() {
                self.watcher = listen(path, self.wake.clone()).ok();
                if self.watcher.is_some() {
                    info!(log, "configuration directory is watched"; "file" => %path.display());
                }
            }
            return;
        }
        let latest = Instant::now() + SETTLE_MAX;
        while Instant::now() < latest && timeout(SETTLE, self.heard.recv()).await.is_ok() {}
    }
}

fn listen(path: &Path, wake: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is an access, too. An error may hide a change.
        if event.map_or(true, |event| !event.kind.is_access()) {
            let _ = wake.try_send(()); // full: already awake
        }
    })?;
    watcher.watch(&directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
