//! Volumes of the first driver: made by it, served by us.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rds_csi::operations::{Error, Expand, Kind, Publish};
use rds_sim::apiserver::world as objects;
use rds_sim::routeros::{Connection, Fault, Quirks, Refusal, Version};
use serde_json::Value;
use tokio::time::sleep;

use crate::in_memory::{DRIVER, FOLDER, GIB, PublishContext, World, ext4, id, node, shared_block};
use crate::old_box::done;

const VERSIONS: [Version; 3] = [Version::V7_20_8, Version::V7_21_5, Version::V7_24_4];
/// The name that a machine gives itself; the first driver's node plugin connects with it.
const MACHINE: &str = "nqn.2014-08.org.nvmexpress:uuid:machine-a";

fn nqn_of(slot: &str) -> String {
    format!("nqn.2000-02.com.mikrotik:{slot}")
}

/// Under which name the box exports it.
fn name_on(world: &World, slot: &str) -> String {
    if world.os.version() < Version::V7_21_5 { slot.to_owned() } else { nqn_of(slot) }
}

/// A disk as the first driver left it: exported for everybody.
pub fn old_disk(world: &World, slot: &str) {
    let mut line = format!(
        "/disk/add type=file slot={slot} file-path={FOLDER}/{slot}.img file-size=1G \
         mount-filesystem=no nvme-tcp-export=yes nvme-tcp-server-port=4420"
    );
    if world.os.version() >= Version::V7_21_5 {
        line.push_str(&format!(" nvme-tcp-server-nqn={}", nqn_of(slot)));
    }
    assert_eq!(world.os.exec(&line).text().trim(), "");
}

/// The PV that it made, with changed attributes.
pub async fn old_volume(world: &World, slot: &str, changed: &[(&str, &str)]) {
    let mut volume = objects::volume(slot, DRIVER)
        .size("1Gi")
        .attribute("rdsAddress", "box")
        .attribute("nvmeAddress", "10.0.9.9")
        .attribute("nvmePort", "4420")
        .attribute("nqn", &nqn_of(slot))
        .attribute("volumePath", &format!("/{FOLDER}"))
        .bound_to("default", slot, None);
    for (key, value) in changed {
        volume = volume.attribute(key, value);
    }
    world.api.create(volume.build()).unwrap();
    world.settle().await;
}

async fn adopted(version: Version, quirks: Quirks) -> World {
    let world = World::with(version, quirks).await;
    old_disk(&world, "old");
    old_volume(&world, "old", &[]).await;
    world
}

/// What `status.attached` of a VolumeAttachment says.
pub async fn attached(world: &World, name: &str, is: bool) {
    let set = |va: &mut Value| va["status"]["attached"] = is.into();
    world.api.modify("volumeattachments", name, set).unwrap();
    world.settle().await;
}

/// A VolumeAttachment that is new, and what ControllerPublish answers.
async fn try_attach(world: &World, to: &str) -> Result<PublishContext, Error> {
    let name = world.want_attached("old", to).await;
    attached(world, &name, false).await;
    let answer = world.publish("old", to).await;
    if answer.is_ok() {
        attached(world, &name, true).await;
    }
    answer
}

#[tokio::test(start_paused = true)]
async fn who_has_a_volume_of_the_first_driver_has_it_as_its_pv_says() {
    for (pv_says, wanted) in [(false, true), (true, false)] {
        let world = adopted(Version::V7_20_8, Quirks::default()).await;
        let set = |pv: &mut Value| pv["spec"]["csi"]["readOnly"] = pv_says.into();
        world.api.modify("persistentvolumes", "old", set).unwrap();
        let publish = |read_only| {
            let (id, node) = (id("old"), node("node-a"));
            world.operations.publish(Publish { id, node, capability: ext4(), read_only })
        };
        let name = world.want_attached("old", "node-a").await;
        attached(&world, &name, false).await;
        let first = publish(pv_says).await.unwrap();
        // Nothing says yet for what it was let in.
        assert_eq!(publish(wanted).await.unwrap(), first);
        attached(&world, &name, true).await;
        let lines = world.changing_lines();
        assert_eq!(publish(pv_says).await.unwrap(), first);
        let refused = publish(wanted).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Exists, "{refused}");
        assert_eq!(world.changing_lines(), lines);
        assert_as_it_was(&world, "asked for another use");
    }
}

