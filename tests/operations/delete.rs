//! DeleteVolume.

use std::time::Duration;

use rds_csi::attachment::ledger::{ClusterTag, Record};
use rds_csi::cluster::Cluster as _;
use rds_csi::operations::Kind;
use rds_sim::apiserver::{Fault as ApiFault, On};
use rds_sim::routeros::Fault;
use tokio::time::sleep;

use crate::create::foreign_disk;
use crate::in_memory::{FOLDER, World, id};

async fn listed(world: &World) -> usize {
    world.cluster.deleting().await.unwrap().len()
}

/// Nothing of the volume is left: neither disk, nor image, nor an entry in the list.
async fn assert_gone(world: &World, context: &str) {
    assert!(!world.has_disk("data"), "{context}: the disk is left");
    assert!(!world.has_image("data"), "{context}: the image is left");
    assert_eq!(listed(world).await, 0, "{context}: the entry is left");
}

#[tokio::test(start_paused = true)]
async fn disk_and_image_go_in_one_exec() {
    for used in [false, true] {
        let world = World::new().await;
        world.provision("data").await;
        if used {
            world.attach("data", "node-a").await;
            world.detach("data", "node-a").await;
        }
        let before = world.execs();
        world.operations.delete(id("data")).await.unwrap();
        assert_eq!(world.execs() - before, 1, "used: {used}");
        assert_gone(&world, "one exec").await;
        world.operations.delete(id("data")).await.unwrap();
        assert_gone(&world, "repeated").await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_pv_the_box_is_asked_which_image_goes() {
    let world = World::new().await;
    world.operations.create(world.wanted("data")).await.unwrap();
    // What is not the volume's own stays, although its path is one that a volume could have.
    world.os.exec("/file/add name=storage-pool/other type=directory");
    world.os.exec("/file/add name=storage-pool/other/data.img");
    world.operations.delete(id("data")).await.unwrap();
    assert_gone(&world, "without a PV").await;
    assert!(world.os.content_of("storage-pool/other/data.img").is_some());
    world.operations.delete(id("data")).await.unwrap();
    assert!(world.os.content_of("storage-pool/other/data.img").is_some());
}

#[tokio::test(start_paused = true)]
async fn an_attached_volume_is_not_deleted_and_not_listed_as_going() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    let refused = world.operations.delete(id("data")).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Precondition);
    assert!(refused.message.contains("node-a"), "{refused}");
    assert!(connection.is_live());
    assert_eq!(listed(&world).await, 0);
    // Nor where only the copy still says that it is detached.
    let stale = world.copy("data").unwrap();
    world.detach("data", "node-a").await;
    world.attach("data", "node-b").await;
    let line = format!("/disk/set data comment=\"{}\"", stale.record);
    world.os.exec(&line);
    let refused = world.operations.delete(id("data")).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable, "the box went back in time: {refused}");
    assert!(world.has_disk("data") && world.has_image("data"));
    assert_eq!(listed(&world).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_after_any_command_of_the_line_leaves_nothing_behind_in_the_end() {
    let mut cuts = 0;
    for after in 0..12 {
        for with_pv in [true, false] {
            let world = World::new().await;
            match with_pv {
                true => drop(world.provision("data").await),
                false => drop(world.operations.create(world.wanted("data")).await.unwrap()),
            }
            let cut = Fault::PowerCut { after, downtime: Duration::ZERO };
            world.os.arm_on("/disk/remove", cut);
            let first = world.operations.delete(id("data")).await;
            let context = format!("cut after {after} commands, PV: {with_pv}");
            cuts += usize::from(first.is_err());
            if first.is_err() {
                // The pass does not bring back what is going.
                world.pass().await;
                world.pass().await;
                assert!(!world.has_disk("data") || !world.is_exported("data"), "{context}");
                world.operations.delete(id("data")).await.unwrap();
            }
            assert_gone(&world, &context).await;
        }
    }
    assert!(cuts >= 12, "only {cuts} cuts went off");
}

#[tokio::test(start_paused = true)]
async fn the_entry_is_written_before_the_line_and_without_it_nothing_is_done() {
    let world = World::new().await;
    world.provision("data").await;
    world.api.faults().next(10, On::writes().resource("configmaps"), ApiFault::Unavailable);
    let before = world.changing_lines();
    let refused = world.operations.delete(id("data")).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable, "{refused}");
    assert_eq!(world.changing_lines(), before);
    world.api.faults().lift_all();
    world.os.arm_on("/disk/remove", Fault::DropBefore);
    world.operations.delete(id("data")).await.unwrap_err();
    assert_eq!(listed(&world).await, 1);
    world.operations.delete(id("data")).await.unwrap();
    assert_gone(&world, "in the end").await;
}

