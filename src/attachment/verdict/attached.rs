//! A volume that is held: is it well, is its export, must its holders be shut out?
//!
//! On a box that cannot be told an NQN a fence closes the export and no more: the name stays the
//! same. There only orders are followed, and everything else is reported.

use super::{
    Action, AgentFacts, AttachmentFacts, DiskFacts, Facts, FenceCause, Holder, Io, Presence, Rules,
    Verdict, verdict_of,
};
use crate::attachment::ledger::{Record, Sharing};
use crate::attachment::static_form::Mode;

/// Judges a volume that is held as record and copy say.
pub(super) fn attached(
    record: &Record,
    disk: &DiskFacts<'_>,
    facts: &Facts<'_>,
    rules: Rules,
) -> Verdict {
    use Action::{Close, Fence, Nothing, Repair, Report, Suspect};
    let holders = &facts.holders;
    let is_static = facts.mode == Mode::Static;
    if holders.iter().any(|holder| holder.out_of_service) {
        let reason =
            if is_static { OUT_OF_SERVICE_STATIC } else { "the node is tainted out-of-service" };
        return verdict_of(Fence(FenceCause::OutOfService), reason);
    }
    let is_nameable = !is_static || record.is_static();
    if !is_nameable && disk.exported != Some(false) {
        return verdict_of(Close, "exported under another NQN than attached, after a downgrade");
    }
    let wanted = |holder: &Holder| holder.has_attachment() && !holder.is_gone();
    if is_nameable && !disk.as_recorded && holders.iter().all(wanted) {
        return verdict_of(Repair, "the export is not as recorded");
    }
    let of_each =
        holders.iter().map(|holder| holder_verdict(facts.mode, record, holder, holders, rules));
    let verdict = of_each
        .max_by_key(|verdict| urgency(verdict.action))
        .unwrap_or(verdict_of(Nothing, "nobody holds it"));
    match verdict.action {
        Nothing | Suspect if !is_nameable => verdict_of(Report, UNNAMEABLE),
        _ => verdict,
    }
}

const OUT_OF_SERVICE_STATIC: &str = "the node is tainted out-of-service; this RouterOS cannot \
     change the NQN, so the fence closes the export, and this order lets it be opened for another";
const NODE_GONE_STATIC: &str = "the Node object is gone; this RouterOS cannot change the NQN, so the \
     fence closes the export, and the deletion lets it be opened for another";
const ATTACHMENT_GONE_STATIC: &str = "the VolumeAttachment is gone; this RouterOS cannot change the \
     NQN, so it is only reported: delete the Node or taint it out-of-service once it is off";
const UNNAMEABLE: &str = "attached under an NQN that this RouterOS cannot set; it stays closed until \
     it is detached or 7.21 or later is back";

fn holder_verdict(
    mode: Mode,
    record: &Record,
    holder: &Holder,
    holders: &[Holder],
    rules: Rules,
) -> Verdict {
    use Action::{Hold, Nothing, Report, Suspect, Wait};
    let usual = mode == Mode::Usual;
    let (since, cause, reason) = match (holder.presence, holder.attachment) {
        (Presence::Gone(since), _) => {
            let reason = if usual { "the Node object is gone" } else { NODE_GONE_STATIC };
            (since, FenceCause::NodeGone, reason)
        }
        (_, AttachmentFacts::Absent(since)) => {
            let reason =
                if usual { "the VolumeAttachment is gone" } else { ATTACHMENT_GONE_STATIC };
            (since, FenceCause::AttachmentGone, reason)
        }
        (Presence::NotReady, _) if holder.agent != AgentFacts::Unheard => {
            let reason = "the node is NotReady, and its agent answers: it lost the API server, not \
                          its disks";
            return verdict_of(Suspect, reason);
        }
        (Presence::NotReady, _) => return verdict_of(Suspect, "the node is NotReady"),
        (Presence::Ready, _) => return verdict_of(Nothing, "healthy"),
    };
    if since < rules.grace {
        return verdict_of(Wait(rules.grace - since), reason);
    }
    let shared = record.sharing == Sharing::Multi && holders.len() > 1;
    if shared && holders.iter().any(|other| other.presence == Presence::Ready) {
        return verdict_of(Hold, "another node holds the volume and is healthy");
    }
    match holder.io {
        _ if !usual && cause == FenceCause::AttachmentGone => verdict_of(Report, reason),
        Io::Unread => verdict_of(Action::ReadIo(cause), reason),
        Io::Moving => verdict_of(Hold, "volumes of the node are still being written or read"),
        _ if holder.agent == AgentFacts::Live => {
            verdict_of(Hold, "the agent of the node shows a connection that works")
        }
        Io::Untold | Io::Still => verdict_of(Action::Fence(cause), reason),
    }
}

/// Of two holders the one that needs more counts; what speaks against acting counts most.
fn urgency(action: Action) -> u8 {
    match action {
        Action::Hold => 6,
        Action::ReadIo(_) => 5,
        Action::Fence(_) => 4,
        Action::Wait(_) => 3,
        Action::Report => 2,
        Action::Suspect => 1,
        _ => 0,
    }
}
