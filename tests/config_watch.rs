//! Following the file: as kubelet lays out a ConfigMap, as an editor saves, as it breaks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rds_csi::config::watch::{Outcome, Reloader, follow};
use rds_csi::config::{Config, Sources};
use slog::{Discard, Logger, o};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Far below the slow timer, so that what arrives in time was heard and not found by it.
const SOON: Duration = Duration::from_secs(10);

fn text(more: &str) -> String {
    format!(
        "{more}\n[backends.main]\naddress = \"10.0.0.1\"\nuser = \"rds-csi\"\nkey_path = \"/key\"\n\
         host_key = \"SHA256:x\"\nvolume_paths = \"pool/volumes\"\n"
    )
}

fn interval(value: &str) -> String {
    text(&format!("[reconcile]\ninterval = \"{value}\""))
}

/// A directory as kubelet lays out a ConfigMap: `rds.toml` → `..data/rds.toml`, `..data` → a
/// directory of its own for each version.
struct ConfigMap {
    directory: tempfile::TempDir,
    version: u32,
}

impl ConfigMap {
    fn new(content: &str) -> Self {
        let mut map = Self { directory: tempfile::tempdir().unwrap(), version: 0 };
        map.swap(content);
        symlink("..data/rds.toml", map.file()).unwrap();
        map
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("rds.toml")
    }

