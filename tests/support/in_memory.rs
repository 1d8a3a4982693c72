//! The whole domain on doubles in memory, under paused time: the real operations and passes over
//! the simulated box (its console, without SSH) and the API server double (without a socket).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::agent::{Challenge, Keys, Report, VolumeWord, seal};
use rds_csi::attachment::export::Hosts;
use rds_csi::attachment::ledger::{COPY_ANNOTATION, Copy, Record};
use rds_csi::attachment::storm;
use rds_csi::cluster::Cluster as _;
use rds_csi::cluster::agents::{self, NodeAgents, Transport, Unanswered};
use rds_csi::cluster::api::{KubeCluster, Settings};
use rds_csi::operations::reconcile::{PassReport, Reconciler};
use rds_csi::operations::{
    Backend, Backends, CreateVolume, Error, Happened, Limits, Observer, Operations, Publish,
    VolumeInfo,
};
use rds_csi::rds::{Command, Failure, Link, Rds, Reply, System, reply, script, ssh};
use rds_csi::volume::capability::{AccessMode, Capability, Medium};
use rds_csi::volume::turns::{Turn, Turns};
use rds_csi::volume::{BackendName, NodeName, Slot, VolumeId, VolumePath};
use rds_sim::apiserver::{ApiServer, world as objects};
use rds_sim::routeros::{
    Connection, ExecResult, OpenError, Quirks, Refusal, RouterOs, Setup, TokioClock, Version,
};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub const DRIVER: &str = "rds.csi.srvlab.io";
pub const FOLDER: &str = "storage-pool/volumes";
pub const GIB: u64 = 1 << 30;
const NAMESPACE: &str = "rds-csi";
const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
/// The port of agents.
const AGENTS_PORT: u16 = 9809;

/// What a node is given.
pub type PublishContext = BTreeMap<String, String>;

/// The box as operations see it: a rendered line in, a read answer out.
pub struct Console {
    os: RouterOs,
    lanes: Semaphore,
    tags: AtomicU64,
}

#[async_trait]
impl Rds for Console {
    async fn execute(&self, command: Command, turn: Option<Turn>) -> Result<Reply, Failure> {
        let address = || "box:22".to_owned();
        let not_connected = |why: &str| Failure::NotConnected {
            address: address(),
            why: why.into(),
            next_attempt: Duration::from_secs(1),
        };
        let _lane = self.lanes.acquire().await.map_err(|_| not_connected("stopped"))?;
        let opened = timeout(Duration::from_secs(3), self.os.open_session()).await;
        let session = match opened {
            Ok(Ok(session)) => session,
            Ok(Err(OpenError::Refused)) => return Err(not_connected("refused")),
            Ok(Err(error)) => return Err(not_connected(&error.to_string())),
            Err(_) => return Err(not_connected("silent")),
        };
        let tag = format!("t{}", self.tags.fetch_add(1, Ordering::Relaxed));
        let line = script::line(&command, &tag);
        let answer = timeout(Duration::from_secs(30), session.exec(&line)).await;
        drop(turn);
        let unanswered = |why: String| Failure::Unanswered { address: address(), why };
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unanswered(error.to_string())),
            Err(_) => return Err(unanswered("silent for 30 s".into())),
        };
        read(answer, &tag)
    }

    fn link(&self) -> Link {
        up(&self.os)
    }
}

/// The link to a box that is there.
pub fn up(os: &RouterOs) -> Link {
    let version = format!("{} (stable)", os.version());
    let system = System { version, uptime: Some(Duration::from_secs(60)) };
    Link::Up { since: Instant::now(), epoch: 1, system }
}

/// What the line with this tag printed, as the driver reads it.
pub fn read(answer: ExecResult, tag: &str) -> Result<Reply, Failure> {
    let ExecResult { stdout, stderr, exit_status } = answer;
    let output = ssh::ExecOutput { stdout, stderr, exit_status };
    let address = "box:22".to_owned();
    reply::read(&output, tag).map_err(|said| Failure::Unfinished { address, said })
}

/// The agents of nodes by address, without a socket. One that was never given a word is silent.
#[derive(Default)]
pub struct Town(Mutex<BTreeMap<SocketAddr, Manner>>);

