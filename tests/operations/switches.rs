//! Every fact about RouterOS that nobody has proven, turned into its opposite: the whole life of a
//! volume must succeed or fail with a clear error, and two hosts may never write.

use std::collections::BTreeSet;

use rds_csi::operations::{Error, Kind};
use rds_sim::routeros::{Quirks, Version};

use crate::in_memory::{World, ext4, id, node, shared_block};

/// Switches under which the story may end early: at which step, and with what. There is none: the
/// two that leave too little room for a record do so only for a shared volume, told below.
const MAY_FAIL: &[(&str, &str, Kind)] = &[];

/// The life of a volume; where it ended, and why.
async fn life(world: &World) -> Result<(), (&'static str, Error)> {
    world.operations.create(world.wanted("data")).await.map_err(|error| ("create", error))?;
    world.operations.create(world.wanted("data")).await.map_err(|error| ("create", error))?;
    world.provision("data").await;
    world.want_attached("data", "node-a").await;
    let first = world.publish("data", "node-a").await.map_err(|error| ("publish", error))?;
    let again = world.publish("data", "node-a").await.map_err(|error| ("publish", error))?;
    assert_eq!(first, again);
    assert_eq!(world.writers("data"), BTreeSet::from(["node-a"]));
    let old = world.connect("node-a", &first["nqn"]).unwrap();
    old.write(4096).unwrap();
    assert!(world.publish("data", "node-b").await.is_err(), "a second node");
    world.unpublish("data", "node-a").await.map_err(|error| ("unpublish", error))?;
    world.forget_attached("data", "node-a").await;
    assert!(world.connect("node-a", &first["nqn"]).is_err(), "the old host may come back");
    world.want_attached("data", "node-b").await;
    let second = world.publish("data", "node-b").await.map_err(|error| ("elsewhere", error))?;
    assert!(old.write(4096).is_err(), "the old host writes beside the new one");
    assert_eq!(world.writers("data"), BTreeSet::from(["node-b"]));
    let new = world.connect("node-b", &second["nqn"]).unwrap();
    new.write(4096).unwrap();
    world.assert_agreed("data");
    fence(world, &new).await?;
    world.operations.delete(id("data")).await.map_err(|error| ("delete", error))?;
    assert!(!world.has_disk("data") && !world.has_image("data"), "something is left");
    Ok(())
}

/// The node goes silent, and a pass or an unpublish shuts it out.
async fn fence(
    world: &World,
    old: &rds_sim::routeros::Connection,
) -> Result<(), (&'static str, Error)> {
    world.taint("node-b").await;
    let report = world.pass().await;
    assert_eq!(report.failed, [] as [String; 0]);
    assert_eq!(report.done.get("fence"), Some(&1), "{report:?}");
    world.unpublish("data", "node-b").await.map_err(|error| ("unpublish", error))?;
    world.forget_attached("data", "node-b").await;
    world.want_attached("data", "node-c").await;
    world.publish("data", "node-c").await.map_err(|error| ("after a fence", error))?;
    assert!(old.write(4096).is_err(), "the fenced host writes beside the new one");
    assert_eq!(world.writers("data"), BTreeSet::from(["node-c"]));
    world.detach("data", "node-c").await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_volume_lives_and_has_one_writer_whatever_is_true_of_the_box() {
    for version in [Version::V7_21_5, Version::V7_24_4] {
        for switch in Quirks::all_switches() {
            let mut quirks = Quirks::default();
            (switch.turn_on)(&mut quirks);
            let world = World::with(version, quirks).await;
            let ended = life(&world).await;
            let allowed = MAY_FAIL.iter().find(|(name, _, _)| *name == switch.name);
            match (ended, allowed) {
                (Ok(()), None) => {}
                (Err((step, error)), Some((_, at, kind))) => {
                    assert_eq!((step, error.kind), (*at, *kind), "{}: {error}", switch.name);
                    assert!(!error.message.is_empty());
                }
                (ended, allowed) => panic!("{}: {ended:?}, {allowed:?}", switch.name),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn passes_read_many_volumes_whatever_is_true_of_the_box() {
    for switch in Quirks::all_switches() {
        if MAY_FAIL.iter().any(|(name, _, _)| *name == switch.name) {
            continue;
        }
        let mut quirks = Quirks::default();
        (switch.turn_on)(&mut quirks);
        let world = World::with(Version::V7_24_4, quirks).await;
        for slot in ["one", "two", "three"] {
            world.provision(slot).await;
            world.attach(slot, "node-a").await;
        }
        let report = world.pass().await;
        assert_eq!(report, Default::default(), "{}: something to do", switch.name);
        assert!(world.os.lose_disk("two"));
        world.os.exec("/disk/set three nvme-tcp-export=no");
        let report = world.pass().await;
        let done: Vec<_> = report.done.iter().map(|(word, n)| (*word, *n)).collect();
        assert_eq!(done, [("rebuild", 1), ("repair", 1)], "{}: {report:?}", switch.name);
        for slot in ["one", "two", "three"] {
            assert_eq!(world.writers(slot), BTreeSet::from(["node-a"]), "{}", switch.name);
        }
        let listed = world.operations.list("", 2).await.unwrap();
        assert_eq!(listed.volumes.len(), 2);
        assert_eq!(listed.volumes[0].published, [node("node-a")]);
        let refused = world.publish_as("one", "node-b", ext4()).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Precondition);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_box_has_no_room_for_is_refused_and_put_right() {
    for (name, says) in [("comment-truncated", "100 of"), ("comment-refused", "too long")] {
        let mut quirks = Quirks::default();
        assert!(quirks.turn_on(name));
        let world = World::with(Version::V7_24_4, quirks).await;
        world.provision("data").await;
        world.want_attached("data", "node-a").await;
        let context = world.publish_as("data", "node-a", shared_block()).await.unwrap();
        let connection = world.connect("node-a", &context["nqn"]).unwrap();
        // Two holders need more than 100 bytes.
        let refused = world.publish_as("data", "node-b", shared_block()).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Refused, "{name}: {refused}");
        assert!(refused.message.contains(says), "{name}: {refused}");
        world.pass().await;
        world.assert_agreed("data");
        assert_eq!(world.record("data").nodes.len(), 1);
        assert!(connection.is_live(), "{name}");
        // No room even for the first record.
        world.os.change_quirks(|quirks| quirks.comment_limit = 60);
        let refused = world.operations.create(world.wanted("other")).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Refused, "{name}: {refused}");
    }
}
