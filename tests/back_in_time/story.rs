//! One cell of the table: a volume with a past, a box that goes back in it, and what must be so
//! afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use rds_csi::attachment::ledger::{Copy, Record, State};
use rds_csi::doctor::startup;
use rds_csi::operations::Kind;
use rds_sim::routeros::{Fault, Snapshot};
use tokio::time::sleep;

use crate::hosts::Hosts;
use crate::in_memory::{FOLDER, LIMITS, World, ext4, id, shared_block};
use crate::ways::Way;

/// What the volume `data` is when the box goes back. In each of them node-a once had it and was
/// shut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// node-a was shut out, and nobody has it.
    Fenced,
    /// node-b has it.
    Attached,
    /// node-b and node-c have it.
    Shared,
    /// node-b had it, and nobody has it now.
    Detached,
    /// The same, and the power went in the middle of its deletion.
    Deleting,
    /// The same, and it was deleted; somebody may have brought its image back.
    Deleted { with_image: bool },
}

impl Situation {
    pub const ALL: [Self; 7] = [
        Self::Fenced,
        Self::Attached,
        Self::Shared,
        Self::Detached,
        Self::Deleting,
        Self::Deleted { with_image: false },
        Self::Deleted { with_image: true },
    ];

    /// How many ages it has behind it.
    pub fn ages(self) -> usize {
        match self {
            Self::Fenced => 2,
            Self::Attached => 3,
            Self::Shared | Self::Detached => 4,
            Self::Deleting | Self::Deleted { .. } => 5,
        }
    }

    fn holders(self) -> &'static [&'static str] {
        match self {
            Self::Attached => &["node-b"],
            Self::Shared => &["node-b", "node-c"],
            _ => &[],
        }
    }
}

/// What the box was.
pub struct Age {
    pub backup: Snapshot,
    pub comment: String,
}

pub struct Story {
    pub world: World,
    pub hosts: Hosts,
    pub ages: Vec<Age>,
    situation: Situation,
    /// The age at which the configuration was saved last.
    saved: Option<usize>,
    /// The newest copy, where there is a PV.
    newest: Option<Copy>,
    content: [Option<u64>; 2],
    /// The newest NQN.
    nqn: String,
}

impl Story {
    /// Lives through everything up to the moment at which the box goes back.
    pub async fn new(situation: Situation, way: Way, with_script: bool) -> Self {
        let world = World::new().await;
        if with_script {
            install_script(&world);
        }
        let hosts = Hosts::new(&world.os);
        let saved = if let Way::Unsaved(age) = way { Some(age) } else { None };
        let (ages, newest, content) = (Vec::new(), None, [None; 2]);
        let nqn = String::new();
        let mut story = Self { world, hosts, ages, situation, saved, newest, content, nqn };
        story.live().await;
        assert_eq!(story.ages.len(), situation.ages());
        story.newest = story.world.copy("data");
        story.nqn = story.world.property("data", "nvme-tcp-server-nqn");
        story.content = story.contents();
        story
    }

    async fn live(&mut self) {
        let bystander = {
            self.world.provision("other").await;
            self.world.attach("other", "node-c").await["nqn"].clone()
        };
        self.hosts.holder(&self.world, "node-c", &bystander);
        self.world.provision("data").await;
        self.world.pass().await;
        self.age();
        let old = self.attach("node-a").await;
        self.age();
        self.world.ready("node-a", "Unknown").await;
        self.world.detach("data", "node-a").await;
        assert_eq!(self.world.record("data").state, State::Fenced);
        self.hosts.outsider(&self.world, "node-a", &old);
        if self.situation == Situation::Fenced {
            return;
        }
        self.age();
        let nqn = self.attach("node-b").await;
        match self.situation {
            Situation::Attached => self.hosts.holder(&self.world, "node-b", &nqn),
            Situation::Shared => {
                self.age();
                assert_eq!(self.attach("node-c").await, nqn);
                self.hosts.holder(&self.world, "node-b", &nqn);
                self.hosts.holder(&self.world, "node-c", &nqn);
            }
            _ => {
                self.age();
                self.world.detach("data", "node-b").await;
                self.hosts.outsider(&self.world, "node-b", &nqn);
                self.end().await;
            }
        }
    }

    /// What becomes of a volume that nobody has any more.
    async fn end(&mut self) {
        if self.situation == Situation::Detached {
            return;
        }
        self.age();
        let released = |pv: &mut serde_json::Value| {
            pv["spec"]["persistentVolumeReclaimPolicy"] = "Delete".into();
            pv["status"]["phase"] = "Released".into();
        };
        self.world.api.modify("persistentvolumes", "data", released).unwrap();
        self.world.settle().await;
        if self.situation == Situation::Deleting {
            // Export and comment are set, the item is not removed yet.
            let fault = Fault::PowerCut { after: 3, downtime: Duration::ZERO };
            self.world.os.arm_on("s=deleting", fault);
            assert!(self.world.operations.delete(id("data")).await.is_err());
            assert_eq!(self.world.record("data").state, State::Deleting);
            assert!(self.world.has_image("data"));
            if !self.hosts.holders_are_in() {
                // The box has started anew and run its script.
                self.come_to_rest().await;
            }
            return;
        }
        self.world.operations.delete(id("data")).await.unwrap();
        assert!(!self.world.has_disk("data") && !self.world.has_image("data"));
        let unlock = |pv: &mut serde_json::Value| pv["metadata"]["finalizers"] = ().into();
        self.world.api.modify("persistentvolumes", "data", unlock).unwrap();
        self.world.api.delete("persistentvolumes", "data").unwrap();
        self.world.settle().await;
        assert!(self.world.copy("data").is_none());
        if self.situation == (Situation::Deleted { with_image: true }) {
            let add = format!("type=file slot=scratch file-path={FOLDER}/data.img file-size=1G");
            assert_eq!(self.world.os.exec(&format!("/disk/add {add}")).text(), "");
            assert!(self.world.os.lose_disk("scratch") && self.world.has_image("data"));
        }
    }