#[tokio::test(start_paused = true)]
async fn an_image_without_a_disk_goes_where_pv_or_list_name_it_and_stays_else() {
    for (named, listed) in [(true, false), (false, true), (false, false)] {
        let world = World::new().await;
        match named {
            true => drop(world.provision("data").await),
            false => drop(world.operations.create(world.wanted("data")).await.unwrap()),
        }
        world.os.exec("/disk/remove data");
        if listed {
            let entry = rds_csi::cluster::Deleting {
                backend: id("data").backend,
                slot: id("data").slot,
                image: world.wanted("data").volume_path.image(&id("data").slot),
            };
            world.cluster.begin_deleting(&entry).await.unwrap();
        }
        world.operations.delete(id("data")).await.unwrap();
        assert_eq!(world.has_image("data"), !named && !listed, "named {named}, listed {listed}");
        assert_eq!(self::listed(&world).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_to_which_another_disk_refers_stays() {
    let world = World::new().await;
    world.provision("data").await;
    world.os.exec("/disk/remove data");
    let line = format!("/disk/add type=file slot=rescue file-path={FOLDER}/data.img");
    world.os.exec(&line);
    world.operations.delete(id("data")).await.unwrap();
    assert!(world.has_image("data") && world.has_disk("rescue"));
    assert_eq!(listed(&world).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_another_cluster_or_a_person_is_untouched() {
    let theirs = Record::created(ClusterTag::of("another cluster")).text();
    for (comment, answer) in [(theirs.as_str(), None), ("mine", Some(Kind::Precondition))] {
        let world = World::new().await;
        foreign_disk(&world, "data", comment);
        let deleted = world.operations.delete(id("data")).await;
        assert_eq!(deleted.err().map(|error| error.kind), answer);
        assert!(world.has_disk("data") && world.has_image("data"), "{comment}");
        assert_eq!(listed(&world).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_volume_is_deleted_once_nobody_writes() {
    let world = World::new().await;
    world.provision("data").await;
    world.attach("data", "node-a").await;
    world.ready("node-a", "Unknown").await;
    world.unpublish("data", "node-a").await.unwrap();
    world.os.set_counters("data", |counters| counters.in_flight_ops = 1);
    assert_eq!(world.operations.delete(id("data")).await.unwrap_err().kind, Kind::Unknown);
    assert!(world.has_disk("data"));
    world.os.set_counters("data", |counters| counters.in_flight_ops = 0);
    world.operations.delete(id("data")).await.unwrap();
    assert_gone(&world, "fenced").await;
}

/// A line that makes a lost disk again was long on its way, and runs while the volume is deleted.
#[tokio::test(start_paused = true)]
async fn a_disk_that_is_made_again_meanwhile_is_not_taken_for_that_of_another_volume() {
    let world = World::new().await;
    world.provision("data").await;
    world.pass().await;
    let comment = world.property("data", "comment");
    world.os.exec("/disk/remove data");
    let late = async {
        // The delete has found no disk, and asks next whose the image is.
        sleep(Duration::from_millis(90)).await;
        world.os.exec(&format!(
            "/disk/add type=file slot=data file-path={FOLDER}/data.img mount-filesystem=no \
             nvme-tcp-export=no comment=\"{comment}\""
        ));
    };
    let (deleted, ()) = tokio::join!(world.operations.delete(id("data")), late);
    assert!(world.has_disk("data"), "the story does not tell what it should");
    assert_eq!(deleted.map_err(|error| error.kind), Err(Kind::Contended));
    world.operations.delete(id("data")).await.unwrap();
    assert_gone(&world, "once more").await;
}
