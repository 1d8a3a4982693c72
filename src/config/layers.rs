//! Merging the layers into one untyped value, and explaining what is wrong in it: from the error of
//! a library to key, value, origin and way out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::config::{Environment, File, FileFormat, Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::check::Finding;
use super::error::{ConfigError, Problem};
use super::reference;
use super::source::{PREFIX, SEPARATOR, Sources};

/// The table whose keys every backend inherits.
const BACKEND_DEFAULTS: &str = "backend_defaults";

/// The layers, merged but not yet typed.
pub(super) struct Layers {
    file: Option<(PathBuf, ::config::Config)>,
    /// Name of the variable by its dotted key.
    variables: BTreeMap<String, String>,
    merged: Map<String, Value>,
}

impl Layers {
    /// Merges the layers, lets every backend inherit its defaults, and chooses the only backend
    /// where none was chosen.
    pub fn new(sources: &Sources, file: Option<&str>) -> Result<Self, ConfigError> {
        let mut layers = Self::merge(sources, file)?;
        layers.inherit()?;
        layers.choose_backend()?;
        Ok(layers)
    }

    /// Merges the layers and leaves out these keys and tables, and what backends inherit.
    pub fn without(
        sources: &Sources,
        file: Option<&str>,
        left_out: &[&str],
    ) -> Result<Self, ConfigError> {
        let mut layers = Self::merge(sources, file)?;
        for key in left_out.iter().chain(&[BACKEND_DEFAULTS]) {
            layers.merged.remove(*key);
        }
        Ok(layers)
    }

    fn merge(sources: &Sources, file: Option<&str>) -> Result<Self, ConfigError> {
        let variables = sources.variables()?;
        let path = || sources.file.clone().unwrap_or_else(|| PathBuf::from("the given file"));
        let file = file.map(|text| toml(text, path())).transpose()?.map(|file| (path(), file));
        let environment = Environment::with_prefix(PREFIX)
            .separator(SEPARATOR)
            .source(Some(sources.environment.clone().into_iter().collect()));
        let mut builder = ::config::Config::builder()
            .add_source(toml(reference::DEFAULTS, "config/default.toml".into())?);
        if let Some((_, file)) = &file {
            builder = builder.add_source(file.clone());
        }
        let merged = builder.add_source(environment).build().and_then(|c| c.cache.into_table());
        let mut layers = Self { file, variables, merged: Map::new() };
        layers.merged = merged.map_err(|error| layers.explain(error))?;
        Ok(layers)
    }

