//! ControllerPublishVolume: one exec and one write of the copy, or nothing where it is so already.

use std::collections::BTreeMap;

use super::change::{Changed, Details, Wanted, lost};
use super::ground::{Ground, nvme_port, shown};
use super::static_form::still_kept_out;
use super::{Error, Happened, Kind, Operations, Publish};
use crate::attachment::ledger::{
    FENCED_FROM_MAX, FencedFrom, Formatted, HOLDERS_MAX, Record, Sharing,
};
use crate::attachment::publish::{Answer, Refusal, Wish, judge};
use crate::attachment::usage::Usage;
use crate::cluster::{About, Attachment, Notice, Reason, View};
use crate::rds::Disk;
use crate::volume::capability::Medium;
use crate::volume::{NodeName, Refused};

/// How often a record is judged anew that changed under us.
const ROUNDS: usize = 4;

/// What a node needs to connect.
pub type PublishContext = BTreeMap<String, String>;

impl Operations {
    /// Lets a node write; returns the publish context.
    pub async fn publish(&self, wanted: Publish) -> Result<PublishContext, Error> {
        let mut ground = self.ground(&wanted.id).await?;
        self.check_node(&wanted.node).await?;
        self.check_volume(&ground).await?;
        if let Some(old) = self.adopted(&ground).await? {
            return self.publish_old(&ground, &wanted, &old).await;
        }
        self.check_fenced(&ground, &wanted.node).await?;
        let wish = Wish { node: ground.tag(&wanted.node), sharing: sharing(&wanted) };
        // The copy, or what every new volume has, is the guess that makes one exec enough. It is
        // good for a compare-and-set; whatever else is decided is decided on what was read.
        let mut record = ground.copied.clone().unwrap_or(Record::created(ground.cluster));
        let mut seen: Option<Disk> = None;
        for _ in 0..ROUNDS {
            let answer = judge(&record, ground.copied.as_ref(), wish, ground.nonce());
            let differs = match (answer, seen.take()) {
                (Answer::Attach(next), _) => {
                    self.attach(&mut ground, &wanted, &record, next).await?
                }
                (Answer::Join(next), _) => self.join(&mut ground, &wanted, &record, next).await?,
                (_, None) => Attached::Differs(self.show(&ground).await?),
                (Answer::AttachOnceConfirmed(next), Some(disk)) => {
                    self.prove_fence(&mut ground, &wanted.node, &record, &disk).await?;
                    self.attach(&mut ground, &wanted, &record, next).await?
                }
                (answer, Some(disk)) => {
                    return self.held(&mut ground, &wanted, record, disk, answer).await;
                }
            };
            match differs {
                Attached::Done(context) => return Ok(context),
                Attached::Differs(None) => {
                    if ground.copy.is_some() {
                        (self.ask_for_pass)();
                    }
                    return Err(ground.no_disk());
                }
                Attached::Differs(Some(disk)) => {
                    record = ground.record(&disk)?;
                    seen = Some(disk);
                }
            }
        }
        Err(lost(&ground))
    }

    /// The fence of a volume that is given away is proven first, and who was shut out by it is
    /// written down first.
    async fn prove_fence(
        &self,
        ground: &mut Ground,
        node: &NodeName,
        record: &Record,
        disk: &Disk,
    ) -> Result<(), Error> {
        if ground.copied.as_ref() != Some(record) {
            self.follow(ground, record, disk).await?;
            self.check_fenced(ground, node).await?;
        }
        self.confirm(ground, record).await.map(|_| ())
    }

    async fn check_node(&self, node: &NodeName) -> Result<(), Error> {
        let Some(found) = self.cluster.node(node).await? else {
            return Err(Error::new(Kind::NotFound, format!("node {node} does not exist")));
        };
        if found.out_of_service {
            let message = format!("node {node} is tainted out-of-service");
            return Err(Error::new(Kind::Precondition, message));
        }
        Ok(())
    }

    /// A volume that no PV names is never exported: nobody could keep its copy.
    async fn check_volume(&self, ground: &Ground) -> Result<(), Error> {
        if ground.volume.is_some() {
            return Ok(());
        }
        let disk = self.show(ground).await?.ok_or_else(|| ground.no_disk())?;
        ground.record(&disk)?;
        let message = format!("no PersistentVolume names volume {}", ground.id);
        Err(Error::new(Kind::Precondition, message))
    }