fn connect_machine(world: &World) -> Result<Connection, Refusal> {
    world.os.connect_host(MACHINE, &name_on(world, "old"), 4420)
}

fn published(world: &BTreeMap<String, Vec<String>>, slot: &str) -> Vec<String> {
    world[slot].clone()
}

/// Every volume that is listed, and who holds it.
async fn listed(world: &World) -> BTreeMap<String, Vec<String>> {
    let page = world.operations.list("", 0).await.unwrap();
    let entry = |volume: rds_csi::operations::VolumeInfo| {
        let nodes = volume.published.iter().map(ToString::to_string).collect();
        (volume.id.slot.to_string(), nodes)
    };
    page.volumes.into_iter().map(entry).collect()
}

/// Neither a record nor an annotation was put on it.
fn assert_as_it_was(world: &World, context: &str) {
    assert_eq!(world.property("old", "comment"), "", "{context}");
    let volume = world.api.get("persistentvolumes", "old").unwrap();
    let annotations = volume["metadata"]["annotations"].as_object();
    let ours = annotations.iter().flat_map(|all| all.keys()).filter(|key| key.starts_with(DRIVER));
    assert_eq!(ours.count(), 0, "{context}: {annotations:?}");
}

async fn life(world: &World, context: &str) {
    world.provision("new").await;
    assert_eq!(done(&world.pass().await), [("follow", 1), ("static", 1)], "{context}");
    let first = try_attach(world, "node-a").await.unwrap();
    assert_eq!(first["nqn"], name_on(world, "old"), "{context}");
    assert_eq!(first["nvmeAddress"], "10.0.9.9", "{context}");
    assert_eq!(first["hostNqn"], world.host_nqn("node-a"), "{context}");
    assert_eq!(first.get("format"), None, "{context}: it may have data");
    assert_eq!(world.writers("old"), BTreeSet::from(["node-a"]), "{context}");
    let lines = world.changing_lines();
    assert_eq!(world.publish("old", "node-a").await.unwrap(), first, "{context}");
    let late = try_attach(world, "node-b").await.unwrap_err();
    assert_eq!(late.kind, Kind::Precondition, "{context}: {late}");
    world.forget_attached("old", "node-b").await;
    assert_eq!(published(&listed(world).await, "old"), ["node-a"], "{context}");
    assert_eq!(done(&world.pass().await), [("static", 1)], "{context}");
    assert_eq!(world.changing_lines(), lines, "{context}: nothing was to be changed");
    let wanted = Expand { id: id("old"), required: 2 * GIB, limit: None, capability: None };
    let grown = world.operations.expand(wanted).await;
    if context == "grow-needs-unexport" {
        assert_eq!(grown.unwrap_err().kind, Kind::Refused, "{context}");
    } else {
        assert_eq!(grown.unwrap().bytes, 2 * GIB, "{context}");
    }
    assert_as_it_was(world, context);
    world.detach("old", "node-a").await;
    world.unpublish("old", "node-a").await.unwrap();
    assert_eq!(world.writers("old"), BTreeSet::new(), "{context}");
    try_attach(world, "node-b").await.unwrap();
    assert_eq!(world.writers("old"), BTreeSet::from(["node-b"]), "{context}");
    let early = world.operations.delete(id("old")).await.unwrap_err();
    assert_eq!(early.kind, Kind::Precondition, "{context}: {early}");
    world.detach("old", "node-b").await;
    assert_as_it_was(world, context);
    world.operations.delete(id("old")).await.unwrap();
    assert!(!world.has_disk("old") && !world.has_image("old"), "{context}: something is left");
    world.operations.delete(id("old")).await.unwrap();
    assert!(world.has_disk("new") && world.has_image("new"), "{context}");
}

