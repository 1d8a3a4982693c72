//! A pass that remembers the last one finds what one finds that remembers nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use tokio::time::Instant;

use super::super::look::{Frame, Judged, Look, judge_all};
use super::super::memory::Memory;
use super::super::roster::Names;
use super::super::{Sight, Table};
use super::*;
use crate::attachment::export::Hosts;
use crate::attachment::ledger::{
    ClusterTag, Copy, Further, NodeTag, Nonce, Record, Sharing, State,
};
use crate::attachment::storm;
use crate::attachment::usage::Usage;
use crate::cluster::{CopyState, Deleting, Identity, Node, Version, View};
use crate::operations::{Backend, Backends, Limits};
use crate::rds::{Command, Failure, Link, Rds, Reply, System};
use crate::volume::turns::Turn;
use crate::volume::{BackendName, Handle, ImagePath, NodeName, Slot};

const SLOTS: usize = 5;
const NODES: usize = 3;
const BOXES: [&str; 2] = ["main", "other"];
const BASE: &str = "nqn.2000-02.com.mikrotik";

/// Names its version, and does nothing.
struct Version7(u8);

#[async_trait]
impl Rds for Version7 {
    async fn execute(&self, _: Command, _: Option<Turn>) -> Result<Reply, Failure> {
        unreachable!("a look asks no box")
    }

    fn link(&self) -> Link {
        let system = System { version: format!("7.{}", self.0), uptime: None };
        Link::Up { since: Instant::now(), epoch: 1, system }
    }
}

/// Everything that a pass looks at, and may be made to change.
#[derive(Clone)]
struct World {
    /// Ready, and out of service.
    nodes: BTreeMap<usize, (bool, bool)>,
    volumes: BTreeMap<String, Arc<Volume>>,
    attachments: BTreeMap<String, Arc<Attachment>>,
    rows: [Vec<Disk>; 2],
    is_read: [bool; 2],
    versions: [u8; 2],
    port: u16,
    base: String,
    deleting: Vec<Deleting>,
    secret: u8,
    cluster_id: String,
    limits: Limits,
    now: Instant,
    made: u64,
}

fn node(number: usize) -> NodeName {
    NodeName::parse(&format!("n{number}")).unwrap()
}

/// One step: what, with which volume, and how.
type Step = (u8, usize, usize, usize);

impl World {
    fn new() -> Self {
        let storm = storm::Limits { share: 0.9, window: Duration::from_secs(20) };
        let mut world = Self {
            nodes: (0..NODES).map(|number| (number, (true, false))).collect(),
            volumes: BTreeMap::new(),
            attachments: BTreeMap::new(),
            rows: Default::default(),
            is_read: [true; 2],
            versions: [24; 2],
            port: 4420,
            base: BASE.to_owned(),
            deleting: Vec::new(),
            secret: 1,
            cluster_id: "c".to_owned(),
            limits: Limits {
                grace: Duration::from_secs(30),
                max_age: Duration::from_secs(60),
                orphan_grace: Duration::from_secs(40),
                counter_interval: Duration::from_secs(1),
                drain: Duration::from_secs(1),
                storm,
            },
            now: Instant::now(),
            made: 0,
        };
        (0..SLOTS).for_each(|slot| world.heal(slot, slot % NODES));
        world
    }

    fn identity(&self) -> Identity {
        Identity { cluster_id: self.cluster_id.clone(), secret: Arc::new([self.secret; 32]) }
    }

    fn tag(&self, number: usize) -> NodeTag {
        NodeTag::of(&self.cluster_id, &node(number))
    }

    /// Which box a volume is made on.
    fn home(slot: usize) -> usize {
        usize::from(slot == SLOTS - 1)
    }

    /// Attached to a node, and in order, from now on.
    fn heal(&mut self, slot: usize, to: usize) {
        let created = Record::created(ClusterTag::of(&self.cluster_id));
        self.made += 1;
        let record = created.attach(self.tag(to), Sharing::Single, self.made, Nonce::random());
        self.make(slot, &record, &[to]);
    }

