//! The `/file` menu. Names have no leading slash here, while `/disk` prints paths with one.

use std::sync::Arc;

use super::pool;
use super::row::Row;
use super::store::{Context, Failure, File, Store};
use super::value::Value;

/// Every file, in the order of the ids.
pub fn rows(store: &Store) -> Vec<Row> {
    store.files.iter().map(|(id, file)| row(*id, file)).collect()
}

fn row(id: u32, file: &File) -> Row {
    let mut fields = vec![("name", Value::text(&file.name)), ("type", Value::text(&file.kind))];
    if !is_folder(file) {
        fields.push(("size", Value::Number(file.size)));
    }
    fields.push(("last-modified", Value::Text(date_text(file.modified))));
    Row { id, flags: Vec::new(), fields }
}

fn is_folder(file: &File) -> bool {
    matches!(file.kind.as_str(), "directory" | "disk")
}

/// Makes a file; its folder must be there, unless the box makes folders.
pub fn create(
    store: &mut Store,
    context: Context<'_>,
    name: &str,
    kind: &str,
    size: i64,
) -> Result<u32, Failure> {
    let name = name.trim_start_matches('/').trim_end_matches('/');
    pool::of_path(store, name, context)?;
    if name.is_empty()
        || name.len() > 1024
        || name.split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(Failure::new("invalid value for argument name"));
    }
    if let Some((folder, _)) = name.rsplit_once('/') {
        let there = store.file(folder).is_some_and(|(_, file)| is_folder(file));
        if !there && context.quirks.makes_folders {
            create(store, context, folder, "directory", 0)?;
        } else if !there {
            return Err(Failure::new(context.quirks.texts.no_folder.as_str()));
        }
    }
    let (id, content) = (store.next_id(), store.next_content());
    let (kind, modified) = (kind.to_owned(), context.now);
    let file = File { name: name.to_owned(), kind, size, modified, content };
    store.files.insert(id, Arc::new(file));
    Ok(id)
}

/// `/file/add name= [type=directory]`.
pub fn add(
    store: &mut Store,
    context: Context<'_>,
    named: &[(String, Value)],
) -> Result<u32, Failure> {
    let text = |name: &str| {
        named.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_string()).unwrap_or_default()
    };
    let name = text("name");
    if store.file(&name).is_some() {
        return Err(Failure::new(context.quirks.texts.existing_file.as_str()));
    }
    let extension = name.rsplit('/').next().and_then(|last| last.rsplit_once('.'));
    let kind = match (text("type").as_str(), extension) {
        ("directory", _) => "directory".to_owned(),
        (_, Some((_, extension))) => format!(".{extension} file"),
        _ => "file".to_owned(),
    };
    let size = i64::try_from(text("contents").len()).unwrap_or(i64::MAX);
    create(store, context, &name, &kind, size)
}

/// `/file/remove` on one item; a folder goes with what is in it.
pub fn remove(store: &mut Store, context: Context<'_>, id: u32) -> Result<(), Failure> {
    let texts = &context.quirks.texts;
    let missing = || Failure::new(texts.no_such_item.as_str());
    let name = store.files.get(&id).map(|file| file.name.clone()).ok_or_else(missing)?;
    if store.files.get(&id).is_some_and(|file| file.kind == "disk") {
        return Err(Failure::new(texts.not_removable.as_str()));
    }
    let prefix = format!("{name}/");
    let goes = |other: &str| other == name || other.starts_with(&prefix);
    let used = store.disks.values().any(|disk| disk.image().is_some_and(|image| goes(&image)));
    if used && context.quirks.attached_file_stays {
        return Err(Failure::new(texts.file_in_use.as_str()));
    }
    store.files.retain(|_, file| !goes(&file.name));
    Ok(())
}

/// A new size; the content stays.
pub fn resize(store: &mut Store, id: u32, size: i64, now: i64) {
    if let Some(file) = store.files.get_mut(&id) {
        let file = Arc::make_mut(file);
        (file.size, file.modified) = (size, now);
    }
}

/// A new size; the content is lost.
pub fn empty(store: &mut Store, id: u32, size: i64, now: i64) {
    let content = store.next_content();
    if let Some(file) = store.files.get_mut(&id) {
        let file = Arc::make_mut(file);
        (file.size, file.modified, file.content) = (size, now, content);
    }
}

/// `2026-11-21 13:10:52` (the form of current releases).
pub fn date_text(unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    // Days to civil date, with years that start in March so that leap days come last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}", second % 60)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn dates_are_civil_dates() {
        assert_eq!(date_text(0), "1970-01-01 00:00:00");
        assert_eq!(date_text(1_732_540_252), "2024-11-25 13:10:52");
        assert_eq!(date_text(951_827_696), "2000-02-29 12:34:56");
    }
}
