//! Two clusters on one box, with the same values: the same driver name, the same base NQN, the same
//! directories and the same names of volumes. Only the cluster ids differ.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rds_csi::attachment::ledger::{ClusterTag, Record, State};
use rds_csi::cluster::Cluster as _;
use rds_csi::operations::{Error, Expand, Kind};
use rds_csi::volume::VolumePath;
use rds_sim::apiserver::world as objects;
use rds_sim::routeros::{RouterOs, Snapshot};
use serde_json::Value;
use tokio::time::{Duration, sleep};

use crate::in_memory::{DRIVER, FOLDER, GIB, World, id};
use crate::pair::{NODES, cluster, connect, controller, mixing_box};

const SLOTS: [&str; 3] = ["one", "two", "three"];
const VOLUMES: &str = "persistentvolumes";

/// What one cluster does.
#[derive(Debug, Clone, Copy)]
enum Step {
    Create(&'static str),
    Publish(&'static str, &'static str),
    Unpublish(&'static str, &'static str),
    Delete(&'static str),
    Expand(&'static str),
    Look(&'static str),
    Pass,
    Node(&'static str, bool),
    Wait,
    Restart,
    /// Somebody copies the other cluster's PV over, annotations and all.
    CopyVolume(&'static str),
}

/// What happens to the box.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    Backup,
    Restore,
    Lose(&'static str),
}

/// A file-backed disk as the box has it, and what its image holds.
type Items = BTreeMap<String, (Value, Option<u64>)>;

/// Both clusters.
pub struct Clusters {
    os: RouterOs,
    worlds: [World; 2],
    tags: [ClusterTag; 2],
    backup: Option<Snapshot>,
    chance: StdRng,
    /// What was done, for people.
    pub told: Vec<String>,
}

impl Clusters {
    /// Two clusters, of these seeds: of one seed they have one id.
    pub async fn new(seed: u64, ids: [u64; 2]) -> Self {
        let os = mixing_box(seed);
        let apis = ids.map(cluster);
        let worlds = [
            controller(&os, &apis[0], 2 * seed, None).await,
            controller(&os, &apis[1], 2 * seed + 1, None).await,
        ];
        let mut tags = Vec::new();
        for world in &worlds {
            tags.push(ClusterTag::of(&world.cluster.identity().await.unwrap().cluster_id));
        }
        let (tags, chance) = ([tags[0], tags[1]], StdRng::seed_from_u64(seed));
        Self { os, worlds, tags, backup: None, chance, told: Vec::new() }
    }

    /// Random steps, now of one cluster alone, now of both at once.
    pub async fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            match self.chance.random_range(0..20) {
                0..2 => self.mishap(),
                2..6 => self.together().await?,
                _ => self.alone().await?,
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Step {
        let slot = *SLOTS.choose(&mut self.chance).unwrap();
        let node = *NODES.choose(&mut self.chance).unwrap();
        match self.chance.random_range(0..32) {
            0..7 => Step::Create(slot),
            7..13 => Step::Publish(slot, node),
            13..17 => Step::Unpublish(slot, node),
            17..20 => Step::Delete(slot),
            20 => Step::Expand(slot),
            21..23 => Step::Look(slot),
            23..27 => Step::Pass,
            27 => Step::Node(node, self.chance.random_bool(0.7)),
            28 => Step::Wait,
            29 => Step::Restart,
            _ => Step::CopyVolume(slot),
        }
    }

    fn mishap(&mut self) {
        let slot = *SLOTS.choose(&mut self.chance).unwrap();
        let mishaps = [Mishap::Backup, Mishap::Restore, Mishap::Restore, Mishap::Lose(slot)];
        let mishap = *mishaps.choose(&mut self.chance).unwrap();
        match (mishap, &self.backup) {
            (Mishap::Backup, _) => self.backup = Some(self.os.snapshot()),
            (Mishap::Restore, Some(backup)) => self.os.restore(backup, Duration::ZERO),
            (Mishap::Restore, None) => return,
            (Mishap::Lose(slot), _) => drop(self.os.lose_disk(slot)),
        }
        self.told.push(format!("{mishap:?}"));
    }

    /// One cluster does something; nothing of the other's may change.
    async fn alone(&mut self) -> Result<(), String> {
        let (who, step) = (self.chance.random_range(0..2), self.draw());
        let before = self.items_of(1 - who);
        let images = self.images();
        let answer = self.take(who, step).await;
        self.told.push(format!("{who}: {step:?} {answer:?}"));
        self.same(before, 1 - who)?;
        self.same_images(&images, who, step)?;
        self.answered(who, step, answer).await
    }

    /// Both do something at once, on other volumes or on one name.
    async fn together(&mut self) -> Result<(), String> {
        let (first, second) = (self.draw(), self.draw());
        if [first, second].iter().any(|step| matches!(step, Step::Restart | Step::Delete(_))) {
            return Ok(());
        }
        let owners = self.owners();
        let later = Duration::from_millis(self.chance.random_range(0..12));
        let answers = tokio::join!(self.do_it(0, first), async {
            sleep(later).await;
            self.do_it(1, second).await
        });
        self.told.push(format!("0: {first:?} {:?} with 1: {second:?} {:?}", answers.0, answers.1));
        for (slot, tag) in self.owners() {
            if owners.get(&slot).is_some_and(|was| *was != tag) {
                return Err(format!("{slot} went from {:?} to {tag}", owners.get(&slot)));
            }
        }
        self.answered(0, first, answers.0).await?;
        self.answered(1, second, answers.1).await
    }

    async fn take(&mut self, who: usize, step: Step) -> Result<(), Error> {
        if let Step::Restart = step {
            let seed = self.chance.random();
            self.worlds[who].restart().await;
            connect(&mut self.worlds[who], seed, None);
        }
        self.do_it(who, step).await
    }

    async fn do_it(&self, who: usize, step: Step) -> Result<(), Error> {
        let world = &self.worlds[who];
        match step {
            Step::Create(slot) => {
                let made = world.operations.create(world.wanted(slot)).await?;
                let mut volume = objects::volume(slot, DRIVER).bound_to("default", slot, None);
                for (key, value) in &made.context {
                    volume = volume.attribute(key, value);
                }
                // One that is there already is an earlier try's.
                let _ = world.api.create(volume.build());
            }
            Step::Publish(slot, to) => {
                if world.api.get(VOLUMES, slot).is_some() {
                    world.want_attached(slot, to).await;
                }
                world.publish(slot, to).await?;
            }
            Step::Unpublish(slot, from) => {
                world.unpublish(slot, from).await?;
                world.forget_attached(slot, from).await;
            }
            Step::Delete(slot) => {
                world.operations.delete(id(slot)).await?;
                let unlock = |pv: &mut Value| pv["metadata"]["finalizers"] = serde_json::json!([]);
                if world.api.modify(VOLUMES, slot, unlock).is_ok() {
                    let _ = world.api.delete(VOLUMES, slot);
                }
            }
            Step::Expand(slot) => {
                let wanted =
                    Expand { id: id(slot), required: 2 * GIB, limit: None, capability: None };
                world.operations.expand(wanted).await?;
            }
            Step::Look(slot) => drop(world.operations.get(id(slot)).await?),
            Step::Pass => drop(world.reconciler.pass().await?),
            Step::Node(node, there) => {
                match there {
                    true => drop(world.api.create(objects::node(node).build())),
                    false => drop(world.api.delete("nodes", node)),
                };
            }
            Step::Wait => sleep(Duration::from_secs(40)).await,
            Step::Restart => {}
            Step::CopyVolume(slot) => self.copy_volume(who, slot),
        }
        world.settle().await;
        Ok(())
    }

    fn copy_volume(&self, to: usize, slot: &str) {
        let Some(mut volume) = self.worlds[1 - to].api.get(VOLUMES, slot) else { return };
        let metadata = volume["metadata"].as_object_mut().unwrap();
        metadata.retain(|key, _| ["name", "annotations"].contains(&key.as_str()));
        let _ = self.worlds[to].api.create(volume);
    }

    /// The items that a cluster owns by their records.
    fn items_of(&self, who: usize) -> Items {
        let print = ":put [:serialize to=json value=[/disk/print detail as-value where type=file]]";
        let text = self.os.exec(print).text();
        let rows: Vec<Value> = serde_json::from_str(text.trim()).unwrap();
        let own = rows.into_iter().filter(|row| {
            let comment = row["comment"].as_str().unwrap_or_default();
            Record::parse(comment).is_ok_and(|record| record.cluster == self.tags[who])
        });
        own.map(|row| {
            let slot = row["slot"].as_str().unwrap().to_owned();
            let image = self.os.content_of(&format!("{FOLDER}/{slot}.img"));
            (slot, (row, image))
        })
        .collect()
    }

    fn owners(&self) -> BTreeMap<String, ClusterTag> {
        let of = |who: usize| {
            self.items_of(who)
                .into_keys()
                .map(move |slot| (slot, self.tags[who]))
                .collect::<Vec<_>>()
        };
        of(0).into_iter().chain(of(1)).collect()
    }

    fn images(&self) -> BTreeMap<&'static str, u64> {
        let content = |slot: &&'static str| self.os.content_of(&format!("{FOLDER}/{slot}.img"));
        SLOTS.iter().filter_map(|slot| Some((*slot, content(slot)?))).collect()
    }

    fn same(&self, before: Items, whose: usize) -> Result<(), String> {
        let after = self.items_of(whose);
        if before == after {
            return Ok(());
        }
        Err(format!("what cluster {whose} owns was\n{before:?}\nand is\n{after:?}"))
    }

    /// An image goes only when its own cluster deletes it, even where the box has lost its item.
    fn same_images(
        &self,
        before: &BTreeMap<&'static str, u64>,
        who: usize,
        step: Step,
    ) -> Result<(), String> {
        let now = self.images();
        for (slot, content) in before {
            let deletes = matches!(step, Step::Delete(of) if of == *slot);
            let may = deletes && !self.is_of_other(who, slot);
            if now.get(slot) != Some(content) && !may {
                return Err(format!(
                    "the image of {slot} was {content}, and is {:?}",
                    now.get(slot)
                ));
            }
        }
        Ok(())
    }

    /// Does the copy of the other cluster say that it made this volume?
    fn is_of_other(&self, who: usize, slot: &str) -> bool {
        let copy = self.worlds[1 - who].copy(slot);
        let record = copy.and_then(|copy| Record::parse(&copy.record).ok());
        record.is_some_and(|record| {
            record.cluster == self.tags[1 - who] && record.state != State::Deleting
        })
    }

    /// What the other cluster has is not there, and its name is taken.
    async fn answered(
        &self,
        who: usize,
        step: Step,
        answer: Result<(), Error>,
    ) -> Result<(), String> {
        let theirs = self.items_of(1 - who);
        let has = |slot: &str| theirs.contains_key(slot);
        let kind = answer.as_ref().err().map(|error| error.kind);
        let fine = match step {
            Step::Create(slot) if has(slot) => kind == Some(Kind::Exists),
            Step::Look(slot) | Step::Expand(slot) if has(slot) => kind == Some(Kind::NotFound),
            Step::Publish(slot, node) if has(slot) => {
                let gone = self.worlds[who].api.get("nodes", node).is_none();
                kind == Some(Kind::NotFound) || gone
            }
            Step::Unpublish(slot, _) | Step::Delete(slot) if has(slot) => kind.is_none(),
            _ => true,
        };
        if !fine {
            return Err(format!("{step:?} of what the other cluster has: {answer:?}"));
        }
        self.listed(who).await
    }

    async fn listed(&self, who: usize) -> Result<(), String> {
        let operations = &self.worlds[who].operations;
        let page = operations.list("", 0).await.map_err(|error| error.to_string())?;
        let listed: BTreeSet<String> =
            page.volumes.iter().map(|volume| volume.id.slot.to_string()).collect();
        let is_going = |row: &Value| row["comment"].as_str().unwrap_or("").contains(" s=deleting ");
        let mut own = self.items_of(who);
        own.retain(|_, (row, _)| !is_going(row));
        let own: BTreeSet<String> = own.into_keys().collect();
        if listed != own {
            return Err(format!("cluster {who} owns {own:?} and lists {listed:?}"));
        }
        // What the other one has takes room, and that is all that is seen of it.
        let path = VolumePath::parse(FOLDER).unwrap();
        let main = operations.backends.default.clone();
        let one = operations.capacity(&main, &path).await.map_err(|e| e.to_string())?;
        let other = self.worlds[1 - who].operations.capacity(&main, &path).await;
        if other.as_ref() != Ok(&one) {
            return Err(format!("one sees {one:?} free, the other {other:?}"));
        }
        Ok(())
    }
}