/// How an agent answers.
#[derive(Clone)]
pub enum Manner {
    /// With this report, sealed with these keys.
    Says(Report, Keys),
    /// With these bytes, whatever it is asked.
    Repeats(Vec<u8>),
    /// Its kernel refuses the connection.
    Refuses,
    /// Not within any time.
    Hangs,
    /// Neither, though the connection is taken.
    Holds,
}

#[async_trait]
impl Transport for Town {
    async fn get(
        &self,
        address: SocketAddr,
        target: &str,
        within: Duration,
    ) -> Result<Vec<u8>, Unanswered> {
        let manner = self.0.lock().unwrap().get(&address).cloned();
        match manner {
            None => Err(Unanswered::Silent("is silent".into())),
            Some(Manner::Hangs) => {
                sleep(within).await;
                Err(Unanswered::Silent("hangs".into()))
            }
            Some(Manner::Holds) => {
                sleep(within).await;
                Err(Unanswered::Alive("took the connection".into()))
            }
            Some(Manner::Refuses) => Err(Unanswered::Alive("refuses".into())),
            Some(Manner::Repeats(bytes)) => Ok(bytes),
            Some(Manner::Says(report, keys)) => {
                let challenge = target.strip_prefix("/agent?challenge=").unwrap();
                Ok(seal(&report, &keys, &Challenge::parse(challenge).unwrap()).unwrap())
            }
        }
    }
}

/// What operations told.
#[derive(Default)]
pub struct Told(Mutex<Vec<Happened>>);

impl Observer for Told {
    fn happened(&self, what: Happened) {
        self.0.lock().unwrap().push(what);
    }
}

impl Told {
    pub fn count(&self, wanted: impl Fn(&Happened) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|what| wanted(what)).count()
    }
}

/// Everything.
pub struct World {
    pub os: RouterOs,
    pub api: ApiServer,
    pub cluster: Arc<KubeCluster>,
    pub town: Arc<Town>,
    pub operations: Operations,
    pub reconciler: Reconciler,
    pub told: Arc<Told>,
    pub wanted_passes: Arc<AtomicU64>,
    hosts: Hosts,
    /// Every NQN that was ever given out or seen on the box, by volume.
    nqns: Mutex<BTreeMap<String, BTreeSet<String>>>,
    attachments: AtomicU64,
    _limits: watch::Sender<Limits>,
    _stop: DropGuard,
}

pub const LIMITS: Limits = Limits {
    grace: Duration::from_secs(30),
    max_age: Duration::from_secs(10),
    orphan_grace: Duration::from_secs(3600),
    counter_interval: Duration::from_secs(1),
    drain: Duration::from_secs(5),
    storm: storm::Limits { share: 0.4, window: Duration::from_secs(120) },
};

pub fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub fn id(slot: &str) -> VolumeId {
    VolumeId { backend: BackendName::parse("main").unwrap(), slot: Slot::parse(slot).unwrap() }
}

/// A file system that one node writes.
pub fn ext4() -> Capability {
    let medium = Medium::FileSystem { fs_type: "ext4".into(), mount_flags: Vec::new() };
    Capability { mode: AccessMode::SingleNodeWriter, medium }
}

