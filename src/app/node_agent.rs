//! The agent of a node, wired: it answers challenges where the cluster Secret is, and sweeps where
//! Kubernetes can be asked, too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use slog::{Logger, info, o, warn};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::live::event_bounds;
use super::observe::Measures;
use super::roll::Roll;
use crate::actors::Shutdown;
use crate::actors::agent::round::Rounds;
use crate::actors::agent::{self, Mute, SecretFile, StagedVolumes, Voice};
use crate::actors::supervision::Supervision;
use crate::attachment::sweep::{Standing, standing};
use crate::cluster::client::{self, Access};
use crate::cluster::events::Pod;
use crate::cluster::evidence::{Evidence, KubeEvidence, Settings};
use crate::config::NodeMode;
use crate::host::{ControllerState, Host};
use crate::http::{Challenged, Unanswerable};
use crate::logging::Chain;
use crate::node::{Generations, Node};
use crate::volume::{Handle, NodeName, Nqn};

/// Kubernetes, as a node asks it.
#[derive(Clone)]
pub struct Kubernetes {
    evidence: Arc<KubeEvidence>,
    host: Arc<dyn Host>,
    node: NodeName,
}

impl Kubernetes {
    /// `None` where it cannot be reached from here, as the configuration and the pod are: that is
    /// said, and nothing but sweeping waits for it.
    pub async fn reach(
        config: &NodeMode,
        node: &NodeName,
        host: &Arc<dyn Host>,
        pod: Option<Pod>,
        log: &Logger,
    ) -> Option<Self> {
        let cluster = &config.cluster;
        let access = cluster.kubeconfig.clone().map_or(Access::InCluster, Access::Kubeconfig);
        let client = match client::client(&access, cluster.request_deadline).await {
            Ok(client) => client,
            Err(error) => {
                warn!(log, "kubernetes cannot be asked: what is over is not swept";
                    "error" => %Chain(&error));
                return None;
            }
        };
        let settings = Settings {
            driver: config.driver.name.clone(),
            node: node.clone(),
            namespace: config.driver.namespace.clone(),
            pod,
            deadline: cluster.request_deadline,
            events: tokio::sync::watch::channel(event_bounds(&config.events)).1,
        };
        let (host, node) = (Arc::clone(host), node.clone());
        Some(Self { evidence: KubeEvidence::new(client, settings, log), host, node })
    }
}

impl Kubernetes {
    /// `None`: Kubernetes does not say.
    async fn standing_of(&self, volume: &Handle, nqn: &Nqn) -> Option<Standing> {
        // Asked first: what connects while Kubernetes answers is not what was asked about.
        let controllers = self.host.controllers().await.unwrap_or_default();
        let live = |it: &crate::host::Controller| it.state == ControllerState::Live;
        let is_live = controllers.iter().any(|it| it.nqn == *nqn && live(it));
        let found = self.evidence.of(volume, true).await.ok()?;
        Some(standing(nqn.as_str(), &volume.slot, &self.node, is_live, &found.attested))
    }
}

#[async_trait]
impl Generations for Kubernetes {
    async fn is_over(&self, volume: &Handle, nqn: &Nqn) -> bool {
        matches!(self.standing_of(volume, nqn).await, Some(Standing::Over(_)))
    }

    async fn is_current(&self, volume: &Handle, nqn: &Nqn) -> bool {
        self.standing_of(volume, nqn).await == Some(Standing::Current)
    }
}

/// The agent, running.
pub struct NodeAgent {
    /// What stops it, and tells whether it lives. `None`: it only answers.
    pub sweeper: Option<Sweeper>,
    /// What it answers with. `None`: there is no cluster Secret here.
    pub voice: Option<Voice>,
}

/// The part of the agent that acts.
pub struct Sweeper {
    /// The actor.
    pub handles: agent::Handles,
    /// Ends the posting of events.
    pub stop: CancellationToken,
    /// Waits for that end.
    pub tasks: TaskTracker,
}

impl Sweeper {
    /// The same, watched over: the process ends when the actor is dead.
    pub fn enrolled(mut self, roll: &Roll) -> Self {
        let alive = std::mem::replace(&mut self.handles.alive, Box::new(|| true));
        roll.add("agent", alive);
        self
    }

    /// Stops; returns when nothing runs any more.
    pub async fn end(self) {
        // The error says that it is dead: an end as well.
        let _ = self.handles.shutdown.send(Shutdown { within: Duration::ZERO }).await;
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl NodeAgent {
    /// Starts it. Must run within an actix System, unless there is no Kubernetes.
    pub fn start(
        config: &NodeMode,
        node: &Node,
        kubernetes: Option<&Kubernetes>,
        supervision: Supervision,
        measures: &Arc<Measures>,
    ) -> Self {
        let path = config.node.cluster_secret_path.clone();
        let Some(path) = path else {
            info!(supervision.log, "no agent: there is no node.cluster_secret_path");
            return Self { sweeper: None, voice: None };
        };
        let secret = SecretFile(path);
        let (host, volumes) = (Arc::clone(node.host()), Arc::new(node.clone()));
        let voice = Voice {
            driver: config.driver.name.clone(),
            node: node.name().clone(),
            host: Arc::clone(&host),
            volumes: volumes.clone(),
            secret: secret.clone(),
        };
        let sweeper = kubernetes.map(|kubernetes| {
            let rounds = Rounds {
                node: node.name().clone(),
                host,
                volumes: volumes as Arc<dyn StagedVolumes>,
                evidence: kubernetes.evidence.clone() as Arc<dyn Evidence>,
                secret,
                metrics: measures.clone(),
                log: supervision.log.new(o!("component" => "agent")),
                judged: std::sync::Mutex::default(),
                unreadable: std::sync::Mutex::default(),
            };
            let stop = CancellationToken::new();
            let tasks = kubernetes.evidence.start(&stop);
            let handles = agent::start(agent::Parts { supervision, rounds });
            Sweeper { handles, stop, tasks }
        });
        Self { sweeper, voice: Some(voice) }
    }
}

#[async_trait]
impl Challenged for Voice {
    async fn answer(&self, challenge: &str) -> Result<Vec<u8>, Unanswerable> {
        self.answer(challenge).await.map_err(|mute| match mute {
            Mute::Malformed(why) => Unanswerable::Malformed(why),
            Mute::Unable(why) => Unanswerable::Unable(why),
        })
    }
}
