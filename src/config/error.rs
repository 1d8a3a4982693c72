//! Why a configuration was refused, in words that lead out of it.

use std::path::PathBuf;

/// A configuration that was refused. The binary exits with 64 (`EX_USAGE`).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    File {
        /// The file as given.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{} is not valid TOML: {reason}", path.display())]
    Syntax {
        /// The file as given.
        path: PathBuf,
        /// What the parser said, with line and column.
        reason: String,
    },
    /// Keys or values that are not as they must be. Never empty.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    pub(super) fn one(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// What is wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}{}{}: {what}{}", shown(" = ", value), shown(" in ", origin), shown("; ", help))]
pub struct Problem {
    /// Full dotted path of the key, or the name of the variable.
    pub key: String,
    /// The value, quoted where it is a text.
    pub value: Option<String>,
    /// The file or variable that it came from.
    pub origin: Option<String>,
    /// What is wrong.
    pub what: String,
    /// The way out.
    pub help: Option<String>,
}

fn shown(before: &str, part: &Option<String>) -> String {
    part.as_ref().map(|part| format!("{before}{part}")).unwrap_or_default()
}
