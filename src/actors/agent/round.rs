//! One round: look at what the host has, ask Kubernetes where that is in doubt, put it right.
//!
//! - a connection whose generation is over is ended, then its mounts are taken away; what is busy is
//!   reported and tried again;
//! - a staged volume that has lost its controller (Linux 6.12 drops it at the first refusal) is
//!   connected again to exactly the NQN that is current;
//! - where Kubernetes does not answer, nothing is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slog::{Logger, debug, info, warn};
use tokio::time::{Instant, timeout};

use super::AgentMetrics;
use super::look::{Item, Look, look};
use super::secret::SecretFile;
use super::staged::StagedVolumes;
use crate::agent::Connection;
use crate::attachment::sweep::{Standing, is_wanted, standing};
use crate::cluster::evidence::{Evidence, Found};
use crate::cluster::{About, Notice, Reason};
use crate::host::{ControllerState, Entry, Host};
use crate::logging::Chain;
use crate::node::Unreadable;
use crate::volume::{Handle, NodeName, Nqn};

/// How often it is asked whether what works is still ours.
const WORKING_EVERY: Duration = Duration::from_secs(300);
/// The same of what does not work.
const AILING_EVERY: Duration = Duration::from_secs(20);
/// How long a device may take to come back.
const DEVICE_WITHIN: Duration = Duration::from_secs(15);
/// How long Kubernetes may take to say what it knows of a volume.
const WORD_WITHIN: Duration = Duration::from_secs(5);

/// What rounds need, and what they remember.
pub struct Rounds {
    /// The node.
    pub node: NodeName,
    /// The kernel.
    pub host: Arc<dyn Host>,
    /// The notes.
    pub volumes: Arc<dyn StagedVolumes>,
    /// Kubernetes.
    pub evidence: Arc<dyn Evidence>,
    /// Where the cluster Secret is.
    pub secret: SecretFile,
    /// Counts.
    pub metrics: Arc<dyn AgentMetrics>,
    /// Where to log.
    pub log: Logger,
    /// When each NQN was judged.
    pub judged: Mutex<BTreeMap<String, Instant>>,
    /// The notes of which an event said that they cannot be read.
    pub unreadable: Mutex<BTreeSet<String>>,
}

/// What became of an NQN in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing was to be done.
    Nothing,
    /// Nothing could be done: somebody works on it, or nothing is known.
    Later,
    /// It was swept; is nothing left of it?
    Swept(bool),
    /// Of what was unstaged under it nobody has to hear any more.
    Forgotten,
    /// It was connected again; did its device survive?
    Reconnected(bool),
}

impl Rounds {
    /// One round; what became of each NQN that was judged.
    pub async fn run(&self) -> BTreeMap<String, Done> {
        let host_nqn = match self.secret.host_nqn(&self.node).await {
            Ok(nqn) => Some(nqn),
            Err(why) => {
                warn!(self.log, "only noted connections are looked at"; "error" => why);
                None
            }
        };
        let seen = look(&*self.host, &*self.volumes, host_nqn.as_ref()).await;
        let Look { items, unreadable } = match seen {
            Ok(seen) => seen,
            Err(why) => {
                warn!(self.log, "the kernel or the notes cannot be read"; "error" => why);
                return BTreeMap::new();
            }
        };
        self.measure(&items);
        self.tell_unreadable(&unreadable);
        let mut done = BTreeMap::new();
        for item in &items {
            if self.is_due(item) {
                let what = self.judge(item, host_nqn.as_ref()).await;
                if what != Done::Later {
                    self.judged().insert(item.nqn.to_string(), Instant::now());
                }
                done.insert(item.nqn.to_string(), what);
            }
        }
        let known = |nqn: &String| items.iter().any(|item| item.nqn.as_str() == nqn);
        self.judged().retain(|nqn, _| known(nqn));
        done
    }

    fn measure(&self, items: &[Item]) {
        let count = |wanted| items.iter().filter(|item| item.connection() == wanted).count();
        let (live, waiting) = (count(Connection::Live), count(Connection::Connecting));
        self.metrics.connections(live, waiting);
        self.metrics.stale_mounts(items.iter().map(|item| item.broken().count()).sum());
    }

