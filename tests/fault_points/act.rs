//! The operations that are interrupted: what is there before, what is done, what must be so after.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use rds_csi::attachment::ledger::State;
use rds_csi::operations::{CreateVolume, Error, Expand, Kind};
use rds_csi::volume::capability::Capability;
use serde_json::Value;
use tokio::time::sleep;

use crate::hosts::{Hosts, Target};
use crate::in_memory::{FOLDER, GIB, LIMITS, World, ext4, id, shared_block};

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Create,
    CreateAgain,
    CreateLarger,
    Publish,
    PublishAgain,
    PublishElsewhere,
    Join,
    Unpublish,
    UnpublishAgain,
    Leave,
    FenceUnready,
    FenceGone,
    FenceTainted,
    GiveAway,
    Delete,
    DeleteFenced,
    DeleteUnclaimed,
    Expand,
    ExpandAttached,
}

impl Act {
    pub const ALL: [Self; 19] = [
        Self::Create,
        Self::CreateAgain,
        Self::CreateLarger,
        Self::Publish,
        Self::PublishAgain,
        Self::PublishElsewhere,
        Self::Join,
        Self::Unpublish,
        Self::UnpublishAgain,
        Self::Leave,
        Self::FenceUnready,
        Self::FenceGone,
        Self::FenceTainted,
        Self::GiveAway,
        Self::Delete,
        Self::DeleteFenced,
        Self::DeleteUnclaimed,
        Self::Expand,
        Self::ExpandAttached,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::CreateAgain => "create-again",
            Self::CreateLarger => "create-larger",
            Self::Publish => "publish",
            Self::PublishAgain => "publish-again",
            Self::PublishElsewhere => "publish-elsewhere",
            Self::Join => "join",
            Self::Unpublish => "unpublish",
            Self::UnpublishAgain => "unpublish-again",
            Self::Leave => "leave",
            Self::FenceUnready => "fence-unready",
            Self::FenceGone => "fence-gone",
            Self::FenceTainted => "fence-tainted",
            Self::GiveAway => "give-away",
            Self::Delete => "delete",
            Self::DeleteFenced => "delete-fenced",
            Self::DeleteUnclaimed => "delete-unclaimed",
            Self::Expand => "expand",
            Self::ExpandAttached => "expand-attached",
        }
    }

    pub fn is_shared(self) -> bool {
        matches!(self, Self::Join | Self::Leave)
    }

    /// Is it the work of a pass and not of an RPC?
    pub fn is_pass(self) -> bool {
        matches!(self, Self::FenceGone | Self::FenceTainted)
    }

    fn capability(self) -> Capability {
        if self.is_shared() { shared_block() } else { ext4() }
    }

    /// Who holds the volume when it is done.
    pub fn holders(self) -> &'static [&'static str] {
        match self {
            Self::Publish | Self::PublishAgain | Self::PublishElsewhere | Self::ExpandAttached => {
                &["node-a"]
            }
            Self::Join => &["node-a", "node-b"],
            Self::Leave => &["node-b"],
            Self::GiveAway => &["node-c"],
            _ => &[],
        }
    }

    /// Is the volume to be there when it is done?
    pub fn leaves_volume(self) -> bool {
        !matches!(self, Self::Delete | Self::DeleteFenced | Self::DeleteUnclaimed)
    }

    pub fn bytes(self) -> u64 {
        if matches!(self, Self::Expand | Self::ExpandAttached) { 2 * GIB } else { GIB }
    }
}

/// An operation on some volumes, and all that there is.
pub struct Stage {
    pub act: Act,
    pub slots: Vec<String>,
    pub world: World,
    pub hosts: Hosts,
    /// What was in the images before.
    pub contents: BTreeMap<String, u64>,
}

pub fn image(slot: &str) -> String {
    format!("{FOLDER}/{slot}.img")
}

/// As the external-provisioner names them: no two claims ever have the same.
pub fn slots(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("pvc-6b1f0f5e-77a2-4c11-9d0e-00000000000{at}")).collect()
}

impl Stage {
    pub fn new(act: Act, count: usize, world: World) -> Self {
        let slots = slots(count);
        let writers_max = if act.is_shared() { 2 } else { 1 };
        let targets: Vec<_> =
            slots.iter().map(|slot| Target { slot: slot.clone(), writers_max }).collect();
        let hosts = Hosts::start(&world, &targets);
        Self { act, slots, world, hosts, contents: BTreeMap::new() }
    }

    /// What the external-provisioner does once a volume is made.
    pub async fn claim(&self, slot: &str) {
        if self.world.api.get("persistentvolumes", slot).is_some() {
            return;
        }
        self.world.provision(slot).await;
    }

    /// What the external-provisioner does once a volume is deleted.
    pub async fn unclaim(&self, slot: &str) {
        let api = &self.world.api;
        if api.get("persistentvolumes", slot).is_some() {
            let unlock = |pv: &mut Value| pv["metadata"]["finalizers"] = Value::Null;
            api.modify("persistentvolumes", slot, unlock).unwrap();
            api.delete("persistentvolumes", slot).unwrap();
            self.world.settle().await;
        }
    }

    /// VolumeAttachment and ControllerPublish; the host connects.
    pub async fn attach(&self, slot: &str, node: &'static str) -> Result<(), Error> {
        self.world.want_attached(slot, node).await;
        let context = self.world.publish_as(slot, node, self.act.capability()).await?;
        self.hosts.tell(slot, node, &context["nqn"]);
        Ok(())
    }

