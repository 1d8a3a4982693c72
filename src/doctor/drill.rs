//! The drill: proves on a scratch disk that a fence on this box shuts a host out, from the node on
//! which it runs.
//!
//! ```text
//! generation 1  for host A   A connects, writes, reads back; the box's counter moves
//! generation 2  closed       A is fenced as the driver fences: nothing more is acknowledged or counted
//! generation 3  for host B   A retries and is swept: nothing of it lands; B reads what A had
//!                            acknowledged, and writes; the old name is refused, and A under B's name
//! generation 4  for host A   A reads what B wrote; closed and put back, A comes back
//! ```
//!
//! Both hosts are this kernel, under names that were drawn for the drill: the agent of a node leaves
//! them alone. Linux shows no disk twice (it ignores a namespace whose identity another subsystem has:
//! `nvme_global_check_duplicate_ids`), so that A is swept before B connects, as NodeStage does it. The disk has no ledger record: no pass takes it for a volume. Every wait has an end
//! ([`Pace`]). What is made is removed whatever happens; what cannot be removed is named in the last
//! row, with the command that does.

pub mod blocks;
pub mod initiator;
pub mod record;
pub mod rows;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use slog::Logger;
use tokio::time::sleep;

use self::blocks::Series;
use self::initiator::Initiator;
use self::record::Memory;
use self::steps::Run;
use super::console::Console;
use super::row::Row;
use super::scratch::Scratch;
use crate::attachment::static_form::Mode;
use crate::cluster::client::{self, Access};
use crate::cluster::drills::{self, Drills};
use crate::config::{BackendConfig, Config};
use crate::host::linux::{self, Linux};
use crate::host::{Connect, Controller, Timing};
use crate::volume::{Nqn, Slot, hex};

/// Time between two looks at the kernel.
const GLANCE: Duration = Duration::from_millis(100);
/// Looks for connections that are still going away, or were still being made.
const LOOKS_FOR_REMAINS: usize = 4;

/// How long the drill waits for what.
#[derive(Debug, Clone)]
pub struct Pace {
    /// TCP to the box's NVMe port.
    pub path: Duration,
    /// A device after a connection; a round of blocks; the end of a writer.
    pub step: Duration,
    /// Between two reads of the counters (`reconcile.counter_interval`).
    pub counters: Duration,
    /// Where there are none (`reconcile.drain_time`).
    pub drain: Duration,
    /// How long a fenced host is watched.
    pub silence: Duration,
    /// Between two attempts of the kernel to come back, in whole seconds.
    pub reconnect: Duration,
    /// How long a host has to come back after a repair.
    pub comeback: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            path: seconds(5),
            step: seconds(30),
            counters: seconds(1),
            drain: seconds(30),
            silence: seconds(5),
            reconnect: seconds(2),
            comeback: seconds(60),
        }
    }
}

/// What a drill is run with.
#[derive(Clone)]
pub struct Setup {
    /// The kernel here.
    pub initiator: Arc<dyn Initiator>,
    /// Its waits.
    pub pace: Pace,
    /// Who is told the result; the error says why nobody can be.
    pub memory: Result<Arc<dyn Memory>, String>,
    /// Where it would be written: `namespace/name` of a ConfigMap.
    pub elsewhere: String,
}

impl Setup {
    /// On this node, with what the configuration says of waits and of the cluster. Must be called on
    /// a runtime.
    pub async fn of_this_node(config: &Config, log: &Logger) -> Self {
        let settings = linux::Settings::new(std::env::temp_dir());
        let (driver, cluster) = (&config.driver, &config.cluster);
        let access = cluster.kubeconfig.clone().map_or(Access::InCluster, Access::Kubeconfig);
        let deadline = cluster.request_deadline;
        let client = client::client(&access, deadline).await;
        let memory = client.map(|client| {
            let drills = Drills::new(client, deadline, &driver.namespace, &driver.release);
            Arc::new(drills) as Arc<dyn Memory>
        });
        let (counters, drain) = (config.reconcile.counter_interval, config.reconcile.drain_time);
        Self {
            initiator: Arc::new(Linux::new(settings, log.clone())),
            pace: Pace { counters, drain, ..Pace::default() },
            memory: memory.map_err(|error| error.to_string()),
            elsewhere: format!("{}/{}", driver.namespace, drills::name(&driver.release)),
        }
    }
}

/// A host of the drill.
#[derive(Debug, Clone)]
struct Host {
    nqn: Nqn,
    id: String,
    series: Series,
}

