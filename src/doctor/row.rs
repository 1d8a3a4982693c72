//! One row of the doctor's table: what was looked at, how it is, what mends it.

use serde::Serialize;

use super::drill::rows;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As the driver needs it.
    Ok,
    /// The driver works, but somebody should look.
    Warning,
    /// The driver does not work, or not safely.
    Fault,
    /// Nothing is known, and the row says why.
    NotChecked,
}

impl State {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
            Self::NotChecked => "not checked",
        }
    }
}

/// Every check but those of a drill ([`rows::CHECKS`]), in the order in which they are made and shown.
pub const CHECKS: &[&str] = &[
    "key file",
    "address",
    "algorithms",
    "host key",
    "login",
    "policies",
    "version",
    "package",
    "json",
    "exit status",
    "line length",
    "sessions",
    "pool",
    "directory",
    "nvme port",
    "scratch disk",
    "comment length",
    "export",
    "counters",
    "removal",
];

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Which of [`CHECKS`] or of a drill's.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found, in one sentence without secrets.
    pub found: String,
    /// What mends it: RouterOS commands (they begin with `/`), shell commands or keys of the
    /// configuration, in the order in which to try them. Empty where nothing is to be mended.
    pub repairs: Vec<String>,
}

impl Row {
    fn new(check: &'static str, state: State, found: impl Into<String>) -> Self {
        Self { check, state, found: found.into(), repairs: Vec::new() }
    }

    /// As the driver needs it.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found)
    }

    /// Works, with a doubt.
    pub fn warning(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, State::Warning, found)
    }

    /// Does not work.
    pub fn fault(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, State::Fault, found)
    }

    /// Nothing is known, because of `why`.
    pub fn not_checked(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, State::NotChecked, why)
    }

    /// The same with one more thing that mends it.
    #[must_use]
    pub fn mend(mut self, repair: impl Into<String>) -> Self {
        self.repairs.push(repair.into());
        self
    }
}

/// The rows of one box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its name in the configuration.
    pub backend: String,
    /// `host:port`.
    pub address: String,
    /// In the order of [`CHECKS`].
    pub rows: Vec<Row>,
}

impl Report {
    /// How many rows are in that state.
    pub fn count(&self, state: State) -> usize {
        self.rows.iter().filter(|row| row.state == state).count()
    }

    /// Adds a row for every one of `checks` that has none, because of `why`, and puts all in order.
    pub fn complete(&mut self, checks: &[&'static str], why: &str) {
        for check in checks {
            if !self.rows.iter().any(|row| row.check == *check) {
                self.rows.push(Row::not_checked(check, why));
            }
        }
        let all = || CHECKS.iter().chain(rows::CHECKS);
        let place = |row: &Row| all().position(|check| *check == row.check);
        self.rows.sort_by_key(place);
    }
}

#[cfg(test)]
pub(super) mod test {
    use super::*;

    /// What every check's row is like: whatever is not in order comes with what mends it.
    pub fn expect(row: &Row, state: State, found: &str, repair: &str) {
        assert_eq!(row.state, state, "{row:?}");
        assert!(row.found.contains(found), "{row:?}");
        assert!(row.repairs.join("\n").contains(repair), "{row:?}");
        let mended = matches!(state, State::Fault | State::Warning);
        assert_eq!(mended, !row.repairs.is_empty(), "{row:?}");
    }

    #[test]
    fn what_was_not_looked_at_is_said_and_every_row_has_its_place() {
        let rows = vec![Row::fault("login", "no"), Row::ok("key file", "a key")];
        let mut report = Report { backend: "main".into(), address: "a:22".into(), rows };
        report.complete(CHECKS, "nobody is logged in");
        let checks: Vec<&str> = report.rows.iter().map(|row| row.check).collect();
        assert_eq!(checks, CHECKS);
        assert_eq!(report.count(State::NotChecked), CHECKS.len() - 2);
        assert_eq!(report.rows[0].state, State::Ok);
    }
}
