//! What the driver must not believe: a box that went back in time, a PV that somebody edited, a
//! cache that lags, an API server that is away. Box and cluster in memory, under paused time.

#![expect(clippy::unwrap_used, reason = "a test: a panic is its answer")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rds_csi::attachment::ledger::{COPY_ANNOTATION, Copy, Record, State};
use rds_csi::attachment::storm;
use rds_csi::cluster::agents::NoAgents;
use rds_csi::cluster::api::{KubeCluster, Settings};
use rds_csi::cluster::events::Bounds;
use rds_csi::operations::reconcile::{PassReport, Reconciler};
use rds_csi::operations::{
    Backend, Backends, CreateVolume, Expand, Happened, Kind, Limits, Observer, Operations, Publish,
};
use rds_csi::rds::ssh::ExecOutput;
use rds_csi::rds::{Command, Failure, Link, Rds, Reply, System, reply, script};
use rds_csi::volume::capability::{AccessMode, Capability, Medium};
use rds_csi::volume::turns::{Turn, Turns};
use rds_csi::volume::{BackendName, NodeName, Slot, VolumeId, VolumePath};
use rds_sim::apiserver::{self, ApiServer, Fault, On, world as objects};
use rds_sim::routeros::{RouterOs, Setup, TokioClock};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const DRIVER: &str = "rds.csi.srvlab.io";
const GIB: u64 = 1 << 30;
const PATH: &str = "storage-pool/volumes";

/// The box, each command in a session of its own.
struct InMemory {
    os: RouterOs,
    link: Link,
}

#[async_trait]
impl Rds for InMemory {
    async fn execute(&self, command: Command, turn: Option<Turn>) -> Result<Reply, Failure> {
        let address = || "box".to_owned();
        let Ok(session) = self.os.open_session().await else {
            let why = "refused".into();
            let next_attempt = Duration::ZERO;
            return Err(Failure::NotConnected { address: address(), why, next_attempt });
        };
        let said = session.exec(&script::line(&command, "tag")).await;
        drop(turn);
        let said =
            said.map_err(|e| Failure::Unanswered { address: address(), why: format!("{e:?}") })?;
        let output = ExecOutput { stdout: said.stdout, ..ExecOutput::default() };
        reply::read(&output, "tag").map_err(|said| Failure::Unfinished { address: address(), said })
    }

    fn link(&self) -> Link {
        self.link.clone()
    }
}

struct Deaf;

impl Observer for Deaf {
    fn happened(&self, _: Happened) {}
}

struct World {
    os: RouterOs,
    api: ApiServer,

