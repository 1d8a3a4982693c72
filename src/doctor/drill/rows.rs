//! What the steps of a drill have shown -> rows. Pure.

use std::time::Duration;

use crate::attachment::static_form::Mode;
use crate::doctor::row::Row;
use crate::rds::{Counters, Disk};

use super::blocks::{Found, PLACES};
use super::initiator::{Denied, Progress, Unready};

/// Every row of a drill, in order.
pub const CHECKS: &[&str] = &[
    "drill node",
    "drill disk",
    "drill path",
    "drill connection",
    "drill writes",
    "drill fence",
    "drill silence",
    "drill retries",
    "drill data",
    "drill takeover",
    "drill old name",
    "drill other host",
    "drill return",
    "drill repair",
    REMOVAL,
    RECORD,
];

/// The row of what is left on box and node.
pub const REMOVAL: &str = "drill removal";
/// The row of what the controller is told.
pub const RECORD: &str = "drill record";

/// What a person does about a box on which a fence proves nothing.
const UNSAFE: &str = "another RouterOS release (/system/package/update/check-for-updates), and the \
                      drill again; until it passes, switch a dead node off before its volumes move";
const EXPORTED: &str = "/disk/print detail where nvme-tcp-export";

/// Root, and the kernel's module.
pub fn node(ready: &Result<String, Unready>) -> Row {
    match ready {
        Ok(kernel) => Row::ok("drill node", format!("Linux {kernel} can connect NVMe over TCP")),
        Err(Unready { why, mend }) => Row::fault("drill node", why).mend(mend),
    }
}

/// The first export; `wrong` are properties that are not as they were set.
pub fn disk(wrong: Result<&[&str], &String>) -> Row {
    const CHECK: &str = "drill disk";
    let mend = |row: Row| row.mend(EXPORTED).mend("nvme_port in the configuration, if it is taken");
    match wrong {
        Ok([]) => Row::ok(CHECK, "a scratch disk is exported to one host of this node"),
        Ok(["allowed host"]) => Row::warning(
            CHECK,
            "the box knows no list of hosts: whoever knows the name of an export gets in",
        )
        .mend("/system/package/update/check-for-updates; /system/package/update/install"),
        Ok(wrong) => mend(Row::fault(CHECK, format!("not as it was set: {}", wrong.join(", ")))),
        Err(why) => mend(Row::fault(CHECK, format!("it cannot be exported: {why}"))),
    }
}

/// TCP from this node to the box's NVMe port.
pub fn path(at: &str, reached: Result<(), String>) -> Row {
    match reached {
        Ok(()) => Row::ok("drill path", format!("{at} takes connections from this node")),
        Err(why) => Row::fault("drill path", format!("{at} does not: {why}"))
            .mend("nvme_address and nvme_port in the configuration")
            .mend("/ip/firewall/filter/print where chain=input")
            .mend(EXPORTED),
    }
}

/// The first connection, and the size of its device in bytes.
pub fn connection(device: Result<u64, &String>, wanted: u64) -> Row {
    const CHECK: &str = "drill connection";
    let mend = |row: Row| row.mend("dmesg | grep nvme (on this node)").mend(EXPORTED);
    match device {
        Ok(bytes) if bytes == wanted => {
            Row::ok(CHECK, "the kernel is connected, and shows the disk")
        }
        Ok(bytes) => mend(Row::fault(CHECK, format!("the disk has {bytes} bytes, not {wanted}"))),
        Err(why) => mend(Row::fault(CHECK, why)),
    }
}

