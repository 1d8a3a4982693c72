//! Rows as a person or a program reads them.

use std::io::{self, Write};

use serde::Serialize;

use super::row::{CHECKS, Report, Row, State};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Width of the column of states.
const STATES_WIDTH: usize = 11;

/// Writes a table for every box; with colours where `coloured`.
pub fn table(out: &mut dyn Write, reports: &[Report], coloured: bool) -> io::Result<()> {
    let paint = |colour: &str, text: &str| match coloured {
        true => format!("{colour}{text}{PLAIN}"),
        false => text.to_owned(),
    };
    for report in reports {
        let longest = |checks: &mut dyn Iterator<Item = &str>| checks.map(str::len).max();
        let of_all = longest(&mut CHECKS.iter().copied());
        let of_rows = longest(&mut report.rows.iter().map(|row| row.check));
        let names_width = of_all.max(of_rows).unwrap_or(0);
        writeln!(out, "{}", paint(BOLD, &format!("{} ({})", report.backend, report.address)))?;
        for row in &report.rows {
            let state = format!("{:STATES_WIDTH$}", row.state.word());
            let state = paint(colour(row), &state);
            writeln!(out, "  {:names_width$}  {state}  {}", row.check, clean(&row.found))?;
            for repair in &row.repairs {
                let indent = " ".repeat(names_width + STATES_WIDTH + 6);
                writeln!(out, "{indent}{} {}", paint(DIM, "mend:"), clean(repair))?;
            }
        }
        let count = |state| report.count(state);
        writeln!(
            out,
            "{}: {} ok, {} warnings, {} faults, {} not checked\n",
            report.backend,
            count(State::Ok),
            count(State::Warning),
            count(State::Fault),
            count(State::NotChecked)
        )?;
    }
    Ok(())
}

fn colour(row: &Row) -> &'static str {
    match row.state {
        State::Ok => GREEN,
        State::Warning => YELLOW,
        State::Fault => RED,
        State::NotChecked => DIM,
    }
}

/// What a box printed reaches the terminal; no control character of it may.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes one JSON document.
pub fn json(out: &mut dyn Write, reports: &[Report]) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        faults: usize,
        warnings: usize,
        backends: &'a [Report],
    }
    let count = |state| reports.iter().map(|report| report.count(state)).sum();
    let document = Document {
        faults: count(State::Fault),
        warnings: count(State::Warning),
        backends: reports,
    };
    serde_json::to_writer_pretty(&mut *out, &document).map_err(io::Error::from)?;
    writeln!(out)
}

#[cfg(test)]
mod test {
    use super::*;

    fn reports() -> Vec<Report> {
        let rows = vec![
            Row::ok("key file", "an Ed25519 key"),
            Row::fault("login", "refused \x1b[2J").mend("/user/print"),
        ];
        vec![Report { backend: "main".into(), address: "10.0.0.1:22".into(), rows }]
    }

    fn shown(write: impl Fn(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_plain_unless_colours_are_wanted() {
        let plain = shown(|out| table(out, &reports(), false));
        assert!(!plain.contains('\x1b'), "{plain:?}");
        assert!(plain.contains("login           fault        refused"), "{plain}");
        assert!(plain.contains("mend: /user/print"), "{plain}");
        assert!(plain.contains("1 ok, 0 warnings, 1 faults, 0 not checked"), "{plain}");
        assert!(shown(|out| table(out, &reports(), true)).contains("\x1b[31mfault"));
    }

    #[test]
    fn json_has_the_counts_and_every_row() {
        let text = shown(|out| json(out, &reports()));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["faults"], 1);
        assert_eq!(value["backends"][0]["rows"][1]["state"], "fault");
        assert_eq!(value["backends"][0]["rows"][1]["repairs"][0], "/user/print");
    }
}