    operations: Operations,
    reconciler: Reconciler,
    passes_wanted: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn id(slot: &str) -> VolumeId {
    let backend = BackendName::parse("main").unwrap();
    VolumeId { backend, slot: Slot::parse(slot).unwrap() }
}

fn ext4() -> Capability {
    let medium = Medium::FileSystem { fs_type: "ext4".into(), mount_flags: Vec::new() };
    Capability { mode: AccessMode::SingleNodeWriter, medium }
}

fn one_box(os: &RouterOs) -> Backends {
    let name = BackendName::parse("main").unwrap();
    let system = System { version: "7.24.4 (stable)".into(), uptime: Some(Duration::from_secs(1)) };
    let link = Link::Up { since: Instant::now(), epoch: 1, system };
    let backend = Backend {
        name: name.clone(),
        address: "box:22".into(),
        nvme_address: "10.0.0.10".into(),
        nvme_port: 4420,
        volume_paths: vec![VolumePath::parse(PATH).unwrap()],
        nqn_base: "nqn.2000-02.com.mikrotik".into(),
        rds: Arc::new(InMemory { os: os.clone(), link }),
    };
    let by_name = BTreeMap::from([(name.clone(), backend)]);
    Backends { by_name, bare_ids: name.clone(), default: name }
}

const LIMITS: Limits = Limits {
    grace: Duration::from_secs(30),
    max_age: Duration::from_secs(10),
    orphan_grace: Duration::from_secs(3600),
    counter_interval: Duration::from_secs(1),
    drain: Duration::from_secs(5),
    storm: storm::Limits { share: 0.4, window: Duration::from_secs(120) },
};

impl World {
    async fn new() -> Self {
        let clock = Arc::new(TokioClock::start());
        let os = RouterOs::with(Setup { clock, pool: "storage-pool".into(), ..Setup::default() });
        os.exec(&format!("/file/add name={PATH} type=directory"));
        let api = ApiServer::with(apiserver::Options {
            clock: apiserver::clock::machine(),
            ..apiserver::Options::default()
        });
        let namespace = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rds-csi"},
        });
        api.create(namespace).unwrap();
        for name in ["n1", "n2", "n3"] {
            api.create(objects::node(name).ready("True").build()).unwrap();
        }
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let settings = Settings {
            driver: DRIVER.into(),
            release: "rds-csi".into(),
            namespace: "rds-csi".into(),
            cluster_id: None,
            secret: "rds-csi-cluster".into(),
            deadline: Duration::from_secs(10),
            pod: None,
            events: tokio::sync::watch::channel(Bounds::default()).1,
        };
        let client = kube::Client::new(api.service(), "default");
        let cluster = KubeCluster::new(client, settings, Arc::new(|_| {}), &log);
        let stop = CancellationToken::new();
        cluster.start(&stop);
        cluster.synced().await;
        let passes_wanted = Arc::new(AtomicUsize::new(0));
        let wanted = passes_wanted.clone();
        let operations = Operations {
            backends: one_box(&os),
            cluster,
            agents: Arc::new(NoAgents),
            turns: Turns::default(),
            limits: watch::channel(LIMITS).1,
            observer: Arc::new(Deaf),
            ask_for_pass: Arc::new(move || {
                wanted.fetch_add(1, Ordering::SeqCst);
            }),
            log,
        };
        let reconciler = Reconciler::new(operations.clone());
        Self { os, api, operations, reconciler, passes_wanted, stop }
    }

    /// Waits until the caches have seen what the API server has.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// A volume and its PV, which the caches have seen.
    async fn volume(&self, slot: &str) {
        self.create(slot).await;
        let attribute = format!("/{PATH}");
        let pv = objects::volume(slot, DRIVER).attribute("volumePath", &attribute).build();
        self.api.create(pv).unwrap();
        self.settle().await;
    }

    async fn create(&self, slot: &str) {
        let wanted = CreateVolume {
            backend: BackendName::parse("main").unwrap(),
            slot: Slot::parse(slot).unwrap(),
            volume_path: VolumePath::parse(PATH).unwrap(),
            required: GIB,
            limit: None,
            capabilities: vec![ext4()],
            context: BTreeMap::new(),
        };
        self.operations.create(wanted).await.unwrap();
    }

    /// With a VolumeAttachment.
    async fn attach(&self, slot: &str, name: &str) -> BTreeMap<String, String> {
        let attachment = format!("csi-{slot}-{name}");
        self.api.create(objects::attached(&attachment, DRIVER, name, slot, &[])).unwrap();
        self.settle().await;
        self.publish(slot, name).await.unwrap()
    }

    async fn publish(
        &self,
        slot: &str,
        name: &str,
    ) -> Result<BTreeMap<String, String>, rds_csi::operations::Error> {
        let capability = ext4();
        let wanted = Publish { id: id(slot), node: node(name), capability, read_only: false };
        self.operations.publish(wanted).await
    }

    async fn pass(&self) -> PassReport {
        self.reconciler.pass().await.unwrap()
    }

    fn record(&self, slot: &str) -> Record {
        let text = self.os.exec(&format!(":put [/disk/get {slot} comment]")).text();
        Record::parse(text.trim()).unwrap()
    }

    fn is_exported(&self, slot: &str) -> bool {
        let text = self.os.exec(&format!(":put [/disk/get {slot} nvme-tcp-export]")).text();
        !matches!(text.trim(), "no" | "false")
    }

    fn copy(&self, pv: &str) -> Copy {
        let pv = self.api.get("persistentvolumes", pv).unwrap();
        let text = pv["metadata"]["annotations"][COPY_ANNOTATION].as_str().unwrap().to_owned();
        serde_json::from_str(&text).unwrap()
    }

    async fn edit_copy(&self, pv: &str, edit: impl FnOnce(&mut Copy)) {
        let mut copy = self.copy(pv);
        edit(&mut copy);
        let mut object = self.api.get("persistentvolumes", pv).unwrap();
        let text = serde_json::to_string(&copy).unwrap();
        object["metadata"]["annotations"][COPY_ANNOTATION] = text.into();
        self.api.update(object).unwrap();
        self.settle().await;
    }

    fn restore(&self, snapshot: &rds_sim::routeros::Snapshot) {
        self.os.restore(snapshot, Duration::ZERO);
    }
}

