//! Changes of `/disk`.

use std::sync::Arc;

use super::super::file;
use super::super::pool;
use super::super::property::{self, DISK_TYPES, Kind, Property};
use super::super::quirks::{ExistingFile, LongComment};
use super::super::store::{Context, Disk, Failure, Properties, Store};
use super::super::value::{Value, parse_size};

/// Names and new values; none takes the property away.
type Changes = Vec<(&'static str, Option<Value>)>;

/// `/disk/add`: the id of the new item.
pub fn add(
    store: &mut Store,
    context: Context<'_>,
    named: &[(String, Value)],
) -> Result<u32, Failure> {
    let mut disk = Disk::default();
    let plain: Vec<_> = named.iter().filter(|(name, _)| name != "copy-from").cloned().collect();
    if let Some((_, source)) = named.iter().find(|(name, _)| name == "copy-from") {
        disk.properties = copied(store, context, source)?;
    }
    for (name, value) in read_changes(context, &plain, &[])? {
        match value {
            Some(value) => disk.properties.insert(name, value),
            None => disk.properties.remove(name),
        };
    }
    if disk.text("type").is_empty() {
        return Err(Failure::new("missing value(s) of argument(s) type"));
    }
    if disk.text("slot").is_empty() {
        let slot = free_slot(store, &disk.text("type"));
        disk.properties.insert("slot", Value::Text(slot));
    }
    check_slot(store, context, &disk, None)?;
    check_nqn(store, context, &disk, None)?;
    if disk.text("type") == "file" {
        let wanted = disk.properties.remove("file-size").and_then(|size| size.as_number());
        prepare_image(store, context, &disk, wanted)?;
    }
    let id = store.next_id();
    store.disks.insert(id, Arc::new(disk));
    Ok(id)
}

/// `copy-from=` copies settings, never data (the manual's generic definition).
fn copied(store: &Store, context: Context<'_>, source: &Value) -> Result<Properties, Failure> {
    let missing = || Failure::new(context.quirks.texts.no_such_item.as_str());
    let found = match source {
        Value::Id(id) => store.disks.get(id),
        Value::Array(array) => match array.list.first() {
            Some(Value::Id(id)) => store.disks.get(id),
            _ => None,
        },
        other => store.slot(&other.to_string()).map(|(_, disk)| disk),
    };
    let mut properties = found.ok_or_else(missing)?.properties.clone();
    properties.remove("slot");
    Ok(properties)
}

fn free_slot(store: &Store, kind: &str) -> String {
    let names = (1..).map(|n: u32| format!("{kind}{n}"));
    names.into_iter().find(|name| store.slot(name).is_none()).unwrap_or_default()
}

/// Makes the image, or takes the one that is there.
fn prepare_image(
    store: &mut Store,
    context: Context<'_>,
    disk: &Disk,
    wanted: Option<i64>,
) -> Result<(), Failure> {
    let texts = &context.quirks.texts;
    let path = disk.image().filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| Failure::new("missing value(s) of argument(s) file-path"))?;
    let existing = store.file(&path).map(|(id, file)| (id, file.size));
    match (existing, wanted) {
        (Some(_), Some(_)) if context.quirks.existing_file == ExistingFile::Refuse => {
            Err(Failure::new(texts.existing_file.as_str()))
        }
        (Some((id, size)), Some(wanted))
            if context.quirks.existing_file == ExistingFile::Truncate =>
        {
            check_room(store, context, &path, wanted - size)?;
            file::empty(store, id, wanted, context.now);
            Ok(())
        }
        (Some(_), _) => Ok(()),
        (None, None) => Err(Failure::new(texts.no_such_item.as_str())),
        (None, Some(size)) => {
            if size <= 0 {
                return Err(Failure::new("invalid value for argument file-size"));
            }
            check_room(store, context, &path, size)?;
            file::create(store, context, &path, ".img file", size).map(|_| ())
        }
    }
}

fn check_room(store: &Store, context: Context<'_>, path: &str, more: i64) -> Result<(), Failure> {
    let pool = pool::of_path(store, path, context)?;
    if more > 0 && !context.quirks.sparse_images && pool::free(store, pool, context) < more {
        return Err(Failure::new(context.quirks.texts.no_space.as_str()));
    }
    Ok(())
}

/// `/disk/set`, also `unset`, `enable` and `disable`, on one item.
pub fn set(
    store: &mut Store,
    context: Context<'_>,
    id: u32,
    named: &[(String, Value)],
    unset: &[String],
) -> Result<(), Failure> {
    let texts = &context.quirks.texts;
    let missing = || Failure::new(texts.no_such_item.as_str());
    let before = Arc::clone(store.disks.get(&id).ok_or_else(missing)?);
    let mut after = Disk::clone(&before);
    let mut size = None;
    for (name, value) in read_changes(context, named, unset)? {
        match value {
            Some(value) if name == "file-size" => size = value.as_number(),
            Some(value) => {
                after.properties.insert(name, value);
            }
            None => {
                after.properties.remove(name);
            }
        }
    }
    let moved =
        after.nqn(context.version) != before.nqn(context.version) || after.port() != before.port();
    if context.quirks.nqn_needs_unexport && moved && before.exported() && after.exported() {
        return Err(Failure::new(texts.exported.as_str()));
    }
    check_slot(store, context, &after, Some(id))?;
    check_nqn(store, context, &after, Some(id))?;
    if let Some(size) = size {
        resize(store, context, &before, size)?;
    }
    store.disks.insert(id, Arc::new(after));
    Ok(())
}