    /// Makes a new version and swaps the link over, in one rename.
    fn swap(&mut self, content: &str) {
        let before = format!("..version_{}", self.version);
        self.version += 1;
        let version = format!("..version_{}", self.version);
        let root = self.directory.path();
        fs::create_dir(root.join(&version)).unwrap();
        fs::write(root.join(&version).join("rds.toml"), content).unwrap();
        symlink(&version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        let _ = fs::remove_dir_all(root.join(before));
    }
}

struct Followed {
    config: watch::Receiver<Arc<Config>>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Followed {
    /// Loads the file and follows it.
    fn start(file: &Path) -> Self {
        let sources = Sources { file: Some(file.to_owned()), ..Sources::default() };
        let running = Arc::new(Config::load(&sources).unwrap());
        Self::with(sources, running)
    }

    fn with(sources: Sources, running: Arc<Config>) -> Self {
        let (tell, outcomes) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let log = Logger::root(Discard, o!());
        let outcome = move |outcome: &Outcome| drop(tell.send(outcome.clone()));
        let (config, future) = follow(sources, running, &log, outcome, shutdown.clone());
        Self { config, outcomes, shutdown, task: tokio::spawn(future) }
    }

    async fn outcome(&mut self) -> Outcome {
        tokio::time::timeout(SOON, self.outcomes.recv()).await.unwrap().unwrap()
    }

    async fn refusal(&mut self) -> String {
        match self.outcome().await {
            Outcome::Refused { reason } => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn interval(&self) -> u64 {
        self.config.borrow().reconcile.interval.as_secs()
    }

    /// Ends the task; nothing further was said.
    async fn end(mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.task).await.unwrap().unwrap();
        assert_eq!(self.outcomes.recv().await, None);
    }
}

#[tokio::test]
async fn a_swapped_config_map_is_applied_and_a_bad_one_refused_once() {
    let mut map = ConfigMap::new(&interval("1m"));
    let mut followed = Followed::start(&map.file());
    assert_eq!(followed.interval(), 60);

    map.swap(&interval("2m"));
    assert!(matches!(followed.outcome().await, Outcome::Accepted { .. }));
    assert_eq!(followed.interval(), 120);

    map.swap(&interval("2"));
    let reason = followed.refusal().await;
    assert!(reason.contains("reconcile.interval = \"2\""), "{reason}");
    assert_eq!(followed.interval(), 120);

    // The same content under a new link says nothing; the valid one after it is the next outcome.
    map.swap(&interval("2"));
    map.swap(&interval("3m"));
    assert!(matches!(followed.outcome().await, Outcome::Accepted { .. }));
    assert_eq!(followed.interval(), 180);
    followed.end().await;
}

#[tokio::test]
async fn a_file_saved_in_place_or_renamed_over_is_applied() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rds.toml");
    fs::write(&file, interval("1m")).unwrap();
    let mut followed = Followed::start(&file);

    fs::write(&file, interval("2m")).unwrap();
    assert!(matches!(followed.outcome().await, Outcome::Accepted { .. }));
    assert_eq!(followed.interval(), 120);

    fs::write(directory.path().join("new"), interval("3m")).unwrap();
    fs::rename(directory.path().join("new"), &file).unwrap();
    assert!(matches!(followed.outcome().await, Outcome::Accepted { .. }));
    assert_eq!(followed.interval(), 180);

    fs::remove_file(&file).unwrap();
    let reason = followed.refusal().await;
    assert!(reason.contains("cannot read the configuration file"), "{reason}");
    assert_eq!(followed.interval(), 180);
    followed.end().await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_not_applied() {
    let mut map = ConfigMap::new(&interval("1m"));
    let mut followed = Followed::start(&map.file());
    map.swap(&interval("1m").replace("10.0.0.1", "10.0.0.2"));
    let Outcome::Accepted { diff, .. } = followed.outcome().await else { panic!("refused") };
    let keys: Vec<_> = diff.restart.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["backends.main.address", "backends.main.nvme_address"]);
    assert!(diff.live.is_empty());
    assert!(!followed.config.has_changed().unwrap());
    let backend = followed.config.borrow().default_backend.clone();
    assert_eq!(followed.config.borrow().backends[&backend].address.host(), "10.0.0.1");
    followed.end().await;
}

#[tokio::test]
async fn a_change_between_the_load_and_the_start_is_found() {
    let mut map = ConfigMap::new(&interval("1m"));
    let sources = Sources { file: Some(map.file()), ..Sources::default() };
    let running = Arc::new(Config::load(&sources).unwrap());
    map.swap(&interval("2m"));
    let mut followed = Followed::with(sources, running);
    assert!(matches!(followed.outcome().await, Outcome::Accepted { .. }));
    assert_eq!(followed.interval(), 120);
    followed.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_timer_finds_what_was_not_heard() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("mounted-later");
    let file = directory.join("rds.toml");
    let running = Config::parse(&Sources::default(), Some(&interval("1m"))).unwrap();
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let mut followed = Followed::with(sources, Arc::new(running));
    // The directory is not there, so it cannot be watched.
    assert!(matches!(followed.outcomes.recv().await, Some(Outcome::Refused { .. })));
    fs::create_dir(&directory).unwrap();
    fs::write(&file, interval("2m")).unwrap();
    let found = tokio::time::timeout(Duration::from_secs(60), followed.outcomes.recv()).await;
    assert!(matches!(found, Ok(Some(Outcome::Accepted { .. }))), "{found:?}");
    assert_eq!(followed.interval(), 120);
    followed.end().await;
}

#[tokio::test]
async fn without_a_file_nothing_is_followed() {
    let running = Config::parse(&Sources::default(), Some(&interval("1m"))).unwrap();
    let followed = Followed::with(Sources::default(), Arc::new(running));
    assert_eq!(followed.interval(), 60);
    followed.end().await;
}

#[test]
fn the_same_content_is_refused_once_and_a_comment_changes_nothing() {
    let backoff = |min: &str, max: &str| {
        text(&format!("[backend_defaults]\nbackoff_min = \"{min}\"\nbackoff_max = \"{max}\""))
    };
    let parse = |text: &str| Arc::new(Config::parse(&Sources::default(), Some(text)).unwrap());
    let mut reloader = Reloader::new(Sources::default(), parse(&backoff("1s", "16s")));
    let refused = reloader.examine(Ok(Some(backoff("20s", "16s"))));
    assert!(matches!(refused, Outcome::Refused { .. }), "{refused:?}");
    assert_eq!(reloader.examine(Ok(Some(backoff("20s", "16s")))), Outcome::Unchanged);
    let accepted = reloader.examine(Ok(Some(backoff("20s", "30s"))));
    assert!(matches!(accepted, Outcome::Accepted { .. }), "{accepted:?}");
    // Back to what runs: nothing to say.
    assert_eq!(
        reloader.examine(Ok(Some(backoff("20s", "30s") + "# a comment\n"))),
        Outcome::Unchanged
    );
}
