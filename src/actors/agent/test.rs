//! Rounds and answers over a kernel in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::round::{Done, Rounds};
use super::staged::Noted;
use super::*;
use crate::agent::{Asked, Challenge, Formatting, Keys, open};
use crate::attachment::export::Hosts;
use crate::attachment::ledger::{ClusterTag, NodeTag, Nonce, Record, Sharing};
use crate::attachment::sweep::{Attested, Bound, Claimed};
use crate::cluster::evidence::{Evidence, Found};
use crate::cluster::{About, ClusterError, Notice, Reason};
use crate::host::{
    Connect, Controller, ControllerState, Device, DeviceNumber, Entry as Node, Error, Host, Kind,
    Mount, Signature, Timing, Usage,
};
use crate::node::Unreadable;
use crate::volume::turns::{Turn, Turns};
use crate::volume::{BackendName, Handle, NodeName, Nqn, Slot, VolumeId};

const SECRET: &[u8; 32] = b"one cluster's secret of 32 bytes";
const STAGING: &str = "/var/lib/kubelet/plugins/staged/v";
const TARGET: &str = "/var/lib/kubelet/pods/1/v";

/// A kernel, as far as an agent looks at it, and the notes beside it.
#[derive(Default)]
struct Kernel {
    controllers: Vec<Controller>,
    devices: Vec<Device>,
    mounts: Vec<Mount>,
    busy: BTreeSet<PathBuf>,
    /// Does the box take connections, and which number has the device then?
    takes: Option<u32>,
    /// Can the kernel be asked?
    is_blind: bool,
    notes: Vec<StagedVolume>,
    unreadable: Vec<Unreadable>,
    /// What was done, in order.
    done: Vec<String>,
}

struct Machine {
    kernel: Mutex<Kernel>,
    changes: watch::Sender<u64>,
    turns: Turns,
}

fn device(nqn: &Nqn, minor: u32) -> Device {
    Device {
        nqn: nqn.clone(),
        path: format!("/dev/nvme{minor}n1").into(),
        number: DeviceNumber { major: 259, minor },
        namespace: 1,
        identity: None,
        bytes: 1 << 30,
        read_only: false,
    }
}

fn mount(minor: u32, target: &str) -> Mount {
    Mount {
        number: DeviceNumber { major: 259, minor },
        root: "/".into(),
        target: target.into(),
        read_only: false,
        file_system_read_only: false,
        kind: "ext4".into(),
        source: format!("/dev/nvme{minor}n1"),
    }
}

fn unused<T>() -> Result<T, Error> {
    Err(Error::new(Kind::Failed, "an agent has no use for it"))
}

