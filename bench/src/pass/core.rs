//! The pure core of a pass over many attachments of which none is stale: from what was read to what is
//! to be done.

use std::sync::Arc;

use rds_csi::attachment::verdict::Action;
use rds_csi::cluster::{Node, View};
use rds_csi::operations::reconcile::{Sight, Table};

use crate::clock::{Failure, processor_time};
use crate::domain::{Domain, Pace, new_box, new_cluster};
use crate::figure::{Figure, Goal};
use crate::fleet::Fleet;

const NODES: usize = 1_000;
/// In the figure that is between the others, of so many volumes one has changed.
const ONE_IN: usize = 100;

/// What a pass costs us.
///
/// # Errors
/// When something was stale.
pub async fn measure() -> Result<Vec<Figure>, Failure> {
    let domain = Domain::over(new_box()?, new_cluster([])?, Pace::default()).await?;
    let many = Fleet::new(&domain.identity, 10_000, NODES)?;
    let mut figures = core(&domain, &many, "pass over 10,000: pure core", 5.0, 100)?;
    let very_many = Fleet::new(&domain.identity, 100_000, NODES)?;
    figures.extend(core(&domain, &very_many, "pass over 100,000: pure core", 60.0, 10)?);
    Ok(figures)
}

/// The figure that has a goal is that of a pass that follows another one: nothing has happened in
/// between, but the box has printed its table anew.
fn core(
    domain: &Domain,
    fleet: &Fleet,
    name: &str,
    below: f64,
    runs: u32,
) -> Result<Vec<Figure>, Failure> {
    let tables = [[table(domain, fleet)?], [table(domain, fleet)?]];
    let view = fleet.view();
    let (few, node) = (with_few_changed(&view), with_a_node_changed(&view));
    let mut pass = 0;
    let mut next = |other: &View| {
        pass += 1;
        let view = if pass % 2 == 0 { &view } else { other };
        let sight = Sight { identity: &domain.identity, tables: &tables[pass % 2], deleting: &[] };
        domain.reconciler.verdicts(sight, view)
    };
    // Once for each figure: what is fast must be right.
    for view in [&node, &few, &view, &view] {
        let verdicts = next(view);
        let stale = verdicts.iter().find(|verdict| verdict.action != Action::Nothing);
        if let Some(verdict) = stale {
            return Err(format!("something is stale: {}", verdict.reason).into());
        }
        if verdicts.len() != tables[0][0].1.len() {
            return Err(format!("{} verdicts", verdicts.len()).into());
        }
    }
    let repeated = processor_time(runs, || next(&view))?;
    let few = processor_time(runs, || next(&few))?;
    let anew = processor_time(runs, || next(&node))?;
    Ok(vec![
        Figure::new(name, repeated, "ms").goal(Goal::Below(below)),
        Figure::new(format!("{name}, 1 in {ONE_IN} changed"), few, "ms").against(name, repeated),
        Figure::new(format!("{name}, a node changed"), anew, "ms").against(name, repeated),
    ])
}

fn table(domain: &Domain, fleet: &Fleet) -> Result<Table, Failure> {
    Ok((domain.backend()?, fleet.disks()))
}

/// Of every so many volumes one has changed, and its VolumeAttachment.
fn with_few_changed(view: &View) -> View {
    let (mut volumes, mut attachments) = ((*view.volumes).clone(), (*view.attachments).clone());
    for volume in view.volumes.values().step_by(ONE_IN) {
        let mut changed = (**volume).clone();
        changed.version.resource_version.push('0');
        volumes.insert(Arc::new(changed));
    }
    for attachment in view.attachments.values().step_by(ONE_IN) {
        let mut changed = (**attachment).clone();
        changed.version.resource_version.push('0');
        attachments.insert(Arc::new(changed));
    }
    View {
        volumes: Arc::new(volumes),
        attachments: Arc::new(attachments),
        nodes: Arc::clone(&view.nodes),
    }
}

/// Everything is judged anew, as in the first pass.
fn with_a_node_changed(view: &View) -> View {
    let mut nodes = (*view.nodes).clone();
    if let Some(node) = view.nodes.values().next() {
        nodes.insert(Node { uid: "another".into(), ..node.clone() });
    }
    View { nodes: Arc::new(nodes), ..view.clone() }
}
