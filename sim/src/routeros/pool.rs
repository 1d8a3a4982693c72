//! The pool that holds the images: a RAID with a file system, its members, the empty slots.

use std::sync::Arc;

use super::store::{Context, Counters, Disk, Failure, File, Properties, Store};
use super::value::Value;

/// Bytes that the file system itself takes: what a fresh XFS of this size shows as used.
const OVERHEAD_PER_MILLE: i64 = 7;

/// Physical slots of an RDS2216.
const SLOTS: usize = 20;

/// Builds the disks of a new box: one pool of `size` bytes over four members, 16 empty slots.
pub fn furnish(store: &mut Store, name: &str, size: i64, now: i64) {
    let pool = Disk { properties: raid(name, size), counters: Counters::default() };
    let id = store.next_id();
    store.disks.insert(id, Arc::new(pool));
    for slot in 1..=SLOTS {
        let properties = if slot <= 4 { member(name, slot, size / 4) } else { empty(slot) };
        let id = store.next_id();
        store.disks.insert(id, Arc::new(Disk { properties, counters: Counters::default() }));
    }
    let id = store.next_id();
    let content = store.next_content();
    let folder =
        File { name: name.to_owned(), kind: "disk".to_owned(), size: 0, modified: now, content };
    store.files.insert(id, Arc::new(folder));
}

fn raid(name: &str, size: i64) -> Properties {
    let text = |text: &str| Value::text(text);
    Properties::from([
        ("type", text("raid")),
        ("slot", text(name)),
        ("fs-label", text(name)),
        ("fs-uuid", text("40437dbc-2318-45dc-817b-b3bb95cf48ab")),
        ("fs", text("xfs")),
        ("model", text("RAID0 striped")),
        ("size", Value::Number(size)),
        ("mount-point", text(name)),
        ("mount-filesystem", Value::Bool(true)),
        ("raid-type", text("0")),
        ("raid-device-count", Value::Number(4)),
        ("raid-max-component-size", text("none")),
        ("raid-chunk-size", text("256K")),
        ("raid-master", text("none")),
        ("state", text("clean")),
        ("raid-uuid", text("eadca0af-ecff031c-239758ad-951a47de")),
    ])
}

fn member(pool: &str, slot: usize, size: i64) -> Properties {
    let role = i64::try_from(slot).unwrap_or(0) - 1;
    Properties::from([
        ("type", Value::text("hardware")),
        ("slot", Value::Text(format!("nvme{slot}"))),
        ("slot-default", Value::Text(format!("nvme{slot}"))),
        ("model", Value::text("U.2 SSD 4TG2-P")),
        ("serial", Value::Text(format!("SIM{slot:09}"))),
        ("interface", Value::text("NVMe")),
        ("size", Value::Number(size)),
        ("mount-filesystem", Value::Bool(false)),
        ("raid-master", Value::text(pool)),
        ("raid-role", Value::Number(role)),
        ("raid-member-failed", Value::Bool(false)),
        ("raid-member-state", Value::Text(format!("{role}:in_sync"))),
        ("state", Value::text("clean")),
    ])
}

fn empty(slot: usize) -> Properties {
    Properties::from([
        ("type", Value::text("hardware")),
        ("slot", Value::Text(format!("nvme{slot}"))),
        ("slot-default", Value::Text(format!("nvme{slot}"))),
    ])
}

/// The mounted pool in which a path lies.
pub fn of_path<'a>(
    store: &'a Store,
    path: &str,
    context: Context<'_>,
) -> Result<&'a Arc<Disk>, Failure> {
    let root = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let mounted = |disk: &&Arc<Disk>| is_mounted(disk) && disk.text("mount-point") == root;
    store
        .disks
        .values()
        .find(mounted)
        .ok_or_else(|| Failure::new(context.quirks.texts.not_mounted.as_str()))
}

/// A disk with a file system that is mounted.
pub fn is_mounted(disk: &Disk) -> bool {
    !disk.text("mount-point").is_empty() && !disk.is("disabled")
}

/// Bytes free in a pool: its size less the file system's own less every file, fully allocated.
pub fn free(store: &Store, pool: &Disk, context: Context<'_>) -> i64 {
    let size = pool.number("size");
    let prefix = format!("{}/", pool.text("mount-point"));
    let used: i64 = match context.quirks.sparse_images {
        true => 0,
        false => {
            let inside = store.files.values().filter(|file| file.name.starts_with(&prefix));
            inside.map(|file| file.size).fold(0, i64::saturating_add)
        }
    };
    let lost = pool.number("sim-lost");
    (size - size / 1000 * OVERHEAD_PER_MILLE).saturating_sub(used).saturating_sub(lost).max(0)
}

/// Files in a pool, for its inode counts.
pub fn file_count(store: &Store, pool: &Disk) -> i64 {
    let prefix = format!("{}/", pool.text("mount-point"));
    let count = store.files.values().filter(|file| file.name.starts_with(&prefix)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}