#[async_trait]
impl Host for Machine {
    async fn boot_id(&self) -> Result<String, Error> {
        Ok("boot-1".into())
    }
    async fn controllers(&self) -> Result<Vec<Controller>, Error> {
        let kernel = self.kernel.lock().unwrap();
        match kernel.is_blind {
            true => Err(Error::new(Kind::Stuck, "sysfs hangs")),
            false => Ok(kernel.controllers.clone()),
        }
    }
    async fn connect(&self, wanted: &Connect) -> Result<(), Error> {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.done.push(format!("connect {}", wanted.nqn));
        let Some(minor) = kernel.takes else {
            return Err(Error::new(Kind::Refused, "invalid subsystem"));
        };
        kernel.controllers.push(controller(&wanted.nqn, ControllerState::Live));
        kernel.devices.push(device(&wanted.nqn, minor));
        drop(kernel);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }
    async fn disconnect(&self, name: &str, nqn: &Nqn) -> Result<(), Error> {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.done.push(format!("disconnect {nqn}"));
        kernel.controllers.retain(|it| it.name != name || it.nqn != *nqn);
        let is_left = kernel.controllers.iter().any(|it| it.nqn == *nqn);
        kernel.devices.retain(|it| is_left || it.nqn != *nqn);
        Ok(())
    }
    async fn devices(&self, nqn: &Nqn) -> Result<Vec<Device>, Error> {
        let kernel = self.kernel.lock().unwrap();
        Ok(kernel.devices.iter().filter(|it| it.nqn == *nqn).cloned().collect())
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
    async fn mounts(&self) -> Result<Vec<Mount>, Error> {
        Ok(self.kernel.lock().unwrap().mounts.clone())
    }
    async fn unmount(&self, target: &Path) -> Result<(), Error> {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.done.push(format!("unmount {}", target.display()));
        if kernel.busy.contains(target) {
            return Err(Error::new(Kind::Busy, "target is busy"));
        }
        kernel.mounts.retain(|it| it.target != target);
        Ok(())
    }
    async fn entry(&self, _: &Path) -> Result<Node, Error> {
        Ok(Node::Directory)
    }
    async fn rescan(&self, _: &str) -> Result<(), Error> {
        unused()
    }
    async fn signature(&self, _: &Device) -> Result<Signature, Error> {
        unused()
    }
    async fn is_claimed(&self, _: &Device) -> Result<bool, Error> {
        unused()
    }
    async fn format(&self, _: &Device, _: &str) -> Result<(), Error> {
        unused()
    }
    async fn grow(&self, _: &Device, _: &str, _: &Path) -> Result<(), Error> {
        unused()
    }
    async fn mount(&self, _: &Device, _: &Path, _: &str, _: &[String]) -> Result<(), Error> {
        unused()
    }
    async fn bind(&self, _: &Path, _: &Path, _: bool) -> Result<(), Error> {
        unused()
    }
    async fn make_directory(&self, _: &Path) -> Result<(), Error> {
        unused()
    }
    async fn make_file(&self, _: &Path) -> Result<(), Error> {
        unused()
    }
    async fn remove(&self, _: &Path) -> Result<(), Error> {
        unused()
    }
    async fn usage(&self, _: &Path) -> Result<Usage, Error> {
        unused()
    }
    async fn notes(&self) -> Result<BTreeMap<String, Result<String, Error>>, Error> {
        unused()
    }
    async fn write_note(&self, _: &str, _: &str) -> Result<(), Error> {
        unused()
    }
    async fn remove_note(&self, _: &str) -> Result<(), Error> {
        unused()
    }
}

#[async_trait]
impl StagedVolumes for Machine {
    async fn noted(&self) -> Result<Noted, String> {
        let kernel = self.kernel.lock().unwrap();
        Ok(Noted { volumes: kernel.notes.clone(), unreadable: kernel.unreadable.clone() })
    }
    async fn forget(&self, volume: &Handle) {
        let is_it = |it: &StagedVolume| !it.is_staged && it.volume == *volume;
        self.kernel.lock().unwrap().notes.retain(|it| !is_it(it));
    }
    fn turn(&self, volume: &Handle) -> Option<Turn> {
        let backend = BackendName::parse("main").unwrap();
        self.turns.take(&VolumeId { backend, slot: volume.slot.clone() })
    }
}

/// What Kubernetes says.
#[derive(Default)]
struct Registry {
    /// `None`: it does not answer.
    attested: Mutex<Option<Attested>>,
    posted: Mutex<Vec<Reason>>,
}

#[async_trait]
impl Evidence for Registry {
    async fn of(&self, _: &Handle, _: bool) -> Result<Found, ClusterError> {
        let attested = self.attested.lock().unwrap().clone();
        let attested = attested.ok_or(ClusterError::Unreachable("no answer".into()))?;
        Ok(Found { attested, about: About::Driver })
    }
    fn post(&self, notice: Notice) {
        self.posted.lock().unwrap().push(notice.reason);
    }
}

fn node() -> NodeName {
    NodeName::parse("n1").unwrap()
}
fn handle() -> Handle {
    Handle::parse("v").unwrap()
}
fn host_nqn() -> Nqn {
    Hosts::new((*SECRET).into()).nqn(&node()).unwrap()
}
fn held() -> Record {
    let created = Record::created(ClusterTag::of("c"));
    created.attach(NodeTag::of("c", &node()), Sharing::Single, 0, Nonce::random())
}
fn nqn(record: &Record) -> Nqn {
    record.nqn("nqn.x", &Slot::parse("v").unwrap()).unwrap()
}

fn controller(nqn: &Nqn, state: ControllerState) -> Controller {
    let name = format!("nvme-{}", nqn.as_str().len());
    let (host_nqn, address) = (Some(host_nqn().to_string()), String::new());
    Controller { name, nqn: nqn.clone(), host_nqn, address, state }
}

fn note(nqn: &Nqn) -> StagedVolume {
    let timing = Timing {
        ctrl_loss: None,
        reconnect_delay: Duration::from_secs(10),
        keep_alive: Duration::from_secs(5),
        fast_io_fail: None,
        io_queues: None,
    };
    StagedVolume {
        volume: handle(),
        connect: Connect {
            nqn: nqn.clone(),
            address: "10.0.0.1".into(),
            port: 4420,
            host_nqn: host_nqn(),
            host_id: String::new(),
            timing,
        },
        staging: STAGING.into(),
        targets: BTreeSet::from([TARGET.into()]),
        file_system: Some("ext4".into()),
        uuid: Some("0b7f".into()),
        formatting: Formatting::Done,
        is_staged: true,
    }
}

/// A node with one volume, staged, published and connected under the NQN of this record.
struct Rig {
    machine: Arc<Machine>,
    registry: Arc<Registry>,
    rounds: Rounds,
    record: Record,
    nqn: Nqn,
    _secret: tempfile::TempDir,
    secret: SecretFile,
}

impl Rig {
    fn new() -> Self {
        let (record, folder) = (held(), tempfile::tempdir().unwrap());
        let secret = SecretFile(folder.path().join("key"));
        std::fs::write(&secret.0, SECRET).unwrap();
        let nqn = nqn(&record);
        let kernel = Kernel {
            controllers: vec![controller(&nqn, ControllerState::Live)],
            devices: vec![device(&nqn, 3)],
            mounts: vec![mount(1, "/other"), mount(3, STAGING), mount(3, TARGET)],
            notes: vec![note(&nqn)],
            ..Kernel::default()
        };
        let (changes, turns) = (watch::channel(0).0, Turns::default());
        let machine = Arc::new(Machine { kernel: Mutex::new(kernel), changes, turns });
        let registry = Arc::new(Registry::default());
        let rounds = Rounds {
            node: node(),
            host: machine.clone(),
            volumes: machine.clone(),
            evidence: registry.clone(),
            secret: secret.clone(),
            metrics: Arc::new(NoMetrics),
            log: slog::Logger::root(slog::Discard, slog::o!()),
            judged: Mutex::default(),
            unreadable: Mutex::default(),
        };
        Self { machine, registry, rounds, record, nqn, _secret: folder, secret }
    }

