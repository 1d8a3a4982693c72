//! What `print` shows: tables, `detail`, `terse`, `as-value`, and `monitor-traffic`.
//!
//! Layouts follow the transcripts of an RDS2216 (7.24) and of older builds. Lines end with `\n`
//! here; wrapping at the terminal's width also breaks inside a word that is longer than a line.

mod detail;
mod table;
mod text;

use std::sync::Arc;

use super::catalog::Menu;
use super::property::{self, DISK_FLAGS, Flag};
use super::quirks::Quirks;
use super::row::Row;
use super::value::{Array, Value};

pub use text::monitor;

/// The layouts of `print`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A table of the main columns.
    Brief,
    /// Every property, wrapped.
    Detail,
    /// One line per item, values without quotes.
    Terse,
}

/// The columns of the brief table.
fn columns(menu: Menu) -> &'static [&'static str] {
    match menu {
        Menu::Disk => &["slot", "model", "serial", "interface", "size", "free", "fs"],
        Menu::File => &["name", "type", "size", "last-modified"],
        Menu::IpService => &["name", "port", "max-sessions"],
        Menu::User => &["name", "group"],
        Menu::SystemScript => &["name", "run-count"],
        Menu::SystemScheduler => &["name", "start-time", "run-count"],
        _ => &[],
    }
}

/// The text of a `print`.
pub fn text(
    menu: Menu,
    rows: &[Arc<Row>],
    proplist: Option<&[String]>,
    style: Style,
    quirks: &Quirks,
) -> String {
    if menu.is_single() {
        let fields = rows.first().map(|row| row.fields.as_slice()).unwrap_or_default();
        return text::settings(fields);
    }
    match style {
        Style::Brief => table::table(menu, rows, proplist, quirks),
        Style::Detail => detail::detail(menu, rows, proplist, quirks),
        Style::Terse => detail::terse(menu, rows, proplist),
    }
}

/// Whether `get` knows the name for this item.
pub fn knows(menu: Menu, row: &Row, name: &str) -> bool {
    name == ".id"
        || row.fields.iter().any(|(field, _)| *field == name)
        || (menu == Menu::Disk
            && (property::disk(name).is_some() || DISK_FLAGS.iter().any(|flag| flag.name == name)))
}

/// Rows as maps: flags are keys, sizes are plain numbers, what is not set is absent.
pub fn as_value(
    menu: Menu,
    rows: &[Arc<Row>],
    proplist: Option<&[String]>,
    detail: bool,
    quirks: &Quirks,
) -> Vec<Value> {
    let wanted = |name: &str| match proplist {
        Some(names) => names.iter().any(|wanted| wanted == name),
        None => detail || name == ".id" || menu.is_single() || columns(menu).contains(&name),
    };
    rows.iter().map(|row| map_of(menu, row, &wanted, proplist, quirks)).collect()
}

fn map_of(
    menu: Menu,
    row: &Row,
    wanted: &dyn Fn(&str) -> bool,
    proplist: Option<&[String]>,
    quirks: &Quirks,
) -> Value {
    let mut array = Array::default();
    if wanted(".id") && !menu.is_single() {
        array.map.insert(".id".to_owned(), Value::Id(row.id));
    }
    for (name, value) in &row.fields {
        if wanted(name) {
            array.map.insert((*name).to_owned(), shown(name, value, quirks));
        }
    }
    if menu != Menu::Disk {
        return Value::Array(array);
    }
    for flag in DISK_FLAGS {
        let set = row.flags.contains(flag);
        if (set || quirks.false_flags) && wanted(flag.name) {
            array.map.entry(flag.name.to_owned()).or_insert(Value::Bool(set));
        }
    }
    if quirks.missing_as_empty {
        let all = property::DISK.iter().map(|property| property.name.to_owned());
        let names: Vec<String> = match proplist {
            Some(names) => names.to_vec(),
            None => all.filter(|name| wanted(name)).collect(),
        };
        for name in names {
            array.map.entry(name).or_insert_with(|| Value::text(""));
        }
    }
    Value::Array(array)
}

/// A value as `as-value` gives it.
fn shown(name: &str, value: &Value, quirks: &Quirks) -> Value {
    match value {
        Value::Bool(set) if quirks.export_as_word && name.ends_with("-export") => {
            Value::text(if *set { "yes" } else { "no" })
        }
        other => other.clone(),
    }
}

/// `Flags: B - BLOCK-DEVICE; M - MOUNTED`: only flags in use; a flag of another column comes after
/// `;`, one of the same column after `,`.
fn legend(rows: &[Arc<Row>]) -> Option<(String, Vec<u8>)> {
    let used: Vec<&Flag> =
        DISK_FLAGS.iter().filter(|flag| rows.iter().any(|row| row.flags.contains(flag))).collect();
    if used.is_empty() {
        return None;
    }
    let mut text = "Flags: ".to_owned();
    let mut columns: Vec<u8> = Vec::new();
    for flag in used {
        match columns.last() {
            None => {}
            Some(last) if *last == flag.column => text += ", ",
            Some(_) => text += "; ",
        }
        if columns.last() != Some(&flag.column) {
            columns.push(flag.column);
        }
        text += &format!("{} - {}", flag.letter, flag.name.to_uppercase());
    }
    Some((text, columns))
}

/// The legend that older builds print, and every build where no item is listed.
const FULL_LEGEND: &str = "Flags: X - disabled, E - empty, B - block-device; M - mounted, \
                           F - formatting; f - raid-member-failed, r - raid-member; \
                           t - nvme-tcp-export";

/// The letters of one row: one place per column.
fn letters(row: &Row, columns: &[u8]) -> String {
    let letter = |column: &u8| row.flags.iter().find(|flag| flag.column == *column);
    columns.iter().map(|column| letter(column).map_or(' ', |flag| flag.letter)).collect()
}

#[cfg(test)]
mod test;