    pub async fn prepare(&mut self) {
        for slot in self.slots.clone() {
            if self.act == Act::Create {
                continue;
            }
            self.world.operations.create(self.world.wanted(&slot)).await.unwrap();
            if self.act != Act::DeleteUnclaimed {
                self.claim(&slot).await;
                self.world.pass().await;
            }
            self.prepare_one(&slot).await;
            let content = self.world.os.content_of(&image(&slot)).unwrap();
            self.contents.insert(slot, content);
        }
        match self.act {
            Act::FenceUnready => self.world.ready("node-a", "Unknown").await,
            Act::FenceTainted => self.world.taint("node-a").await,
            Act::FenceGone => {
                // It is dead as far as anybody can see.
                self.hosts.fall_silent("node-a");
                self.world.delete_node("node-a").await;
                self.world.pass().await;
                self.wait(LIMITS.grace).await;
            }
            _ => {}
        }
        sleep(Duration::from_millis(50)).await;
        self.world.os.mark_saved();
    }

    async fn prepare_one(&self, slot: &str) {
        match self.act {
            Act::PublishAgain
            | Act::Join
            | Act::Unpublish
            | Act::FenceUnready
            | Act::FenceGone
            | Act::FenceTainted
            | Act::ExpandAttached => self.attach(slot, "node-a").await.unwrap(),
            Act::PublishElsewhere => {
                self.attach(slot, "node-b").await.unwrap();
                sleep(Duration::from_millis(50)).await;
                self.world.detach(slot, "node-b").await;
            }
            Act::UnpublishAgain => {
                self.attach(slot, "node-a").await.unwrap();
                self.world.unpublish(slot, "node-a").await.unwrap();
            }
            Act::Leave => {
                self.attach(slot, "node-a").await.unwrap();
                self.attach(slot, "node-b").await.unwrap();
            }
            Act::GiveAway | Act::DeleteFenced => {
                self.attach(slot, "node-a").await.unwrap();
                sleep(Duration::from_millis(50)).await;
                self.world.ready("node-a", "Unknown").await;
                self.world.detach(slot, "node-a").await;
                assert_eq!(self.world.record(slot).state, State::Fenced);
            }
            _ => {}
        }
        if matches!(self.act, Act::Delete | Act::DeleteFenced) {
            let released = |pv: &mut Value| pv["status"]["phase"] = "Released".into();
            self.world.api.modify("persistentvolumes", slot, released).unwrap();
            self.world.settle().await;
        }
    }

    /// Lets time pass in which nothing is done.
    pub async fn wait(&self, time: Duration) {
        self.hosts.idle(true);
        sleep(time).await;
        self.hosts.idle(false);
    }

    /// Does it, or does it again: for all of these volumes at the same time.
    pub async fn run(&self, slots: &[String]) -> Vec<Result<(), Error>> {
        if self.act.is_pass() {
            let done = self.pass().await;
            return slots
                .iter()
                .map(|slot| done.clone().and_then(|()| self.fenced(slot)))
                .collect();
        }
        join_all(slots.iter().map(|slot| self.run_one(slot))).await
    }

    async fn pass(&self) -> Result<(), Error> {
        self.world.settle().await;
        let report = self.world.reconciler.pass().await?;
        match report.blind.first().or(report.failed.first()) {
            Some(why) => Err(Error::new(Kind::Unavailable, why.clone())),
            None => Ok(()),
        }
    }

    fn fenced(&self, slot: &str) -> Result<(), Error> {
        let not_yet = |why: &str| Err(Error::new(Kind::Unavailable, why));
        if self.world.record(slot).state != State::Fenced {
            return not_yet("not fenced yet");
        }
        let name = self.world.attachment(slot, "node-a").unwrap();
        let attachment = self.world.api.get("volumeattachments", &name).unwrap();
        let is_going = !attachment["metadata"]["deletionTimestamp"].is_null();
        match self.act == Act::FenceGone && !is_going {
            true => not_yet("not released yet"),
            false => Ok(()),
        }
    }

    async fn run_one(&self, slot: &str) -> Result<(), Error> {
        let wanted = self.world.wanted(slot);
        let operations = &self.world.operations;
        match self.act {
            Act::Create | Act::CreateAgain => operations.create(wanted).await.map(drop),
            Act::CreateLarger => {
                let larger = CreateVolume { required: 2 * GIB, ..wanted };
                match operations.create(larger).await {
                    Err(error) if error.kind == Kind::Exists => Ok(()),
                    Err(error) => Err(error),
                    Ok(made) => panic!("{slot} has grown by a CreateVolume: {made:?}"),
                }
            }
            Act::Publish | Act::PublishAgain | Act::PublishElsewhere => {
                self.attach(slot, "node-a").await
            }
            Act::Join => self.attach(slot, "node-b").await,
            Act::GiveAway => self.attach(slot, "node-c").await,
            Act::Unpublish | Act::UnpublishAgain | Act::Leave | Act::FenceUnready => {
                self.world.unpublish(slot, "node-a").await
            }
            Act::Delete | Act::DeleteFenced | Act::DeleteUnclaimed => {
                operations.delete(id(slot)).await
            }
            Act::Expand | Act::ExpandAttached => {
                let (required, capability) = (2 * GIB, None);
                let wanted = Expand { id: id(slot), required, limit: None, capability };
                operations.expand(wanted).await.map(drop)
            }
            Act::FenceGone | Act::FenceTainted => self.pass().await,
        }
    }
}