    fn make(&mut self, slot: usize, record: &Record, nodes: &[usize]) {
        let name = format!("v{slot}");
        let parsed = Slot::parse(&name).unwrap();
        let home = Self::home(slot);
        let hosts = Hosts::new(self.identity().secret);
        let is_open = record.state == State::Attached;
        let host = nodes.first().map(|to| hosts.host(&node(*to)).unwrap().nqn.to_string());
        let disk = Disk {
            slot: name.clone(),
            comment: record.text(),
            image: None,
            bytes: Some(1),
            free: None,
            mount_point: None,
            exported: Some(is_open),
            nqn: record.nqn(BASE, &parsed).unwrap().to_string(),
            allow_host: host.filter(|_| record.sharing == Sharing::Single).unwrap_or_default(),
            port: Some(4420),
            disabled: false,
            counters: None,
        };
        match self.rows[home].iter_mut().find(|row| row.slot == name) {
            Some(row) => *row = disk,
            None => self.rows[home].push(disk),
        }
        let copy = Copy {
            record: record.text(),
            nodes: nodes.iter().copied().map(node).collect(),
            image: ImagePath::parse(&format!("pool/{name}.img")).unwrap(),
            bytes: 1,
            file_system: String::new(),
            uuid: String::new(),
            readers: Vec::new(),
            fenced_from: Vec::new(),
            further: Further::default(),
        };
        let handle = if home == 0 { name.clone() } else { format!("other/{name}") };
        let volume = Volume {
            name: name.clone(),
            version: Version::default(),
            names: Handle::parse(&handle).ok(),
            handle,
            attributes: [].into(),
            bytes: 1,
            going: false,
            claim: None,
            copied: Record::parse(&copy.record).ok().map(Arc::new),
            copy: CopyState::Present(Box::new(copy)),
            nvme_port: None,
            usage: Usage { reads_only: false, is_raw: false },
        };
        self.volumes.insert(name.clone(), Arc::new(volume));
        self.attachments.retain(|_, attachment| attachment.volume != name);
        nodes.iter().for_each(|to| self.attach(slot, *to));
    }

    fn attach(&mut self, slot: usize, to: usize) {
        let attachment = Attachment {
            name: format!("csi-{slot}-{to}"),
            version: Version::default(),
            volume: format!("v{slot}"),
            node: node(to),
            attached: true,
            deleting: false,
        };
        self.attachments.insert(attachment.name.clone(), Arc::new(attachment));
    }

    fn change(&mut self, (what, slot, how, to): Step, memory: &mut [Memory; 2]) {
        let created = Record::created(ClusterTag::of(&self.cluster_id));
        let name = format!("v{slot}");
        match what {
            0 | 1 => self.heal(slot, to % NODES),
            2 if how % 2 == 0 => self.make(slot, &created.detach(), &[]),
            2 => {
                let tag = self.tag(to % NODES);
                let held = created.attach(tag, Sharing::Single, self.made, Nonce::random());
                self.make(slot, &held.fence(self.made, Nonce::random()), &[to % NODES]);
            }
            3 => {
                let [tag, other] = [to, to + 1].map(|number| self.tag(number % NODES));
                let one = created.attach(tag, Sharing::Multi, 0, Nonce::random());
                let both = Record { nodes: vec![tag, other], ..one };
                self.make(slot, &both, &[to % NODES, (to + 1) % NODES]);
            }
            4 => self.change_row(slot, how, to),
            5 => self.change_volume(&name, slot, how),
            6 => self.change_attachment(slot, how, to),
            7 => self.change_node(to % NODES, how),
            8 => self.now += Duration::from_secs(how as u64 * 5),
            9 => self.change_grounds(slot, how),
            _ => {
                let backend = BackendName::parse(BOXES[Self::home(slot)]).unwrap();
                let id = VolumeId { backend, slot: Slot::parse(&name).unwrap() };
                for memory in memory {
                    match how % 2 {
                        0 => drop(memory.failed(&id)),
                        _ => memory.succeeded(&id),
                    }
                }
            }
        }
    }

    fn change_row(&mut self, slot: usize, how: usize, to: usize) {
        let rows = &mut self.rows[Self::home(slot)];
        let Some(at) = rows.iter().position(|row| row.slot == format!("v{slot}")) else { return };
        let twin = rows[to % rows.len()].comment.clone();
        match how {
            0 => rows[at].comment.push('x'),
            1 => rows[at].comment = twin,
            2 => rows[at].comment = String::new(),
            3 => rows[at].nqn.push('1'),
            4 => rows[at].allow_host.clear(),
            5 => rows[at].exported = [None, Some(true), Some(false)][to % 3],
            6 => rows[at].port = [None, Some(4420), Some(4421)][to % 3],
            7 => drop(rows.remove(at)),
            8 => rows.rotate_left(1),
            9 => {
                // Two of one name: the first is meant.
                let copy = Disk { nqn: "nqn.x".into(), ..rows[at].clone() };
                rows.insert(to % (rows.len() + 1), copy);
            }
            10 => rows.insert(0, Disk { slot: format!("w{to}"), ..rows[at].clone() }),
            _ => rows.truncate(at),
        }
    }

