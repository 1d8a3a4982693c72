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
    if is_live(path) {
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

#[cfg(test)]
mod test {
    use super::*;
    use crate::config::Sources;

    const TWO_BOXES: &str = r#"
bare_ids = "a"
default_backend = "a"
[backend_defaults]
user = "rds-csi"
key_path = "/key"
host_key = "SHA256:x"
volume_paths = "pool/volumes"
[backends.a]
address = "10.0.0.1"
[backends.b]
address = "10.0.0.2"
"#;

    fn config(text: &str) -> Config {
        Config::parse(&Sources::default(), Some(text)).unwrap()
    }

    /// Keys of the live changes and of those that wait for a restart.
    fn changed(new: &str) -> (Vec<String>, Vec<String>) {
        let diff = live_changes(&config(TWO_BOXES), &config(new)).unwrap();
        let keys = |changes: Vec<Change>| changes.into_iter().map(|change| change.key).collect();
        (keys(diff.live), keys(diff.restart))
    }

    #[test]
    fn each_key_is_live_or_waits_for_a_restart() {
        let root = |more: &str| format!("{TWO_BOXES}{more}");
        let shared = |more: &str| TWO_BOXES.replace("key_path", &format!("{more}\nkey_path"));
        for (new, live, restart) in [
            (root(""), vec![], vec![]),
            (root("[reconcile]\ninterval = \"300s\""), vec![], vec![]),
            (
                root("[reconcile]\ninterval = \"1m\""),
                vec!["reconcile.interval"],
                vec![],
            ),
            (
                root("[reconcile]\nmax_unhealthy = \"50%\""),
                vec!["reconcile.max_unhealthy"],
                vec![],
            ),
            (root("[events]\nburst = 3"), vec!["events.burst"], vec![]),
            (root("[log]\nlevel = \"debug\""), vec!["log.level"], vec![]),
            (root("[log]\nformat = \"json\""), vec![], vec!["log.format"]),
            (
                root("[http]\nlisten = \"0.0.0.0:1\""),
                vec![],
                vec!["http.listen"],
            ),
            (
                root("[log]\nlevel = \"debug\"\nformat = \"json\""),
                vec!["log.level"],
                vec!["log.format"],
            ),
            (
                shared("poll_interval = \"2s\""),
                vec!["backends.a.poll_interval", "backends.b.poll_interval"],
                vec![],
            ),
            (
                shared("lanes = 2"),
                vec![],
                vec!["backends.a.lanes", "backends.b.lanes"],
            ),
            (
                TWO_BOXES.replace("10.0.0.2", "10.0.0.3"),
                vec![],
                vec!["backends.b.address", "backends.b.nvme_address"],
            ),
            (
                TWO_BOXES.replace("default_backend = \"a\"", "default_backend = \"b\""),
                vec![],
                vec!["default_backend"],
            ),
            (
                root("[backends.c]\naddress = \"10.0.0.3\""),
                vec![],
                vec!["backends.c"],
            ),
            (
                TWO_BOXES.replace("backends.b", "backends.c"),
                vec![],
                vec!["backends.b", "backends.c"],
            ),
            (root("[cluster]\nid = \"x\""), vec![], vec!["cluster.id"]),
        ] {
            let (found_live, found_restart) = changed(&new);
            assert_eq!(
                (found_live, found_restart),
                (owned(&live), owned(&restart)),
                "{new}"
            );
        }
    }

    fn owned(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn only_live_changes_are_applied() {
        let running = config(TWO_BOXES);
        let mixed = TWO_BOXES
            .replace("10.0.0.2", "10.0.0.3")
            .replace("key_path", "poll_interval = \"2s\"\nkey_path");
        let new = config(&format!(
            "{mixed}[log]\nlevel = \"debug\"\nformat = \"json\""
        ));
        let applied = apply(&running, &live_changes(&running, &new).unwrap()).unwrap();
        let mut wanted = running.clone();
        wanted.log.level = crate::config::log::Level::Debug;
        for backend in wanted.backends.values_mut() {
            backend.poll_interval = std::time::Duration::from_secs(2);
        }
        assert_eq!(applied, wanted);
    }
}