    /// A node from which the volume was fenced is let in again when the VolumeAttachment that it
    /// had then is gone: until then kubelet may still believe in its old mount. It has none where
    /// that VolumeAttachment was never attached; nobody would take it away. And, where its agent has
    /// ever answered, when that shows that nothing of the old attachment is left.
    async fn check_fenced(&self, ground: &Ground, node: &NodeName) -> Result<(), Error> {
        let view = self.cluster.view();
        let remains = |(entry, va): (&FencedFrom, &Attachment)| entry.node == *node && va.attached;
        if still_fenced(ground, &view).any(remains) {
            let message = format!(
                "volume {} was fenced from node {node}, whose old VolumeAttachment is still there",
                ground.id
            );
            return Err(Error::new(Kind::Precondition, message));
        }
        // Kept until it is let in: whose VolumeAttachment is gone may still have its controller.
        let mut fenced = ground.copy.iter().flat_map(|copy| &copy.fenced_from);
        let Some(last) = fenced.rfind(|entry| entry.node == *node) else {
            return Ok(());
        };
        let agent = self.agent_of(ground, node, last.boot_id.as_deref()).await?;
        if agent.lets_in() {
            return Ok(());
        }
        let message = format!(
            "volume {} was fenced from node {node}, and the agent of that node {}; the node is let \
             in again when its agent shows that the old controller is gone, or that the host was \
             started anew",
            ground.id,
            agent.sentence()
        );
        Err(Error::new(Kind::Precondition, message))
    }

    /// Whom a volume was fenced from is never forgotten for want of room in the copy: before that, it
    /// is attached to nobody else.
    fn check_room(&self, ground: &Ground, node: &NodeName) -> Result<(), Error> {
        let has_spoken = |node: &NodeName| self.agents.baseline(node).is_some();
        let kept_out = still_kept_out(ground, &self.cluster.view(), node, has_spoken);
        if kept_out.len() < FENCED_FROM_MAX {
            return Ok(());
        }
        let mut names: Vec<&str> = kept_out.iter().map(|entry| entry.node.as_str()).collect();
        names.dedup();
        let message = format!(
            "volume {} was fenced from {} nodes that have not been let in again ({}, …), and there is \
             no room to remember another; it is attached to one of these, or to another node once \
             VolumeAttachments or Nodes of theirs are gone",
            ground.id,
            kept_out.len(),
            names.iter().take(3).copied().collect::<Vec<_>>().join(", ")
        );
        Err(Error::new(Kind::Precondition, message))
    }

    /// Writes the record, exports, writes the copy.
    async fn attach(
        &self,
        ground: &mut Ground,
        wanted: &Publish,
        from: &Record,
        next: Record,
    ) -> Result<Attached, Error> {
        self.check_old_hosts(ground, &wanted.node, from).await?;
        // Who has spoken decides below who stays shut out: read before anything is changed.
        if ground.copy.as_ref().is_some_and(|copy| !copy.fenced_from.is_empty()) {
            self.agents.recall().await?;
        }
        self.check_room(ground, &wanted.node)?;
        let terms = ground.terms(&next, std::slice::from_ref(&wanted.node))?;
        let text = from.text();
        let change = Wanted { from: &text, to: &next, terms: Some(&terms), grow_to: None };
        let disk = match self.change(ground, change).await? {
            Changed::Done(disk) => disk,
            Changed::Differs(disk) => return Ok(Attached::Differs(disk)),
        };
        let view = self.cluster.view();
        let has_spoken = |node: &NodeName| self.agents.baseline(node).is_some();
        let fenced_from = still_kept_out(ground, &view, &wanted.node, has_spoken);
        let details = Details {
            file_system: Some(file_system(wanted)),
            fenced_from: Some(fenced_from),
            let_in: let_in(wanted),
            ..Details::of(&disk)
        };
        self.write_copy(ground, &next, vec![wanted.node.clone()], details).await?;
        self.tell_attached(ground, &wanted.node);
        Ok(Attached::Done(context(ground, wanted, &next, &disk)?))
    }

