//! The agents of nodes, as the controller hears them, and what it remembers of them.
//!
//! An agent is asked at the node's InternalIP, and the answer is its word only when it is sealed
//! with the cluster Secret and repeats our challenge. That a node's agent has ever spoken while the
//! node was Ready is remembered across restarts (`baseline`): silence of a source that never spoke
//! proves nothing.
//!
//! Asking writes nothing. What was heard is written down by [`Agents::remember`], which passes
//! call.

mod baseline;
mod get;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use slog::{Logger, debug, info, o, warn};
use tokio::time::{Instant, timeout};

pub use self::baseline::Baseline;
use self::baseline::{changes, read, text};
pub use self::get::{OverHttp, Transport, Unanswered};
use super::entries::{Edits, Entries};
use super::request::Requests;
use super::{Cluster, ClusterError};
use crate::agent::{Asked, Challenge, Keys, PATH, Proven, open};
use crate::volume::NodeName;

/// What was read of the memory counts for so long.
const RECALL_EVERY: Duration = Duration::from_secs(10);
/// An agent that did not answer is not asked for so long by whoever has no need of it.
const UNHEARD_FOR: Duration = Duration::from_secs(60);

/// What came of asking an agent.
#[derive(Debug, Clone)]
pub enum Heard {
    /// Its word.
    Said(Proven),
    /// A kernel is alive at the node's address, and what it sends is no agent's word: it refuses
    /// the connection, for one. In words for a person.
    Alive(String),
    /// Nothing came back. In words for a person.
    Silent(String),
}

/// The agents of all nodes.
#[async_trait]
pub trait Agents: Send + Sync {
    /// Asks the agent of a node, and waits for its answer for so long at most.
    async fn hear(&self, node: &NodeName, within: Duration) -> Heard;

    /// Is it likely to answer? One that was silent a moment ago, or hung, is not.
    fn is_heard(&self, node: &NodeName) -> bool;

    /// What is known of its answers in the past. `None`: it has never answered.
    fn baseline(&self, node: &NodeName) -> Option<Baseline>;

    /// Reads what was remembered, unless that was done a moment ago. Before it has been done once,
    /// [`Agents::baseline`] knows only what was heard by this process.
    async fn recall(&self) -> Result<(), ClusterError>;

    /// Writes down what was heard, and forgets nodes that are gone, but for those named in `keep`.
    async fn remember(&self, keep: &BTreeSet<NodeName>) -> Result<(), ClusterError>;
}

/// No node has one.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAgents;

#[async_trait]
impl Agents for NoAgents {
    async fn hear(&self, _: &NodeName, _: Duration) -> Heard {
        Heard::Silent("agents are not asked".into())
    }
    fn is_heard(&self, _: &NodeName) -> bool {
        false
    }
    fn baseline(&self, _: &NodeName) -> Option<Baseline> {
        None
    }
    async fn recall(&self) -> Result<(), ClusterError> {
        Ok(())
    }
    async fn remember(&self, _: &BTreeSet<NodeName>) -> Result<(), ClusterError> {
        Ok(())
    }
}

/// What is needed to find agents.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The driver's name.
    pub driver: String,
    /// Name of the installation: the memory is the ConfigMap `<release>-agents`.
    pub release: String,
    /// The namespace we run in.
    pub namespace: String,
    /// The port of metrics and health on the nodes.
    pub port: u16,
    /// How long a request to the API server may take.
    pub deadline: Duration,
}

/// Agents over HTTP, remembered in a ConfigMap.
pub struct NodeAgents {
    cluster: Arc<dyn Cluster>,
    driver: String,
    port: u16,
    transport: Arc<dyn Transport>,
    entries: Entries,
    state: Mutex<State>,
    log: Logger,
}

/// What is known in this process.
#[derive(Default)]
struct State {
    /// As written down.
    written: BTreeMap<NodeName, Baseline>,
    /// When that was read.
    read_at: Option<Instant>,
    /// Heard since.
    heard: BTreeMap<NodeName, Baseline>,
    /// Who was silent, or took as long, and when.
    silent: BTreeMap<NodeName, Instant>,
}

