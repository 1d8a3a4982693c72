//! What a pass hears from the agents of well nodes, once all that is urgent is done: file systems
//! for the ledger, and a baseline for the day on which a node falls silent.

use std::collections::BTreeSet;
use std::time::Duration;

use super::act::{Act, Done};
use super::facts::Found;
use super::look::Look;
use super::memory::Holders;
use super::{PassReport, Reconciler, Sight};
use crate::attachment::ledger::{Formatted, Record};
use crate::attachment::verdict::{Action, Verdict};
use crate::cluster::{Identity, View};
use crate::operations::Error;
use crate::operations::agents::{FileSystem, Witnesses};
use crate::operations::change::{Details, Wanted};
use crate::volume::NodeName;

/// How long a pass listens in all. Who was not reached is asked by the next one.
const LISTENS_FOR: Duration = Duration::from_secs(5);

impl Reconciler {
    /// Asks the agents of all nodes that are well and hold volumes.
    pub(super) async fn listen(
        &self,
        sight: Sight<'_>,
        view: &View,
        look: &Look<'_>,
        report: &mut PassReport,
    ) {
        let agents = &self.operations.agents;
        if let Err(error) = agents.recall().await {
            slog::debug!(self.operations.log, "memory of agents not read"; "error" => %error);
        }
        let Holders { there, gone } = &look.holders;
        let holding = there.iter().map(|node| &node.name).chain(gone.iter().copied());
        let holding: BTreeSet<NodeName> = holding.cloned().collect();
        let ready = there.iter().filter(|node| node.ready).map(|node| node.name.clone());
        let well: BTreeSet<NodeName> = ready.filter(|node| agents.is_heard(node)).collect();
        let witnesses = self.operations.hear_all(well, LISTENS_FOR).await;
        if !witnesses.is_empty() {
            let found = self.those(sight, view, |found| unformatted(found).is_some());
            self.note_file_systems(sight.identity, &found, &witnesses, report).await;
        }
        if self.mandate.holds()
            && let Err(error) = agents.remember(&holding).await
        {
            slog::warn!(self.operations.log, "what agents said was not remembered";
                "error" => %error);
        }
    }

    /// What was made on volumes that the ledger takes for never formatted.
    async fn note_file_systems(
        &self,
        identity: &Identity,
        found: &[Found<'_>],
        witnesses: &Witnesses,
        report: &mut PassReport,
    ) {
        let act = Act { operations: &self.operations, identity, mandate: &self.mandate };
        let reason = "a node has told of its file system";
        let verdict = Verdict { action: Action::FollowRecord, reason };
        let mut news = Vec::new();
        for found in found {
            let told = unformatted(found).and_then(|record| {
                let nqn = record.nqn(found.nqn_base, &found.id.slot).ok()?;
                let words = found.holder_names().filter_map(|node| witnesses.get(node)?.word());
                let told = words.filter_map(|word| FileSystem::told(word, nqn.as_str())).next();
                Some((record, told?))
            });
            if let Some((record, told)) = told {
                news.push((found, record, told));
            }
        }
        for (found, record, told) in news {
            let outcome = act.note_file_system(found, record, told).await;
            self.count(&found.id, &verdict, outcome, report);
        }
    }
}

/// The record of a volume that is attached, current, and by its record never formatted.
fn unformatted<'a>(found: &'a Found<'_>) -> Option<&'a Record> {
    let record = found.record.as_deref().ok().filter(|_| found.is_ours && found.is_attached())?;
    let is_current = found.copied.as_deref() == Some(record);
    (is_current && record.formatted == Formatted::Never).then_some(record)
}

impl Act<'_> {
    /// The ledger says from now on that there is a file system: nobody formats the volume again.
    async fn note_file_system(
        self,
        found: &Found<'_>,
        record: &Record,
        told: FileSystem,
    ) -> Result<Done, Error> {
        let Some(mut ground) = self.ground(found)? else { return Ok(Done::Later) };
        let next = record.with_file_system();
        let from = record.text();
        let wanted = Wanted { from: &from, to: &next, terms: None, grow_to: None };
        let disk = self.operations.must_change(&ground, wanted).await?;
        let nodes = ground.copy.as_ref().map(|copy| copy.nodes.clone()).unwrap_or_default();
        let details = Details::of(&disk).with(Some(told));
        self.operations.write_copy(&mut ground, &next, nodes, details).await?;
        Ok(Done::Changed("formatted"))
    }
}
