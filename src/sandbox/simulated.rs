//! The world of the doubles: rds-sim behind SSH, the API server double behind HTTP, and the whole
//! controller between them, over real sockets on loopback.
//!
//! [`Doubles`] and [`Controller`] stand alone: a controller can be stopped, and another one started
//! between the same doubles, as a Deployment does. [`Simulated`] is both together, as a [`World`].

pub mod controller;
pub mod doubles;
mod machines;
mod plan;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rds_sim::apiserver::{self, world as objects};
use rds_sim::routeros::{Reboot, RouterOs, Write};
use slog::Logger;
use tokio::time::timeout;

pub use self::controller::Controller;
pub use self::doubles::Doubles;
pub use self::machines::Machines;
pub use self::plan::Plan;
use super::endpoint;
use super::world::{Answer, Nature, Patience, Provisioned, Trouble, World};

/// The running world.
pub struct Simulated {
    /// Box and cluster.
    pub doubles: Doubles,
    /// The controller between them.
    pub controller: Controller,
}

impl Simulated {
    /// Starts everything and waits until the controller is connected; keys and the socket lie in
    /// `scratch`.
    pub async fn start(plan: Plan, scratch: &Path, log: Logger) -> Result<Self, Trouble> {
        let doubles = Doubles::start(&plan, scratch).await?;
        let controller = Controller::start(&doubles, log).await?;
        controller.ready().await?;
        Ok(Self { doubles, controller })
    }

    /// The ordered stop of the controller. Box and cluster go on.
    pub async fn stop(self) -> Doubles {
        self.controller.stop().await;
        self.doubles
    }

    /// What the VolumeAttachment of a volume for a node is called.
    pub fn attachment_of(&self, volume: &Provisioned, node: &str) -> String {
        format!("csi-{}-{node}", volume.name)
    }

    fn driver(&self) -> &str {
        &self.doubles.config.driver.name
    }
}

#[async_trait]
impl World for Simulated {
    fn describe(&self) -> Vec<String> {
        vec![
            format!(
                "simulated box: RouterOS {} at {}",
                self.doubles.rds.version(),
                self.doubles.box_address()
            ),
            format!("simulated cluster at {}", self.doubles.cluster_url()),
            format!("metrics and health at http://{}/metrics", self.controller.http),
            format!("CSI at {}", self.doubles.socket().display()),
        ]
    }

    async fn provision(&self, claim: &str, bytes: u64) -> Result<Provisioned, Trouble> {
        let name = format!("pvc-{claim}");
        let made = self.controller.sidecars.provision(&name, bytes).await;
        let made = made.map_err(|(code, text)| format!("CreateVolume: {code}: {text}"))?;
        let failed = |failure: apiserver::Failure| format!("{failure:?}");
        let bound = objects::claim("default", claim, "rds", &name);
        let bound = self.doubles.api.create(bound).map_err(failed)?;
        let mut volume = objects::volume(&name, self.driver())
            .handle(&made.volume_id)
            .size(&made.capacity_bytes.to_string())
            .bound_to("default", claim, bound["metadata"]["uid"].as_str());
        for (key, value) in &made.volume_context {
            volume = volume.attribute(key, value);
        }
        self.doubles.api.create(volume.build()).map_err(failed)?;
        Ok(Provisioned { name, handle: made.volume_id })
    }

    async fn attach(
        &self,
        volume: &Provisioned,
        node: &str,
        within: Duration,
    ) -> Result<Option<BTreeMap<String, String>>, Trouble> {
        let name = self.attachment_of(volume, node);
        let wanted = objects::attachment(&name, self.driver(), node, &volume.name);
        self.doubles.api.create(wanted).map_err(|failure| format!("{failure:?}"))?;
        let attached = self
            .doubles
            .api
            .wait_for("volumeattachments", &name, |va| va["status"]["attached"] == true);
        let Ok(attached) = timeout(within, attached).await else { return Ok(None) };
        let attached = attached.map_err(|failure| format!("{failure:?}"))?;
        let context = attached["status"]["attachmentMetadata"].clone();
        Ok(Some(serde_json::from_value(context)?))
    }