    /// The typed value.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let root = Value::new(None, ValueKind::Table(self.merged.clone()));
        root.try_deserialize().map_err(|error| self.explain(error))
    }

    /// The findings of the check as an error, if there are any.
    pub fn refuse(&self, findings: Vec<Finding>) -> Result<(), ConfigError> {
        if findings.is_empty() {
            return Ok(());
        }
        let problem = |finding: Finding| self.problem(&finding.key, finding.what);
        Err(ConfigError::Invalid(findings.into_iter().map(problem).collect()))
    }

    fn inherit(&mut self) -> Result<(), ConfigError> {
        let defaults = match self.merged.remove(BACKEND_DEFAULTS).map(|value| value.kind) {
            Some(ValueKind::Table(defaults)) => defaults,
            _ => {
                return Err(ConfigError::one(self.problem(BACKEND_DEFAULTS, "must be a table")));
            }
        };
        if let Some(unknown) = defaults
            .keys()
            .find(|key| reference::line(&format!("{BACKEND_DEFAULTS}.{key}")).is_none())
        {
            let key = format!("{BACKEND_DEFAULTS}.{unknown}");
            return Err(ConfigError::one(self.problem(&key, "is no key of a backend")));
        }
        let Some(Value { kind: ValueKind::Table(backends), .. }) = self.merged.get_mut("backends")
        else {
            return Ok(());
        };
        for backend in backends.values_mut() {
            if let ValueKind::Table(backend) = &mut backend.kind {
                for (key, value) in &defaults {
                    backend.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        Ok(())
    }

    fn choose_backend(&mut self) -> Result<(), ConfigError> {
        let names: Vec<String> = match self.merged.get("backends").map(|value| &value.kind) {
            Some(ValueKind::Table(backends)) => backends.keys().cloned().collect(),
            None => Vec::new(),
            Some(_) => {
                return Err(ConfigError::one(self.problem("backends", "must be a table")));
            }
        };
        if names.is_empty() {
            return Err(ConfigError::one(Problem {
                help: Some(
                    "add a table [backends.<name>] with address, user, key_path, host_key and \
                     volume_paths"
                        .into(),
                ),
                ..self.problem("backends", "no box is configured")
            }));
        }
        for key in ["bare_ids", "default_backend"] {
            let empty = self.merged.get(key).is_none_or(
                |value| matches!(&value.kind, ValueKind::String(text) if text.is_empty()),
            );
            match names.as_slice() {
                [only] if empty => {
                    self.merged.insert(key.into(), Value::new(None, only.as_str()));
                }
                _ if empty => {
                    let mut names = names.clone();
                    names.sort();
                    let what = format!("must name one of the backends {}", names.join(", "));
                    return Err(ConfigError::one(self.problem(key, what)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Explaining: from the error of a library to key, value, origin and way out.
impl Layers {
    fn explain(&self, error: ::config::ConfigError) -> ConfigError {
        let (path, what) = take_apart(error);
        let field = what.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
        let Some((field, _)) = field else {
            return ConfigError::one(self.problem(&path, what));
        };
        let key = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        let what = what.replacen(&format!("unknown field `{field}`"), "is an unknown key", 1);
        ConfigError::one(self.problem(&key, what))
    }

    fn problem(&self, key: &str, what: impl Into<String>) -> Problem {
        let (key, origin) = self.origin(key);
        let help = reference::line(&key).map(|line| {
            let comment = line.comment.trim_start_matches("[live] ");
            format!("write it like `{} = {}` ({comment})", line.key, line.value)
        });
        Problem { value: self.value(&key), key, origin, what: what.into(), help }
    }

    /// The key and what set it. A backend's key that stands among the defaults is named there.
    fn origin(&self, key: &str) -> (String, Option<String>) {
        let inherited = key
            .strip_prefix("backends.")
            .and_then(|rest| rest.split_once('.'))
            .map(|(_, rest)| format!("{BACKEND_DEFAULTS}.{rest}"));
        for candidate in std::iter::once(key.to_owned()).chain(inherited) {
            let plain = candidate.split('[').next().unwrap_or(&candidate);
            if let Some(name) = self.variables.get(plain) {
                return (candidate, Some(format!("the variable {name}")));
            }
            if let Some((path, file)) = &self.file
                && file.get::<Value>(plain).is_ok()
            {
                return (candidate, Some(path.display().to_string()));
            }
        }
        (key.to_owned(), None)
    }

    fn value(&self, key: &str) -> Option<String> {
        let inherited = key.strip_prefix(BACKEND_DEFAULTS).and_then(|rest| {
            let backends = self.merged.get("backends")?.clone().into_table().ok()?;
            backends.keys().next().map(|name| format!("backends.{name}{rest}"))
        });
        let key = inherited.as_deref().unwrap_or(key);
        let mut value: Option<&Value> = None;
        for part in key.split('[').next()?.split('.') {
            let table = match value {
                None => &self.merged,
                Some(Value { kind: ValueKind::Table(table), .. }) => table,
                Some(_) => return None,
            };
            value = Some(table.get(part)?);
        }
        match &value?.kind {
            ValueKind::Table(_) | ValueKind::Nil => None,
            ValueKind::String(text) => Some(format!("{text:?}")),
            other => Some(other.to_string()),
        }
    }
}

fn toml(text: &str, path: PathBuf) -> Result<::config::Config, ConfigError> {
    let layer = ::config::Config::builder().add_source(File::from_str(text, FileFormat::Toml));
    layer.build().map_err(|error| ConfigError::Syntax {
        path,
        reason: error.to_string().trim_end().to_owned(),
    })
}

/// The key and the words of a library's error.
fn take_apart(error: ::config::ConfigError) -> (String, String) {
    use ::config::ConfigError as E;
    match error {
        E::NotFound(key) => (key, "is missing".into()),
        E::Type { unexpected, expected, key, .. } => {
            let what = format!("is a {unexpected}, not {expected}");
            (key.unwrap_or_default(), what)
        }
        E::At { error, key, .. } => {
            let (_, what) = take_apart(*error);
            (key.unwrap_or_default(), what)
        }
        other => (String::new(), other.to_string()),
    }
}