    fn kernel<T>(&self, look: impl FnOnce(&mut Kernel) -> T) -> T {
        look(&mut self.machine.kernel.lock().unwrap())
    }

    /// From now on Kubernetes says that the newest record is this, held by these nodes.
    fn told(&self, record: &Record, nodes: &[&str]) {
        let nodes = nodes.iter().map(|name| NodeName::parse(name).unwrap()).collect();
        let bound = Bound { nqn: Some(self.nqn.to_string()), holds: true };
        let volume = Claimed::Told(record.clone(), nodes);
        let attested = Attested { volume, attachment: Some(bound) };
        *self.registry.attested.lock().unwrap() = Some(attested);
    }

    fn fenced(&self) {
        self.told(&self.record.fence(0, Nonce::random()), &["n1"]);
    }

    async fn round(&self) -> Vec<Done> {
        self.rounds.run().await.into_values().collect()
    }

    fn done(&self) -> Vec<String> {
        self.kernel(|kernel| std::mem::take(&mut kernel.done))
    }

    fn posted(&self) -> Vec<Reason> {
        self.registry.posted.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_disconnected_first_and_then_unmounted_last_mount_first() {
    let rig = Rig::new();
    rig.kernel(|kernel| kernel.controllers[0].state = ControllerState::Connecting);
    rig.fenced();
    assert_eq!(rig.round().await, [Done::Swept(true)]);
    let nqn = &rig.nqn;
    let expected =
        [format!("disconnect {nqn}"), format!("unmount {TARGET}"), format!("unmount {STAGING}")];
    assert_eq!(rig.done(), expected);
    let left = rig.kernel(|kernel| kernel.mounts.clone());
    assert_eq!(left, [mount(1, "/other")], "nothing else is touched");
}

#[tokio::test(start_paused = true)]
async fn what_is_busy_is_reported_and_tried_again() {
    let rig = Rig::new();
    rig.fenced();
    rig.kernel(|kernel| kernel.busy.insert(TARGET.into()));
    assert_eq!(rig.round().await, [Done::Swept(false)]);
    assert_eq!(rig.posted(), [Reason::RecoveryHeld]);
    assert_eq!(rig.round().await, [], "not at once");
    rig.kernel(|kernel| kernel.busy.clear());
    tokio::time::advance(Duration::from_secs(21)).await;
    rig.done();
    // The device is gone by now: the note tells where its mounts are.
    assert_eq!(rig.round().await, [Done::Swept(true)]);
    assert_eq!(rig.done(), [format!("unmount {TARGET}")]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_touched_while_kubernetes_does_not_answer_or_somebody_works_on_the_volume() {
    let rig = Rig::new();
    rig.kernel(|kernel| kernel.controllers[0].state = ControllerState::Connecting);
    assert_eq!(rig.round().await, [Done::Later]);
    rig.fenced();
    let turn = StagedVolumes::turn(&*rig.machine, &handle()).unwrap();
    assert_eq!(rig.round().await, [Done::Later]);
    assert_eq!(rig.done(), Vec::<String>::new());
    drop(turn);
    assert_eq!(rig.round().await, [Done::Swept(true)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_current_stays_however_long_the_box_is_away() {
    let rig = Rig::new();
    rig.told(&rig.record, &["n1"]);
    for state in [ControllerState::Live, ControllerState::Connecting] {
        rig.kernel(|kernel| kernel.controllers[0].state = state);
        for _ in 0..20 {
            rig.round().await;
            tokio::time::advance(Duration::from_secs(30)).await;
        }
    }
    assert_eq!(rig.done(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn only_names_that_this_driver_gave_to_this_host_are_swept() {
    let rig = Rig::new();
    rig.fenced();
    let foreign = Nqn::parse("nqn.x:v").unwrap();
    let another = nqn(&held());
    rig.kernel(|kernel| {
        kernel.notes.clear();
        let strange = Controller {
            host_nqn: Some("nqn.stranger".into()),
            ..controller(&another, ControllerState::Connecting)
        };
        let unknown = Controller { host_nqn: None, ..strange.clone() };
        kernel.controllers = vec![controller(&foreign, ControllerState::Live), strange, unknown];
    });
    // What is connected as this host is looked at; a name that we did not give is left alone.
    assert_eq!(rig.round().await, [Done::Nothing]);
    assert_eq!(rig.done(), Vec::<String>::new());
    // Of our own host, even when the note of it was lost.
    let ours = controller(&rig.nqn, ControllerState::Connecting);
    rig.kernel(|kernel| kernel.controllers.push(ours));
    assert_eq!(rig.round().await, [Done::Swept(true)]);
    assert_eq!(rig.done()[0], format!("disconnect {}", rig.nqn));
    assert_eq!(rig.kernel(|kernel| kernel.controllers.len()), 3);
}

#[tokio::test(start_paused = true)]
async fn without_the_secret_only_what_is_noted_is_looked_at() {
    let rig = Rig::new();
    rig.fenced();
    std::fs::remove_file(&rig.secret.0).unwrap();
    let unnoted = controller(&nqn(&held()), ControllerState::Connecting);
    rig.kernel(|kernel| kernel.controllers.push(unnoted.clone()));
    assert_eq!(rig.round().await, [Done::Swept(true)]);
    assert_eq!(rig.kernel(|kernel| kernel.controllers.clone()), [unnoted]);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_lost_its_controller_is_connected_again_and_goes_on_where_its_device_survived()
 {
    for (takes, expected, posted) in [
        (Some(3), Done::Reconnected(true), vec![]),
        (Some(4), Done::Reconnected(false), vec![Reason::MountBroken]),
        (None, Done::Nothing, vec![]),
    ] {
        let rig = Rig::new();
        rig.told(&rig.record, &["n1"]);
        rig.kernel(|kernel| {
            kernel.controllers.clear();
            kernel.devices.clear();
            kernel.takes = takes;
        });
        assert_eq!(rig.round().await, [expected], "{takes:?}");
        assert_eq!(rig.done(), [format!("connect {}", rig.nqn)], "{takes:?}");
        assert_eq!(rig.posted(), posted, "{takes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_not_connected_again_that_was_taken_or_is_not_mounted_here() {
    let rig = Rig::new();
    rig.kernel(|kernel| {
        kernel.controllers.clear();
        kernel.devices.clear();
        kernel.takes = Some(3);
    });
    // Its VolumeAttachment is on its way out.
    rig.told(&rig.record, &["n1"]);
    if let Some(Attested { attachment: Some(bound), .. }) =
        rig.registry.attested.lock().unwrap().as_mut()
    {
        bound.holds = false;
    }
    assert_eq!(rig.round().await, [Done::Nothing]);
    // kubelet stages anew after a restart of the host.
    rig.told(&rig.record, &["n1"]);
    rig.kernel(|kernel| kernel.mounts.clear());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(rig.round().await, []);
    assert_eq!(rig.done(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_was_formatted_and_unstaged_is_told_until_its_nqn_is_over() {
    let rig = Rig::new();
    rig.kernel(|kernel| {
        kernel.controllers.clear();
        kernel.devices.clear();
        kernel.mounts.clear();
        kernel.takes = Some(3);
        kernel.notes = vec![StagedVolume { is_staged: false, ..note(&rig.nqn) }];
    });
    let keys = Keys::of(SECRET).unwrap();
    let told = async || {
        let (challenge, node) = (Challenge::random(), node());
        let answer = voice(&rig).answer(&challenge.to_string()).await.unwrap();
        let word = open(&answer, &keys, Asked { driver: "d", node: &node, challenge }).unwrap();
        word.seen(rig.nqn.as_str()).map(|seen| seen.formatting)
    };
    rig.told(&rig.record, &["n1"]);
    assert_eq!(rig.round().await, [Done::Nothing]);
    assert_eq!(told().await, Some(Formatting::Done));
    rig.told(&rig.record.detach(), &[]);
    tokio::time::advance(Duration::from_secs(301)).await;
    assert_eq!(rig.round().await, [Done::Forgotten]);
    assert_eq!(told().await, None);
    assert_eq!(rig.done(), Vec::<String>::new(), "it is not connected for that");
}

fn voice(rig: &Rig) -> Voice {
    Voice {
        driver: "d".into(),
        node: node(),
        host: rig.machine.clone(),
        volumes: rig.machine.clone(),
        secret: rig.secret.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_answered_with_what_the_host_has_at_that_moment() {
    let rig = Rig::new();
    let (voice, keys) = (voice(&rig), Keys::of(SECRET).unwrap());
    let node = node();
    let ask = |challenge: Challenge| {
        let (voice, keys, node) = (voice.clone(), keys.clone(), node.clone());
        async move {
            let answer = voice.answer(&challenge.to_string()).await.unwrap();
            open(&answer, &keys, Asked { driver: "d", node: &node, challenge }).unwrap()
        }
    };
    let word = ask(Challenge::random()).await;
    assert!(word.is_connected_to("nqn.x:v"));
    let seen = word.seen(rig.nqn.as_str()).unwrap();
    assert_eq!((seen.formatting, seen.uuid.as_deref()), (Formatting::Done, Some("0b7f")));
    rig.kernel(|kernel| kernel.controllers.clear());
    let word = ask(Challenge::random()).await;
    assert!(word.sees() && !word.has_controller_of("nqn.x:v"));
    rig.kernel(|kernel| kernel.is_blind = true);
    let word = ask(Challenge::random()).await;
    assert!(!word.sees(), "what cannot be seen is not said to be absent");
    assert_eq!(word.boot_id(), "boot-1");
}

#[tokio::test]
async fn without_secret_or_challenge_there_is_no_answer() {
    let rig = Rig::new();
    assert!(matches!(voice(&rig).answer("x").await, Err(Mute::Malformed(_))));
    std::fs::write(&rig.secret.0, b"short").unwrap();
    let answer = voice(&rig).answer(&Challenge::random().to_string()).await;
    assert!(matches!(&answer, Err(Mute::Unable(why)) if why.contains("5 bytes")), "{answer:?}");
}

#[actix::test]
async fn the_agent_goes_round_after_round_and_comes_back_after_a_panic() {
    let rig = Rig::new();
    rig.fenced();
    let faults = super::super::supervision::Faults::armable();
    let supervision = Supervision {
        log: slog::Logger::root(slog::Discard, slog::o!()),
        metrics: Arc::new(NoMetrics),
        faults: faults.clone(),
    };
    faults.arm(Entry::Future, 1);
    let machine = rig.machine.clone();
    let handles = start(Parts { supervision, rounds: rig.rounds });
    let swept = async {
        while machine.kernel.lock().unwrap().mounts.len() > 1 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), swept).await.unwrap();
    assert!((handles.alive)());
    handles.shutdown.send(Shutdown { within: Duration::from_secs(1) }).await.unwrap();
}

fn unreadable(name: &str, nqn: Option<&Nqn>) -> Unreadable {
    Unreadable {
        name: name.into(),
        nqn: nqn.cloned(),
        why: "it has form 2".into(),
        is_damaged: true,
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_note_that_cannot_be_read_may_describe_is_left_alone_and_is_said_to_be_so_once() {
    for names_it in [true, false] {
        let rig = Rig::new();
        let note = unreadable("v", names_it.then_some(&rig.nqn));
        rig.fenced();
        rig.kernel(|kernel| {
            kernel.notes.clear();
            kernel.unreadable = vec![note];
        });
        for _ in 0..3 {
            assert_eq!(rig.round().await, []);
            tokio::time::advance(Duration::from_secs(301)).await;
        }
        assert_eq!(rig.done(), Vec::<String>::new());
        assert_eq!(rig.posted(), [Reason::RecoveryHeld]);
        rig.kernel(|kernel| kernel.unreadable.clear());
        assert_eq!(rig.round().await, [Done::Swept(true)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_note_that_cannot_be_read_keeps_no_other_volume_from_being_swept() {
    let rig = Rig::new();
    rig.fenced();
    rig.kernel(|kernel| kernel.unreadable = vec![unreadable("w", None)]);
    assert_eq!(rig.round().await, [Done::Swept(true)]);
}

#[tokio::test(start_paused = true)]
async fn of_a_note_that_cannot_be_read_it_is_never_said_that_no_file_system_was_begun() {
    let rig = Rig::new();
    let keys = Keys::of(SECRET).unwrap();
    let ask = async || {
        let (challenge, node) = (Challenge::random(), node());
        let answer = voice(&rig).answer(&challenge.to_string()).await.unwrap();
        open(&answer, &keys, Asked { driver: "d", node: &node, challenge }).unwrap()
    };
    let of_another = nqn(&held());
    rig.kernel(|kernel| kernel.unreadable = vec![unreadable("w", Some(&of_another))]);
    let word = ask().await;
    let formatting = |nqn: &Nqn| word.seen(nqn.as_str()).map(|seen| seen.formatting);
    assert_eq!(formatting(&of_another), Some(Formatting::Begun));
    assert_eq!(formatting(&rig.nqn), Some(Formatting::Done), "of others as ever");
    // Not even the NQN: then silence about an NQN would be taken for a word.
    rig.kernel(|kernel| kernel.unreadable = vec![unreadable("w", None)]);
    assert!(!ask().await.sees());
}