fn resize(store: &mut Store, context: Context<'_>, disk: &Disk, size: i64) -> Result<(), Failure> {
    let texts = &context.quirks.texts;
    let path = disk.image().ok_or_else(|| Failure::new("invalid value for argument file-size"))?;
    let (id, file) = store.file(&path).ok_or_else(|| Failure::new(texts.no_such_item.as_str()))?;
    let more = size - file.size;
    if more == 0 {
        return Ok(());
    }
    if context.quirks.grow_needs_unexport && disk.exported() {
        return Err(Failure::new(texts.exported.as_str()));
    }
    if more < 0 && !context.quirks.shrinks {
        return Err(Failure::new(texts.shrink.as_str()));
    }
    check_room(store, context, &path, more)?;
    file::resize(store, id, size, context.now);
    Ok(())
}

/// `/disk/remove` on one item. The image stays.
pub fn remove(
    store: &mut Store,
    context: Context<'_>,
    id: u32,
    has_host: bool,
) -> Result<(), Failure> {
    let texts = &context.quirks.texts;
    let disk = store.disks.get(&id).ok_or_else(|| Failure::new(texts.no_such_item.as_str()))?;
    if disk.text("type") == "hardware" {
        return Err(Failure::new(texts.not_removable.as_str()));
    }
    if has_host && context.quirks.busy_disk_stays {
        return Err(Failure::new(texts.busy.as_str()));
    }
    store.disks.remove(&id);
    Ok(())
}

fn check_slot(
    store: &Store,
    context: Context<'_>,
    disk: &Disk,
    own: Option<u32>,
) -> Result<(), Failure> {
    let other = store.slot(&disk.text("slot")).filter(|(id, _)| Some(*id) != own);
    match other {
        Some(_) if !context.quirks.duplicate_slot => {
            Err(Failure::new(context.quirks.texts.duplicate_slot.as_str()))
        }
        _ => Ok(()),
    }
}

fn check_nqn(
    store: &Store,
    context: Context<'_>,
    disk: &Disk,
    own: Option<u32>,
) -> Result<(), Failure> {
    if context.quirks.duplicate_nqn || !disk.exported() {
        return Ok(());
    }
    let nqn = disk.nqn(context.version);
    let same = |(id, other): (&u32, &Arc<Disk>)| {
        Some(*id) != own && other.exported() && other.nqn(context.version) == nqn
    };
    match store.disks.iter().any(same) {
        true => Err(Failure::new(context.quirks.texts.duplicate_nqn.as_str())),
        false => Ok(()),
    }
}

/// Reads names and values by the table of properties.
fn read_changes(
    context: Context<'_>,
    named: &[(String, Value)],
    unset: &[String],
) -> Result<Changes, Failure> {
    let mut changes = Changes::new();
    for (name, value) in named {
        let Some(property) = property::disk(name) else {
            continue;
        };
        changes.push((property.name, Some(read(context, property, value)?)));
    }
    for name in unset {
        let Some(property) = property::disk(name) else {
            continue;
        };
        changes.push((property.name, None));
    }
    Ok(changes)
}

fn read(context: Context<'_>, property: &Property, value: &Value) -> Result<Value, Failure> {
    let name = property.name;
    let invalid = || Failure(format!("invalid value for argument {name}"));
    let no_match = || Failure(format!("input does not match any value of {name}"));
    match property.kind {
        Kind::Bool => value.as_bool().map(Value::Bool).ok_or_else(no_match),
        Kind::Number => {
            let number = value.as_number().ok_or_else(invalid)?;
            let bad_port = name.ends_with("-port") && !(1..=65_535).contains(&number);
            if number < 0 || bad_port { Err(invalid()) } else { Ok(Value::Number(number)) }
        }
        Kind::Size => parse_size(&value.to_string())
            .filter(|size| *size >= 0)
            .map(Value::Number)
            .ok_or_else(invalid),
        Kind::DiskType => {
            let text = value.to_string();
            match DISK_TYPES.contains(&text.as_str()) {
                true => Ok(Value::Text(text)),
                false => Err(no_match()),
            }
        }
        Kind::Text if name == "comment" => comment(context, value.to_string()),
        Kind::Text | Kind::Path | Kind::ReadOnly => Ok(Value::Text(value.to_string())),
    }
}

fn comment(context: Context<'_>, text: String) -> Result<Value, Failure> {
    let limit = context.quirks.comment_limit;
    if text.len() <= limit {
        return Ok(Value::Text(text));
    }
    if context.quirks.long_comment == LongComment::Refuse {
        return Err(Failure::new(context.quirks.texts.comment_too_long.as_str()));
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Ok(Value::text(&text[..end]))
}
