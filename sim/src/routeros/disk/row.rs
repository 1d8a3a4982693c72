//! What a disk shows: its properties, computed ones included, in the order of the transcripts.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::pool;
use super::super::property::{self, DISK, DISK_FLAGS, Flag};
use super::super::row::Row;
use super::super::store::{Context, Disk, File, Properties, Store};
use super::super::value::Value;

/// Rows as they were shown last: most disks are the same from one look to the next. Good for one
/// box with one set of quirks.
#[derive(Debug, Default)]
pub struct Shown(HashMap<u32, Known>);

/// A row, and all that it was made from.
#[derive(Debug)]
struct Known {
    disk: Arc<Disk>,
    image: Option<Arc<File>>,
    free: Option<(i64, i64)>,
    row: Arc<Row>,
}

impl Shown {
    /// Every disk, in the order of the ids.
    pub fn rows(&mut self, store: &Store, context: Context<'_>) -> Vec<Arc<Row>> {
        self.0.retain(|id, _| store.disks.contains_key(id));
        store.disks.iter().map(|(id, disk)| self.row(store, *id, disk, context)).collect()
    }

    fn row(&mut self, store: &Store, id: u32, disk: &Arc<Disk>, context: Context<'_>) -> Arc<Row> {
        let image = disk.image().and_then(|path| store.file(&path)).map(|(_, file)| file);
        let free = disk.properties.contains_key("mount-point");
        let free = free.then(|| (pool::free(store, disk, context), pool::file_count(store, disk)));
        let is_same = |known: &&Known| {
            let same_image = match (&known.image, image) {
                (Some(was), Some(is)) => Arc::ptr_eq(was, is),
                (was, is) => was.is_none() && is.is_none(),
            };
            Arc::ptr_eq(&known.disk, disk) && same_image && known.free == free
        };
        if let Some(known) = self.0.get(&id).filter(is_same) {
            return Arc::clone(&known.row);
        }
        let row = Arc::new(row(store, id, disk, context));
        let known =
            Known { disk: Arc::clone(disk), image: image.cloned(), free, row: Arc::clone(&row) };
        self.0.insert(id, known);
        row
    }
}

fn row(store: &Store, id: u32, disk: &Disk, context: Context<'_>) -> Row {
    let shown = properties(store, disk, context);
    let fields = DISK
        .iter()
        .filter(|property| context.version.at_least(7, property.since))
        .filter_map(|property| Some((property.name, shown.get(property.name)?.clone())))
        .collect();
    Row { id, flags: flags(disk), fields }
}

/// Flags that are set.
fn flags(disk: &Disk) -> Vec<Flag> {
    let has_size = disk.properties.contains_key("size") || disk.image().is_some();
    DISK_FLAGS
        .iter()
        .filter(|flag| match flag.name {
            "empty" => !has_size,
            "block-device" => has_size && !disk.is("disabled"),
            "mounted" => pool::is_mounted(disk),
            "raid-member" => {
                let master = disk.text("raid-master");
                !master.is_empty() && master != "none"
            }
            "nvme-tcp-export" => disk.exported(),
            name => disk.is(name),
        })
        .copied()
        .collect()
}

fn properties(store: &Store, disk: &Disk, context: Context<'_>) -> Properties {
    let mut shown = disk.properties.clone();
    shown.remove("nvme-tcp-server-password");
    let has_size = shown.contains_key("size") || disk.image().is_some();
    if has_size {
        for name in ["slot-default", "parent"] {
            shown.entry(name).or_insert_with(|| Value::text(""));
        }
        for name in ["fs", "model"] {
            shown.entry(name).or_insert_with(|| Value::text("-"));
        }
        for name in [
            "mount-read-only",
            "compress",
            "nvme-tcp-export",
            "iscsi-export",
            "nfs-sharing",
            "smb-sharing",
            "media-sharing",
            "swap",
        ] {
            shown.entry(name).or_insert(Value::Bool(false));
        }
        shown.entry("mount-filesystem").or_insert(Value::Bool(true));
        shown.entry("sector-size").or_insert(Value::Number(512));
        for name in ["raid-master", "media-interface"] {
            shown.entry(name).or_insert_with(|| Value::text("none"));
        }
    }
    shown.entry("disabled").or_insert(Value::Bool(false));
    show_pool(store, disk, context, &mut shown);
    show_image(store, disk, context, &mut shown);
    show_export(disk, context, &mut shown);
    show_counters(disk, context, has_size, &mut shown);
    shown
}

