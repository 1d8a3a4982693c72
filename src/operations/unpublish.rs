//! ControllerUnpublishVolume: closes the export of a node that let go, fences one that may not have.

use super::change::{Changed, Details, Wanted, lost};
use super::fence::shut_out;
use super::ground::Ground;
use super::{Error, Kind, Operations};
use crate::attachment::ledger::{NodeTag, Nonce, Record, State};
use crate::attachment::unpublish::{Answer, judge};
use crate::attachment::verdict::FenceCause;
use crate::cluster::{Reason, View};
use crate::rds::Disk;
use crate::volume::{NodeName, VolumeId};

/// How often a record is judged anew that changed under us.
const ROUNDS: usize = 4;

impl Operations {
    /// Takes a volume from a node, or from all. A volume or node that is not there is no error.
    pub async fn unpublish(&self, id: VolumeId, node: Option<NodeName>) -> Result<(), Error> {
        let mut ground = self.ground(&id).await?;
        if let Some(old) = self.adopted(&ground).await? {
            return self.unpublish_old(&ground, node, &old).await;
        }
        let leaving = node.as_ref().map(|node| ground.tag(node));
        // A guess from the copy makes one exec enough where the volume is held as the copy says.
        let guess = ground.copied.clone().filter(|record| record.state == State::Attached);
        let mut judged = guess.map(|record| (record, None));
        for _ in 0..ROUNDS {
            let (record, disk) = match judged.take() {
                Some(judged) => judged,
                None => match self.readable(&ground).await? {
                    Some(judged) => judged,
                    None => return self.leave_lost(&mut ground, leaving).await,
                },
            };
            match self.leave(&mut ground, leaving, record, disk).await? {
                Left::Done => return Ok(()),
                Left::Look => {}
            }
        }
        Err(lost(&ground))
    }