/// A block device for a live migration.
pub fn shared_block() -> Capability {
    Capability { mode: AccessMode::MultiNodeMultiWriter, medium: Medium::Block }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Version::V7_24_4, Quirks::default()).await
    }

    pub async fn with(version: Version, quirks: Quirks) -> Self {
        let clock = Arc::new(TokioClock::start());
        let os = RouterOs::with(Setup { version, quirks, clock, ..Setup::default() });
        let made = os.exec(&format!("/file/add name={FOLDER} type=directory")).text();
        assert_eq!(made.trim(), "");
        os.set_latency(Duration::from_millis(60), Duration::ZERO);
        let api = ApiServer::new();
        let namespace = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
        });
        api.create(namespace).unwrap();
        for name in NODES {
            let address = address_of(name).ip().to_string();
            api.create(objects::node(name).internal_ip(&address).build()).unwrap();
        }
        Self::over(os, api).await
    }

    /// Another controller over the same box and the same cluster.
    pub async fn over(os: RouterOs, api: ApiServer) -> Self {
        Self::beside(os, api, Arc::default()).await
    }

    /// The same, beside these agents.
    async fn beside(os: RouterOs, api: ApiServer, town: Arc<Town>) -> Self {
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let settings = Settings {
            driver: DRIVER.into(),
            release: "rds-csi".into(),
            namespace: NAMESPACE.into(),
            cluster_id: None,
            secret: "rds-csi-cluster".into(),
            deadline: Duration::from_secs(10),
            pod: None,
            events: tokio::sync::watch::channel(rds_csi::cluster::events::Bounds::default()).1,
        };
        let client = kube::Client::new(api.service(), "default");
        let cluster = KubeCluster::new(client.clone(), settings, Arc::new(|_| {}), &log);
        let agents = agents::Settings {
            driver: DRIVER.into(),
            release: "rds-csi".into(),
            namespace: NAMESPACE.into(),
            port: AGENTS_PORT,
            deadline: Duration::from_secs(10),
        };
        let agents = NodeAgents::new(client, cluster.clone(), agents, town.clone(), &log);
        let agents = Arc::new(agents);
        let stop = CancellationToken::new();
        cluster.start(&stop);
        cluster.synced().await;
        let (limits_tx, limits) = watch::channel(LIMITS);
        let told = Arc::new(Told::default());
        let wanted_passes = Arc::new(AtomicU64::new(0));
        let asked = wanted_passes.clone();
        let operations = Operations {
            backends: backends(&os),
            cluster: cluster.clone(),
            agents: agents.clone(),
            turns: Turns::default(),
            limits,
            observer: told.clone(),
            ask_for_pass: Arc::new(move || {
                asked.fetch_add(1, Ordering::Relaxed);
            }),
            log,
        };
        let identity = cluster.identity().await.unwrap();
        Self {
            os,
            api,
            cluster,
            town,
            reconciler: Reconciler::new(operations.clone()),
            operations,
            told,
            wanted_passes,
            hosts: Hosts::new(identity.secret),
            nqns: Mutex::default(),
            attachments: AtomicU64::new(0),
            _limits: limits_tx,
            _stop: stop.drop_guard(),
        }
    }
}

impl World {
    /// The controller dies, and another one starts with what box and cluster tell.
    pub async fn restart(&mut self) {
        let town = self.town.clone();
        let mut next = Self::beside(self.os.clone(), self.api.clone(), town).await;
        next.nqns = std::mem::take(&mut self.nqns);
        next.attachments = AtomicU64::new(self.attachments.load(Ordering::Relaxed));
        *self = next;
    }
}

/// Where a node's agent is.
fn address_of(node: &str) -> SocketAddr {
    let last = node.bytes().last().unwrap();
    SocketAddr::from(([10, 1, 0, last], AGENTS_PORT))
}

fn backends(os: &RouterOs) -> Backends {
    let name = BackendName::parse("main").unwrap();
    let rds = Console { os: os.clone(), lanes: Semaphore::new(2), tags: AtomicU64::new(0) };
    let backend = Backend {
        name: name.clone(),
        address: "box:22".into(),
        nvme_address: "10.0.0.1".into(),
        nvme_port: 4420,
        volume_paths: ["other", "volumes"]
            .map(|folder| VolumePath::parse(&format!("storage-pool/{folder}")).unwrap())
            .into(),
        nqn_base: "nqn.2000-02.com.mikrotik".into(),
        rds: Arc::new(rds),
    };
    Backends {
        by_name: BTreeMap::from([(name.clone(), backend)]),
        bare_ids: name.clone(),
        default: name,
    }
}

/// What stories do.
impl World {
    /// Time for the watches to show what has happened; with paused time everything that can run
    /// has run before the clock moves.
    pub async fn settle(&self) {
        sleep(Duration::from_millis(1)).await;
    }

    pub fn wanted(&self, slot: &str) -> CreateVolume {
        CreateVolume {
            backend: BackendName::parse("main").unwrap(),
            slot: Slot::parse(slot).unwrap(),
            volume_path: VolumePath::parse(FOLDER).unwrap(),
            required: GIB,
            limit: None,
            capabilities: vec![ext4()],
            context: BTreeMap::from([("volumePath".into(), FOLDER.into())]),
        }
    }

