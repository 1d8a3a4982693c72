//! What must be so when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use rds_csi::attachment::ledger::State;
use rds_csi::cluster::Cluster as _;
use rds_csi::operations::Kind;
use serde_json::Value;

use crate::act::{Act, Stage, image};
use crate::hosts::{NODES, turns};
use crate::in_memory::{FOLDER, World, id, node};

/// Lines that a script prints.
fn lines(world: &World, script: &str) -> BTreeSet<String> {
    let text = world.os.exec(script).text();
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Names of images on the box.
fn images(world: &World) -> BTreeSet<String> {
    let all = lines(world, ":foreach f in=[/file/find] do={ :put [/file/get $f name] }");
    all.into_iter().filter(|name| name.ends_with(".img")).collect()
}

/// The image of each disk, by slot.
fn disks(world: &World) -> BTreeMap<String, String> {
    let script = ":foreach d in=[/disk/find where type=file] do={ \
                  :put ([/disk/get $d slot] . \" \" . [/disk/get $d file-path]) }";
    let pair = |line: String| {
        let (slot, path) = line.split_once(' ').unwrap();
        (slot.to_owned(), path.trim_start_matches('/').to_owned())
    };
    lines(world, script).into_iter().map(pair).collect()
}

/// Everything, when the operation is done.
pub async fn at_rest(stage: &Stage, context: &str) {
    let world = &stage.world;
    let violations = stage.hosts.violations();
    assert!(violations.is_empty(), "{context}: {violations:?}");
    nothing_is_left_over(world, context).await;
    for slot in &stage.slots {
        if stage.act.leaves_volume() {
            volume(stage, slot, context).await;
        } else {
            assert!(!world.has_disk(slot) && !world.has_image(slot), "{context}: {slot} is left");
        }
        one_after_the_other(stage, slot, context);
    }
}

/// What was answered with OK is so at once, and not after the next pass only: a volume that nobody
/// holds lets nobody in.
pub fn acknowledged(stage: &Stage, context: &str) {
    let world = &stage.world;
    for slot in stage.slots.iter().filter(|slot| world.has_disk(slot)) {
        let is_held = world.record(slot).state == State::Attached;
        assert!(is_held || !world.is_exported(slot), "{context}: {slot} lets hosts in");
    }
}

/// Every image has its disk, every disk its image and its PV, and the list of deletions is empty.
async fn nothing_is_left_over(world: &World, context: &str) {
    let disks = disks(world);
    let used: BTreeSet<String> = disks.values().cloned().collect();
    assert_eq!(images(world), used, "{context}: images, and what disks refer to");
    assert_eq!(used.len(), disks.len(), "{context}: two disks have one image: {disks:?}");
    let slots: BTreeSet<String> = disks.into_keys().collect();
    let name = |pv: &Value| pv["metadata"]["name"].as_str().unwrap().to_owned();
    let claimed = world.api.list("persistentvolumes").iter().map(name).collect();
    assert_eq!(slots, claimed, "{context}: disks, and PVs");
    let listed = world.cluster.deleting().await.unwrap();
    assert!(listed.is_empty(), "{context}: still listed as being deleted: {listed:?}");
}

/// Size, data, record, copy and export of one volume.
async fn volume(stage: &Stage, slot: &str, context: &str) {
    let world = &stage.world;
    let info = world.operations.get(id(slot)).await.unwrap();
    assert_eq!(info.bytes, stage.act.bytes(), "{context}: size of {slot}");
    let holders: BTreeSet<_> = stage.act.holders().iter().copied().collect();
    let published: BTreeSet<_> = info.published.iter().map(|name| name.as_str()).collect();
    assert_eq!(published, holders, "{context}: published");
    if let Some(content) = stage.contents.get(slot) {
        let now = world.os.content_of(&image(slot));
        assert_eq!(now, Some(*content), "{context}: the data of {slot} is gone");
    }
    let copied = world.copy(slot).map(|copy| (copy.record, copy.bytes));
    let recorded = (world.property(slot, "comment"), stage.act.bytes());
    assert_eq!(copied, Some(recorded), "{context}: copy and record of {slot}");
    let record = world.record(slot);
    assert_eq!(record.state == State::Attached, !holders.is_empty(), "{context}: {record:?}");
    assert_eq!(world.is_exported(slot), !holders.is_empty(), "{context}: export of {slot}");
    if !stage.act.is_shared() {
        assert_eq!(world.writers(slot), holders, "{context}: who may write to {slot}");
    }
    for name in NODES {
        let connected = stage.hosts.is_connected(slot, name);
        // A host of a shared volume that has left was not cut off: it let go by itself.
        if !(stage.act == Act::Leave && name == "node-a") {
            assert_eq!(connected, holders.contains(name), "{context}: {name} and {slot}");
        }
    }
}

/// No host wrote after another one had.
fn one_after_the_other(stage: &Stage, slot: &str, context: &str) {
    if stage.act.is_shared() {
        return;
    }
    let turns = turns(&stage.world.os, &image(slot));
    let hosts: BTreeSet<_> = turns.iter().collect();
    assert_eq!(hosts.len(), turns.len(), "{context}: a host came back: {turns:?}");
}

/// The volumes live on: whoever waits for one gets it, and at last nothing is left.
pub async fn afterlife(stage: &Stage, context: &str) {
    let world = &stage.world;
    if stage.act.leaves_volume() {
        for slot in &stage.slots {
            live_on(stage, slot, context).await;
        }
    }
    world.pass().await;
    let left = images(world);
    assert!(left.is_empty() && disks(world).is_empty(), "{context}: {left:?} of {FOLDER} is left");
    let violations = stage.hosts.violations();
    assert!(violations.is_empty(), "{context}: {violations:?}");
}

async fn live_on(stage: &Stage, slot: &str, context: &str) {
    let world = &stage.world;
    for name in NODES {
        if world.attachment(slot, name).is_some() {
            let done = world.unpublish(slot, name).await;
            done.unwrap_or_else(|error| panic!("{context}: {name} is not let go: {error}"));
            world.forget_attached(slot, name).await;
        }
    }
    let next = if stage.act == Act::PublishElsewhere { "node-c" } else { "node-b" };
    let next = if stage.act == Act::Leave { "node-c" } else { next };
    let attached = stage.attach(slot, next).await;
    attached.unwrap_or_else(|error| panic!("{context}: {next} is not let in: {error}"));
    stage.hosts.wake_all(&world.os);
    assert!(stage.hosts.is_connected(slot, next), "{context}: {next} cannot connect");
    one_after_the_other(stage, slot, context);
    let again = world.operations.delete(id(slot)).await.unwrap_err();
    assert_eq!(again.kind, Kind::Precondition, "{context}: deleted while attached");
    world.detach(slot, next).await;
    let published = world.operations.get(id(slot)).await.unwrap().published;
    assert!(!published.contains(&node(next)), "{context}");
    let released = |pv: &mut Value| pv["status"]["phase"] = "Released".into();
    world.api.modify("persistentvolumes", slot, released).unwrap();
    world.settle().await;
    let deleted = world.operations.delete(id(slot)).await;
    deleted.unwrap_or_else(|error| panic!("{context}: not deleted: {error}"));
    stage.unclaim(slot).await;
}