    fn judged(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, item: &Item) -> bool {
        if item.is_veiled {
            return false;
        }
        let is_idle = item.controllers.is_empty() && item.mounts.is_empty();
        let is_left = item.staged.as_ref().is_some_and(|note| !note.is_staged);
        // A note of what is neither connected nor mounted waits for kubelet.
        if is_idle && !is_left {
            return false;
        }
        let works = item.connection() == Connection::Live && item.broken().next().is_none();
        let works = works || is_idle;
        let every = if works { WORKING_EVERY } else { AILING_EVERY };
        let last = self.judged().get(item.nqn.as_str()).copied();
        last.is_none_or(|last| last.elapsed() >= every)
    }

    /// Judged once as it is seen; whoever is to be touched is judged again under the volume's turn,
    /// so that no RPC waits for the API server without need.
    async fn judge(&self, seen: &Item, host_nqn: Option<&Nqn>) -> Done {
        let Some((volume, is_exact)) = seen.volume() else { return Done::Nothing };
        let Some((now, found)) = self.word_on(seen, &volume, is_exact).await else {
            return Done::Later;
        };
        match now {
            Standing::Unknown(why) => {
                debug!(self.log, "a connection is left alone"; "nqn" => %seen.nqn, "why" => why);
                return Done::Nothing;
            }
            Standing::Current if !seen.controllers.is_empty() || seen.mounts.is_empty() => {
                self.tell_broken(seen, &found);
                return Done::Nothing;
            }
            Standing::Current | Standing::Over(_) => {}
        }
        // Nobody stages or unstages it from here on, and what was done before is seen.
        let Some(_turn) = self.volumes.turn(&volume) else { return Done::Later };
        let now = look(&*self.host, &*self.volumes, host_nqn).await.unwrap_or_default();
        let same = |now: &&Item| now.nqn == seen.nqn && !now.is_veiled;
        let Some(item) = now.items.iter().find(same) else { return Done::Later };
        let Some((now, found)) = self.word_on(item, &volume, is_exact).await else {
            return Done::Later;
        };
        match now {
            Standing::Over(_) if item.controllers.is_empty() && item.mounts.is_empty() => {
                // Whatever was to be told of it has been told, or matters no more.
                self.volumes.forget(&volume).await;
                Done::Forgotten
            }
            Standing::Over(why) => Done::Swept(self.sweep(item, why, &found).await),
            Standing::Current
                if !item.mounts.is_empty()
                    && item.controllers.is_empty()
                    && is_wanted(item.nqn.as_str(), now, &found.attested) =>
            {
                self.reconnect(item, &found).await
            }
            Standing::Current | Standing::Unknown(_) => Done::Nothing,
        }
    }

