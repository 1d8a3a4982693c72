//! `[log]`: how much is logged and in which form.

use serde::{Deserialize, Serialize};

use super::value::words;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Least important level that is logged. Changes at run time.
    pub level: Level,
    /// The form of a record.
    pub format: Format,
}

words! {
    /// A level, most important first.
    Level {
        /// The driver cannot go on.
        Critical = "critical",
        /// Something failed that somebody has to look at.
        Error = "error",
        /// Something is wrong that may right itself.
        Warning = "warning",
        /// A change of state.
        Info = "info",
        /// What the driver does, step by step.
        Debug = "debug",
        /// Everything; left out of release builds.
        Trace = "trace",
    }
}

words! {
    /// The form of a record.
    Format {
        /// For a person on a terminal, else as JSON.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For a person, coloured on a terminal.
        Terminal = "terminal",
    }
}

impl From<Level> for slog::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Critical => Self::Critical,
            Level::Error => Self::Error,
            Level::Warning => Self::Warning,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}
