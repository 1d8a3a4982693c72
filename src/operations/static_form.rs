//! Old hosts of a volume whose export has a name that comes back.

use super::ground::Ground;
use super::{Error, Kind, Operations};
use crate::attachment::agent_word::Agent;
use crate::attachment::ledger::{FencedFrom, Record, State};
use crate::attachment::static_form::{Mode, OldHost, Order, Vouched, vouched};
use crate::cluster::{Node, View};
use crate::volume::NodeName;

impl Operations {
    /// Refuses to export the name of the slot again while somebody who was shut out of it may still
    /// wait for it. `from` is the record that is about to be replaced.
    pub(super) async fn check_old_hosts(
        &self,
        ground: &Ground,
        wanted: &NodeName,
        from: &Record,
    ) -> Result<(), Error> {
        if ground.mode() == Mode::Usual {
            return Ok(());
        }
        let untouched =
            |node: &NodeName| from.state == State::Fenced && from.nodes.contains(&ground.tag(node));
        for entry in ground.copy.iter().flat_map(|copy| &copy.fenced_from) {
            if let Some(uid) = &entry.node_uid {
                let returns = entry.node == *wanted && untouched(wanted);
                let boot_id = entry.boot_id.as_deref();
                self.vouch(ground, &entry.node, Some(uid), boot_id, returns).await?;
            }
        }
        Ok(())
    }

    /// Is the host on this node no longer to be waited for? `uid` is that of the Node object when it
    /// was shut out, `boot_id` the start of its kernel then, where they are known.
    async fn vouch(
        &self,
        ground: &Ground,
        node: &NodeName,
        uid: Option<&str>,
        boot_id: Option<&str>,
        returns: bool,
    ) -> Result<Vouched, Error> {
        // One who returns is let in whatever its agent says.
        let agent = match returns {
            true => Agent::NeverAnswered,
            false => self.agent_of(ground, node, boot_id).await?,
        };
        self.vouch_with(ground, node, uid, agent, returns).await
    }

    /// The same for a volume of the first driver: its hosts connected under names of their own, which no
    /// agent of ours sees, so only an order counts.
    pub(super) async fn vouch_by_order(
        &self,
        ground: &Ground,
        node: &NodeName,
    ) -> Result<Vouched, Error> {
        self.vouch_with(ground, node, None, Agent::NeverAnswered, false).await
    }

    async fn vouch_with(
        &self,
        ground: &Ground,
        node: &NodeName,
        uid: Option<&str>,
        agent: Agent,
        returns: bool,
    ) -> Result<Vouched, Error> {
        if let Some(why) = self.blindness() {
            let message = format!("{why}: nothing is known of node {node}");
            return Err(Error::new(Kind::Unavailable, message));
        }
        let order = order(self.cluster.node(node).await?.as_ref(), uid);
        // No drill has proven the list of hosts.
        let old = OldHost { agent, order, returns, list_is_proven: false };
        let Some(vouched) = vouched(old) else {
            let message = format!(
                "volume {} was taken from node {node} while that was silent, and its export has a \
                 name that comes back: the old host could write again; its agent {}; delete the Node \
                 or taint it node.kubernetes.io/out-of-service once it is off",
                ground.id,
                agent.sentence()
            );
            return Err(Error::new(Kind::Precondition, message));
        };
        slog::warn!(self.log, "a name is exported again that an old host knows";
            "volume" => %ground.id, "old_node" => %node, "because" => vouched.word());
        Ok(vouched)
    }
}

/// What remains of those shut out once a node is let in: those whose old VolumeAttachment is still
/// there, those who may wait for the name of the slot, as long as that is not given to anybody
/// (where it is, somebody has vouched for each of them), and those whose agent must be heard before
/// they are let in themselves. `wanted` is the node that is let in.
pub(super) fn still_kept_out(
    ground: &Ground,
    view: &View,
    wanted: &NodeName,
    has_spoken: impl Fn(&NodeName) -> bool,
) -> Vec<FencedFrom> {
    let waits = |entry: &FencedFrom| {
        let node = view.nodes.get(&entry.node);
        let uid = entry.node_uid.as_deref().filter(|_| ground.mode() == Mode::Usual)?;
        (order(node, Some(uid)) == Order::None).then(|| uid.to_owned())
    };
    let is_there =
        |entry: &FencedFrom| view.attachments.values().any(|va| va.version.uid == entry.attachment);
    // One entry for each is enough: a later one was written when it was shut out again.
    let all = || ground.copy.iter().flat_map(|copy| &copy.fenced_from);
    let is_heard_first = |entry: &FencedFrom| {
        let last = all().rfind(|other| other.node == entry.node);
        entry.node != *wanted
            && view.nodes.contains_key(&entry.node)
            && last.is_some_and(|last| std::ptr::eq(last, entry))
            && has_spoken(&entry.node)
    };
    let is_kept =
        |entry: &&FencedFrom| waits(entry).is_some() || is_there(entry) || is_heard_first(entry);
    all()
        .filter(is_kept)
        .map(|entry| FencedFrom { node_uid: waits(entry), ..entry.clone() })
        .collect()
}

/// What an operator ordered for a node that had this uid.
pub(super) fn order(node: Option<&Node>, uid: Option<&str>) -> Order {
    let is_other = |node: &Node| uid.is_some_and(|uid| !uid.is_empty() && node.uid != uid);
    match node {
        None => Order::Deleted,
        Some(node) if is_other(node) => Order::Deleted,
        Some(node) if node.out_of_service => Order::OutOfService,
        Some(_) => Order::None,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_node_of_the_same_name_that_came_later_was_deleted_in_between() {
        let node = |uid: &str, out_of_service| Node {
            name: NodeName::parse("n1").unwrap(),
            uid: uid.into(),
            ready: true,
            out_of_service,
            address: None,
        };
        assert_eq!(order(None, Some("1")), Order::Deleted);
        assert_eq!(order(Some(&node("1", false)), Some("1")), Order::None);
        assert_eq!(order(Some(&node("2", false)), Some("1")), Order::Deleted);
        assert_eq!(order(Some(&node("2", false)), Some("")), Order::None, "it was not known");
        assert_eq!(order(Some(&node("2", false)), None), Order::None);
        assert_eq!(order(Some(&node("1", true)), Some("1")), Order::OutOfService);
    }
}