    /// What the box says; `None` where it has no such disk, or one of another cluster.
    async fn readable(&self, ground: &Ground) -> Result<Option<(Record, Option<Disk>)>, Error> {
        let Some(disk) = self.show(ground).await? else {
            return Ok(None);
        };
        match self.settled(ground, &disk) {
            Ok(record) => Ok(Some((record, Some(disk)))),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The box has no such disk, so nobody can connect. Where it has lost it, a pass makes it again
    /// as the copy says: the copy must not say any more that the node holds it.
    async fn leave_lost(&self, ground: &mut Ground, leaving: Option<NodeTag>) -> Result<(), Error> {
        let Some(record) = ground.copied.clone() else {
            return Ok(());
        };
        let view = self.cluster.view();
        // Under an NQN of its own nobody comes back. A silent host that waits for the name of the
        // slot may.
        let has_let_go = |tag| !record.is_static() || self.is_ready(ground, &view, tag);
        let next = match judge(&record, leaving, has_let_go) {
            Answer::Detach => record.detach(),
            Answer::Leave(node) => record.leave(node),
            Answer::Fence => record.fence(0, Nonce::random()),
            Answer::Refuse => return Err(not_alone(ground, &ground.names(&record.nodes, &view))),
            Answer::NotHeld | Answer::Confirm => return Ok(()),
        };
        let stay = ground.names(&next.nodes, &view);
        let fenced_from = (next.state == State::Fenced)
            .then(|| shut_out(ground, &next, &stay, &view, |node| self.boot_of(node)));
        let details = Details { fenced_from, ..Details::default() };
        self.write_copy(ground, &next, stay, details).await?;
        slog::info!(self.log, "lost volume detached"; "volume" => %ground.id);
        Ok(())
    }

    async fn leave(
        &self,
        ground: &mut Ground,
        leaving: Option<NodeTag>,
        record: Record,
        disk: Option<Disk>,
    ) -> Result<Left, Error> {
        let view = self.cluster.view();
        let nodes = ground.names(&record.nodes, &view);
        let is_ready = |tag| self.is_ready(ground, &view, tag);
        match (judge(&record, leaving, is_ready), disk) {
            (Answer::Detach, _) => self.detach(ground, &record, &nodes).await,
            (Answer::Leave(node), _) => self.leave_one(ground, &record, node).await,
            // Whatever else is decided is decided on what was read.
            (_, None) => Ok(Left::Look),
            (Answer::Fence, _) => {
                self.fence(ground, &record, FenceCause::Unpublished).await?;
                Ok(Left::Done)
            }
            (Answer::NotHeld, Some(disk)) => {
                self.settle(ground, &record, &disk).await?;
                Ok(Left::Done)
            }
            (Answer::Confirm, Some(disk)) => {
                self.settle(ground, &record, &disk).await?;
                self.confirm(ground, &record).await?;
                Ok(Left::Done)
            }
            (Answer::Refuse, _) => self.leave_silent(ground, leaving, &record, &nodes).await,
        }
    }

    /// One of several leaves, and kubelet does not say that it is well. Its agent may.
    async fn leave_silent(
        &self,
        ground: &mut Ground,
        leaving: Option<NodeTag>,
        record: &Record,
        nodes: &[NodeName],
    ) -> Result<Left, Error> {
        let is_it = |node: &&NodeName| Some(ground.tag(node)) == leaving;
        let (Some(tag), Some(node)) = (leaving, nodes.iter().find(is_it)) else {
            return Err(not_alone(ground, nodes));
        };
        let boot_id = self.boot_of(node);
        let agent = self.agent_of(ground, node, boot_id.as_deref()).await?;
        if agent.has_let_go() {
            return self.leave_one(ground, record, tag).await;
        }
        let error = not_alone(ground, nodes);
        let message = format!("{}; the agent of node {node} {}", error.message, agent.sentence());
        Err(Error { message, ..error })
    }

    /// Does kubelet report that node as Ready? While the watches fail, what they have shown proves
    /// nothing about a node.
    pub(super) fn is_ready(&self, ground: &Ground, view: &View, tag: NodeTag) -> bool {
        let mut named = view.nodes.values().filter(|node| ground.tag(&node.name) == tag);
        self.blindness().is_none() && named.any(|node| node.ready && !node.out_of_service)
    }

    /// The holders have let go: close the export, write the record, then its copy.
    async fn detach(
        &self,
        ground: &mut Ground,
        record: &Record,
        nodes: &[NodeName],
    ) -> Result<Left, Error> {
        let (formatted, found) = self.formatted_after(ground, record, nodes).await;
        let next = record.detach_as(formatted);
        let terms = ground.terms(&next, &[])?;
        let from = record.text();
        let wanted = Wanted { from: &from, to: &next, terms: Some(&terms), grow_to: None };
        let Changed::Done(disk) = self.change(ground, wanted).await? else {
            return Ok(Left::Look);
        };
        let details = Details::of(&disk).with(found);
        self.write_copy(ground, &next, Vec::new(), details).await?;
        slog::info!(self.log, "volume detached"; "volume" => %ground.id, "nodes" => ?nodes);
        self.tell(ground, Reason::VolumeDetached, format!("detached from {nodes:?}"));
        Ok(Left::Done)
    }

    async fn leave_one(
        &self,
        ground: &mut Ground,
        record: &Record,
        node: NodeTag,
    ) -> Result<Left, Error> {
        let next = record.leave(node);
        let from = record.text();
        let wanted = Wanted { from: &from, to: &next, terms: None, grow_to: None };
        let Changed::Done(disk) = self.change(ground, wanted).await? else {
            return Ok(Left::Look);
        };
        let stay = ground.names(&next.nodes, &self.cluster.view());
        self.write_copy(ground, &next, stay, Details::of(&disk)).await?;
        Ok(Left::Done)
    }

    /// The node does not hold it. Where nobody does, nobody may connect. The copy of an earlier try
    /// that came no further is written now.
    async fn settle(&self, ground: &mut Ground, record: &Record, disk: &Disk) -> Result<(), Error> {
        if record.state == State::Attached {
            let left = |copied: &Record| {
                let stay = record.nodes.iter().all(|node| copied.nodes.contains(node));
                copied != record && record.shares_nqn(copied) && stay
            };
            if ground.copied.as_ref().is_some_and(left) {
                self.follow(ground, record, disk).await?;
            }
            return Ok(());
        }
        if disk.exported != Some(false) {
            let terms = ground.terms(record, &[])?;
            let text = record.text();
            let wanted = Wanted { from: &text, to: record, terms: Some(&terms), grow_to: None };
            self.must_change(ground, wanted).await?;
        }
        if ground.copied.as_ref() != Some(record) {
            self.follow(ground, record, disk).await?;
        }
        Ok(())
    }
}

pub(super) fn not_alone(ground: &Ground, nodes: &[NodeName]) -> Error {
    let message = format!(
        "volume {} is shared by {nodes:?}, and the node that leaves is not Ready: it cannot be shut \
         out alone",
        ground.id
    );
    Error::new(Kind::Precondition, message)
}

/// What became of an attempt.
enum Left {
    /// The node is out.
    Done,
    /// The record must be read.
    Look,
}