/// One round of blocks: written, read back, and what the box counted before and after.
pub fn writes(
    written: Result<Found, &String>,
    before: Option<Counters>,
    after: Option<Counters>,
) -> Row {
    const CHECK: &str = "drill writes";
    let found = match written {
        Ok(found) => found,
        Err(why) => return Row::fault(CHECK, why).mend("/log/print where topics~\"disk\""),
    };
    if !found.is_right() {
        let text = format!("{} of {PLACES} acknowledged blocks are not read back", found.lost);
        return Row::fault(CHECK, text).mend("/log/print where topics~\"disk\"");
    }
    match (before, after) {
        (Some(before), Some(after)) if after.writes > before.writes => {
            let text = format!("{PLACES} blocks are read back, and the box's write counter moved");
            Row::ok(CHECK, text)
        }
        (Some(_), Some(_)) => Row::fault(
            CHECK,
            "the box's write counter stands still while blocks are written: a fence that the driver \
             confirms by it proves nothing",
        )
        .mend(UNSAFE),
        _ => Row::warning(
            CHECK,
            format!(
                "{PLACES} blocks are read back; the box has no write counters, so that the driver \
                 waits after a fence instead of looking"
            ),
        )
        .mend("drain_time in [reconcile] of the configuration is that wait"),
    }
}

/// The box's own word on the fence.
pub fn fence(seen: Result<&Disk, &String>, comment: &str, took: Duration) -> Row {
    const CHECK: &str = "drill fence";
    match seen {
        Ok(disk) if disk.exported == Some(false) && disk.comment == comment => {
            let text = format!("the box says after {} ms that it is closed", took.as_millis());
            Row::ok(CHECK, text)
        }
        Ok(_) => {
            Row::fault(CHECK, "export=no is not read back: the driver will confirm no fence here")
                .mend(EXPORTED)
        }
        Err(why) => Row::fault(CHECK, format!("the export cannot be closed: {why}")).mend(EXPORTED),
    }
}

/// How the box's counters showed a fence to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Still {
    /// They stood still, so.
    Counted(Counters),
    /// There are none; the drain time was waited for.
    Waited(Duration),
    /// They never did.
    Never,
}

/// What the shut-out writer did from the moment at which the driver would have released the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// What the driver would have gone by.
    pub still: Still,
    /// The writer then.
    pub before: Progress,
    /// And later.
    pub after: Progress,
    /// The counters later.
    pub counters: Option<Counters>,
    /// How much later.
    pub watched: Duration,
}

/// Does the fenced host write no more?
pub fn silence(seen: &Silence) -> Row {
    const CHECK: &str = "drill silence";
    let more = seen.after.acknowledged - seen.before.acknowledged;
    if seen.still == Still::Never {
        let text = format!(
            "the box goes on writing after export=no ({more} blocks were acknowledged meanwhile): \
             its hosts are not cut off. The driver would release nothing, and no volume of a dead \
             node would ever move"
        );
        return Row::fault(CHECK, text).mend(UNSAFE);
    }
    if more > 0 {
        let text = format!(
            "the box goes on writing after export=no: {more} blocks were acknowledged after the \
             driver took the host for shut out. Fencing on this box is not safe"
        );
        return Row::fault(CHECK, text).mend(UNSAFE);
    }
    let seconds = seen.watched.as_secs_f64();
    match (seen.still, seen.counters) {
        (Still::Counted(before), Some(after)) if after.writes != before.writes => {
            let text = format!(
                "the write counter moved from {} to {} within {seconds} s after it had stood still: \
                 something is written late",
                before.writes, after.writes
            );
            Row::fault(CHECK, text).mend(UNSAFE)
        }
        (Still::Counted(_), _) => Row::ok(
            CHECK,
            format!("no write is acknowledged or counted within {seconds} s after the fence"),
        ),
        (Still::Waited(drain), _) => Row::ok(
            CHECK,
            format!(
                "no write is acknowledged within {seconds} s after the drain time of {} s",
                drain.as_secs_f64()
            ),
        ),
        (Still::Never, _) => Row::fault(CHECK, "the counters never stand still").mend(UNSAFE),
    }
}

/// What the old host did while the disk was exported to the next one, and when it was swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Blocks of it that were acknowledged.
    pub more: u64,
    /// What the box counted before; nobody else was connected.
    pub before: Option<Counters>,
    /// And after.
    pub after: Option<Counters>,
    /// Did what it had queued end when its connection was deleted?
    pub ended: bool,
    /// How long it had.
    pub watched: Duration,
}