fn show_pool(store: &Store, disk: &Disk, context: Context<'_>, shown: &mut Properties) {
    if !shown.contains_key("mount-point") {
        return;
    }
    if !pool::is_mounted(disk) {
        shown.remove("mount-point");
        return;
    }
    let (size, free) = (disk.number("size"), pool::free(store, disk, context));
    let used_percent = (size - free).saturating_mul(100) / size.max(1);
    let inodes = size / 10_240;
    shown.insert("free", Value::Number(free));
    shown.insert("total-inodes", Value::Number(inodes));
    shown.insert("free-inodes", Value::Number(inodes - 3 - pool::file_count(store, disk)));
    shown.insert("use", Value::Text(format!("{used_percent}%")));
}

/// The image: its path twice, its size twice. An image whose file is gone has no size.
fn show_image(store: &Store, disk: &Disk, context: Context<'_>, shown: &mut Properties) {
    let Some(path) = disk.image() else { return };
    let printed = if context.quirks.path_slash { format!("/{path}") } else { path.clone() };
    shown.insert("model", Value::Text(printed.clone()));
    shown.insert("file-path", Value::Text(printed));
    shown.entry("file-offset").or_insert(Value::Number(0));
    match store.file(&path) {
        Some((_, file)) => {
            shown.insert("size", Value::Number(file.size));
            shown.insert("file-size", Value::Number(file.size));
        }
        None => {
            shown.remove("size");
        }
    }
}

fn show_export(disk: &Disk, context: Context<'_>, shown: &mut Properties) {
    const SERVER: [&str; 3] =
        ["nvme-tcp-server-port", "nvme-tcp-server-nqn", "nvme-tcp-server-allow-host-name"];
    let exported = disk.is("nvme-tcp-export");
    if exported {
        shown.insert("nvme-tcp-server-port", Value::Number(disk.port()));
        shown.insert("nvme-tcp-server-nqn", Value::Text(disk.nqn(context.version)));
        shown.entry("nvme-tcp-server-allow-host-name").or_insert_with(|| Value::text(""));
    } else if context.quirks.unexported_hides_server {
        for name in SERVER {
            shown.remove(name);
        }
    }
}

fn show_counters(disk: &Disk, context: Context<'_>, has_size: bool, shown: &mut Properties) {
    if context.quirks.no_counters || !context.quirks.counters_in_rows || !has_size {
        return;
    }
    for name in property::COUNTERS {
        shown.insert(name, counter(disk, name));
    }
}

/// A counter by its name.
fn counter(disk: &Disk, name: &str) -> Value {
    let counters = disk.counters;
    let value = match name {
        "read-ops" => counters.read_ops,
        "read-bytes" => counters.read_bytes,
        "write-ops" => counters.write_ops,
        "write-bytes" => counters.write_bytes,
        "in-flight-ops" => counters.in_flight_ops,
        _ => 0,
    };
    Value::Number(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod test {
    use crate::routeros::{Quirks, RouterOs, Version};

    #[test]
    fn a_row_that_was_shown_before_shows_what_has_changed_since() {
        let os = RouterOs::new(Version::V7_24_4, Quirks::default());
        let path = "storage-pool/v.img";
        os.exec(&format!("/disk/add type=file slot=v file-path={path} file-size=1G"));
        let shown = |slot: &str, property: &str| {
            let line = format!(":put [/disk/get [/disk/find where slot=\"{slot}\"] {property}]");
            os.exec(&line).text().trim().to_owned()
        };
        let free = || shown("storage-pool", "free").parse::<i64>().unwrap();
        let (free_before, slash_before) = (free(), shown("v", "file-path"));
        assert_eq!(
            (shown("v", "size").as_str(), shown("v", "comment").as_str()),
            ("1073741824", "")
        );

        os.exec("/disk/set v comment=c nvme-tcp-export=yes");
        assert_eq!(shown("v", "comment"), "c");
        let nqn = "nqn.2000-02.com.mikrotik:v";
        os.connect_host("nqn.host", nqn, 4420).unwrap().write(4096).unwrap();
        assert_eq!(shown("v", "write-ops"), "1");
        assert_eq!(shown("storage-pool", "write-ops"), "1");
        os.exec("/disk/set v file-size=2G");
        assert_eq!(shown("v", "size"), "2147483648");
        assert_eq!(free(), free_before - (1 << 30));
        os.change_quirks(|quirks| quirks.path_slash = !quirks.path_slash);
        assert_ne!(shown("v", "file-path"), slash_before);
        os.exec(&format!("/file/remove {path}"));
        assert_eq!(shown("v", "size"), "");
        os.exec("/disk/remove v");
        assert_eq!(shown("v", "comment"), "no such item");
    }
}