    /// CreateVolume, and the PV that the external-provisioner makes of it.
    pub async fn provision(&self, slot: &str) -> VolumeInfo {
        let made = self.operations.create(self.wanted(slot)).await.unwrap();
        let mut volume = objects::volume(slot, DRIVER)
            .size(&made.bytes.to_string())
            .bound_to("default", slot, None);
        for (key, value) in &made.context {
            volume = volume.attribute(key, value);
        }
        self.api.create(volume.build()).unwrap();
        self.settle().await;
        made
    }

    /// A VolumeAttachment as the attach/detach controller makes it and the external-attacher keeps
    /// it; its name.
    pub async fn want_attached(&self, slot: &str, node: &str) -> String {
        if let Some(name) = self.attachment(slot, node) {
            return name;
        }
        let name = format!("csi-{}", self.attachments.fetch_add(1, Ordering::Relaxed));
        self.api.create(objects::attached(&name, DRIVER, node, slot, &[])).unwrap();
        self.settle().await;
        name
    }

    /// The VolumeAttachment of this volume and node.
    pub fn attachment(&self, slot: &str, node: &str) -> Option<String> {
        let is_it = |va: &&Value| {
            va["spec"]["nodeName"] == node && va["spec"]["source"]["persistentVolumeName"] == slot
        };
        let all = self.api.list("volumeattachments");
        all.iter().find(is_it).map(|va| va["metadata"]["name"].as_str().unwrap().to_owned())
    }

    /// Takes the VolumeAttachment away, finalizer and all, as the external-attacher does at last.
    pub async fn forget_attached(&self, slot: &str, node: &str) {
        if let Some(name) = self.attachment(slot, node) {
            let unlock = |va: &mut Value| va["metadata"]["finalizers"] = Value::Null;
            self.api.modify("volumeattachments", &name, unlock).unwrap();
            // Without finalizers one that was deleted already goes by itself.
            let _ = self.api.delete("volumeattachments", &name);
        }
        self.settle().await;
    }

    pub async fn publish_as(
        &self,
        slot: &str,
        to: &str,
        capability: Capability,
    ) -> Result<PublishContext, Error> {
        let wanted = Publish { id: id(slot), node: node(to), capability, read_only: false };
        let answer = self.operations.publish(wanted).await;
        if let Ok(context) = &answer {
            self.know(slot, &context["nqn"]);
        }
        self.settle().await;
        answer
    }

    pub async fn publish(&self, slot: &str, to: &str) -> Result<PublishContext, Error> {
        self.publish_as(slot, to, ext4()).await
    }

    /// VolumeAttachment and ControllerPublish.
    pub async fn attach(&self, slot: &str, to: &str) -> PublishContext {
        self.want_attached(slot, to).await;
        self.publish(slot, to).await.unwrap()
    }

    pub async fn unpublish(&self, slot: &str, from: &str) -> Result<(), Error> {
        let answer = self.operations.unpublish(id(slot), Some(node(from))).await;
        self.settle().await;
        answer
    }

    /// ControllerUnpublish, then the VolumeAttachment goes.
    pub async fn detach(&self, slot: &str, from: &str) {
        self.unpublish(slot, from).await.unwrap();
        self.forget_attached(slot, from).await;
    }

    pub async fn pass(&self) -> PassReport {
        self.settle().await;
        let report = self.reconciler.pass().await.unwrap();
        self.settle().await;
        report
    }

    pub async fn ready(&self, node: &str, status: &str) {
        self.api.modify("nodes", node, |node| objects::set_ready(node, status)).unwrap();
        self.settle().await;
    }

    pub async fn taint(&self, node: &str) {
        let key = "node.kubernetes.io/out-of-service";
        self.api.modify("nodes", node, |node| objects::set_taint(node, key, "NoExecute")).unwrap();
        self.settle().await;
    }

    pub async fn delete_node(&self, node: &str) {
        self.api.delete("nodes", node).unwrap();
        self.settle().await;
    }
}

