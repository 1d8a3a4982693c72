//! The agents of nodes: what their word changes, what their silence does not, and what of it is
//! remembered.

use std::time::Duration;

use rds_csi::agent::{Challenge, Connection, Formatting, Keys, Report, VolumeWord, seal};
use rds_csi::attachment::ledger::{Formatted, State};
use rds_csi::operations::Kind;
use serde_json::json;
use tokio::time::Instant;

use crate::in_memory::{DRIVER, Manner, PublishContext, World, node, shared_block};

/// What a host says of the volume that it was given like this.
fn word(context: &PublishContext, connection: Connection, formatting: Formatting) -> VolumeWord {
    let has_one = formatting == Formatting::Done;
    VolumeWord {
        nqn: context["nqn"].clone(),
        connection,
        mounts: 0,
        file_system: has_one.then(|| "ext4".into()),
        uuid: has_one.then(|| "0b7f-11".into()),
        formatting,
    }
}

fn gone(context: &PublishContext, formatting: Formatting) -> Vec<VolumeWord> {
    vec![word(context, Connection::Gone, formatting)]
}

fn live(context: &PublishContext) -> Vec<VolumeWord> {
    vec![word(context, Connection::Live, Formatting::None)]
}

/// What the memory of agents says of a node.
fn remembered(world: &World, of: &str) -> Option<serde_json::Value> {
    let map = world.api.get("configmaps", "rds-csi/rds-csi-agents")?;
    let text = map["data"][of].as_str()?.to_owned();
    Some(serde_json::from_str(&text).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_file_system_that_was_made_is_in_the_ledger_by_the_one_exec_of_the_detach() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    assert_eq!(context["format"], "allowed");
    world.says("node-a", "b1", gone(&context, Formatting::Done)).await;
    let before = world.execs();
    world.unpublish("data", "node-a").await.unwrap();
    assert_eq!(world.execs() - before, 1);
    world.assert_agreed("data");
    assert_eq!(world.record("data").formatted, Formatted::Yes);
    let copy = world.copy("data").unwrap();
    assert_eq!((copy.file_system.as_str(), copy.uuid.as_str()), ("ext4", "0b7f-11"));
    world.forget_attached("data", "node-a").await;
    assert!(!world.attach("data", "node-b").await.contains_key("format"));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_no_node_began_to_format_may_be_formatted_by_the_next_one() {
    let world = World::new().await;
    world.provision("data").await;
    world.provision("unseen").await;
    let context = world.attach("data", "node-a").await;
    world.attach("unseen", "node-a").await;
    world.says("node-a", "b1", gone(&context, Formatting::None)).await;
    for slot in ["data", "unseen"] {
        world.detach(slot, "node-a").await;
        world.assert_agreed(slot);
    }
    assert_eq!(world.record("unseen").formatted, Formatted::Never);
    assert_eq!(world.attach("unseen", "node-b").await["format"], "allowed");
    // What is noted there is about to be staged, and may begin after the question.
    assert_eq!(world.record("data").formatted, Formatted::Maybe);
    assert!(!world.attach("data", "node-b").await.contains_key("format"));
}

#[tokio::test(start_paused = true)]
async fn whatever_is_less_than_the_word_of_a_host_that_let_go_means_that_it_may_be_formatted() {
    let strange = Keys::of(b"two cluster's secret of 32 bytes").unwrap();
    let empty = || Report {
        driver: DRIVER.into(),
        node: node("node-a"),
        boot_id: "b1".into(),
        volumes: Some(Vec::new()),
    };
    let replayed =
        |keys: &Keys| Manner::Repeats(seal(&empty(), keys, &Challenge::random()).unwrap());
    for case in 0..8 {
        let world = World::new().await;
        let secret = world.operations.cluster.identity().await.unwrap().secret;
        let ours = Keys::of(&secret).unwrap();
        world.provision("data").await;
        let context = world.attach("data", "node-a").await;
        match case {
            0 => world.says("node-a", "b1", gone(&context, Formatting::Begun)).await,
            1 => world.says("node-a", "b1", live(&context)).await,
            2 => world.behaves("node-a", Manner::Says(empty(), strange.clone())),
            3 => world.behaves("node-a", replayed(&ours)),
            4 => {
                let other = Report { node: node("node-b"), ..empty() };
                world.behaves("node-a", Manner::Says(other, ours));
            }
            5 => world.behaves("node-a", Manner::Refuses),
            6 => world.behaves("node-a", Manner::Says(Report { volumes: None, ..empty() }, ours)),
            _ => {}
        }
        world.unpublish("data", "node-a").await.unwrap();
        assert_eq!(world.record("data").formatted, Formatted::Maybe, "case {case}");
        world.pass().await;
        let is_word = matches!(case, 0 | 1 | 6);
        let known = world.operations.agents.baseline(&node("node-a")).is_some();
        assert_eq!(known, is_word, "only an agent's own word is a baseline: case {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_delays_one_detach_by_a_second_and_the_next_not_at_all() {
    // One that is silent, and one that takes the connection.
    for manner in [Manner::Hangs, Manner::Holds] {
        let world = World::new().await;
        for slot in ["one", "two", "three"] {
            world.provision(slot).await;
            world.attach(slot, "node-a").await;
        }
        world.behaves("node-a", manner);
        let mut took = Vec::new();
        for slot in ["one", "two", "three"] {
            if slot == "three" {
                tokio::time::advance(Duration::from_secs(61)).await;
            }
            let before = Instant::now();
            world.unpublish(slot, "node-a").await.unwrap();
            took.push(before.elapsed());
        }
        assert!(took[0] > Duration::from_secs(1), "it was asked: {took:?}");
        assert!(took[0] < Duration::from_millis(1200), "{took:?}");
        assert!(took[1] < Duration::from_millis(200), "{took:?}");
        assert!(took[2] > Duration::from_secs(1), "it is asked again: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_learns_of_a_file_system_while_the_volume_is_attached() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    world.says("node-a", "b1", live(&context)).await;
    world.pass().await;
    assert_eq!(world.record("data").formatted, Formatted::Never, "not yet");
    let done = vec![word(&context, Connection::Live, Formatting::Done)];
    world.says("node-a", "b1", done).await;
    let connection = world.connect("node-a", &context["nqn"]).unwrap();
    let report = world.pass().await;
    assert_eq!(report.done.get("formatted"), Some(&1), "{report:?}");
    assert_eq!(world.record("data").formatted, Formatted::Yes);
    assert_eq!(world.copy("data").unwrap().uuid, "0b7f-11");
    world.assert_agreed("data");
    assert!(connection.is_live(), "the export is left alone");
    let (lines, report) = (world.changing_lines(), world.pass().await);
    assert_eq!(world.changing_lines(), lines, "{report:?}");
    // The publish is repeated: the same attachment, and nobody formats any more.
    let again = world.publish("data", "node-a").await.unwrap();
    assert_eq!(again["nqn"], context["nqn"]);
    assert!(!again.contains_key("format"));
}

/// node-a, whose agent has spoken, was fenced, and its VolumeAttachment is gone.
async fn fenced() -> (World, PublishContext) {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    world.says("node-a", "b1", live(&context)).await;
    world.pass().await;
    assert_eq!(remembered(&world, "node-a").unwrap()["bootId"], "b1");
    world.ready("node-a", "Unknown").await;
    world.falls_silent("node-a");
    world.detach("data", "node-a").await;
    assert_eq!(world.record("data").state, State::Fenced);
    world.ready("node-a", "True").await;
    (world, context)
}

#[tokio::test(start_paused = true)]
async fn a_fenced_node_is_let_in_only_when_its_agent_shows_that_it_is_clean() {
    let (world, old) = fenced().await;
    let refused = |world: World, what: &'static str| async move {
        let error = world.publish("data", "node-a").await.unwrap_err();
        assert_eq!(error.kind, Kind::Precondition, "{error}");
        assert!(error.message.contains(what), "{error}");
        world
    };
    let world = refused(world, "is silent").await;
    world.behaves("node-a", Manner::Refuses);
    let world = refused(world, "kernel is alive").await;
    let connecting = vec![word(&old, Connection::Connecting, Formatting::None)];
    world.says("node-a", "b1", connecting).await;
    let world = refused(world, "shows a controller").await;
    world.says("node-a", "b1", Vec::new()).await;
    let context = world.publish("data", "node-a").await.unwrap();
    assert_ne!(context["nqn"], old["nqn"]);
    assert!(world.copy("data").unwrap().fenced_from.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_has_spoken_is_remembered_when_the_controller_was_started_anew() {
    let (mut world, _) = fenced().await;
    world.restart().await;
    let error = world.publish("data", "node-a").await.unwrap_err();
    assert_eq!(error.kind, Kind::Precondition, "{error}");
    world.says("node-a", "b1", Vec::new()).await;
    world.publish("data", "node-a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_started_anew_is_let_in_even_when_its_agent_sees_nothing_of_the_kernel() {
    let (world, _) = fenced().await;
    let secret = world.operations.cluster.identity().await.unwrap().secret;
    let keys = Keys::of(&secret).unwrap();
    let blind = |boot: &str| Report {
        driver: DRIVER.into(),
        node: node("node-a"),
        boot_id: boot.into(),
        volumes: None,
    };
    world.behaves("node-a", Manner::Says(blind("b1"), keys.clone()));
    assert_eq!(world.publish("data", "node-a").await.unwrap_err().kind, Kind::Precondition);
    world.behaves("node-a", Manner::Says(blind("b2"), keys));
    world.publish("data", "node-a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_fenced_long_ago_is_heard_first_whoever_had_the_volume_since() {
    let (world, old) = fenced().await;
    world.attach("data", "node-b").await;
    world.detach("data", "node-b").await;
    world.says("node-a", "b1", live(&old)).await;
    let error = world.publish("data", "node-a").await.unwrap_err();
    assert!(error.message.contains("shows a controller"), "{error}");
    world.says("node-a", "b1", Vec::new()).await;
    world.publish("data", "node-a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_came_later_under_the_same_name_has_never_spoken() {
    let (world, _) = fenced().await;
    world.delete_node("node-a").await;
    let again = rds_sim::apiserver::world::node("node-a").internal_ip("10.1.0.97").build();
    world.api.create(again).unwrap();
    world.settle().await;
    world.publish("data", "node-a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_and_holds_nothing_is_forgotten() {
    let (world, _) = fenced().await;
    world.delete_node("node-a").await;
    world.pass().await;
    assert_eq!(remembered(&world, "node-a"), None);
}

#[tokio::test(start_paused = true)]
async fn one_of_two_leaves_by_the_word_of_its_agent_when_kubelet_is_silent() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.publish_as("data", "node-a", shared_block()).await.unwrap();
    world.publish_as("data", "node-b", shared_block()).await.unwrap();
    let stays = world.connect("node-b", &context["nqn"]).unwrap();
    world.ready("node-a", "Unknown").await;
    for (manner, said) in [(None, "has never answered"), (Some(()), "shows a controller")] {
        if manner.is_some() {
            world.says("node-a", "b1", live(&context)).await;
        }
        let refused = world.unpublish("data", "node-a").await.unwrap_err();
        assert_eq!(refused.kind, Kind::Precondition, "{refused}");
        assert!(refused.message.contains(said), "{refused}");
    }
    world.says("node-a", "b1", gone(&context, Formatting::None)).await;
    world.unpublish("data", "node-a").await.unwrap();
    assert_eq!(world.copy("data").unwrap().nodes, [node("node-b")]);
    world.assert_agreed("data");
    assert!(stays.is_live());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_not_fenced_while_its_agent_shows_a_connection_that_works() {
    let world = World::new().await;
    world.provision("data").await;
    let context = world.attach("data", "node-a").await;
    world.says("node-a", "b1", live(&context)).await;
    world.pass().await;
    world.delete_node("node-a").await;
    world.pass().await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    let report = world.pass().await;
    assert_eq!(report.done.get("hold"), Some(&1), "{report:?}");
    assert_eq!(world.record("data").state, State::Attached);
    assert!(remembered(&world, "node-a").is_some(), "where it is found is still needed");
    world.says("node-a", "b1", gone(&context, Formatting::None)).await;
    let report = world.pass().await;
    assert_eq!(report.done.get("fence"), Some(&1), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn who_lost_his_volume_attachment_is_not_fenced_while_he_is_connected() {
    let world = World::new().await;
    for slot in ["data", "other"] {
        world.provision(slot).await;
    }
    let context = world.attach("data", "node-a").await;
    let other = world.attach("other", "node-a").await;
    world.says("node-a", "b1", [live(&context), live(&other)].concat()).await;
    world.forget_attached("data", "node-a").await;
    world.pass().await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    let report = world.pass().await;
    assert_eq!(report.done.get("hold"), Some(&1), "{report:?}");
    // Of another volume it is no reason to wait: the node is there.
    world.says("node-a", "b1", live(&other)).await;
    let report = world.pass().await;
    assert_eq!(report.done.get("fence"), Some(&1), "{report:?}");
    assert_eq!(world.record("other").state, State::Attached);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_only_the_api_server_is_told_from_one_that_is_silent() {
    for (answers, count) in [(true, 1), (false, 0)] {
        let world = World::new().await;
        world.provision("data").await;
        let context = world.attach("data", "node-a").await;
        if answers {
            world.says("node-a", "b1", live(&context)).await;
        }
        world.ready("node-a", "Unknown").await;
        world.pass().await;
        assert_eq!(world.events("NodeSuspect").await, 1);
        let is_it = |event: &serde_json::Value| {
            event["message"].as_str().is_some_and(|text| text.contains("its agent answers"))
        };
        assert_eq!(world.api.list("events").iter().filter(|e| is_it(e)).count(), count);
        assert_eq!(world.record("data").state, State::Attached);
    }
}

#[tokio::test(start_paused = true)]
async fn a_memory_that_a_person_damaged_forgets_only_what_was_damaged() {
    let (mut world, _) = fenced().await;
    let damage = |map: &mut serde_json::Value| map["data"]["node-b"] = json!("{");
    world.api.modify("configmaps", "rds-csi/rds-csi-agents", damage).unwrap();
    world.restart().await;
    assert_eq!(world.publish("data", "node-a").await.unwrap_err().kind, Kind::Precondition);
}