/// A volume that was used by n1 and is detached, on a box that has since forgotten it.
async fn used_and_forgotten() -> World {
    let world = World::new().await;
    world.volume("v").await;
    let before = world.os.snapshot();
    world.attach("v", "n1").await;
    world.operations.unpublish(id("v"), Some(node("n1"))).await.unwrap();
    world.api.get("volumeattachments", "csi-v-n1").unwrap();
    world.restore(&before);
    world.settle().await;
    world
}

#[tokio::test(start_paused = true)]
async fn an_expansion_on_a_box_that_went_back_in_time_does_not_allow_formatting_again() {
    let world = used_and_forgotten().await;
    let wanted = Expand { id: id("v"), required: 2 * GIB, limit: None, capability: None };
    let expanded = world.operations.expand(wanted.clone()).await;
    assert_eq!(expanded.map_err(|e| e.kind), Err(Kind::Unavailable));
    assert!(world.passes_wanted.load(Ordering::SeqCst) > 0, "nobody puts it right");
    world.pass().await;
    world.operations.expand(wanted).await.unwrap();
    let context = world.publish("v", "n2").await.unwrap();
    assert_eq!(context.get("format"), None, "the volume holds data");
}

#[tokio::test(start_paused = true)]
async fn an_unpublish_on_a_box_that_went_back_in_time_does_not_overwrite_a_newer_copy() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    let before = world.os.snapshot();
    world.operations.unpublish(id("v"), Some(node("n1"))).await.unwrap();
    let context = world.attach("v", "n2").await;
    let newest = world.copy("v");
    world.restore(&before);
    let left = world.operations.unpublish(id("v"), Some(node("n1"))).await;
    assert_eq!(left.map_err(|e| e.kind), Err(Kind::Unavailable));
    assert_eq!(world.copy("v"), newest);
    world.pass().await;
    assert_eq!(world.record("v"), Record::parse(&newest.record).unwrap().next());
    assert_eq!(world.publish("v", "n2").await.unwrap()["nqn"], context["nqn"]);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_attached_is_not_deleted_because_the_box_forgot_it() {
    let world = World::new().await;
    world.volume("v").await;
    let before = world.os.snapshot();
    world.attach("v", "n1").await;
    world.restore(&before);
    let deleted = world.operations.delete(id("v")).await;
    assert_eq!(deleted.map_err(|e| e.kind), Err(Kind::Unavailable));
    assert!(world.os.content_of(&format!("{PATH}/v.img")).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_old_export_is_closed_while_the_api_server_is_away() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    let before = world.os.snapshot();
    world.operations.unpublish(id("v"), Some(node("n1"))).await.unwrap();
    world.attach("v", "n2").await;
    world.api.faults().unreachable(Fault::Refuse);
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.restore(&before);
    assert!(world.is_exported("v"), "the box does not show what this test is about");
    let report = world.pass().await;
    assert!(!world.is_exported("v"), "n1 can still write: {report:?}");
    assert!(report.again_in.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_delete_removes_the_image_of_the_disk_and_not_the_one_that_an_annotation_names() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    world.operations.unpublish(id("v"), Some(node("n1"))).await.unwrap();
    let other = format!("{PATH}/other.img");
    world.volume("other").await;
    world.os.lose_disk("other");
    let forged = rds_csi::volume::ImagePath::parse(&other).unwrap();
    world.edit_copy("v", |copy| copy.image = forged).await;
    world.operations.delete(id("v")).await.unwrap();
    assert!(world.os.content_of(&other).is_some(), "another volume's data are gone");
    assert!(world.os.content_of(&format!("{PATH}/v.img")).is_none(), "its own are left behind");
}

#[tokio::test(start_paused = true)]
async fn a_lost_disk_is_not_made_again_over_the_image_of_another_volume() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    world.volume("other").await;
    world.attach("other", "n2").await;
    let other = rds_csi::volume::ImagePath::parse(&format!("{PATH}/other.img")).unwrap();
    world.edit_copy("v", |copy| copy.image = other).await;
    world.os.lose_disk("v");
    let report = world.pass().await;
    let slots = world.os.exec(":put [:len [/disk/find where slot=v]]").text();
    assert_eq!(slots.trim(), "0", "n1 and n2 write to one image: {report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_volume_whose_pv_the_cache_has_not_seen_yet_is_not_fenced() {
    let world = World::new().await;
    world.create("v").await;
    // The watch falls silent, as behind a load balancer that has forgotten the connection.
    let silent = On::verb(apiserver::Verb::Watch).resource("persistentvolumes");
    world.api.faults().always(silent, Fault::Hang);
    world.api.create(objects::volume("v", DRIVER).build()).unwrap();
    let context = world.attach("v", "n1").await;
    world.pass().await;
    let record = world.record("v");
    assert_eq!(record.state, State::Attached);
    assert!(context["nqn"].ends_with(&format!("g{}-{}", record.generation, record.nonce)));
}

#[tokio::test(start_paused = true)]
async fn an_attachment_that_somebody_elses_finalizer_keeps_does_not_keep_passes_running() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    world.api.delete("nodes", "n1").unwrap();
    world.settle().await;
    let mut quiet = false;
    for _ in 0..20 {
        let report = world.pass().await;
        quiet = report.again_in.is_none();
        if quiet {
            break;
        }
        tokio::time::sleep(report.again_in.unwrap_or_default()).await;
    }
    let attachment = world.api.get("volumeattachments", "csi-v-n1").unwrap();
    assert!(!attachment["metadata"]["deletionTimestamp"].is_null(), "it was not released");
    assert!(quiet, "a pass every two seconds, for ever");
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_is_tried_less_and_less_often() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    world.os.lose_disk("v");
    world.os.exec(&format!("/file/remove \"{PATH}/v.img\""));
    let mut waited = Duration::ZERO;
    for _ in 0..10 {
        let again_in = world.pass().await.again_in.unwrap();
        waited += again_in;
        tokio::time::sleep(again_in).await;
    }
    assert!(waited > Duration::from_secs(120), "ten tries within {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_stays_out_although_the_controller_died_between_fence_and_copy() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    let taint = |taints: serde_json::Value| {
        let mut object = world.api.get("nodes", "n1").unwrap();
        object["spec"]["taints"] = taints;
        world.api.update(object).unwrap();
    };
    taint(serde_json::json!([
        {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    ]));
    world.settle().await;
    let patches = On::verb(apiserver::Verb::Patch).resource("persistentvolumes");
    let rule = world.api.faults().always(patches, Fault::Unavailable);
    world.pass().await;
    assert_eq!(world.record("v").state, State::Fenced);
    world.api.faults().lift(rule);
    let again = Reconciler::new(world.operations.clone());
    again.pass().await.unwrap();
    taint(serde_json::json!([]));
    world.settle().await;
    let answer = world.publish("v", "n1").await.map_err(|e| e.kind);
    assert_eq!(answer, Err(Kind::Precondition), "its old VolumeAttachment is still there");
}

#[tokio::test(start_paused = true)]
async fn a_volume_whose_turn_is_taken_is_looked_at_again_soon() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    let before = world.os.snapshot();
    world.operations.unpublish(id("v"), Some(node("n1"))).await.unwrap();
    world.restore(&before);
    let turn = world.operations.turns.take(&id("v")).unwrap();
    let report = world.pass().await;
    assert!(report.again_in.is_some(), "an old export stays open until the next period");
    drop(turn);
}

#[tokio::test(start_paused = true)]
async fn a_lost_disk_is_not_made_again_while_another_slot_has_its_image() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    let said = world.os.exec("/disk/set v slot=renamed").text();
    assert_eq!(said.trim(), "", "the box does not show what this test is about");
    let report = world.pass().await;
    let slots = world.os.exec(":put [:len [/disk/find where slot=v]]").text();
    assert_eq!(slots.trim(), "0", "two disks on one image: {report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_pv_with_the_same_handle_changes_nothing() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    let before = world.record("v");
    let mut forged = world.copy("v");
    forged.record = before.detach().text();
    forged.nodes.clear();
    let text = serde_json::to_string(&forged).unwrap();
    let second = objects::volume("zz", DRIVER).handle("v").annotation(COPY_ANNOTATION, &text);
    world.api.create(second.build()).unwrap();
    world.settle().await;
    let report = world.pass().await;
    assert_eq!(world.record("v"), before, "{report:?}");
    assert!(world.is_exported("v"));
}

/// A box whose polls are answered and whose commands are not.
struct Mute;

#[async_trait]
impl Rds for Mute {
    async fn execute(&self, _: Command, _: Option<Turn>) -> Result<Reply, Failure> {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Err(Failure::Unanswered { address: "mute".into(), why: "it is".into() })
    }

    fn link(&self) -> Link {
        Link::Down { since: Instant::now(), next: None, why: "mute".into() }
    }
}

#[tokio::test(start_paused = true)]
async fn boxes_that_do_not_answer_hold_up_no_other() {
    let mut world = World::new().await;
    let main = world.operations.backends.by_name.values().next().unwrap().clone();
    for name in ["aaa", "aab", "aac"] {
        let name = BackendName::parse(name).unwrap();
        let mute = Backend { name: name.clone(), rds: Arc::new(Mute), ..main.clone() };
        world.operations.backends.by_name.insert(name, mute);
    }
    world.reconciler = Reconciler::new(world.operations.clone());
    world.volume("v").await;
    world.attach("v", "n1").await;
    let before = world.os.snapshot();
    world.operations.unpublish(id("v"), Some(node("n1"))).await.unwrap();
    world.restore(&before);
    let report = tokio::time::timeout(Duration::from_secs(60), world.pass()).await.unwrap();
    assert_eq!(report.blind.len(), 3, "{report:?}");
    assert!(!world.is_exported("v"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_ready_when_the_watch_broke_is_not_trusted_to_have_let_go() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    world.api.faults().always(On::default().resource("nodes"), Fault::Refuse);
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.operations.unpublish(id("v"), Some(node("n1"))).await.unwrap();
    assert_eq!(world.record("v").state, State::Fenced, "detached without proof");
}

#[tokio::test(start_paused = true)]
async fn a_record_is_not_put_on_a_disk_that_has_another_image() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    world.os.lose_disk("v");
    let made = "/disk/add type=file slot=v file-path=storage-pool/by-hand.img file-size=1G";
    assert_eq!(world.os.exec(made).text().trim(), "");
    let report = world.pass().await;
    assert!(!world.is_exported("v"), "n1 finds other data under its file system: {report:?}");
    assert_eq!(report.failed.len(), 1, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_volume_whose_attachment_the_cache_has_not_seen_yet_is_not_fenced() {
    let world = World::new().await;
    world.volume("v").await;
    let silent = On::verb(apiserver::Verb::Watch).resource("volumeattachments");
    world.api.faults().always(silent, Fault::Hang);
    world.attach("v", "n1").await;
    for _ in 0..3 {
        world.pass().await;
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    assert_eq!(world.record("v").state, State::Attached);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_back_and_that_the_cache_has_not_seen_yet_is_not_fenced() {
    let world = World::new().await;
    world.volume("v").await;
    world.attach("v", "n1").await;
    world.api.delete("nodes", "n1").unwrap();
    world.settle().await;
    let silent = On::verb(apiserver::Verb::Watch).resource("nodes");
    world.api.faults().always(silent, Fault::Hang);
    world.api.create(objects::node("n1").ready("True").build()).unwrap();
    for _ in 0..3 {
        world.pass().await;
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    assert_eq!(world.record("v").state, State::Attached);
}
