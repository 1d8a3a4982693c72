//! What operations ask the agents of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _};

use super::ground::Ground;
use super::{Error, Operations};
use crate::agent::Proven;
use crate::attachment::agent_word::{
    Agent, Heard as Meant, Said, agent, formatted_after, said, together,
};
use crate::attachment::ledger::{Formatted, Record};
use crate::cluster::agents::Heard;
use crate::volume::NodeName;

/// How long an agent may take whose word decides.
const DECIDING: Duration = Duration::from_secs(2);
/// How long an agent may take without whose word the operation goes on.
const HELPFUL: Duration = Duration::from_secs(1);
/// How many agents a pass asks at a time.
const ABREAST: usize = 32;

/// What agents said, by node.
pub(super) type Witnesses = BTreeMap<NodeName, Heard>;

impl Operations {
    /// What the agent of this node says of the volume, or what its silence means. `boot_then` is the
    /// start of its kernel when it held the volume.
    pub(super) async fn agent_of(
        &self,
        ground: &Ground,
        node: &NodeName,
        boot_then: Option<&str>,
    ) -> Result<Agent, Error> {
        // Read first: whoever answers now for the first time had not answered before.
        self.agents.recall().await?;
        let spoke = self.agents.baseline(node).is_some();
        let heard = self.agents.hear(node, DECIDING).await;
        let meant = match &heard {
            Heard::Said(proven) => Meant::Word(proven),
            Heard::Alive(_) => Meant::Sign,
            Heard::Silent(_) => Meant::Nothing,
        };
        let agent = agent(meant, spoke, &names(ground), boot_then);
        slog::info!(self.log, "agent asked"; "volume" => %ground.id, "node" => %node,
            "agent" => agent.sentence());
        Ok(agent)
    }

    /// What the ledger is to say once these nodes, which held the volume under `record`, have let it
    /// go. Their agents are asked only where that can change anything, and not for long.
    pub(super) async fn formatted_after(
        &self,
        ground: &Ground,
        record: &Record,
        nodes: &[NodeName],
    ) -> (Formatted, Option<FileSystem>) {
        let is_file_system = ground.copy.as_ref().is_some_and(|copy| !copy.file_system.is_empty());
        let nqn = record.nqn(&ground.backend.nqn_base, &ground.id.slot);
        let (Ok(nqn), Formatted::Never, true) = (nqn, record.formatted, is_file_system) else {
            return (formatted_after(record, Said::Nothing), None);
        };
        let ask = |node: NodeName| async move {
            match self.agents.is_heard(&node) {
                true => self.agents.hear(&node, HELPFUL).await,
                false => Heard::Silent(String::new()),
            }
        };
        let heard = join_all(nodes.iter().cloned().map(ask)).await;
        let words = || heard.iter().map(Heard::word);
        let each = words().map(|word| said(word, nqn.as_str()));
        let all = if nodes.len() == record.nodes.len() { together(each) } else { Said::Nothing };
        let found = words().flatten().find_map(|word| FileSystem::told(word, nqn.as_str()));
        (formatted_after(record, all), found)
    }

    /// Asks the agents of these nodes, some at a time, for so long at most. Those that were not
    /// reached in that time are missing.
    pub(super) async fn hear_all(&self, nodes: BTreeSet<NodeName>, within: Duration) -> Witnesses {
        let mut asking: Vec<BoxFuture<'_, (NodeName, Heard)>> = Vec::new();
        for node in nodes {
            let hear = async move {
                let heard = self.agents.hear(&node, DECIDING).await;
                (node, heard)
            };
            asking.push(hear.boxed());
        }
        let mut witnesses = Witnesses::new();
        let mut heard = futures::stream::iter(asking).buffer_unordered(ABREAST);
        let all = async {
            while let Some((node, word)) = heard.next().await {
                witnesses.insert(node, word);
            }
        };
        // What came so far counts.
        let _ = tokio::time::timeout(within, all).await;
        witnesses
    }
}

impl Heard {
    /// The agent's word, where it gave one.
    pub(super) fn word(&self) -> Option<&Proven> {
        match self {
            Self::Said(proven) => Some(proven),
            Self::Alive(_) | Self::Silent(_) => None,
        }
    }
}

/// A file system that an agent told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileSystem {
    /// As mount(8) calls it; empty where it did not say.
    pub kind: String,
    /// Its UUID; empty where it did not say.
    pub uuid: String,
}

impl FileSystem {
    /// What this agent says is there under this NQN.
    pub fn told(word: &Proven, nqn: &str) -> Option<Self> {
        let seen = word.seen(nqn)?;
        let is_there = said(Some(word), nqn) == Said::Formatted;
        let text = |text: Option<String>| text.unwrap_or_default();
        is_there.then(|| Self { kind: text(seen.file_system), uuid: text(seen.uuid) })
    }
}

/// The names without generation under which hosts know the volume.
fn names(ground: &Ground) -> Vec<String> {
    names_of(&ground.backend.nqn_base, ground.id.slot.as_str())
}

/// The same, from its parts.
pub(super) fn names_of(nqn_base: &str, slot: &str) -> Vec<String> {
    vec![format!("{nqn_base}:{slot}"), slot.to_owned()]
}