impl NodeAgents {
    /// Asks nothing yet.
    pub fn new(
        client: kube::Client,
        cluster: Arc<dyn Cluster>,
        settings: Settings,
        transport: Arc<dyn Transport>,
        log: &Logger,
    ) -> Self {
        let requests = Requests::new(client, settings.deadline);
        let name = format!("{}-agents", settings.release);
        Self {
            cluster,
            driver: settings.driver,
            port: settings.port,
            transport,
            entries: Entries::new(requests, settings.namespace, name),
            state: Mutex::default(),
            log: log.new(o!("part" => "agents")),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the agent is: at the address of the Node object, or, where that is gone, where the
    /// agent was when it spoke.
    fn address(&self, node: &NodeName) -> Option<SocketAddr> {
        let of_node = match self.cluster.view().nodes.get(node) {
            Some(found) => found.address,
            None => self.baseline(node).map(|baseline| baseline.address),
        };
        of_node.map(|address| SocketAddr::new(address, self.port))
    }

    async fn ask(&self, node: &NodeName, within: Duration) -> Heard {
        let identity = match timeout(within, self.cluster.identity()).await {
            Ok(Ok(identity)) => identity,
            Ok(Err(error)) => return Heard::Silent(format!("it cannot be asked: {error}")),
            Err(_) => return Heard::Silent("it cannot be asked: the Secret is not known".into()),
        };
        let keys = match Keys::of(&identity.secret) {
            Ok(keys) => keys,
            Err(refused) => return Heard::Silent(format!("it cannot be asked: {refused}")),
        };
        let Some(address) = self.address(node) else {
            return Heard::Silent(format!("no InternalIP of node {node} is known"));
        };
        let challenge = Challenge::random();
        let target = format!("{PATH}?challenge={challenge}");
        let answer = match self.transport.get(address, &target, within).await {
            Ok(answer) => answer,
            Err(Unanswered::Alive(why)) => return Heard::Alive(format!("{address} {why}")),
            Err(Unanswered::Silent(why)) => return Heard::Silent(format!("{address} {why}")),
        };
        match open(&answer, &keys, Asked { driver: &self.driver, node, challenge }) {
            Ok(proven) => {
                self.note(node, address, &proven);
                Heard::Said(proven)
            }
            Err(unproven) => {
                warn!(self.log, "answer of an agent refused"; "node" => %node,
                    "address" => %address, "error" => %unproven);
                Heard::Alive(format!("{address}: {unproven}"))
            }
        }
    }

    /// It has spoken: that counts as a baseline where its node is well.
    fn note(&self, node: &NodeName, address: SocketAddr, proven: &Proven) {
        let view = self.cluster.view();
        let Some(found) = view.nodes.get(node).filter(|found| found.ready) else { return };
        let now = baseline::now();
        let mut state = self.state();
        let before = state.known(node).filter(|before| before.uid == found.uid);
        if before.is_none() {
            info!(self.log, "agent heard for the first time"; "node" => %node);
        }
        let first = before.map_or_else(|| now.clone(), |before| before.first);
        let heard = Baseline {
            uid: found.uid.clone(),
            boot_id: proven.boot_id().to_owned(),
            address: address.ip(),
            first,
            last: now,
        };
        state.heard.insert(node.clone(), heard);
    }
}

impl State {
    fn known(&self, node: &NodeName) -> Option<Baseline> {
        self.heard.get(node).or_else(|| self.written.get(node)).cloned()
    }
}

#[async_trait]
impl Agents for NodeAgents {
    async fn hear(&self, node: &NodeName, within: Duration) -> Heard {
        let began = Instant::now();
        let heard = self.ask(node, within).await;
        // Who takes a connection and sends nothing costs as much as one who is off.
        let is_late = began.elapsed() >= within;
        match &heard {
            Heard::Alive(why) if is_late => {
                debug!(self.log, "agent does not answer"; "node" => %node, "error" => why);
                self.state().silent.insert(node.clone(), Instant::now());
            }
            Heard::Silent(why) => {
                debug!(self.log, "agent is silent"; "node" => %node, "error" => why);
                self.state().silent.insert(node.clone(), Instant::now());
            }
            Heard::Said(_) | Heard::Alive(_) => {
                self.state().silent.remove(node);
            }
        }
        heard
    }

    fn is_heard(&self, node: &NodeName) -> bool {
        self.state().silent.get(node).is_none_or(|at| at.elapsed() >= UNHEARD_FOR)
    }

    fn baseline(&self, node: &NodeName) -> Option<Baseline> {
        let known = self.state().known(node)?;
        // A node that came later under this name is another one, and has not spoken.
        let uid = self.cluster.view().nodes.get(node).map(|node| node.uid.clone());
        uid.is_none_or(|uid| uid == known.uid).then_some(known)
    }

    async fn recall(&self) -> Result<(), ClusterError> {
        let is_fresh = |at: Instant| at.elapsed() < RECALL_EVERY;
        if self.state().read_at.is_some_and(is_fresh) {
            return Ok(());
        }
        let all = self.entries.all().await?;
        let (written, damaged) = read(&all);
        if damaged > 0 {
            warn!(self.log, "entries of the memory of agents cannot be read";
                "memory" => self.entries.what(), "entries" => damaged);
        }
        let mut state = self.state();
        state.written = written;
        state.read_at = Some(Instant::now());
        Ok(())
    }

    async fn remember(&self, keep: &BTreeSet<NodeName>) -> Result<(), ClusterError> {
        self.recall().await?;
        let heard = self.state().heard.clone();
        let nodes = self.cluster.view().nodes;
        let is_there = |node: &NodeName| nodes.contains_key(node) || keep.contains(node);
        let edits = |written: &BTreeMap<NodeName, Baseline>| changes(written, &heard, is_there);
        if !edits(&self.state().written).is_empty() {
            let decide = |data: &BTreeMap<String, String>| {
                let edits = edits(&read(data).0).into_iter();
                let printed = edits.map(|(node, entry)| {
                    let text = entry.map(|entry| text(&entry)).transpose()?;
                    Ok((node.to_string(), text))
                });
                printed.collect::<Result<Edits, ClusterError>>()
            };
            self.entries.edit(decide).await?;
            let changed = edits(&self.state().written);
            let mut state = self.state();
            for (node, entry) in changed {
                match entry {
                    Some(entry) => state.written.insert(node, entry),
                    None => state.written.remove(&node),
                };
            }
        }
        let mut state = self.state();
        // What was heard meanwhile is for the next time.
        state.heard.retain(|node, now| heard.get(node) != Some(now));
        state.silent.retain(|node, _| nodes.contains_key(node));
        Ok(())
    }
}

#[cfg(test)]
mod test;
