//! ControllerPublishVolume for a node that has the volume already: for the same use it changes
//! nothing, for another one the volume already exists.

use rds_csi::attachment::ledger::{COPY_ANNOTATION, State};
use rds_csi::operations::{Error, Kind, Publish};
use rds_csi::volume::capability::{AccessMode, Capability, Medium};
use rds_sim::apiserver::{Fault as ApiFault, On, Verb};
use rds_sim::routeros::{Quirks, Version};
use serde_json::Value;

use crate::in_memory::{PublishContext, World, ext4, id, node, shared_block};

const VERSIONS: [Version; 2] = [Version::V7_20_8, Version::V7_24_4];

async fn publish(
    world: &World,
    to: &str,
    capability: Capability,
    read_only: bool,
) -> Result<PublishContext, Error> {
    let wanted = Publish { id: id("data"), node: node(to), capability, read_only };
    let answer = world.operations.publish(wanted).await;
    world.settle().await;
    answer
}

async fn writes(world: &World, to: &str) -> Result<PublishContext, Error> {
    publish(world, to, ext4(), false).await
}

async fn reads(world: &World, to: &str) -> Result<PublishContext, Error> {
    publish(world, to, ext4(), true).await
}

#[track_caller]
fn assert_exists(answer: Result<PublishContext, Error>, words: &str) {
    let refused = answer.unwrap_err();
    assert_eq!(refused.kind, Kind::Exists, "{refused}");
    assert!(refused.message.contains(words), "{refused}");
}

fn raw() -> Capability {
    Capability { mode: AccessMode::SingleNodeWriter, medium: Medium::Block }
}

/// One volume and a VolumeAttachment for node-a.
async fn one(version: Version) -> World {
    let world = World::with(version, Quirks::default()).await;
    world.provision("data").await;
    world.want_attached("data", "node-a").await;
    world
}

/// What Kubernetes says of the volume: that pods only read it.
async fn says_read_only(world: &World) {
    let set = |pv: &mut Value| pv["spec"]["csi"]["readOnly"] = true.into();
    world.api.modify("persistentvolumes", "data", set).unwrap();
    world.settle().await;
}

/// The copy as a release wrote it that knew nothing of readers.
async fn older_copy(world: &World) {
    let forget = |pv: &mut Value| {
        let text = &mut pv["metadata"]["annotations"][COPY_ANNOTATION];
        let mut copy: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        copy.as_object_mut().unwrap().remove("readers").unwrap();
        *text = copy.to_string().into();
    };
    world.api.modify("persistentvolumes", "data", forget).unwrap();
    world.settle().await;
}

