//! `print detail` and `print terse`.

use std::sync::Arc;

use super::super::catalog::Menu;
use super::super::quirks::Quirks;
use super::super::row::Row;
use super::super::value::Value;
use super::text::{in_detail, plain};
use super::{FULL_LEGEND, legend, letters};

/// Continuation lines start at this column.
const INDENT: usize = 6;

/// Every property of every row; a comment stands above them after `;;;`.
pub fn detail(
    menu: Menu,
    rows: &[Arc<Row>],
    proplist: Option<&[String]>,
    quirks: &Quirks,
) -> String {
    let mut lines = Vec::new();
    let mut columns = Vec::new();
    if menu == Menu::Disk {
        let (text, used) = legend(rows).unwrap_or((FULL_LEGEND.to_owned(), Vec::new()));
        lines.extend(wrap("", &text, quirks.wrap_width, 0));
        columns = used;
    }
    let digits = rows.len().saturating_sub(1).to_string().len();
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            lines.push(" ".to_owned());
        }
        let head = format!("{number:>digits$} {} ", letters(row, &columns));
        let words = words(menu, row, proplist).join(" ");
        let comment = row.get("comment").to_string();
        if comment.is_empty() {
            lines.extend(wrap(&head, &words, quirks.wrap_width, INDENT));
        } else {
            let note = format!(";;; {comment}");
            lines.extend(wrap(&head, &note, quirks.wrap_width, INDENT));
            lines.extend(wrap(&" ".repeat(INDENT), &words, quirks.wrap_width, INDENT));
        }
    }
    padded(lines, quirks)
}

fn shows(proplist: Option<&[String]>, name: &str) -> bool {
    let plain = !matches!(name, "comment" | "disabled");
    plain && proplist.is_none_or(|names| names.iter().any(|wanted| wanted == name))
}

/// `name=value` for each property. Counters show only where they are asked for, and the type of a
/// file has a blank in it without quotes: `type=.img file`.
fn words(menu: Menu, row: &Row, proplist: Option<&[String]>) -> Vec<String> {
    let counter = |name: &str| {
        menu == Menu::Disk && super::super::property::COUNTERS.contains(&name) && proplist.is_none()
    };
    row.fields
        .iter()
        .filter(|(name, _)| shows(proplist, name) && !counter(name))
        .map(|(name, value)| match (menu, value) {
            (Menu::File, Value::Number(bytes)) => {
                format!("{name}={}", super::text::human_size(*bytes))
            }
            _ => format!("{name}={}", in_detail(name, value)),
        })
        .collect()
}

/// One line per item; nothing is quoted, so values with blanks cannot be told from the next name.
pub fn terse(menu: Menu, rows: &[Arc<Row>], proplist: Option<&[String]>) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let columns: Vec<u8> = vec![0, 1, 2, 3];
        let flags = if menu == Menu::Disk { letters(row, &columns) } else { String::new() };
        let mut words = Vec::new();
        let comment = row.get("comment").to_string();
        if !comment.is_empty() {
            words.push(format!("comment={comment}"));
        }
        for (name, value) in &row.fields {
            if shows(proplist, name) {
                words.push(format!("{name}={}", plain(name, value)));
            }
        }
        text += &format!("{number} {flags} {}\n", words.join(" "));
    }
    text
}

/// Breaks at blanks; a word longer than a line breaks where the line ends.
pub fn wrap(head: &str, text: &str, width: usize, indent: usize) -> Vec<String> {
    if width <= indent + 1 {
        return vec![format!("{head}{text}")];
    }
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    let mut room = width.saturating_sub(line.chars().count());
    let mut fresh = true;
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        let needed = rest.len() + usize::from(!fresh);
        if needed > room && !fresh {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            room = width - indent;
            fresh = true;
        }
        if !fresh {
            line.push(' ');
            room -= 1;
        }
        while rest.len() > room {
            line.extend(rest.drain(..room));
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            room = width - indent;
        }
        room -= rest.len();
        line.extend(rest);
        fresh = false;
    }
    lines.push(line);
    lines
}

/// Joins lines, each filled with blanks up to the width where the box does so.
pub fn padded(lines: Vec<String>, quirks: &Quirks) -> String {
    let width = if quirks.pad_lines { quirks.wrap_width } else { 0 };
    lines.into_iter().map(|line| format!("{line:<width$}\n")).collect()
}
