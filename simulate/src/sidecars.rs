//! The external-provisioner, -attacher and -resizer: they ask, wait only so long, and ask again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rds_csi::actors::probe::ProbeHandle;
use rds_csi::grpc::runs::Runs;
use rds_csi::operations::{CreateVolume, Error, Expand, Operations, Publish};
use rds_csi::volume::capability::{AccessMode, Capability, Medium};
use rds_csi::volume::{BackendName, NodeName, Slot, VolumeId, VolumePath};
use rds_sim::apiserver::attacher::Sidecar;
use rds_sim::apiserver::{ApiServer, world as objects};
use rds_sim::routeros::RouterOs;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::bug::Bug;
use crate::controller::{Controller, DRIVER, IMAGES};
use crate::dice::Dice;
use crate::gate::Gate;
use crate::ledger::{Given, Known, Ledger, Stage};
use crate::trace::Trace;

/// The volumes' resource.
pub const VOLUMES: &str = "persistentvolumes";
/// The attachments' resource.
pub const ATTACHMENTS: &str = "volumeattachments";

/// How the sidecars reach the controller that lives now.
#[derive(Clone)]
pub struct Seat {
    /// Its operations.
    pub operations: Operations,
    /// How they are run.
    pub runs: Runs,
    /// Its readiness.
    pub probe: ProbeHandle,
    /// Its life.
    pub gate: Arc<Gate>,
}

impl Seat {
    /// The way to this controller.
    pub fn of(controller: &Controller) -> Self {
        Self {
            operations: controller.operations.clone(),
            runs: controller.runs.clone(),
            probe: controller.probe.clone(),
            gate: Arc::clone(&controller.gate),
        }
    }
}

/// All sidecars.
pub struct Sidecars {
    /// The controller that lives now.
    pub seat: Mutex<Option<Seat>>,
    /// Where objects lie.
    pub api: ApiServer,
    /// Where images lie.
    pub rds: RouterOs,
    /// What was promised.
    pub ledger: Arc<Ledger>,
    /// Notes answers.
    pub trace: Arc<Trace>,
    /// How long callers wait.
    pub dice: Dice,
    /// A bug on purpose.
    pub bug: Option<Bug>,
}

type Answer<T> = Result<T, String>;

impl Sidecars {
    /// The controller that lives now.
    pub fn seat(&self) -> Option<Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another one, or none.
    pub fn sit(&self, seat: Option<Seat>) {
        *self.seat.lock().unwrap_or_else(PoisonError::into_inner) = seat;
    }

