//! The incident, replayed: the box crashes without a word, comes back, a node is gone, and a machine
//! dies.
//!
//! The night it happened, people removed finalizers by hand for five hours. Here nobody does.

mod out_of_service;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use self::out_of_service::out_of_service;
use super::narrator::Narrator;
use super::sidecars::MAY_STILL_RUN;
use super::world::{Answer, Provisioned, Trouble, World};

const GIB: u64 = 1 << 30;
/// How often the story looks whether something has become so.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a call may take that must not wait for anything.
const AT_ONCE: Duration = Duration::from_secs(1);

type Context = BTreeMap<String, String>;

/// A volume, the node that has it and what that node was given.
struct Attached {
    volume: Provisioned,
    node: &'static str,
    context: Context,
}

/// Tells the whole story.
pub async fn incident(world: &dyn World, tell: &Narrator) -> Result<(), Trouble> {
    tell.chapter("An ordinary evening");
    for line in world.describe() {
        tell.say(&line);
    }
    let attached = ordinary_evening(world, tell).await?;
    tell.chapter("The storage server crashes");
    crash(world, tell, &attached).await;
    tell.chapter("It comes back");
    come_back(world, tell, &attached).await;
    tell.chapter("A node is gone");
    node_is_gone(world, tell, &attached).await?;
    tell.chapter("A machine dies, and an operator says so");
    out_of_service(world, tell).await
}

async fn ordinary_evening(world: &dyn World, tell: &Narrator) -> Result<Vec<Attached>, Trouble> {
    tell.expect("Probe is ready", world.probe().await == Some(true));
    let mut volumes = Vec::new();
    for claim in ["database", "queue", "mail"] {
        let volume = world.provision(claim, 10 * GIB).await?;
        tell.say(&format!("claim {claim} is bound to volume {}", volume.handle));
        volumes.push(volume);
    }
    let mut attached = Vec::new();
    for (volume, node) in volumes.into_iter().zip(["node-a", "node-a", "node-b"]) {
        let context = world.attach(&volume, node, Duration::from_secs(10)).await?;
        tell.expect(&format!("{} is attached to {node}", volume.name), context.is_some());
        let context = context.ok_or("a volume was not attached, so there is no story")?;
        let wrote = world.connect_and_write(node, &context).await;
        tell.expect(&format!("{node} connects to {} and writes", volume.name), wrote.is_ok());
        attached.push(Attached { volume, node, context });
    }
    let (first, other) = (&attached[0], &attached[2]);
    let stolen = Context::from_iter(first.context.iter().map(|(key, value)| {
        let host = matches!(key.as_str(), "hostNqn" | "hostId");
        let value = if host { other.context.get(key) } else { Some(value) };
        (key.clone(), value.cloned().unwrap_or_default())
    }));
    let refused = world.connect_and_write(other.node, &stolen).await.is_err();
    tell.expect("the box refuses a volume to a node that does not have it", refused);
    let again = publish_until_answered(world, &first.volume, first.node).await;
    tell.expect("a repeated publish changes nothing", again.as_ref() == Ok(&first.context));
    let second = publish_until_answered(world, &first.volume, other.node).await;
    let code = second.err().map(|(code, _)| code);
    tell.expect(
        "a second node does not get the volume",
        code.as_deref() == Some("FailedPrecondition"),
    );
    Ok(attached)
}

async fn crash(world: &dyn World, tell: &Narrator, attached: &[Attached]) {
    world.crash_box().await;
    tell.say("the box lost power: no FIN, no answer, sockets stay open");
    let start = Instant::now();
    let patience = world.patience();
    let down = until(patience.detect, || async { world.probe().await == Some(false) }).await;
    tell.expect("Probe tells that the box is gone", down);
    tell.say(&format!("noticed after {:.2} s", start.elapsed().as_secs_f64()));
    let state = world.metric("rds_csi_rds_connection_state", &[]).await;
    tell.expect("the connection gauge is 0", state == Some(0.0));
    let asked = timeout(AT_ONCE, world.publish(&attached[0].volume, "node-a")).await;
    let answer = asked.ok().and_then(Result::err);
    let code = answer.as_ref().map(|(code, _)| code.as_str());
    tell.expect("a call that needs the box is answered at once", code == Some("Unavailable"));
    let names_it = answer.as_ref().is_some_and(|(_, text)| text.contains("next attempt"));
    tell.expect("and says when the next attempt is", names_it);
    let failed = || world.metric("rds_csi_rds_reconnect_total", &[("status", "failure")]);
    for attempts in [1.0, 2.0] {
        let counted =
            until(patience.reconnect, || async { failed().await >= Some(attempts) }).await;
        tell.expect(&format!("attempt {attempts} to reconnect is counted"), counted);
    }
    let told = until(AT_ONCE * 5, || async { world.events("RDSDisconnected").await > 0 }).await;
    tell.expect("an event RDSDisconnected is posted", told);
}