    /// An age ends here.
    fn age(&mut self) {
        if self.saved == Some(self.ages.len()) {
            self.world.os.mark_saved();
        }
        let comment = self.world.property("data", "comment");
        self.ages.push(Age { backup: self.world.os.snapshot(), comment });
    }

    async fn attach(&self, node: &str) -> String {
        let shared = self.situation == Situation::Shared;
        self.world.want_attached("data", node).await;
        let capability = if shared { shared_block() } else { ext4() };
        self.world.publish_as("data", node, capability).await.unwrap()["nqn"].clone()
    }

    fn contents(&self) -> [Option<u64>; 2] {
        ["data", "other"].map(|slot| self.world.os.content_of(&format!("{FOLDER}/{slot}.img")))
    }

    /// The box goes back, and every host tries at once.
    pub async fn go_back(&mut self, way: Way) {
        self.hosts.begin(!way.may_open());
        way.take(self);
        self.hosts.try_all();
    }

    /// The controller looks until there is nothing left to do.
    pub async fn come_to_rest(&self) {
        for _ in 0..10 {
            let report = self.world.pass().await;
            assert_eq!(report.failed, [] as [String; 0], "{:?}", self.situation);
            self.hosts.try_all();
            let Some(again) = report.again_in else { return };
            sleep(again).await;
        }
        panic!("{:?}: passes without end", self.situation);
    }

    /// What must be so, whatever happened.
    pub async fn assert_well(&mut self, way: Way) {
        let context = format!("{:?}, {way:?}", self.situation);
        self.hosts.assert_well(&context);
        self.world.assert_agreed("other");
        assert_eq!(self.contents(), self.content, "{context}: an image is another");
        match self.situation {
            Situation::Deleting => self.assert_is_deleted(way, &context).await,
            Situation::Deleted { .. } => self.assert_is_reported(&context).await,
            _ => self.assert_is_newest(way, &context).await,
        }
        self.hosts.assert_well(&context);
    }

    /// The newest record is back, and exactly the holders are let in.
    async fn assert_is_newest(&self, way: Way, context: &str) {
        self.world.assert_agreed("data");
        self.assert_is_the_newest_copy(context);
        let holders: BTreeSet<&str> = self.situation.holders().iter().copied().collect();
        if self.situation == Situation::Shared {
            // Two nodes have no list of hosts: whoever knows the NQN is let in, so it must be this.
            assert_eq!(self.world.property("data", "nvme-tcp-server-nqn"), self.nqn, "{context}");
            assert!(self.world.is_exported("data"), "{context}");
        } else {
            assert_eq!(self.world.writers("data"), holders, "{context}");
        }
        let told = if way.leaves_an_item() { "RDSRolledBack" } else { "VolumeRepaired" };
        assert!(self.world.events(told).await > 0, "{context}: nobody was told");
        if let Way::Comment(_) = way {
            assert_eq!(self.hosts.reconnects(), 0, "{context}: a holder was cut off");
        }
    }

    /// Where somebody holds the volume, the copy took revisions more before an export was opened;
    /// nothing else is another.
    fn assert_is_the_newest_copy(&self, context: &str) {
        let (newest, now) = (self.newest.clone().unwrap(), self.world.copy("data").unwrap());
        let records = [&newest, &now].map(|copy| Record::parse(&copy.record).unwrap());
        let more = records[1].revision.checked_sub(records[0].revision).unwrap();
        let is_held = records[0].state == State::Attached;
        assert!(more == 0 || is_held, "{context}: {now:?}");
        let same = Record { revision: records[0].revision, ..records[1].clone() };
        assert_eq!(same, records[0], "{context}");
        assert_eq!(Copy { record: newest.record.clone(), ..now }, newest, "{context}");
    }

    /// What was being deleted is not made again, and its deletion comes to its end.
    async fn assert_is_deleted(&self, way: Way, context: &str) {
        assert_eq!(self.world.has_disk("data"), way.leaves_an_item(), "{context}");
        if way.leaves_an_item() {
            assert!(!self.world.is_exported("data"), "{context}");
        }
        self.world.operations.delete(id("data")).await.unwrap();
        assert!(!self.world.has_disk("data") && !self.world.has_image("data"), "{context}");
        assert!(self.world.has_image("other"), "{context}");
    }

    /// An item without a PV: closed, kept, told.
    async fn assert_is_reported(&self, context: &str) {
        assert!(self.world.has_disk("data"), "{context}: an item that nobody explained is gone");
        assert!(!self.world.is_exported("data"), "{context}");
        assert!(self.world.copy("data").is_none(), "{context}: it has a PV again");
        let refused = self.world.publish("data", "node-b").await.unwrap_err();
        assert_eq!(refused.kind, Kind::Precondition, "{context}: {refused}");
        sleep(LIMITS.orphan_grace).await;
        let report = self.world.pass().await;
        assert_eq!(report.done.get("orphan"), Some(&1), "{context}: {report:?}");
        assert!(self.world.events("OrphanDetected").await > 0, "{context}");
        assert!(!self.world.is_exported("data"), "{context}");
    }
}

/// Pastes what the doctor prints into the box's console.
pub fn install_script(world: &World) {
    let text = startup::commands();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(world.os.exec(line).text(), "", "{line}");
    }
}
