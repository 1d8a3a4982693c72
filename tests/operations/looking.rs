//! Get, list, capacity and growth.

use rds_csi::operations::{Expand, Kind};
use rds_csi::volume::VolumePath;
use rds_sim::apiserver::Fault as ApiFault;

use crate::in_memory::{FOLDER, GIB, World, id, node};

fn grow(required: u64, limit: Option<u64>) -> Expand {
    Expand { id: id("data"), required, limit, capability: None }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_paged_and_its_tokens_outlive_what_comes_and_goes() {
    let world = World::new().await;
    for slot in ["a", "b", "c", "d"] {
        world.provision(slot).await;
    }
    world.attach("c", "node-a").await;
    let first = world.operations.list("", 2).await.unwrap();
    let slots = |page: &rds_csi::operations::Page| -> Vec<String> {
        page.volumes.iter().map(|volume| volume.id.slot.to_string()).collect()
    };
    assert_eq!(slots(&first), ["a", "b"]);
    world.operations.delete(id("b")).await.unwrap();
    let second = world.operations.list(&first.next, 2).await.unwrap();
    assert_eq!((slots(&second), second.next.as_str()), (vec!["c".into(), "d".into()], ""));
    assert_eq!(second.volumes[0].published, [node("node-a")]);
    for token in ["nonsense", "main/A", "other/a"] {
        assert_eq!(world.operations.list(token, 0).await.unwrap_err().kind, Kind::Token);
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_whose_export_somebody_closed_is_listed_as_published_nowhere() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    world.os.exec("/disk/set [find slot=data] nvme-tcp-export=no");
    let listed = world.operations.list("", 0).await.unwrap();
    assert_eq!(listed.volumes[0].published, [], "the attacher would leave it closed");
    assert_eq!(world.publish("data", "node-a").await.unwrap(), context);
    let listed = world.operations.list("", 0).await.unwrap();
    assert_eq!(listed.volumes[0].published, [node("node-a")]);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_the_whole_truth_or_an_error() {
    let world = World::new().await;
    world.provision("data").await;
    world.os.set_refusing(true);
    assert_eq!(world.operations.list("", 0).await.unwrap_err().kind, Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_is_free_is_what_the_pool_says() {
    let world = World::new().await;
    world.os.fill_pool("storage-pool", 5_000_000_001);
    let path = VolumePath::parse(FOLDER).unwrap();
    let main = id("data").backend;
    assert_eq!(world.operations.capacity(&main, &path).await.unwrap().available, 5_000_000_001);
    let nowhere = VolumePath::parse("no-pool/volumes").unwrap();
    assert_eq!(world.operations.capacity(&main, &nowhere).await.unwrap_err().kind, Kind::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_volume_grows_to_exact_bytes_while_it_is_used_and_never_shrinks() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    let grown = world.operations.expand(grow(3 * GIB + 512, None)).await.unwrap();
    assert_eq!(grown.bytes, 3 * GIB + 512);
    assert!(connection.is_live());
    world.settle().await;
    world.assert_agreed("data");
    assert_eq!(world.copy("data").unwrap().bytes, 3 * GIB + 512);
    let lines = world.changing_lines();
    assert_eq!(world.operations.expand(grow(GIB, None)).await.unwrap().bytes, 3 * GIB + 512);
    assert_eq!(world.changing_lines(), lines, "it was made smaller, or the same again");
    let refused = world.operations.expand(grow(GIB, Some(2 * GIB))).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Range, "{refused}");
    // What the device must have at least has grown; everything else is as it was.
    let mut context = context;
    context.insert("bytes".into(), (3 * GIB + 512).to_string());
    assert_eq!(world.publish("data", "node-a").await.unwrap(), context);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_or_does_not_exist_does_not_grow() {
    let world = World::new().await;
    assert_eq!(world.operations.expand(grow(GIB, None)).await.unwrap_err().kind, Kind::NotFound);
    world.provision("data").await;
    world.os.fill_pool("storage-pool", 4096);
    let refused = world.operations.expand(grow(9 * GIB, None)).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Full, "{refused}");
    assert_eq!(world.operations.get(id("data")).await.unwrap().bytes, GIB);
}

#[tokio::test(start_paused = true)]
async fn without_the_api_server_what_it_must_know_is_unavailable() {
    let world = World::new().await;
    world.provision("data").await;
    world.api.faults().unreachable(ApiFault::Unavailable);
    let lost = world.publish("data", "node-z").await.unwrap_err();
    assert_eq!(lost.kind, Kind::Unavailable, "{lost}");
    assert_eq!(world.operations.delete(id("data")).await.unwrap_err().kind, Kind::Unavailable);
    assert!(world.has_disk("data"));
}
