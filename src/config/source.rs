//! Where the layers above the defaults come from: a file and the variables of ours.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::PathBuf;

use super::error::{ConfigError, Problem};

/// What every variable of ours begins with; its parts are joined by [`SEPARATOR`].
pub(super) const PREFIX: &str = "RDSCSI";
/// Between the parts of a variable's name. Two underscores, since keys have single ones.
pub(super) const SEPARATOR: &str = "__";
/// Longest file that is read. A ConfigMap holds 1 MiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where the layers above the defaults come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, where one was given.
    pub file: Option<PathBuf>,
    /// The variables; others than ours are ignored.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// The file and the process' own environment.
    pub fn of_process(file: Option<PathBuf>) -> Result<Self, ConfigError> {
        Self::of_variables(file, std::env::vars_os())
    }

    fn of_variables(
        file: Option<PathBuf>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut environment = BTreeMap::new();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue;
            };
            if !name.to_uppercase().starts_with(PREFIX) {
                continue;
            }
            let value = value.into_string().map_err(|_| {
                variable_problem(&name, "is not valid UTF-8", "set it to text or unset it")
            })?;
            environment.insert(name, value);
        }
        Ok(Self { file, environment })
    }

    /// The file's text, or `None` where no file was given.
    pub fn read(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let read = || {
            let mut text = String::new();
            let mut file = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1);
            file.read_to_string(&mut text)?;
            if text.len() as u64 > FILE_BYTES_MAX {
                let what = format!("has more than {FILE_BYTES_MAX} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
            }
            Ok(text)
        };
        let path = path.clone();
        read().map(Some).map_err(|source| ConfigError::File { path, source })
    }

    /// Our variables: their names in the environment by dotted key.
    pub(super) fn variables(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut variables = BTreeMap::new();
        for name in self.environment.keys() {
            let lower = name.to_lowercase();
            let prefix = format!("{PREFIX}{SEPARATOR}").to_lowercase();
            let Some(key) = lower.strip_prefix(&prefix) else {
                // RDSCSI_LOG__LEVEL would be ignored silently. Kubernetes itself injects variables
                // such as RDSCSI_SERVICE_HOST, which never have two underscores in a row.
                if lower.starts_with("rdscsi_") && lower.contains(SEPARATOR) {
                    let help = format!("begin it with {PREFIX}{SEPARATOR}");
                    return Err(variable_problem(name, "is no variable of ours", &help));
                }
                continue;
            };
            let part = |part: &str| {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                !part.is_empty() && part.bytes().all(allowed)
            };
            if !key.split(SEPARATOR).all(part) {
                let help = format!("write it like {PREFIX}__RECONCILE__INTERVAL");
                return Err(variable_problem(name, "names no key", &help));
            }
            variables.insert(key.replace(SEPARATOR, "."), name.clone());
        }
        Ok(variables)
    }
}

fn variable_problem(name: &str, what: &str, help: &str) -> ConfigError {
    ConfigError::one(Problem {
        key: name.to_owned(),
        value: None,
        origin: Some("the environment".into()),
        what: what.to_owned(),
        help: Some(help.to_owned()),
    })
}