    fn change_volume(&mut self, name: &str, slot: usize, how: usize) {
        let Some(known) = self.volumes.get(name) else { return };
        let mut volume = (**known).clone();
        match how {
            0 => drop(self.volumes.remove(name)),
            // The same again, as a list that is made anew brings it.
            1 => drop(self.volumes.insert(name.to_owned(), Arc::new(volume))),
            2 => {
                // Another PV that names the same disk, and is worth less or more.
                volume.name = if slot.is_multiple_of(2) { "a" } else { "z" }.to_owned();
                volume.copy = CopyState::Absent;
                volume.copied = None;
                self.volumes.insert(volume.name.clone(), Arc::new(volume));
            }
            3 => drop(["a", "z"].map(|other| self.volumes.remove(other))),
            _ => {
                match how {
                    4 => volume.going = true,
                    5 => volume.nvme_port = Some(4421),
                    6 => (volume.copy, volume.copied) = (CopyState::Absent, None),
                    7 => volume.copy = CopyState::Unreadable("broken".into()),
                    8 => volume.names = Handle::parse("v0").ok(),
                    _ => volume.copied = volume.copied.map(|record| Arc::new(record.next())),
                }
                self.volumes.insert(name.to_owned(), Arc::new(volume));
            }
        }
    }

    fn change_attachment(&mut self, slot: usize, how: usize, to: usize) {
        let of_it = |attachment: &Attachment| attachment.volume == format!("v{slot}");
        match how % 4 {
            0 => self.attachments.retain(|_, attachment| !of_it(attachment)),
            1 => self.attach(slot, to % NODES),
            2 => {
                for attachment in self.attachments.values_mut().filter(|it| of_it(it)) {
                    *attachment = Arc::new(Attachment { deleting: true, ..(**attachment).clone() });
                }
            }
            _ => {
                // Of another volume from now on, under the same name.
                for attachment in self.attachments.values_mut().filter(|it| of_it(it)) {
                    let volume = format!("v{}", to % SLOTS);
                    *attachment = Arc::new(Attachment { volume, ..(**attachment).clone() });
                }
            }
        }
    }

    fn change_node(&mut self, number: usize, how: usize) {
        match how % 4 {
            0 => drop(self.nodes.remove(&number)),
            1 => drop(self.nodes.insert(number, (false, false))),
            2 => drop(self.nodes.insert(number, (true, true))),
            _ => drop(self.nodes.insert(number, (true, false))),
        }
    }

    fn change_grounds(&mut self, slot: usize, how: usize) {
        let at = Self::home(slot);
        match how {
            0 => self.versions[at] = 44 - self.versions[at],
            1 => self.is_read[at] = !self.is_read[at],
            2 => self.port = 8841 - self.port,
            3 => self.secret = 3 - self.secret,
            4 => self.base = format!("{BASE}{}", slot % 2),
            5 => self.base = BASE.to_owned(),
            6 => self.cluster_id = if self.cluster_id == "c" { "d" } else { "c" }.to_owned(),
            7 => self.limits.orphan_grace = Duration::from_secs(slot as u64 * 10),
            8 => self.deleting.clear(),
            9 => self.limits.grace = Duration::from_secs(slot as u64 * 10),
            _ => self.deleting.push(Deleting {
                backend: BackendName::parse(BOXES[at]).unwrap(),
                slot: Slot::parse(&format!("v{slot}")).unwrap(),
                image: ImagePath::parse("pool/v.img").unwrap(),
            }),
        }
    }

    fn view(&self) -> View {
        let node = |(number, (ready, out_of_service)): (&usize, &(bool, bool))| Node {
            name: node(*number),
            uid: String::new(),
            ready: *ready,
            out_of_service: *out_of_service,
            address: None,
        };
        View {
            nodes: Arc::new(self.nodes.iter().map(node).collect()),
            volumes: Arc::new(self.volumes.values().cloned().collect()),
            attachments: Arc::new(self.attachments.values().cloned().collect()),
        }
    }