/// What agents do.
impl World {
    /// The agent of this node says this of its volumes from now on.
    pub async fn says(&self, of: &str, boot_id: &str, volumes: Vec<VolumeWord>) {
        let report = Report {
            driver: DRIVER.into(),
            node: node(of),
            boot_id: boot_id.into(),
            volumes: Some(volumes),
        };
        let identity = self.cluster.identity().await.unwrap();
        self.behaves(of, Manner::Says(report, Keys::of(&identity.secret).unwrap()));
    }

    /// The agent of this node answers like this from now on.
    pub fn behaves(&self, of: &str, manner: Manner) {
        self.town.0.lock().unwrap().insert(address_of(of), manner);
    }

    /// The agent of this node is silent from now on.
    pub fn falls_silent(&self, of: &str) {
        self.town.0.lock().unwrap().remove(&address_of(of));
    }
}

/// What stories look at.
impl World {
    /// What a property of the disk says.
    pub fn property(&self, slot: &str, name: &str) -> String {
        let line = format!(":put [/disk/get [/disk/find where slot={slot}] {name}]");
        self.os.exec(&line).text().trim_end().to_owned()
    }

    pub fn has_disk(&self, slot: &str) -> bool {
        let line = format!(":put [:len [/disk/find where slot={slot}]]");
        self.os.exec(&line).text().trim() != "0"
    }

    pub fn has_image(&self, slot: &str) -> bool {
        self.os.content_of(&format!("{FOLDER}/{slot}.img")).is_some()
    }

    pub fn is_exported(&self, slot: &str) -> bool {
        let value = self.property(slot, "nvme-tcp-export");
        matches!(value.as_str(), "true" | "yes")
    }

    /// The record on the box.
    pub fn record(&self, slot: &str) -> Record {
        Record::parse(&self.property(slot, "comment")).unwrap()
    }

    /// The copy on the PV.
    pub fn copy(&self, slot: &str) -> Option<Copy> {
        let volume = self.api.get("persistentvolumes", slot)?;
        let text = volume["metadata"]["annotations"][COPY_ANNOTATION].as_str()?;
        Some(serde_json::from_str(text).unwrap())
    }

    /// The copy is the record.
    #[track_caller]
    pub fn assert_agreed(&self, slot: &str) {
        let copied = self.copy(slot).map(|copy| copy.record);
        assert_eq!(copied, Some(self.property(slot, "comment")), "copy and record of {slot}");
    }

    fn know(&self, slot: &str, nqn: &str) {
        let mut nqns = self.nqns.lock().unwrap();
        nqns.entry(slot.to_owned()).or_default().insert(nqn.to_owned());
    }

    pub fn host_nqn(&self, of: &str) -> String {
        self.hosts.host(&node(of)).unwrap().nqn.to_string()
    }

    /// Connects as this node's host.
    pub fn connect(&self, of: &str, nqn: &str) -> Result<Connection, Refusal> {
        self.os.connect_host(&self.host_nqn(of), nqn, 4420)
    }

    /// Which nodes, and which strangers, would be let in to write, under any NQN that was ever
    /// given out for this volume.
    pub fn writers(&self, slot: &str) -> BTreeSet<&'static str> {
        self.know(slot, &self.property(slot, "nvme-tcp-server-nqn"));
        let nqns = self.nqns.lock().unwrap()[slot].clone();
        let mut writers = BTreeSet::new();
        for nqn in &nqns {
            for name in NODES {
                if let Ok(connection) = self.connect(name, nqn) {
                    connection.disconnect();
                    writers.insert(name);
                }
            }
            if let Ok(connection) = self.os.connect_host("nqn.stranger", nqn, 4420) {
                connection.disconnect();
                writers.insert("stranger");
            }
        }
        writers
    }

    /// How many execs reached the box.
    pub fn execs(&self) -> u64 {
        self.os.exec_count()
    }

    /// How many lines that could change a disk reached the box.
    pub fn changing_lines(&self) -> usize {
        let changes = ["/disk/set", "/disk/add", "/disk/remove", "/file/remove"];
        let journal = self.os.journal();
        journal.iter().filter(|entry| changes.iter().any(|part| entry.line.contains(part))).count()
    }

    /// Events of this reason. They are posted by and by.
    pub async fn events(&self, reason: &str) -> usize {
        sleep(Duration::from_secs(5)).await;
        self.api.list("events").iter().filter(|event| event["reason"] == reason).count()
    }
}
