//! One open watch: lines of JSON from the history, bookmarks, and the reasons to end.
//!
//! A watch remembers only the revision up to which it has told everything and reads the rest from
//! the history when its client takes more; so a slow client costs nothing, until it is so slow that
//! the history has moved on, which ends the watch with 410 as on a real server.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::Stream;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ApiServer;
use super::core::{Page, Scope};
use super::failure::Failure;
use super::faults::Fault;
use super::route::{Call, WatchOptions};
use super::service::BrokenConnection;
use super::ticks::Waiting;

/// A watch without `timeoutSeconds` ends after this; real servers take 30 to 60 minutes.
const LONGEST: Duration = Duration::from_secs(30 * 60);

pub(super) struct Watching {
    server: ApiServer,
    scope: Scope,
    options: WatchOptions,
    call: Call,
    position: u64,
    pending: VecDeque<Bytes>,
    ticks: Waiting,
    epoch: u64,
    deadline: Instant,
    bookmark_at: Instant,
    end: Option<End>,
}

enum End {
    Clean,
    Broken,
}

impl Watching {
    /// Opens a watch.
    pub(super) fn open(
        server: ApiServer,
        scope: Scope,
        options: WatchOptions,
    ) -> Result<Self, Failure> {
        let timeout = options.timeout.map_or(LONGEST, Duration::from_secs).min(LONGEST);
        let mut watching = Self {
            ticks: server.inner.ticks.subscribe(),
            epoch: server.inner.epoch.load(Ordering::Relaxed),
            deadline: Instant::now() + timeout,
            bookmark_at: Instant::now() + server.inner.options.bookmark_every,
            call: Call::Watch(scope.clone(), options.clone()),
            position: options.from.unwrap_or_default(),
            pending: VecDeque::new(),
            end: None,
            server,
            scope,
            options,
        };
        if watching.options.from.is_none() {
            watching.send_initial()?;
        }
        Ok(watching)
    }

    fn send_initial(&mut self) -> Result<(), Failure> {
        let listed = self.server.core().list(&self.scope, &Page::default())?;
        self.position = listed.revision;
        self.pending.extend(listed.items.iter().map(|object| line("ADDED", object)));
        if self.options.marks_initial_end {
            let mut bookmark = self.bookmark();
            bookmark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            self.pending.push_back(line("BOOKMARK", &bookmark));
        }
        Ok(())
    }

    /// The body of the answer.
    pub(super) fn into_stream(
        self,
    ) -> impl Stream<Item = Result<Bytes, BrokenConnection>> + Send + 'static {
        futures::stream::unfold(self, |mut watching| async move {
            watching.next().await.map(|line| (line, watching))
        })
    }

    async fn next(&mut self) -> Option<Result<Bytes, BrokenConnection>> {
        loop {
            self.ticks.mark_unchanged();
            let silent = self.look();
            if !silent && let Some(line) = self.pending.pop_front() {
                return Some(Ok(line));
            }
            match self.end {
                Some(End::Clean) => return None,
                Some(End::Broken) => {
                    self.end = Some(End::Clean);
                    return Some(Err(BrokenConnection));
                }
                _ => self.wait(silent).await,
            }
        }
    }

    /// Takes in what is new; whether the network swallows it for now.
    fn look(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        match self.server.faults().on_open_watch(&self.call) {
            Some(Fault::Refuse) => {
                self.pending.clear();
                self.end = Some(End::Broken);
                return false;
            }
            Some(_) => return true,
            None => {}
        }
        let (changes, revision) = {
            let core = self.server.core();
            (core.changes_since(self.position, &self.scope), core.revision())
        };
        match changes {
            Ok(changes) => {
                self.position = self.position.max(revision);
                let lines = changes.iter().map(|change| line(change.kind.as_str(), &change.object));
                self.pending.extend(lines);
            }
            Err(failure) => {
                self.pending.push_back(line("ERROR", &failure.body()));
                self.end = Some(End::Clean);
            }
        }
        if self.server.inner.epoch.load(Ordering::Relaxed) != self.epoch {
            self.end = Some(End::Clean);
        }
        false
    }

    /// Waits for a reason to look again. A silent watch has no bookmarks and no end: the client
    /// must notice by itself.
    async fn wait(&mut self, silent: bool) {
        let bookmarks = self.options.bookmarks;
        tokio::select! {
            biased;
            // The sender lives as long as the server this holds.
            () = self.ticks.changed() => {}
            () = tokio::time::sleep_until(self.deadline), if !silent => {
                if bookmarks {
                    self.pending.push_back(line("BOOKMARK", &self.bookmark()));
                }
                self.end = Some(End::Clean);
            }
            () = tokio::time::sleep_until(self.bookmark_at), if bookmarks && !silent => {
                self.pending.push_back(line("BOOKMARK", &self.bookmark()));
                self.bookmark_at = Instant::now() + self.server.inner.options.bookmark_every;
            }
        }
    }

    fn bookmark(&self) -> Value {
        let resource = self.scope.resource;
        json!({
            "kind": resource.kind, "apiVersion": resource.api_version(),
            "metadata": {
                "resourceVersion": self.position.to_string(), "creationTimestamp": null,
            },
        })
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut text = json!({"type": kind, "object": object}).to_string();
    text.push('\n');
    Bytes::from(text)
}