/// One drill on one box. A clone has the same hosts, and so can end what another began.
#[derive(Clone)]
pub struct Drill {
    setup: Setup,
    config: BackendConfig,
    mode: Mode,
    /// A and B.
    hosts: [Host; 2],
    generation: u32,
    /// The name of that generation; none before the first.
    name: Option<Nqn>,
    /// Has the box lists of hosts?
    listed: bool,
}

/// Which of the hosts.
const A: usize = 0;
const B: usize = 1;

impl Drill {
    /// Prepares one, with names of its own. `number` is what is random in the disk's name.
    ///
    /// # Errors
    /// A row, where no NQN can be made.
    pub fn new(
        setup: Setup,
        config: &BackendConfig,
        mode: Mode,
        number: &str,
    ) -> Result<Self, Row> {
        let host = |writer| {
            let id = uuid();
            let nqn = Nqn::parse(&format!("nqn.2014-08.org.nvmexpress:uuid:{id}"));
            let series = Series { drill: number.to_owned(), writer };
            nqn.map(|nqn| Host { nqn, id, series })
        };
        let unnamed = |_| Row::fault("drill disk", "no host can be named").mend("report this");
        let hosts = [host("A").map_err(unnamed)?, host("B").map_err(unnamed)?];
        let config = config.clone();
        Ok(Self { setup, config, mode, hosts, generation: 0, name: None, listed: true })
    }

    /// Can this node be drilled with?
    pub async fn is_ready(&self, rows: &mut Vec<Row>) -> bool {
        let ready = self.setup.initiator.ready().await;
        rows.push(rows::node(&ready));
        ready.is_ok()
    }

    /// All steps, as far as each allows the next. The disk must have been made.
    pub async fn run(&mut self, console: &mut Console, scratch: &mut Scratch, rows: &mut Vec<Row>) {
        let _ = Run { drill: self, console, scratch, rows }.steps().await;
    }

    /// Ends every connection of the drill. Returns the names of those that stay.
    ///
    /// # Errors
    /// When nobody can tell what is left.
    pub async fn leave(&self) -> Result<Vec<String>, String> {
        let mut left = self.leave_once().await;
        // The kernel may be connecting yet on behalf of somebody who does not wait any more.
        for _ in 0..LOOKS_FOR_REMAINS {
            sleep(GLANCE).await;
            left = self.leave_once().await;
        }
        left
    }

    async fn leave_once(&self) -> Result<Vec<String>, String> {
        let mut hung = Vec::new();
        for controller in self.own(|_| true).await? {
            if let Err(why) = self.setup.initiator.disconnect(&controller).await {
                hung.push(why);
            }
        }
        let left = self.own(|_| true).await?;
        if left.is_empty() { Ok(Vec::new()) } else { Ok(names(&left)) }
    }

    /// Connections of the drill's hosts that are so.
    async fn own(&self, is_so: impl Fn(&Controller) -> bool) -> Result<Vec<Controller>, String> {
        let all = self.setup.initiator.controllers().await?;
        Ok(all.into_iter().filter(|one| self.host_of(one).is_some() && is_so(one)).collect())
    }

    fn host_of(&self, controller: &Controller) -> Option<usize> {
        let shown = controller.host_nqn.as_deref()?;
        self.hosts.iter().position(|host| host.nqn.as_str() == shown)
    }

    /// Takes the name of the next generation, which nobody else has.
    fn next_name(&mut self, slot: &Slot) -> Result<(), String> {
        self.generation += 1;
        let (base, number) = (&self.config.nqn_base, self.generation);
        let nonce = hex(&rand::rng().random::<[u8; 6]>());
        let name = Nqn::parse(&format!("{base}:{slot}.g{number}-{nonce}"));
        self.name = Some(name.map_err(|why| why.to_string())?);
        Ok(())
    }

    fn wanted(&self, nqn: &Nqn, host: usize) -> Connect {
        let host = &self.hosts[host];
        let timing = Timing {
            // Longer than a drill takes. One that is killed does not leave a host that tries for ever.
            ctrl_loss: Some(Duration::from_secs(600)),
            reconnect_delay: self.setup.pace.reconnect,
            keep_alive: Duration::from_secs(5),
            fast_io_fail: None,
            io_queues: Some(1),
        };
        Connect {
            nqn: nqn.clone(),
            address: self.config.nvme_address.clone(),
            port: self.config.nvme_port,
            host_nqn: host.nqn.clone(),
            host_id: host.id.clone(),
            timing,
        }
    }
}

fn names(controllers: &[Controller]) -> Vec<String> {
    controllers.iter().map(|controller| controller.name.clone()).collect()
}

/// A UUID of chance alone (RFC 9562, version 4).
fn uuid() -> String {
    let mut bytes: [u8; 16] = rand::rng().random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