#[tokio::test(start_paused = true)]
async fn a_volume_of_the_first_driver_is_served_beside_new_ones_whatever_is_true_of_the_box() {
    for version in VERSIONS {
        life(&adopted(version, Quirks::default()).await, &version.to_string()).await;
    }
    for switch in Quirks::all_switches() {
        let mut quirks = Quirks::default();
        (switch.turn_on)(&mut quirks);
        life(&adopted(Version::V7_24_4, quirks).await, switch.name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_attached_before_the_switch_stays_connected_and_can_come_back() {
    for version in VERSIONS {
        let world = adopted(version, Quirks::default()).await;
        let machine = connect_machine(&world).unwrap();
        world.want_attached("old", "node-a").await;
        let lines = world.changing_lines();
        let first = world.publish("old", "node-a").await.unwrap();
        assert_eq!(done(&world.pass().await), [("static", 1)]);
        assert_eq!(published(&listed(&world).await, "old"), ["node-a"]);
        assert!(world.publish("old", "node-b").await.is_err());
        assert_eq!(world.changing_lines(), lines, "{version}");
        machine.write(1).unwrap();
        // Somebody, or a script of the box, closes the export.
        world.os.exec("/disk/set old nvme-tcp-export=no");
        assert_eq!(published(&listed(&world).await, "old"), [] as [&str; 0]);
        let lines = world.changing_lines();
        assert_eq!(done(&world.pass().await), [("report", 1)]);
        assert_eq!(world.changing_lines(), lines, "{version}: the pass only reports");
        // So the external-attacher publishes it again.
        assert_eq!(world.publish("old", "node-a").await.unwrap(), first);
        assert!(connect_machine(&world).is_ok(), "{version}: its own name is not let in again");
        world.detach("old", "node-a").await;
        assert!(connect_machine(&world).is_err());
        try_attach(&world, "node-b").await.unwrap();
        assert!(connect_machine(&world).is_err(), "{version}: open to everybody");
        assert_eq!(world.writers("old"), BTreeSet::from(["node-b"]));
    }
}

#[tokio::test(start_paused = true)]
async fn an_export_that_a_restart_closed_is_opened_for_its_node_alone() {
    for hides in [false, true] {
        let quirks = Quirks { unexported_hides_server: hides, ..Quirks::default() };
        let world = adopted(Version::V7_24_4, quirks).await;
        let first = try_attach(&world, "node-a").await.unwrap();
        world.os.reboot(rds_sim::routeros::Reboot::KeepEverything, Duration::from_secs(30));
        sleep(Duration::from_secs(31)).await;
        world.os.exec("/disk/set old nvme-tcp-export=no");
        assert_eq!(done(&world.pass().await), [("report", 1)]);
        assert_eq!(world.publish("old", "node-a").await.unwrap(), first);
        assert_eq!(world.writers("old"), BTreeSet::from(["node-a"]), "hidden: {hides}");
        assert_eq!(done(&world.pass().await), [("static", 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_that_race_one_gets_it() {
    for version in VERSIONS {
        let world = adopted(version, Quirks::default()).await;
        for to in ["node-a", "node-b"] {
            let name = world.want_attached("old", to).await;
            attached(&world, &name, false).await;
        }
        let (a, b) = tokio::join!(world.publish("old", "node-a"), world.publish("old", "node-b"));
        assert!(a.is_ok() != b.is_ok(), "{version}: {a:?} {b:?}");
        let winner = if a.is_ok() { "node-a" } else { "node-b" };
        assert_eq!(a.and(b).unwrap_err().kind, Kind::Precondition);
        assert_eq!(world.writers("old"), BTreeSet::from([winner]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_closed_out_and_keeps_its_volume_until_it_is_vouched_for() {
    for (version, order) in
        VERSIONS.into_iter().flat_map(|version| [(version, "taint"), (version, "delete")])
    {
        let world = adopted(version, Quirks::default()).await;
        try_attach(&world, "node-a").await.unwrap();
        let host = world.connect("node-a", &name_on(&world, "old")).unwrap();
        world.ready("node-a", "Unknown").await;
        assert_eq!(done(&world.pass().await), [("report", 1)], "never fenced");
        assert!(host.is_live());
        // Nor does an agent vouch for a host that the first driver connected, under a name of its own.
        world.says("node-a", "b1", Vec::new()).await;
        for _ in 0..2 {
            let waits = world.unpublish("old", "node-a").await.unwrap_err();
            assert_eq!(waits.kind, Kind::Precondition, "{waits}");
            assert!(waits.message.contains("out-of-service"), "{waits}");
            assert!(!host.is_live() && !world.is_exported("old"));
        }
        assert_eq!(try_attach(&world, "node-b").await.unwrap_err().kind, Kind::Precondition);
        // Not even where somebody takes the VolumeAttachment away by hand.
        let kept = world.attachment("old", "node-a").unwrap();
        attached(&world, &kept, false).await;
        let traced = try_attach(&world, "node-b").await.unwrap_err();
        assert!(traced.message.contains("node-a"), "{traced}");
        assert!(!world.is_exported("old"));
        match order {
            "taint" => world.taint("node-a").await,
            _ => world.delete_node("node-a").await,
        }
        world.unpublish("old", "node-a").await.unwrap();
        world.forget_attached("old", "node-a").await;
        try_attach(&world, "node-b").await.unwrap();
        assert_eq!(world.writers("old"), BTreeSet::from(["node-b"]), "{version} {order}");
        assert_as_it_was(&world, order);
        assert_eq!(world.events("VolumeFenced").await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_still_writes_is_not_released_although_it_is_ordered_off() {
    let quirks = Quirks { unexport_keeps_hosts: true, ..Quirks::default() };
    let world = adopted(Version::V7_24_4, quirks).await;
    try_attach(&world, "node-a").await.unwrap();
    world.taint("node-a").await;
    world.os.set_counters("old", |counters| counters.in_flight_ops = 1);
    let moving = world.unpublish("old", "node-a").await.unwrap_err();
    assert_eq!(moving.kind, Kind::Unknown, "{moving}");
    world.os.set_counters("old", |counters| counters.in_flight_ops = 0);
    world.unpublish("old", "node-a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_nodes_share_a_raw_device_for_a_migration() {
    for version in VERSIONS {
        let world = adopted(version, Quirks::default()).await;
        let share = async |to| {
            let name = world.want_attached("old", to).await;
            attached(&world, &name, false).await;
            let context = world.publish_as("old", to, shared_block()).await?;
            attached(&world, &name, true).await;
            Ok::<_, Error>(context)
        };
        let first = share("node-a").await.unwrap();
        let host = world.connect("node-a", &first["nqn"]).unwrap();
        assert_eq!(share("node-b").await.unwrap()["nqn"], first["nqn"]);
        assert!(host.is_live(), "the first was cut off when the second joined");
        assert_eq!(share("node-c").await.unwrap_err().kind, Kind::Precondition);
        world.forget_attached("old", "node-c").await;
        world.ready("node-a", "Unknown").await;
        let alone = world.unpublish("old", "node-a").await.unwrap_err();
        assert_eq!(alone.kind, Kind::Precondition, "{alone}");
        world.ready("node-a", "True").await;
        world.detach("old", "node-a").await;
        assert!(world.is_exported("old"), "the second lost it with the first");
        world.detach("old", "node-b").await;
        assert!(!world.is_exported("old"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_pv_does_not_name_exactly_is_not_touched() {
    let foreign: [(&str, &str); 4] = [
        ("volumePath", "/storage-pool/other"),
        ("nqn", "nqn.2000-02.com.mikrotik:older"),
        ("rdsAddress", "10.9.9.9"),
        ("backend", "main"),
    ];
    for (key, value) in foreign {
        let world = World::new().await;
        old_disk(&world, "old");
        old_volume(&world, "old", &[(key, value)]).await;
        let name = world.want_attached("old", "node-a").await;
        attached(&world, &name, false).await;
        assert_untouched(&world, key).await;
    }
    // The PV of another driver, and none at all.
    for driver in [Some("other.csi.example.org"), None] {
        let world = World::new().await;
        old_disk(&world, "old");
        if let Some(driver) = driver {
            let volume = objects::volume("old", driver)
                .attribute("nqn", &nqn_of("old"))
                .attribute("volumePath", &format!("/{FOLDER}"));
            world.api.create(volume.build()).unwrap();
            world.settle().await;
        }
        assert_untouched(&world, "driver").await;
    }
}

/// What the driver sent that could change a disk, CreateVolume aside.
fn lines_that_change(world: &World) -> Vec<String> {
    let changes = ["/disk/set", "/disk/remove", "/file/remove"];
    let ours = world.os.journal().into_iter().filter(|entry| entry.session != 0);
    ours.map(|entry| entry.line)
        .filter(|line| changes.iter().any(|part| line.contains(part)))
        .collect()
}

/// Every operation and passes after a long time: no line that could change the disk.
async fn assert_untouched(world: &World, context: &str) {
    let before = world.os.exec("/disk/print detail").text();
    for _ in 0..2 {
        let refused = world.publish("old", "node-a").await.unwrap_err();
        assert_eq!(refused.kind, Kind::Precondition, "{context}: {refused}");
        assert!(world.unpublish("old", "node-a").await.is_err(), "{context}");
        let wanted = Expand { id: id("old"), required: 2 * GIB, limit: None, capability: None };
        assert!(world.operations.expand(wanted).await.is_err(), "{context}");
        let kept = world.operations.delete(id("old")).await.unwrap_err();
        assert_eq!(kept.kind, Kind::Precondition, "{context}: {kept}");
        let taken = world.operations.create(world.wanted("old")).await.unwrap_err();
        assert_eq!(taken.kind, Kind::Exists, "{context}: {taken}");
        assert_eq!(listed(world).await, BTreeMap::new(), "{context}");
        let report = world.pass().await;
        assert_eq!(report.failed, [] as [String; 0]);
        assert!(report.done.keys().all(|word| *word == "report"), "{context}: {report:?}");
        sleep(Duration::from_secs(7200)).await;
    }
    // A PV of ours without a copy is a guess for a compare-and-set; for the others there is none.
    if context != "backend" {
        assert_eq!(lines_that_change(world), [] as [String; 0], "{context}");
    }
    assert_eq!(world.os.exec("/disk/print detail").text(), before, "{context}");
    assert!(world.has_image("old"), "{context}");
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_a_power_cut_interrupts_is_finished_by_its_retry() {
    let mut cuts = 0;
    for after in 0..8 {
        let world = adopted(Version::V7_24_4, Quirks::default()).await;
        let cut = Fault::PowerCut { after, downtime: Duration::ZERO };
        world.os.arm_on("/disk/remove", cut);
        let first = world.operations.delete(id("old")).await;
        cuts += usize::from(first.is_err());
        if first.is_err() {
            world.pass().await;
            world.operations.delete(id("old")).await.unwrap();
        }
        assert!(!world.has_disk("old") && !world.has_image("old"), "cut after {after}");
        use rds_csi::cluster::Cluster as _;
        assert_eq!(world.cluster.deleting().await.unwrap(), []);
    }
    assert!(cuts >= 4, "only {cuts} cuts went off");
}

#[tokio::test(start_paused = true)]
async fn a_publish_whose_answer_was_lost_is_finished_by_its_retry() {
    for fault in [Fault::DropBefore, Fault::DropAfter, Fault::StallAfter] {
        let mut world = adopted(Version::V7_24_4, Quirks::default()).await;
        world.os.arm_on("nvme-tcp-export=yes", fault);
        let lost = try_attach(&world, "node-a").await.unwrap_err();
        assert_eq!(lost.kind, Kind::Unknown, "{fault:?}: {lost}");
        world.restart().await;
        if fault != Fault::DropBefore {
            assert!(try_attach(&world, "node-b").await.is_err(), "{fault:?}: given to another");
            world.forget_attached("old", "node-b").await;
        }
        try_attach(&world, "node-a").await.unwrap();
        assert_eq!(world.writers("old"), BTreeSet::from(["node-a"]));
        assert_eq!(published(&listed(&world).await, "old"), [node("node-a").to_string()]);
    }
}