    async fn publish(&self, volume: &Provisioned, node: &str) -> Answer<BTreeMap<String, String>> {
        self.controller.sidecars.publish(&volume.handle, node).await
    }

    async fn has_attachment(&self, volume: &Provisioned, node: &str) -> bool {
        self.doubles.api.get("volumeattachments", &self.attachment_of(volume, node)).is_some()
    }

    async fn connect_and_write(
        &self,
        node: &str,
        context: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        self.doubles.machines.connect_and_write(&self.doubles.rds, node, context)
    }

    async fn write_on(&self, node: &str, context: &BTreeMap<String, String>) -> Result<(), String> {
        self.doubles.machines.write_on(node, context)
    }

    async fn crash_box(&self) {
        self.doubles.rds.set_half_open(true);
    }

    async fn revive_box(&self) {
        self.doubles.rds.set_half_open(false);
        self.doubles.rds.reboot(Reboot::KeepEverything, Duration::ZERO);
    }

    async fn delete_node(&self, node: &str) -> Result<(), Trouble> {
        self.doubles.api.delete("nodes", node).map_err(|failure| format!("{failure:?}"))?;
        Ok(())
    }

    async fn set_up_node(&self, node: &str) -> Result<(), Trouble> {
        let made = self.doubles.api.create(objects::node(node).build());
        made.map_err(|failure| format!("{failure:?}"))?;
        Ok(())
    }

    async fn taint_out_of_service(&self, node: &str) -> Result<(), Trouble> {
        let key = "node.kubernetes.io/out-of-service";
        let tainted = self
            .doubles
            .api
            .modify("nodes", node, |node| objects::set_taint(node, key, "NoExecute"));
        tainted.map_err(|failure| format!("{failure:?}"))?;
        Ok(())
    }

    async fn let_go(&self, volume: &Provisioned, node: &str) -> Result<(), Trouble> {
        let name = self.attachment_of(volume, node);
        let deleted = self.doubles.api.delete("volumeattachments", &name);
        deleted.map_err(|failure| format!("{failure:?}"))?;
        Ok(())
    }

    async fn probe(&self) -> Option<bool> {
        self.controller.probe().await
    }

    async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let scraped = self.controller.get("/metrics").await.ok()?;
        endpoint::sample(&scraped.body, name, labels)
    }

    async fn events(&self, reason: &str) -> usize {
        let events = self.doubles.api.list("events");
        events.iter().filter(|event| event["reason"] == reason).count()
    }

    async fn second_writers(&self) -> usize {
        second_writers(&self.doubles.rds.writes())
    }

    fn patience(&self) -> Patience {
        let config = &self.doubles.config;
        let backend = config.backends.values().next();
        let poll = backend.map_or(Duration::ZERO, |b| b.poll_interval + b.poll_deadline * 2);
        let retry = backend.map_or(Duration::ZERO, |b| b.backoff_max * 2 + b.connect_deadline * 2);
        let slack = Duration::from_secs(5);
        let confirm = match self.nature().has_counters {
            true => config.reconcile.counter_interval,
            false => config.reconcile.drain_time,
        };
        Patience {
            detect: poll + slack,
            reconnect: retry + slack,
            recover: config.reconcile.grace + Duration::from_secs(20),
            recover_earliest: config.reconcile.grace + confirm,
        }
    }

    fn nature(&self) -> Nature {
        nature(&self.doubles.rds)
    }
}

/// What a story may expect of this box.
pub fn nature(rds: &RouterOs) -> Nature {
    let quirks = rds.quirks();
    Nature {
        names_exports: rds.version().has_server_nqn(),
        unexport_cuts: !quirks.unexport_keeps_hosts,
        has_counters: quirks.counters_in_rows,
    }
}

/// How often a host wrote to a volume again after another one had: must be zero.
pub fn second_writers(writes: &[Write]) -> usize {
    let mut last: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for write in writes {
        let hosts = last.entry(&write.image).or_default();
        if hosts.last() != Some(&write.host_nqn.as_str()) {
            hosts.push(&write.host_nqn);
        }
    }
    let returned = |hosts: &Vec<&str>| {
        let mut seen = hosts.clone();
        seen.sort_unstable();
        seen.dedup();
        hosts.len() - seen.len()
    };
    last.values().map(returned).sum()
}