async fn come_back(world: &dyn World, tell: &Narrator, attached: &[Attached]) {
    world.revive_box().await;
    tell.say("the box has power again");
    let start = Instant::now();
    let patience = world.patience();
    let up = until(patience.reconnect, || async { world.probe().await == Some(true) }).await;
    tell.expect("the connection is back, and Probe is ready, without anybody's help", up);
    tell.say(&format!("reconnected after {:.2} s", start.elapsed().as_secs_f64()));
    let told = until(AT_ONCE * 5, || async { world.events("RDSReconnected").await > 0 }).await;
    tell.expect("an event RDSReconnected is posted", told);
    for one in attached {
        let same = publish_until_answered(world, &one.volume, one.node).await;
        let what = format!("{} is still {}'s, under the same name", one.volume.name, one.node);
        tell.expect(&what, same.as_ref() == Ok(&one.context));
        let wrote = world.connect_and_write(one.node, &one.context).await;
        tell.expect(&format!("{} connects again and writes", one.node), wrote.is_ok());
    }
}

async fn node_is_gone(
    world: &dyn World,
    tell: &Narrator,
    attached: &[Attached],
) -> Result<(), Trouble> {
    let patience = world.patience();
    world.delete_node("node-a").await?;
    tell.say("the Node object of node-a is deleted; its machine falls silent, and is not asked");
    let start = Instant::now();
    let (lost, kept): (Vec<_>, Vec<_>) = attached.iter().partition(|one| one.node == "node-a");
    for one in &lost {
        let gone = || async { !world.has_attachment(&one.volume, one.node).await };
        let gone = until(patience.recover, gone).await;
        tell.expect(&format!("{}: the VolumeAttachment of node-a is gone", one.volume.name), gone);
    }
    let took = start.elapsed();
    tell.say(&format!("cleared after {:.2} s", took.as_secs_f64()));
    let earliest = patience.recover_earliest;
    tell.expect(
        match world.nature().has_counters {
            true => "not before the grace time was over and counters were read twice",
            false => "the box has no counters: not before grace time and drain time were over",
        },
        took >= earliest,
    );
    for one in &lost {
        moves_to_node_b(world, tell, one).await?;
    }
    for one in &kept {
        let wrote = world.write_on(one.node, &one.context).await;
        tell.expect(&format!("{} was left in peace", one.volume.name), wrote.is_ok());
    }
    let cleared = world.metric("rds_csi_attachment_stale_cleared_total", &[]).await;
    #[expect(clippy::cast_precision_loss, reason = "two volumes")]
    let all = cleared == Some(lost.len() as f64);
    tell.expect("the metrics count what was cleared", all);
    let told = || async { world.events("StaleAttachmentCleared").await >= lost.len() };
    tell.expect("and events say so on the claims", until(AT_ONCE * 5, told).await);
    tell.expect("no two hosts ever wrote by turns", world.second_writers().await == 0);
    Ok(())
}

/// The volume of a node that is gone is attached elsewhere, and stays there.
async fn moves_to_node_b(
    world: &dyn World,
    tell: &Narrator,
    one: &Attached,
) -> Result<(), Trouble> {
    let nature = world.nature();
    if nature.unexport_cuts {
        let wrote = world.write_on(one.node, &one.context).await;
        tell.expect("what node-a still had open writes no more", wrote.is_err());
    } else {
        tell.say("this box cuts nobody off when an export goes; the next export does");
    }
    let moved = world.attach(&one.volume, "node-b", world.patience().recover).await?;
    tell.expect(&format!("{} attaches to node-b", one.volume.name), moved.is_some());
    let Some(moved) = moved else { return Ok(()) };
    if nature.names_exports {
        tell.expect("under another NQN", moved.get("nqn") != one.context.get("nqn"));
    } else {
        tell.say("this box cannot name an export: its list of hosts decides");
        tell.expect("under the same NQN", moved.get("nqn") == one.context.get("nqn"));
    }
    if !nature.unexport_cuts {
        let wrote = world.write_on(one.node, &one.context).await;
        tell.expect("what node-a still had open writes no more by then", wrote.is_err());
    }
    let wrote = world.connect_and_write("node-b", &moved).await;
    tell.expect("node-b connects and writes", wrote.is_ok());
    let back = world.connect_and_write(one.node, &one.context).await;
    let refused = if nature.names_exports { "node-a's old NQN" } else { "node-a's host" };
    tell.expect(&format!("{refused} is refused"), back.is_err());
    Ok(())
}

/// Publishes as the external-attacher does: again while something may still be happening.
async fn publish_until_answered(
    world: &dyn World,
    volume: &Provisioned,
    node: &str,
) -> Answer<Context> {
    let give_up = Instant::now() + world.patience().reconnect;
    loop {
        let answer = world.publish(volume, node).await;
        match &answer {
            Err((code, _))
                if MAY_STILL_RUN.contains(&code.as_str()) && Instant::now() < give_up =>
            {
                sleep(GLANCE * 5).await;
            }
            _ => return answer,
        }
    }
}

/// Waits until something has become so, for so long.
async fn until<F, R>(within: Duration, so: F) -> bool
where
    F: Fn() -> R,
    R: Future<Output = bool>,
{
    let look = async {
        while !so().await {
            sleep(GLANCE).await;
        }
    };
    timeout(within, look).await.is_ok()
}