#[tokio::test(start_paused = true)]
async fn who_writes_does_not_get_it_again_for_another_use() {
    for version in VERSIONS {
        let mut world = one(version).await;
        let first = writes(&world, "node-a").await.unwrap();
        assert_eq!(world.copy("data").unwrap().readers, []);
        let connection = world.connect("node-a", &first["nqn"]).unwrap();
        let lines = world.changing_lines();
        for again in 0..2 {
            assert_exists(reads(&world, "node-a").await, "not as a file system to be read only");
            let reader = Capability { mode: AccessMode::SingleNodeReaderOnly, ..ext4() };
            assert_exists(publish(&world, "node-a", reader, false).await, "node-a");
            assert_exists(publish(&world, "node-a", raw(), false).await, "not as a block device");
            assert_exists(publish(&world, "node-a", shared_block(), false).await, "one node only");
            assert_eq!(writes(&world, "node-a").await.unwrap(), first, "{version:?}: the same use");
            assert!(connection.is_live() && world.changing_lines() == lines, "{version:?}");
            if again == 0 {
                world.restart().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_only_is_remembered_until_it_is_detached() {
    for version in VERSIONS {
        let mut world = one(version).await;
        let first = reads(&world, "node-a").await.unwrap();
        assert_eq!(world.copy("data").unwrap().readers, [node("node-a")]);
        world.restart().await;
        let lines = world.changing_lines();
        assert_exists(writes(&world, "node-a").await, "not as a file system to be written");
        assert_eq!(reads(&world, "node-a").await.unwrap(), first, "{version:?}");
        assert_eq!(world.changing_lines(), lines, "{version:?}");
        world.detach("data", "node-a").await;
        assert_eq!(world.copy("data").unwrap().readers, []);
        world.want_attached("data", "node-a").await;
        writes(&world, "node-a").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_only_is_remembered_through_a_repair() {
    let world = one(Version::V7_24_4).await;
    reads(&world, "node-a").await.unwrap();
    world.os.exec("/disk/set [find where slot=data] nvme-tcp-export=no");
    world.pass().await;
    assert!(world.is_exported("data"), "a pass has put the export back");
    reads(&world, "node-a").await.unwrap();
    assert_exists(writes(&world, "node-a").await, "to be read only");
}

#[tokio::test(start_paused = true)]
async fn each_of_two_nodes_has_its_own_use() {
    let world = one(Version::V7_24_4).await;
    let shared = |to, read_only| publish(&world, to, shared_block(), read_only);
    shared("node-a", false).await.unwrap();
    world.want_attached("data", "node-b").await;
    shared("node-b", true).await.unwrap();
    assert_eq!(world.copy("data").unwrap().readers, [node("node-b")]);
    for (to, read_only) in [("node-a", false), ("node-b", true)] {
        shared(to, read_only).await.unwrap();
        assert_exists(shared(to, !read_only).await, to);
    }
    world.detach("data", "node-b").await;
    assert_eq!(world.copy("data").unwrap().readers, [], "who left is not named");
    world.want_attached("data", "node-b").await;
    shared("node-b", false).await.unwrap();
    assert_exists(shared("node-b", true).await, "node-b");
}

#[tokio::test(start_paused = true)]
async fn the_pv_excuses_what_an_older_release_did_not_write_down() {
    let world = one(Version::V7_24_4).await;
    says_read_only(&world).await;
    let first = reads(&world, "node-a").await.unwrap();
    older_copy(&world).await;
    assert_eq!(reads(&world, "node-a").await.unwrap(), first, "an attacher that asks again");
    // Nobody but the caller of these lines asks so: the PV does not.
    let set = |pv: &mut Value| pv["spec"]["csi"]["readOnly"] = false.into();
    world.api.modify("persistentvolumes", "data", set).unwrap();
    world.settle().await;
    assert_exists(reads(&world, "node-a").await, "to be written");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_broke_off_before_its_copy_is_finished_for_whatever_use_the_pv_says() {
    for passes in [0, 1] {
        let world = one(Version::V7_24_4).await;
        says_read_only(&world).await;
        let patch = On::verb(Verb::Patch).resource("persistentvolumes");
        world.api.faults().next(1, patch, ApiFault::Refuse);
        reads(&world, "node-a").await.unwrap_err();
        assert_eq!(world.record("data").state, State::Attached);
        for _ in 0..passes {
            world.pass().await;
            world.assert_agreed("data");
        }
        let context = reads(&world, "node-a").await.unwrap();
        assert_eq!(context["generation"], "1", "after {passes} passes");
        world.assert_agreed("data");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_a_pass_wrote_for_an_attempt_that_broke_off_takes_nothing_from_the_last_one() {
    let world = one(Version::V7_24_4).await;
    reads(&world, "node-a").await.unwrap();
    world.ready("node-a", "Unknown").await;
    world.detach("data", "node-a").await;
    assert_eq!(world.record("data").state, State::Fenced);
    world.ready("node-a", "True").await;
    world.want_attached("data", "node-a").await;
    let patch = On::verb(Verb::Patch).resource("persistentvolumes");
    world.api.faults().next(1, patch, ApiFault::Refuse);
    writes(&world, "node-a").await.unwrap_err();
    world.pass().await;
    world.assert_agreed("data");
    writes(&world, "node-a").await.unwrap();
}