    /// Lets a second node in. The first one is using the export, so only the record changes.
    async fn join(
        &self,
        ground: &mut Ground,
        wanted: &Publish,
        from: &Record,
        next: Record,
    ) -> Result<Attached, Error> {
        let view = self.cluster.view();
        let mut nodes = ground.names(&from.nodes, &view);
        // While the watches fail, what they have shown proves nothing about a node.
        let blind = self.blindness().is_some();
        let is_well = |name: &NodeName| {
            let is_up = view.nodes.get(name).is_some_and(|node| node.ready && !node.out_of_service);
            is_up && !blind
        };
        if nodes.len() != from.nodes.len() || !nodes.iter().all(is_well) {
            let message = format!(
                "volume {} is held by {nodes:?}, of which not all are known to be Ready; no second \
                 node is let in before that is settled",
                ground.id
            );
            return Err(Error::new(Kind::Precondition, message));
        }
        // Nobody joins an export that the box cannot name as recorded.
        ground.terms(&next, &nodes)?;
        let text = from.text();
        let change = Wanted { from: &text, to: &next, terms: None, grow_to: None };
        let disk = match self.change(ground, change).await? {
            Changed::Done(disk) => disk,
            Changed::Differs(disk) => return Ok(Attached::Differs(disk)),
        };
        nodes.push(wanted.node.clone());
        let details = Details { let_in: let_in(wanted), ..Details::of(&disk) };
        self.write_copy(ground, &next, nodes, details).await?;
        self.tell_attached(ground, &wanted.node);
        Ok(Attached::Done(context(ground, wanted, &next, &disk)?))
    }

    /// The record was read, and nothing is to be attached: it is so already, or it may not be.
    async fn held(
        &self,
        ground: &mut Ground,
        wanted: &Publish,
        record: Record,
        disk: Disk,
        answer: Answer,
    ) -> Result<PublishContext, Error> {
        let view = self.cluster.view();
        let mut nodes = ground.names(&record.nodes, &view);
        match answer {
            Answer::Refuse(refusal) => return Err(self.refused(ground, refusal, &nodes)),
            Answer::HeldButUncopied => {
                if nodes.is_empty() {
                    nodes.push(wanted.node.clone());
                }
                let details = Details {
                    file_system: Some(file_system(wanted)),
                    let_in: let_in(wanted),
                    ..Details::of(&disk)
                };
                self.write_copy(ground, &record, nodes.clone(), details).await?;
            }
            _ => check_use(ground, wanted)?,
        }
        let terms = ground.terms(&record, &nodes)?;
        if !terms.hold(shown(&disk)) {
            let next = self.announce(ground, &record).await?;
            let text = record.text();
            let repair = Wanted { from: &text, to: &next, terms: Some(&terms), grow_to: None };
            self.must_change(ground, repair).await?;
        }
        context(ground, wanted, &record, &disk)
    }

    fn refused(&self, ground: &Ground, refusal: Refusal, nodes: &[NodeName]) -> Error {
        let id = &ground.id;
        match refusal {
            Refusal::HeldBy(_) => {
                self.observer.happened(Happened::Conflict);
                self.tell_conflict(ground, nodes);
                let why = if nodes.len() < HOLDERS_MAX {
                    "not shared with others; it must be detached there first".to_owned()
                } else {
                    format!("and {HOLDERS_MAX} nodes at most share a volume")
                };
                let message = format!("volume {id} is attached to {nodes:?}, {why}");
                Error::new(Kind::Precondition, message)
            }
            Refusal::HeldOtherwise(Sharing::Single) => {
                let message = format!("volume {id} is attached for one node only");
                Error::new(Kind::Exists, message)
            }
            Refusal::HeldOtherwise(Sharing::Multi) => {
                let message = format!("volume {id} is attached for several nodes");
                Error::new(Kind::Exists, message)
            }
            Refusal::Deleting => {
                Error::new(Kind::Precondition, format!("volume {id} is being deleted"))
            }
            Refusal::Contradiction(standing) => self.contradiction(ground, standing),
        }
    }

    fn tell_attached(&self, ground: &Ground, node: &NodeName) {
        slog::info!(self.log, "volume attached"; "volume" => %ground.id, "node" => %node);
        self.tell(ground, Reason::VolumeAttached, format!("attached to node {node}"));
    }

    fn tell_conflict(&self, ground: &Ground, nodes: &[NodeName]) {
        let note = format!("volume {} is attached to {nodes:?} and wanted elsewhere", ground.id);
        self.tell(ground, Reason::AttachmentConflict, note);
    }

