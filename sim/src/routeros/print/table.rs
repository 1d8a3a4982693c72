//! The brief table.

use std::sync::Arc;

use super::super::catalog::Menu;
use super::super::quirks::Quirks;
use super::super::row::Row;
use super::super::value::Value;
use super::detail::{padded, wrap};
use super::text::plain;
use super::{FULL_LEGEND, columns, legend, letters};

/// `Flags:`, `Columns:`, a head, and one line per item.
pub fn table(
    menu: Menu,
    rows: &[Arc<Row>],
    proplist: Option<&[String]>,
    quirks: &Quirks,
) -> String {
    let mut lines = Vec::new();
    let mut flag_columns = Vec::new();
    if menu == Menu::Disk {
        let (text, used) = legend(rows).unwrap_or((FULL_LEGEND.to_owned(), Vec::new()));
        lines.extend(wrap("", &text, quirks.wrap_width, 0));
        flag_columns = used;
    }
    let names: Vec<String> = match proplist {
        Some(names) => names.to_vec(),
        None => columns(menu).iter().map(|name| (*name).to_owned()).collect(),
    };
    let filled = |name: &&String| rows.iter().any(|row| row.get(name) != Value::Nothing);
    let names: Vec<String> = names.iter().filter(filled).cloned().collect();
    if rows.is_empty() || names.is_empty() {
        return padded(lines, quirks);
    }
    let titles: Vec<String> = names.iter().map(|name| name.to_uppercase()).collect();
    lines.extend(wrap("", &format!("Columns: {}", titles.join(", ")), quirks.wrap_width, 0));
    let digits = rows.len().saturating_sub(1).to_string().len();
    let flag_width = flag_columns.len();
    let widths: Vec<usize> = names.iter().map(|name| width(rows, name)).collect();
    let head: Vec<String> = titles
        .iter()
        .zip(&widths)
        .zip(&names)
        .map(|((title, width), name)| aligned(title, *width, is_number(rows, name)))
        .collect();
    lines.push(format!("{:<digits$} {:flag_width$} {}", "#", "", head.join("  ").trim_end()));
    for (number, row) in rows.iter().enumerate() {
        let comment = row.get("comment").to_string();
        if !comment.is_empty() {
            lines.push(format!("{:digits$} ;;; {comment}", ""));
        }
        let cells: Vec<String> = names
            .iter()
            .zip(&widths)
            .map(|(name, width)| {
                aligned(&plain(name, &row.get(name)), *width, is_number(rows, name))
            })
            .collect();
        let flags = letters(row, &flag_columns);
        lines.push(format!("{number:>digits$} {flags} {}", cells.join("  ").trim_end()));
    }
    padded(lines, quirks)
}

fn is_number(rows: &[Arc<Row>], name: &str) -> bool {
    rows.iter().any(|row| matches!(row.get(name), Value::Number(_)))
}

fn width(rows: &[Arc<Row>], name: &str) -> usize {
    let cells = rows.iter().map(|row| plain(name, &row.get(name)).chars().count());
    cells.max().unwrap_or(0).max(name.len())
}

fn aligned(text: &str, width: usize, right: bool) -> String {
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}