    /// What Kubernetes says of it. `None`: nothing at present.
    async fn word_on(
        &self,
        item: &Item,
        volume: &Handle,
        is_exact: bool,
    ) -> Option<(Standing, Found)> {
        let asked = timeout(WORD_WITHIN, self.evidence.of(volume, is_exact)).await;
        let found = match asked {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                debug!(self.log, "nothing is known of a connection"; "nqn" => %item.nqn,
                    "error" => %Chain(&error));
                return None;
            }
            Err(_) => return None,
        };
        let is_live = item.connection() == Connection::Live;
        let (nqn, slot) = (item.nqn.as_str(), &volume.slot);
        Some((standing(nqn, slot, &self.node, is_live, &found.attested), found))
    }

    /// Ends the connections, which fails what is queued on them, then unmounts, the last mounted
    /// first. Is nothing left?
    async fn sweep(&self, item: &Item, why: &'static str, found: &Found) -> bool {
        warn!(self.log, "sweeping what is over"; "nqn" => %item.nqn, "because" => why,
            "controllers" => item.controllers.len(), "mounts" => item.mounts.len());
        let mut left = Vec::new();
        for controller in &item.controllers {
            if controller.state == ControllerState::Deleting {
                continue;
            }
            if let Err(error) = self.host.disconnect(&controller.name, &item.nqn).await {
                left.push(format!("{}: {}", controller.name, Chain(&error)));
            }
        }
        // While a connection is there, what is queued may yet be written: nothing is unmounted.
        if left.is_empty() {
            for mount in &item.mounts {
                if let Err(error) = self.host.unmount(&mount.target).await {
                    left.push(format!("{}: {}", mount.target.display(), Chain(&error)));
                }
            }
        }
        self.metrics.swept(left.is_empty());
        if left.is_empty() {
            info!(self.log, "swept"; "nqn" => %item.nqn);
            return true;
        }
        let note = format!(
            "node {} is to let go of {} ({why}), and could not yet: {}",
            self.node,
            item.nqn,
            left.join("; ")
        );
        warn!(self.log, "not all was swept"; "nqn" => %item.nqn, "left" => left.join("; "));
        let about = found.about.clone();
        self.evidence.post(Notice { reason: Reason::RecoveryHeld, about, note });
        false
    }

    /// Connects a volume again whose controller the kernel has dropped.
    async fn reconnect(&self, item: &Item, found: &Found) -> Done {
        let Some(note) = &item.staged else { return Done::Nothing };
        let mut changes = self.host.changes();
        if let Err(error) = self.host.connect(&note.connect).await {
            info!(self.log, "a volume that lost its controller is not connected yet";
                "nqn" => %item.nqn, "error" => %Chain(&error));
            return Done::Nothing;
        }
        let came = async {
            loop {
                let devices = self.host.devices(&item.nqn).await;
                if let Ok(devices) = devices
                    && !devices.is_empty()
                {
                    return devices;
                }
                // Where nobody tells any more, the deadline ends it.
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let devices = timeout(DEVICE_WITHIN, came).await.unwrap_or_default();
        let survived = !devices.is_empty() && self.is_whole(item, &devices).await;
        info!(self.log, "a volume that lost its controller is connected again";
            "nqn" => %item.nqn, "survived" => survived);
        self.metrics.reconnected(survived);
        if !survived {
            self.post_broken(item, found);
        }
        Done::Reconnected(survived)
    }

    /// Is what is mounted on one of these devices?
    async fn is_whole(&self, item: &Item, devices: &[crate::host::Device]) -> bool {
        for mount in &item.mounts {
            let number = if mount.kind == "devtmpfs" {
                // A device's node that was bound to a file: the node says which device it is.
                match self.host.entry(&mount.target).await {
                    Ok(Entry::Block(number)) => number,
                    _ => return false,
                }
            } else {
                mount.number
            };
            if devices.iter().all(|device| device.number != number) {
                return false;
            }
        }
        true
    }

    /// Posts an event about each note that could still be read when it was looked at last.
    fn tell_unreadable(&self, notes: &[Unreadable]) {
        let now: BTreeSet<String> = notes.iter().map(|note| note.name.clone()).collect();
        let mut told = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        for note in notes.iter().filter(|note| !told.contains(&note.name)) {
            let about = About::Node(self.node.clone());
            let note = format!("node {}: {}", self.node, note.error());
            self.evidence.post(Notice { reason: Reason::RecoveryHeld, about, note });
        }
        *told = now;
    }

    fn tell_broken(&self, item: &Item, found: &Found) {
        if item.broken().next().is_some() {
            self.post_broken(item, found);
        }
    }

    fn post_broken(&self, item: &Item, found: &Found) {
        let targets: Vec<String> =
            item.mounts.iter().map(|mount| mount.target.display().to_string()).collect();
        let note = format!(
            "on node {} the device under {} is gone, and the volume has come back as another one: \
             delete the pods that use it, so that it is mounted anew",
            self.node,
            targets.join(", ")
        );
        warn!(self.log, "mount broken"; "nqn" => %item.nqn, "targets" => targets.join(", "));
        let about = found.about.clone();
        self.evidence.post(Notice { reason: Reason::MountBroken, about, note });
    }
}
