//! Which keys may change without a restart: a pure comparison of two configurations.

use serde_json::{Map, Value};

use super::Config;

/// Tables of which every key is live.
const LIVE_TABLES: [&str; 2] = ["reconcile", "events"];
/// Single live keys. `*` stands for the name of any backend.
const LIVE_KEYS: [&str; 10] = [
    "log.level",
    "backends.*.poll_interval",
    "backends.*.poll_deadline",
    "backends.*.command_deadline",
    "backends.*.command_deadline_per_gib",
    "backends.*.connect_deadline",
    "backends.*.backoff_min",
    "backends.*.backoff_max",
    "backends.*.backoff_jitter",
    "shutdown.deadline",
];

/// A key whose value differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Full dotted path; of a table where a whole table came or went.
    pub key: String,
    /// The running value; `null` where there is none.
    pub from: Value,
    /// The value in the new configuration; `null` where there is none.
    pub to: Value,
}

/// How a new configuration differs from the running one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diff {
    /// Changes that take effect at once.
    pub live: Vec<Change>,
    /// Changes that take effect after a restart.
    pub restart: Vec<Change>,
}

impl Diff {
    /// Whether the two are the same.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

/// Whether the key with this full dotted path takes effect without a restart.
pub fn is_live(key: &str) -> bool {
    let parts: Vec<&str> = key.split('.').collect();
    if parts
        .first()
        .is_some_and(|table| LIVE_TABLES.contains(table))
    {
        return true;
    }
    LIVE_KEYS.iter().any(|live| {
        let live: Vec<&str> = live.split('.').collect();
        live.len() == parts.len()
            && live
                .iter()
                .zip(&parts)
                .all(|(live, part)| *live == "*" || live == part)
    })
}

/// What changed from `old` to `new`, sorted by key.
pub fn live_changes(old: &Config, new: &Config) -> Result<Diff, serde_json::Error> {
    let mut diff = Diff::default();
    compare(
        "",
        &serde_json::to_value(old)?,
        &serde_json::to_value(new)?,
        &mut diff,
    );
    Ok(diff)
}

/// `running` with the live changes of `diff` and nothing else.
pub fn apply(running: &Config, diff: &Diff) -> Result<Config, serde_json::Error> {
    let mut value = serde_json::to_value(running)?;
    for change in &diff.live {
        // Live keys are leaves of both sides, so the pointer always leads somewhere.
        let pointer = format!("/{}", change.key.replace('.', "/"));
        if let Some(place) = value.pointer_mut(&pointer) {
            *place = change.to.clone();
        }
    }
    serde_json::from_value(value)
}

fn compare(path: &str, old: &Value, new: &Value, diff: &mut Diff) {
    if old == new {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (old, new) {
        return compare_tables(path, old, new, diff);
    }
    let change = Change {
        key: path.to_owned(),
        from: old.clone(),
        to: new.clone(),
    };
    let whole_table = old.is_object() || new.is_object();
    if is_live(path) && !whole_table {
        diff.live.push(change);
    } else {
        diff.restart.push(change);
    }
}

fn compare_tables(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, diff: &mut Diff) {
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let member = |table: &Map<String, Value>| table.get(key).cloned().unwrap_or(Value::Null);
        compare(&path, &member(old), &member(new), diff);
    }
}
