//! CreateVolume.

use rds_csi::attachment::ledger::{ClusterTag, Record, State};
use rds_csi::cluster::{Cluster as _, Deleting};
use rds_csi::operations::{CreateVolume, Kind};
use rds_csi::volume::{BackendName, Slot, VolumePath};
use rds_sim::apiserver::world as objects;
use rds_sim::routeros::{ErrorTexts, Fault, Quirks, Version};

use crate::in_memory::{DRIVER, FOLDER, GIB, World};

const TIB_AND_A_HALF: u64 = 1500 * GIB;

fn sized(world: &World, required: u64, limit: Option<u64>) -> CreateVolume {
    CreateVolume { required, limit, ..world.wanted("data") }
}

/// A disk that is there before we come.
pub fn foreign_disk(world: &World, slot: &str, comment: &str) {
    let line = format!(
        "/disk/add type=file slot={slot} file-path={FOLDER}/{slot}.img file-size=1G \
         nvme-tcp-export=no comment=\"{comment}\""
    );
    let said = world.os.exec(&line).text();
    assert_eq!(said.trim(), "");
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_made_detached_closed_and_in_its_exact_size_by_one_exec() {
    let world = World::new().await;
    let before = world.execs();
    let made = world.operations.create(sized(&world, TIB_AND_A_HALF, None)).await.unwrap();
    assert_eq!(world.execs() - before, 1);
    assert_eq!(made.bytes, TIB_AND_A_HALF);
    assert_eq!(made.published, []);
    assert_eq!(world.record("data").state, State::Detached);
    assert!(!world.is_exported("data"));
    let got = world.operations.get(made.id).await.unwrap();
    assert_eq!(got.bytes, TIB_AND_A_HALF);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_create_finds_what_was_made() {
    let world = World::new().await;
    let made = world.operations.create(world.wanted("data")).await.unwrap();
    let content = world.os.content_of("storage-pool/volumes/data.img");
    assert_eq!(world.operations.create(world.wanted("data")).await.unwrap(), made);
    assert_eq!(world.os.content_of("storage-pool/volumes/data.img"), content);
}

#[tokio::test(start_paused = true)]
async fn another_size_is_fine_within_the_range_and_refused_outside() {
    let world = World::new().await;
    world.operations.create(sized(&world, 2 * GIB, None)).await.unwrap();
    let smaller = world.operations.create(sized(&world, GIB, Some(3 * GIB))).await.unwrap();
    assert_eq!(smaller.bytes, 2 * GIB, "the size that it has");
    for outside in [sized(&world, 3 * GIB, None), sized(&world, GIB, Some(GIB))] {
        let refused = world.operations.create(outside).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Exists, "{refused}");
        assert!(refused.message.contains("2147483648"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_cluster_or_a_person_holds_is_taken() {
    let theirs = Record::created(ClusterTag::of("another cluster")).text();
    for comment in [theirs.as_str(), "", "my own disk"] {
        let world = World::new().await;
        foreign_disk(&world, "data", comment);
        let refused = world.operations.create(world.wanted("data")).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Exists, "{comment}: {refused}");
        assert_eq!(world.property("data", "comment"), comment);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_in_the_way_is_never_taken_over() {
    let world = World::new().await;
    foreign_disk(&world, "data", "");
    let content = world.os.content_of("storage-pool/volumes/data.img");
    world.os.exec("/disk/remove data");
    let refused = world.operations.create(world.wanted("data")).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Exists);
    assert!(refused.message.contains("/file/remove"), "no way out: {refused}");
    assert!(!world.has_disk("data"));
    assert_eq!(world.os.content_of("storage-pool/volumes/data.img"), content);
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_is_found_by_looking_whatever_the_box_says() {
    for text in ["failure: not enough space", "Fehler 7", "image exists", ""] {
        let texts = ErrorTexts::all_the_same(text);
        let world = World::with(Version::V7_24_4, Quirks { texts, ..Quirks::default() }).await;
        assert!(world.os.fill_pool("storage-pool", 4096));
        let refused = world.operations.create(world.wanted("data")).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Full, "{text}: {refused}");
        assert!(!world.has_disk("data") && !world.has_image("data"));
        // There is room, and it fails still: that is not a full pool.
        world.os.fill_pool("storage-pool", 1 << 40);
        world.os.exec(&format!("/file/remove {FOLDER}"));
        let refused = world.operations.create(world.wanted("data")).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Refused, "{text}: {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_found_by_its_retry() {
    let world = World::new().await;
    world.os.arm_on("/disk/add", Fault::DropAfter);
    let lost = world.operations.create(world.wanted("data")).await.unwrap_err();
    assert_eq!(lost.kind, Kind::Unknown);
    let content = world.os.content_of("storage-pool/volumes/data.img");
    assert!(content.is_some());
    let found = world.operations.create(world.wanted("data")).await.unwrap();
    assert_eq!(found.bytes, GIB);
    assert_eq!(world.os.content_of("storage-pool/volumes/data.img"), content);
}

#[tokio::test(start_paused = true)]
async fn what_never_reached_the_box_was_not_begun() {
    let world = World::new().await;
    world.os.set_refusing(true);
    let refused = world.operations.create(world.wanted("data")).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable, "{refused}");
    assert!(refused.message.contains("next attempt"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_being_deleted_is_not_found_as_made() {
    let world = World::new().await;
    world.provision("data").await;
    let deleting = world.record("data").delete().text();
    world.os.exec(&format!("/disk/set data comment=\"{deleting}\""));
    let refused = world.operations.create(world.wanted("data")).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Contended, "{refused}");
}

const OF_A_CLAIM: &str = "pvc-6b1f0f5e-77a2-4c11-9d0e-3a52c9e1b704";

/// An image of that slot, without its disk.
fn left_image(world: &World, size: &str) -> Option<u64> {
    let path = format!("{FOLDER}/{OF_A_CLAIM}.img");
    world.os.exec(&format!("/disk/add type=file slot=x file-path={path} file-size={size}"));
    world.os.exec("/disk/remove x");
    world.os.content_of(&path)
}

fn of_a_claim(world: &World) -> CreateVolume {
    world.wanted(OF_A_CLAIM)
}

#[tokio::test(start_paused = true)]
async fn an_image_that_only_an_interrupted_create_can_have_left_is_taken_up_again() {
    for size in ["1G", "700M"] {
        let world = World::new().await;
        let content = left_image(&world, size);
        let made = world.operations.create(of_a_claim(&world)).await.unwrap();
        assert_eq!(made.bytes, GIB, "{size}");
        assert_eq!(world.record(OF_A_CLAIM).revision, 1, "{size}");
        assert!(!world.is_exported(OF_A_CLAIM));
        let path = format!("{FOLDER}/{OF_A_CLAIM}.img");
        assert_eq!(world.os.content_of(&path), content, "{size}: not the same image");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_may_hold_data_of_a_volume_is_never_taken() {
    type Before = fn(&World);
    let table: [(&str, Before, Kind); 4] = [
        ("a PV", |world| drop(world.api.create(claimed())), Kind::Unavailable),
        (
            "a VolumeAttachment",
            |world| {
                let attached = objects::attached("va", DRIVER, "node-a", OF_A_CLAIM, &[]);
                world.api.create(attached).unwrap();
            },
            Kind::Unavailable,
        ),
        (
            "another disk",
            |world| {
                let path = format!("{FOLDER}/{OF_A_CLAIM}.img");
                world.os.exec(&format!("/disk/add type=file slot=other file-path={path}"));
            },
            Kind::Exists,
        ),
        (
            "another size",
            |world| {
                let path = format!("{FOLDER}/{OF_A_CLAIM}.img");
                world.os.exec(&format!("/file/remove {path}"));
                left_image(world, "2G");
            },
            Kind::Exists,
        ),
    ];
    for (what, before, kind) in table {
        let world = World::new().await;
        left_image(&world, "1G");
        before(&world);
        world.settle().await;
        let refused = world.operations.create(of_a_claim(&world)).await.unwrap_err();
        assert_eq!(refused.kind, kind, "{what}: {refused}");
        assert!(!world.has_disk(OF_A_CLAIM) && world.has_image(OF_A_CLAIM), "{what}");
    }
}

fn claimed() -> serde_json::Value {
    objects::volume(OF_A_CLAIM, DRIVER).attribute("volumePath", FOLDER).build()
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_being_deleted_is_not_taken() {
    let world = World::new().await;
    left_image(&world, "1G");
    let slot = Slot::parse(OF_A_CLAIM).unwrap();
    let image = VolumePath::parse(FOLDER).unwrap().image(&slot);
    let entry = Deleting { backend: BackendName::parse("main").unwrap(), slot, image };
    world.cluster.begin_deleting(&entry).await.unwrap();
    let refused = world.operations.create(of_a_claim(&world)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Contended, "{refused}");
    assert!(!world.has_disk(OF_A_CLAIM) && world.has_image(OF_A_CLAIM));
}

#[tokio::test(start_paused = true)]
async fn a_disk_whose_image_is_gone_is_made_anew_only_if_nobody_was_told_of_it() {
    for (told, used) in [(false, false), (true, false), (true, true)] {
        let world = World::new().await;
        world.operations.create(world.wanted("data")).await.unwrap();
        if told {
            world.provision("data").await;
        }
        if used {
            world.attach("data", "node-a").await;
            world.detach("data", "node-a").await;
        }
        world.os.exec(&format!("/file/remove {FOLDER}/data.img"));
        assert!(!world.has_image("data"));
        let answer = world.operations.create(world.wanted("data")).await;
        match answer {
            Ok(made) => assert_eq!((told, made.bytes), (false, GIB)),
            Err(refused) => {
                assert_eq!((told, refused.kind), (true, Kind::Exists), "{refused}");
                assert!(refused.message.contains("is gone"), "{refused}");
            }
        }
        assert_eq!(world.has_image("data"), !told);
    }
}