/// Does the old host stay out?
pub fn retries(seen: Result<&Retries, &String>) -> Row {
    const CHECK: &str = "drill retries";
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => {
            let text = format!("the disk cannot be exported to the next host: {why}");
            return Row::fault(CHECK, text).mend(EXPORTED);
        }
    };
    if seen.more > 0 {
        let text = format!(
            "the old host comes back and writes ({} blocks were acknowledged) while the disk is \
             exported to the next one: two hosts write",
            seen.more
        );
        return Row::fault(CHECK, text).mend(UNSAFE);
    }
    if let (Some(before), Some(after)) = (seen.before, seen.after)
        && before.writes != after.writes
    {
        let text = format!(
            "what the old host had queued lands late: the write counter moved from {} to {} while \
             nobody else was connected",
            before.writes, after.writes
        );
        return Row::fault(CHECK, text).mend(UNSAFE);
    }
    if !seen.ended {
        let text = "what the old host had queued does not end when its connection is deleted";
        return Row::fault(CHECK, text).mend("dmesg | grep nvme (on this node)");
    }
    let seconds = seen.watched.as_secs_f64();
    Row::ok(
        CHECK,
        format!(
            "exported to the next host, the disk takes nothing of the old one, which tries for \
             {seconds} s and is swept"
        ),
    )
}

/// What the next host reads through the new generation.
pub fn data(found: Result<Found, &String>, acknowledged: u64) -> Row {
    const CHECK: &str = "drill data";
    match found {
        Ok(found) if found.is_right() => {
            let tail = if found.unacknowledged { ", and the one that was on its way" } else { "" };
            let text = format!(
                "another host connects, and reads all that was acknowledged of {acknowledged} \
                 blocks{tail}"
            );
            Row::ok(CHECK, text)
        }
        Ok(Found { later, lost, .. }) if later > 0 => {
            let text = format!("of {lost} wrong blocks {later} were written after the fence");
            Row::fault(CHECK, text).mend(UNSAFE)
        }
        Ok(Found { lost, .. }) => {
            let text = format!("{lost} acknowledged blocks are not read by the next host");
            Row::fault(CHECK, text)
                .mend("/log/print where topics~\"disk\"")
                .mend("write caches of the pool's disks that lose what they acknowledged")
        }
        Err(why) => Row::fault(CHECK, format!("the next host does not get in: {why}"))
            .mend("dmesg | grep nvme (on this node)")
            .mend(EXPORTED),
    }
}

/// What the next host finds of what it wrote.
pub fn takeover(found: Result<Found, &String>) -> Row {
    const CHECK: &str = "drill takeover";
    match found {
        Ok(found) if found.is_right() => Row::ok(CHECK, "the next host writes, and reads it back"),
        Ok(found) => {
            let text = format!("{} blocks of the next host are gone: two hosts write", found.lost);
            Row::fault(CHECK, text).mend(UNSAFE)
        }
        Err(why) => Row::fault(CHECK, why).mend("dmesg | grep nvme (on this node)"),
    }
}

/// The old host at the name that it had.
pub fn old_name(mode: Mode, came: &Result<(), Denied>) -> Row {
    const CHECK: &str = "drill old name";
    if mode == Mode::Static {
        return Row::warning(
            CHECK,
            "below RouterOS 7.21 an export keeps its name: the list of hosts alone keeps an old \
             host out",
        )
        .mend("/system/package/update/check-for-updates; /system/package/update/install");
    }
    match came {
        Err(denied) if denied.by_box => Row::ok(CHECK, "nobody gets in under the name before"),
        Err(denied) => untried(CHECK, denied),
        Ok(()) => Row::fault(
            CHECK,
            "the box lets a host in under the name that the fence took away: one that was shut out \
             comes back and writes what it had queued",
        )
        .mend(UNSAFE),
    }
}

