//! An opt-in double of the external-attacher sidecar.
//!
//! It owns the finalizer and the status of the VolumeAttachments of one driver, and asks a
//! [`Sidecar`], which a story implements with the driver's real RPCs, to publish and unpublish.
//! States of an attachment: new (gets the finalizer, then publish until it succeeds), attached,
//! deleted (unpublish until it succeeds, then the finalizer goes). It writes straight into the
//! store, so its writes are neither counted nor subject to faults.
//!
//! It deliberately does not make or delete attachments (the attach/detach controller's work), and
//! it does not reconcile against ListVolumes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::ApiServer;
use super::clock::rfc3339;
use super::core::finalizers;
use super::failure::Failure;
use super::world::attacher_finalizer;

/// How many attachments are worked on at a time, as the real one's `--worker-threads`.
const WORKERS: usize = 10;

/// First and longest wait after a failed call, as the real one's `--retry-interval-*`.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(300);

const RESOURCE: &str = "volumeattachments";

/// What the attacher calls: the driver, by whatever way the story has to it.
#[async_trait]
pub trait Sidecar: Send + Sync + 'static {
    /// ControllerPublishVolume for this VolumeAttachment; answers with the publish context.
    async fn publish(&self, attachment: &Value) -> Result<BTreeMap<String, String>, String>;

    /// ControllerUnpublishVolume for this VolumeAttachment.
    async fn unpublish(&self, attachment: &Value) -> Result<(), String>;
}

/// A running attacher; dropping it stops it, calls in flight included.
#[derive(Debug)]
pub struct Attacher {
    _task: JoinSet<()>,
}

impl Attacher {
    /// Starts one for a driver; it begins with the attachments that are there.
    ///
    /// # Errors
    ///
    /// What following the store says; nothing today.
    pub fn start(
        server: &ApiServer,
        driver: &str,
        sidecar: Arc<dyn Sidecar>,
    ) -> Result<Self, Failure> {
        let mut changes = server.subscribe(RESOURCE)?;
        let worker = Worker {
            server: server.clone(),
            driver: driver.to_owned(),
            finalizer: attacher_finalizer(driver),
            sidecar,
        };
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut running = JoinSet::new();
            let mut busy = BTreeSet::new();
            loop {
                tokio::select! {
                    biased;
                    Some(done) = running.join_next(), if !running.is_empty() => {
                        // A panic in the sidecar was printed; its attachment stays as it is.
                        if let Ok(name) = done {
                            busy.remove(&name);
                            worker.spawn(&mut running, &mut busy, name);
                        }
                    }
                    change = changes.next(), if busy.len() < WORKERS => {
                        let Ok(change) = change else { break };
                        if let Some(name) = change.object["metadata"]["name"].as_str() {
                            worker.spawn(&mut running, &mut busy, name.to_owned());
                        }
                    }
                }
            }
        });
        Ok(Self { _task: task })
    }
}

#[derive(Clone)]
struct Worker {
    server: ApiServer,
    driver: String,
    finalizer: String,
    sidecar: Arc<dyn Sidecar>,
}

impl Worker {
    /// Starts work on an attachment that has any, unless it is being worked on: whoever does looks
    /// again when it ends.
    fn spawn(&self, running: &mut JoinSet<String>, busy: &mut BTreeSet<String>, name: String) {
        if self.due(&name).is_none() || !busy.insert(name.clone()) {
            return;
        }
        let worker = self.clone();
        running.spawn(async move {
            worker.work(&name).await;
            name
        });
    }

    /// The attachment when it has work due, and whether that is its unpublishing.
    fn due(&self, name: &str) -> Option<(bool, Value)> {
        let attachment = self.server.get(RESOURCE, name)?;
        if attachment["spec"]["attacher"] != self.driver.as_str() {
            return None;
        }
        let deleted = !attachment["metadata"]["deletionTimestamp"].is_null();
        let ours = finalizers(&attachment).contains(&self.finalizer.as_str());
        let due = match deleted {
            true => ours,
            false => attachment["status"]["attached"] != true,
        };
        due.then_some((deleted, attachment))
    }

    /// One attachment until nothing is due. A deletion does not interrupt a publish; what is due is
    /// judged again after every call.
    async fn work(&self, name: &str) {
        let mut pause = RETRY_FIRST;
        while let Some((deleted, attachment)) = self.due(name) {
            let done = match deleted {
                true => self.unpublish(name, &attachment).await,
                false => self.publish(name, &attachment).await,
            };
            if !done {
                self.pause(name, pause, deleted).await;
                pause = (pause * 2).min(RETRY_LONGEST);
            }
        }
    }

    /// Waits before the next call; a deletion cuts the wait for the next publish short.
    async fn pause(&self, name: &str, time: Duration, deleted: bool) {
        let marked = |va: &Value| !va["metadata"]["deletionTimestamp"].is_null();
        tokio::select! {
            biased;
            () = tokio::time::sleep(time) => {}
            _ = self.server.wait_for(RESOURCE, name, marked), if !deleted => {}
        }
    }

    async fn publish(&self, name: &str, attachment: &Value) -> bool {
        let mut held: Vec<&str> = finalizers(attachment);
        if !held.contains(&self.finalizer.as_str()) {
            held.push(&self.finalizer);
            self.edit(name, |object| object["metadata"]["finalizers"] = json!(held));
        }
        let called = self.sidecar.publish(attachment).await;
        self.edit(name, |object| match &called {
            Ok(context) => {
                object["status"] = json!({"attached": true, "attachmentMetadata": context});
            }
            Err(why) => object["status"]["attachError"] = self.error(why),
        });
        called.is_ok()
    }

    async fn unpublish(&self, name: &str, attachment: &Value) -> bool {
        let called = self.sidecar.unpublish(attachment).await;
        self.edit(name, |object| match &called {
            Ok(()) => {
                object["status"] = json!({"attached": false});
                let kept: Vec<&str> =
                    finalizers(object).into_iter().filter(|f| *f != self.finalizer).collect();
                object["metadata"]["finalizers"] = json!(kept);
            }
            Err(why) => object["status"]["detachError"] = self.error(why),
        });
        called.is_ok()
    }

    fn error(&self, why: &str) -> Value {
        json!({"message": why, "time": rfc3339(self.server.now())})
    }

    fn edit(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        // Only an attachment that is gone refuses, and then there is nothing to note.
        let _ = self.server.modify(RESOURCE, name, edit);
    }
}