    fn backends(&self) -> Backends {
        let [main, other] = [0, 1].map(|at| Backend {
            name: BackendName::parse(BOXES[at]).unwrap(),
            address: format!("{}:22", BOXES[at]),
            nvme_address: "10.0.0.1".into(),
            nvme_port: self.port,
            volume_paths: Vec::new(),
            nqn_base: self.base.clone(),
            rds: Arc::new(Version7(self.versions[at])),
        });
        let name = main.name.clone();
        let by_name = [main, other].map(|backend| (backend.name.clone(), backend)).into();
        Backends { by_name, bare_ids: name.clone(), default: name }
    }

    /// What a pass finds, written down so that it can be compared.
    fn look(&self, memory: &mut Memory, past: &mut Past, names: &mut Names) -> Shown {
        let (identity, backends, view) = (self.identity(), self.backends(), self.view());
        let boxes = backends.by_name.values().zip(&self.rows).zip(self.is_read);
        let (read, blind): (Vec<_>, Vec<_>) = boxes.partition(|(_, is_read)| *is_read);
        let table = |((backend, rows), _): ((&Backend, &Vec<Disk>), bool)| {
            (backend.clone(), rows.iter().cloned().map(Arc::new).collect())
        };
        let tables: Vec<Table> = read.into_iter().map(table).collect();
        let blind: BTreeSet<BackendName> =
            blind.into_iter().map(|((backend, _), _)| backend.name.clone()).collect();
        let sight = Sight { identity: &identity, tables: &tables, deleting: &self.deleting };
        let survey = Survey::new(sight, &view, names, &backends);
        let frame = Frame { limits: self.limits, blind: &blind, now: self.now };
        let (mut look, mut verdicts, mut settled) = (Look::default(), Vec::new(), 0);
        let holders = judge_all(&survey, frame, memory, past, |judged| {
            verdicts.push(match &judged {
                Judged::Settled(entry) => {
                    settled += 1;
                    (entry.row.slot().to_owned(), Action::Nothing, entry.reason)
                }
                Judged::Anew(found, verdict) => {
                    (found.id.slot.to_string(), verdict.action, verdict.reason)
                }
            });
            look.add(judged);
        });
        verdicts
            .sort_by_key(|(slot, action, reason)| (slot.clone(), format!("{action:?}{reason}")));
        let amiss = look.amiss.iter().map(|(found, verdict)| format!("{found:?} {verdict:?}"));
        let told = format!("{} {:?} {holders:?}", look.attached, look.not_ready);
        Shown { verdicts, amiss: amiss.collect(), told, settled }
    }
}

#[derive(Debug, PartialEq)]
struct Shown {
    verdicts: Vec<(String, Action, &'static str)>,
    amiss: Vec<String>,
    told: String,
    settled: usize,
}

#[test]
fn volumes_that_are_in_order_are_judged_once_and_again_when_something_of_theirs_changes() {
    let mut world = World::new();
    let (mut memory, mut past, mut names) = Default::default();
    let mut settled = |world: &World| world.look(&mut memory, &mut past, &mut names).settled;
    assert_eq!(settled(&world), 0);
    assert_eq!(settled(&world), SLOTS);
    world.heal(1, 2);
    assert_eq!(settled(&world), SLOTS - 1);
    assert_eq!(settled(&world), SLOTS);
    world.now += Duration::from_secs(3600);
    assert_eq!(settled(&world), SLOTS);
    world.attach(2, 0);
    assert_eq!(settled(&world), SLOTS - 1);
    world.rows[0].remove(0);
    assert_eq!(settled(&world), SLOTS - 1, "the others are found, one place further up");
    world.change_node(0, 1);
    assert_eq!(settled(&world), 0);
}

proptest! {
    #[test]
    fn what_was_in_order_is_found_as_if_nothing_were_remembered(
        rounds in prop::collection::vec(
            prop::collection::vec((0..11u8, 0..SLOTS, 0..12usize, 0..6usize), 0..3), 1..16,
        ),
    ) {
        let mut world = World::new();
        let mut memory: [Memory; 2] = Default::default();
        let (mut past, mut names) = (Past::default(), Names::default());
        for steps in rounds {
            steps.into_iter().for_each(|step| world.change(step, &mut memory));
            let [with, without] = &mut memory;
            let found = world.look(with, &mut past, &mut names);
            let expected = world.look(without, &mut Past::default(), &mut Names::default());
            prop_assert_eq!(expected.settled, 0);
            prop_assert_eq!(&found, &Shown { settled: found.settled, ..expected });
            prop_assert_eq!(with, without);
        }
    }
}