    /// Posts an event on the volume.
    pub(super) fn tell(&self, ground: &Ground, reason: Reason, note: String) {
        if let Some(volume) = &ground.volume {
            let about = About::Volume(volume.name.clone());
            self.cluster.post(Notice { reason, about, note });
        }
    }
}

/// What became of an attempt.
enum Attached {
    Done(PublishContext),
    /// The record was another one: this.
    Differs(Option<Disk>),
}

/// Those shut out whose old VolumeAttachment is still there, with that.
fn still_fenced<'a>(
    ground: &'a Ground,
    view: &'a View,
) -> impl Iterator<Item = (&'a FencedFrom, &'a Attachment)> {
    let fenced = ground.copy.iter().flat_map(|copy| &copy.fenced_from);
    fenced.filter_map(|entry| {
        let mut all = view.attachments.values();
        let old = all.find(|va| va.version.uid == entry.attachment)?;
        Some((entry, &**old))
    })
}

pub(super) fn sharing(wanted: &Publish) -> Sharing {
    if wanted.capability.mode.is_multi_node() { Sharing::Multi } else { Sharing::Single }
}

/// The node has the volume already, and asks again: for the same use?
fn check_use(ground: &Ground, wanted: &Publish) -> Result<(), Error> {
    let (Some(volume), Some(copy)) = (&ground.volume, &ground.copy) else {
        return Ok(());
    };
    let held = Usage {
        reads_only: copy.readers.contains(&wanted.node),
        is_raw: copy.file_system.is_empty(),
    };
    if held.contradicts(usage(wanted), volume.usage) {
        return Err(other_use(ground, wanted, held));
    }
    Ok(())
}

/// The node has the volume for another use than it asks for.
pub(super) fn other_use(ground: &Ground, wanted: &Publish, held: Usage) -> Error {
    let message = format!(
        "volume {} is attached to node {} as {held}, not as {}; it must be detached there first",
        ground.id,
        wanted.node,
        usage(wanted)
    );
    Error::new(Kind::Exists, message)
}

/// For what the volume is wanted.
pub(super) fn usage(wanted: &Publish) -> Usage {
    Usage {
        reads_only: wanted.read_only || wanted.capability.mode.is_read_only(),
        is_raw: wanted.capability.medium == Medium::Block,
    }
}

fn let_in(wanted: &Publish) -> Option<(NodeName, bool)> {
    Some((wanted.node.clone(), usage(wanted).reads_only))
}

fn file_system(wanted: &Publish) -> String {
    match &wanted.capability.medium {
        Medium::Block => String::new(),
        Medium::FileSystem { fs_type, .. } => fs_type.clone(),
    }
}

/// What the node needs to connect: all of it from the record that is current. The size is the least
/// that its device must show: a volume may grow meanwhile, and never shrinks.
fn context(
    ground: &Ground,
    wanted: &Publish,
    record: &Record,
    disk: &Disk,
) -> Result<PublishContext, Error> {
    let nqn = record.nqn(&ground.backend.nqn_base, &ground.id.slot).map_err(refused)?;
    let mut context = address_of(ground, &wanted.node)?;
    context.insert("nqn".into(), nqn.to_string());
    context.insert("generation".into(), record.generation.to_string());
    if let Some(bytes) = disk.bytes {
        context.insert("bytes".into(), bytes.to_string());
    }
    let usage = usage(wanted);
    let formats = !usage.is_raw && !usage.reads_only;
    if formats && record.formatted == Formatted::Never {
        context.insert("format".into(), "allowed".into());
    }
    Ok(context)
}

/// Where the node finds the export, and as whom it connects.
pub(super) fn address_of(ground: &Ground, node: &NodeName) -> Result<PublishContext, Error> {
    let host = ground.hosts.host(node).map_err(refused)?;
    let port = nvme_port(ground.volume.as_deref(), &ground.backend);
    Ok(PublishContext::from([
        ("nvmeAddress".into(), ground.nvme_address().to_owned()),
        ("nvmePort".into(), port.to_string()),
        ("hostNqn".into(), host.nqn.to_string()),
        ("hostId".into(), host.id),
    ]))
}

fn refused(refused: Refused) -> Error {
    Error::new(Kind::Precondition, refused.to_string())
}