/// The old host at the name that is exported to another one. `listed`: has the box lists of hosts?
pub fn other_host(listed: bool, came: &Result<(), Denied>) -> Row {
    const CHECK: &str = "drill other host";
    match came {
        Err(denied) if denied.by_box => Row::ok(CHECK, "a host that is not on the list is refused"),
        Err(denied) => untried(CHECK, denied),
        Ok(()) if !listed => Row::warning(
            CHECK,
            "the box has no lists of hosts: the name that nobody can guess is all that keeps others \
             out",
        )
        .mend("/ip/firewall/filter/print where chain=input (the storage port for nodes alone)"),
        Ok(()) => Row::fault(
            CHECK,
            "the box lets another host in than the one on its list: any host that learns the name \
             of a volume can write to it",
        )
        .mend("/disk/print detail where nvme-tcp-server-allow-host-name~\"uuid\"")
        .mend(UNSAFE),
    }
}

fn untried(check: &'static str, denied: &Denied) -> Row {
    let text = format!("the box refused nobody, it could not be asked: {}", denied.why);
    Row::fault(check, text).mend("dmesg | grep nvme (on this node)")
}

/// The first host under a generation of its own again.
pub fn back(found: Result<Found, &String>) -> Row {
    const CHECK: &str = "drill return";
    let mend = |row: Row| row.mend("dmesg | grep nvme (on this node)").mend(EXPORTED);
    match found {
        Ok(found) if found.is_right() => {
            Row::ok(CHECK, "attached anew, the first host gets in, and reads what the other wrote")
        }
        Ok(Found { lost, .. }) => {
            mend(Row::fault(CHECK, format!("{lost} blocks that the other host wrote are not read")))
        }
        Err(why) => mend(Row::fault(CHECK, format!("the first host does not get in again: {why}"))),
    }
}

/// How a host came back when its export was repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comeback {
    /// Did its kernel come by itself? Else the drill connected it, as a node's agent does.
    pub by_itself: bool,
    /// How long it took from the repair on.
    pub took: Duration,
    /// What is read then, of what stood there before.
    pub before: Found,
    /// And of what was written after.
    pub after: Found,
}

/// An export that was lost for a moment and is put back under exactly its name.
pub fn repair(came: Result<Comeback, &String>) -> Row {
    const CHECK: &str = "drill repair";
    let mend = |row: Row| row.mend("dmesg | grep nvme (on this node)").mend(EXPORTED);
    match came {
        Err(why) => {
            mend(Row::fault(CHECK, format!("the host does not come back after a repair: {why}")))
        }
        Ok(came) if came.before.is_right() && came.after.is_right() => {
            let how = match came.by_itself {
                true => "the kernel comes back by itself",
                false => "the kernel had given up and is connected again, as a node's agent does",
            };
            let after = came.took.as_secs_f64();
            let text =
                format!("{how}, {after:.1} s after the export was put back; data is as it was");
            Row::ok(CHECK, text)
        }
        Ok(came) => {
            let lost = came.before.lost + came.after.lost;
            mend(Row::fault(CHECK, format!("{lost} blocks are not what they were after a repair")))
        }
    }
}

/// What is left: connections on this node, and the row of the scratch disk.
pub fn removal(left: &Result<Vec<String>, String>, disk: Row) -> Row {
    let disk = Row { check: REMOVAL, ..disk };
    match left {
        Ok(names) if names.is_empty() => disk,
        Ok(names) => {
            let row = Row::fault(REMOVAL, format!("connections are left: {}", names.join(", ")));
            let row = names.iter().fold(row, |row, name| {
                row.mend(format!("echo 1 >/sys/class/nvme/{name}/delete_controller"))
            });
            disk.repairs.into_iter().fold(row, Row::mend)
        }
        Err(why) => {
            let text = format!("connections may be left on this node: {why}");
            let row = Row::fault(REMOVAL, text)
                .mend("grep -H rds-csi-doctor /sys/class/nvme/*/subsysnqn");
            disk.repairs.into_iter().fold(row, Row::mend)
        }
    }
}

#[cfg(test)]
mod test;
