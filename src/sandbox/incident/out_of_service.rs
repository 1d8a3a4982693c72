//! A machine dies, its Node object stays, and an operator says so with the taint out-of-service.

use tokio::time::Instant;

use super::{Attached, GIB, moves_to_node_b, until};
use crate::sandbox::narrator::Narrator;
use crate::sandbox::world::{Trouble, World};

/// On a node that has nothing of ours but the volume of this chapter.
pub(super) async fn out_of_service(world: &dyn World, tell: &Narrator) -> Result<(), Trouble> {
    let (node, patience) = ("node-a", world.patience());
    world.set_up_node(node).await?;
    tell.say("a new machine joins as node-a");
    let volume = world.provision("archive", GIB).await?;
    let context = world.attach(&volume, node, patience.recover).await?;
    tell.expect(&format!("{} is attached to {node}", volume.name), context.is_some());
    let context = context.ok_or("a volume was not attached, so there is no chapter")?;
    let one = Attached { volume, node, context };
    let wrote = world.connect_and_write(node, &one.context).await;
    tell.expect(&format!("{node} connects to {} and writes", one.volume.name), wrote.is_ok());

    world.taint_out_of_service(node).await?;
    tell.say("its machine dies, and an operator taints the node out-of-service");
    let start = Instant::now();
    // Where a box cuts nobody off when an export goes, writing would only keep its counters moving.
    if world.nature().unexport_cuts {
        let cut = || async { world.write_on(node, &one.context).await.is_err() };
        let cut = until(patience.recover, cut).await;
        tell.expect("it is cut off by the taint alone", cut);
        tell.say(&format!("cut off after {:.2} s", start.elapsed().as_secs_f64()));
        let there = world.has_attachment(&one.volume, node).await;
        tell.expect("before Kubernetes lets go of the volume", there);
    }
    world.let_go(&one.volume, node).await?;
    let gone = || async { !world.has_attachment(&one.volume, node).await };
    let gone = until(patience.recover, gone).await;
    tell.expect(&format!("{}: the VolumeAttachment of {node} is gone", one.volume.name), gone);
    moves_to_node_b(world, tell, &one).await?;
    tell.expect("no two hosts ever wrote by turns", world.second_writers().await == 0);
    Ok(())
}