    /// One RPC, as the gRPC layer runs it.
    async fn call<T: Send + 'static>(
        &self,
        what: String,
        operation: impl FnOnce(Operations) -> BoxFuture<'static, Result<T, Error>>,
    ) -> Answer<T> {
        let Some(seat) = self.seat() else {
            return Err("no controller".into());
        };
        let patience = match self.dice.percent(10) {
            true => self.dice.millis(10, 15_000),
            false => Duration::from_secs(60),
        };
        self.trace.note(format_args!("rpc {what}"));
        let run = seat.runs.run(operation(seat.operations));
        let answer = tokio::select! {
            biased;
            () = seat.gate.died() => Err("the connection was lost".to_owned()),
            answer = timeout(patience, run) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(format!("{:?}: {error}", error.kind)),
                Err(_) => Err("the caller did not wait".into()),
            },
        };
        match &answer {
            Ok(_) => self.trace.note(format_args!("rpc {what}: OK")),
            Err(why) => self.trace.note(format_args!("rpc {what}: {why}")),
        }
        answer
    }

    /// Makes a volume and its PV; returns when both are there.
    pub async fn provision(&self, name: String, bytes: u64, multi: bool) {
        let Some(create) = wanted(&name, bytes, multi) else { return };
        let known = Known {
            stage: Stage::Making,
            multi,
            content: None,
            bytes,
            given: Vec::new(),
            written: 0,
        };
        self.ledger.all().insert(name.clone(), known);
        let mut pause = Pause::new(60);
        let made = loop {
            let create = create.clone();
            let what = format!("create {name}");
            let made = self.call(what, move |o| Box::pin(async move { o.create(create).await }));
            match made.await {
                Ok(made) => break made,
                Err(why) if why.contains("remove it with /file/remove") => {
                    // What the message asks a person to do.
                    self.trace.note(format_args!("a person removes the image of {name}"));
                    self.rds.exec(&format!("/file/remove {IMAGES}/{name}.img"));
                }
                Err(_) => pause.wait().await,
            }
        };
        let content = self.rds.content_of(&image(&name));
        let mut volume = objects::volume(&name, DRIVER)
            .size(&made.bytes.to_string())
            .bound_to("default", &name, None);
        for (key, value) in &made.context {
            volume = volume.attribute(key, value);
        }
        self.ledger.with(&name, |known| {
            (known.stage, known.content, known.bytes) = (Stage::There, content, made.bytes);
        });
        if let Err(failure) = self.api.create(volume.build()) {
            self.trace.violated(format!("the simulation cannot make a PV: {failure:?}"));
        }
    }

    /// Deletes a volume that is going, and its PV.
    pub async fn delete(&self, name: String) {
        let Some(id) = id(&name) else { return };
        let released =
            self.api.modify(VOLUMES, &name, |pv| pv["status"]["phase"] = "Released".into());
        let mut pause = Pause::new(60);
        while released.is_ok() {
            let id = id.clone();
            let what = format!("delete {name}");
            let done = self.call(what, move |o| Box::pin(async move { o.delete(id).await })).await;
            if done.is_ok() {
                break;
            }
            pause.wait().await;
        }
        // Finalizers of others have done their work by then.
        let _ = self.api.modify(VOLUMES, &name, |pv| pv["metadata"]["finalizers"] = json!([]));
        let _ = self.api.delete(VOLUMES, &name);
        self.ledger.with(&name, |known| known.stage = Stage::Gone);
        if self.rds.content_of(&image(&name)).is_some() {
            self.trace.violated(format!("{name} was deleted, and its image is there"));
        }
    }

    /// Grows a volume.
    pub async fn expand(&self, name: String, bytes: u64) {
        let Some(id) = id(&name) else { return };
        let mut pause = Pause::new(60);
        while self.ledger.at(Stage::There).contains(&name) {
            let expand = Expand { id: id.clone(), required: bytes, limit: None, capability: None };
            let what = format!("expand {name} to {bytes}");
            let done = self.call(what, move |o| Box::pin(async move { o.expand(expand).await }));
            if let Ok(expanded) = done.await {
                self.ledger.with(&name, |known| known.bytes = known.bytes.max(expanded.bytes));
                let quantity = expanded.bytes.to_string();
                let _ = self.api.modify(VOLUMES, &name, |pv| {
                    pv["spec"]["capacity"]["storage"] = quantity.into();
                });
                return;
            }
            pause.wait().await;
        }
    }

    /// What the external-attacher does every minute: whatever ListVolumes does not show as
    /// published is published once more.
    pub async fn resync(&self) {
        let listed = self.call("list".into(), |o| Box::pin(async move { o.list("", 0).await }));
        let Ok(page) = listed.await else { return };
        let published: BTreeSet<(String, String)> = page
            .volumes
            .iter()
            .flat_map(|v| v.published.iter().map(|n| (v.id.slot.to_string(), n.to_string())))
            .collect();
        for va in self.api.list(ATTACHMENTS) {
            let going = !va["metadata"]["deletionTimestamp"].is_null();
            let Some((volume, node)) = parties(&va) else { continue };
            let missing = !published.contains(&(volume, node));
            if missing && !going && va["status"]["attached"] == true {
                self.publish_again(&va).await;
            }
        }
    }

    /// Publishes for an attachment that is attached already, as the external-attacher may.
    pub async fn publish_again(&self, va: &Value) {
        let name = va["metadata"]["name"].as_str().unwrap_or_default();
        if let Ok(context) = Sidecar::publish(self, va).await {
            let _ = self.api.modify(ATTACHMENTS, name, |va| {
                if va["metadata"]["deletionTimestamp"].is_null() {
                    va["status"] = json!({"attached": true, "attachmentMetadata": context});
                }
            });
        }
    }

    /// Takes a volume from a node, or from all.
    pub async fn unpublish(&self, name: &str, node: Option<&str>) -> Answer<()> {
        let id = id(name).ok_or("no id")?;
        let leaving = node.map(NodeName::parse).transpose().map_err(|e| e.to_string())?;
        let upto = self.ledger.newest(name);
        let what = format!("unpublish {name} from {}", node.unwrap_or("all"));
        if self.bug == Some(Bug::UnpublishAnswersEarly)
            && let Some(seat) = self.seat()
        {
            tokio::spawn(async move { seat.operations.unpublish(id, leaving).await });
        } else {
            self.call(what, move |o| Box::pin(async move { o.unpublish(id, leaving).await }))
                .await?;
        }
        match node {
            Some(node) => self.ledger.unpublished(name, node, upto),
            None => {
                for node in crate::world::NODES {
                    self.ledger.unpublished(name, node, upto);
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Sidecar for Sidecars {
    async fn publish(&self, va: &Value) -> Answer<BTreeMap<String, String>> {
        let (name, node) = parties(va).ok_or("no parties")?;
        let multi = self.ledger.with(&name, |known| known.multi).ok_or("no such volume")?;
        let wanted = Publish {
            id: id(&name).ok_or("no id")?,
            node: NodeName::parse(&node).map_err(|e| e.to_string())?,
            capability: capability(multi),
            read_only: false,
        };
        let what = format!("publish {name} to {node}");
        let context =
            self.call(what, move |o| Box::pin(async move { o.publish(wanted).await })).await?;
        let text = |key: &str| context.get(key).cloned().unwrap_or_default();
        let generation = text("generation").parse().unwrap_or(0);
        self.trace.note(format_args!("given {} to {node}", text("nqn")));
        let given =
            Given { node, host: text("hostNqn"), nqn: text("nqn"), generation, dead: false };
        self.ledger.published(&name, given);
        Ok(context)
    }

    async fn unpublish(&self, va: &Value) -> Answer<()> {
        let (name, node) = parties(va).ok_or("no parties")?;
        Self::unpublish(self, &name, Some(&node)).await
    }
}

/// Volume and node of an attachment.
pub fn parties(va: &Value) -> Option<(String, String)> {
    let spec = &va["spec"];
    let volume = spec["source"]["persistentVolumeName"].as_str()?;
    Some((volume.to_owned(), spec["nodeName"].as_str()?.to_owned()))
}

fn id(name: &str) -> Option<VolumeId> {
    let backend = BackendName::parse("main").ok()?;
    Some(VolumeId { backend, slot: Slot::parse(name).ok()? })
}

fn image(name: &str) -> String {
    format!("{IMAGES}/{name}.img")
}

fn capability(multi: bool) -> Capability {
    let flags = Vec::new();
    match multi {
        true => Capability { mode: AccessMode::MultiNodeMultiWriter, medium: Medium::Block },
        false => Capability {
            mode: AccessMode::SingleNodeWriter,
            medium: Medium::FileSystem { fs_type: "ext4".into(), mount_flags: flags },
        },
    }
}

fn wanted(name: &str, bytes: u64, multi: bool) -> Option<CreateVolume> {
    let id = id(name)?;
    Some(CreateVolume {
        backend: id.backend,
        slot: id.slot,
        volume_path: VolumePath::parse(IMAGES).ok()?,
        required: bytes,
        limit: None,
        capabilities: vec![capability(multi)],
        context: BTreeMap::from([
            ("backend".into(), "main".into()),
            ("volumePath".into(), IMAGES.into()),
        ]),
    })
}

/// The pauses between tries: 1, 2, 4 … s.
struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    fn new(longest: u64) -> Self {
        Self { next: Duration::from_secs(1), longest: Duration::from_secs(longest) }
    }

    async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }
}
