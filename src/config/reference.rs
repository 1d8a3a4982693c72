//! What `config/default.toml` says about a key, for error messages.

/// The built-in layer, which is also the reference of all keys.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// One line of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key without its table.
    pub key: &'static str,
    /// Default, or an example where there is none, as written in TOML.
    pub value: &'static str,
    /// What the key means.
    pub comment: &'static str,
}

/// The line about `key`. Keys of a backend are found among the defaults, too.
pub fn line(key: &str) -> Option<Line> {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let name = name.split('[').next().unwrap_or(name);
    let of_backend = table.starts_with("backends.") || table == "backend_defaults";
    lines()
        .find(|(found, line)| {
            let same = *found == table
                || (of_backend && (*found == "backend_defaults" || found.starts_with("backends.")));
            same && line.key == name
        })
        .map(|(_, line)| line)
}

/// All lines with their table, examples in comments included.
pub fn lines() -> impl Iterator<Item = (&'static str, Line)> {
    let mut table = "";
    DEFAULTS.lines().filter_map(move |line| {
        let line = line.strip_prefix("# ").unwrap_or(line).trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name;
            return None;
        }
        let (key, rest) = line.split_once(" = ")?;
        let (value, comment) = rest.split_once(" # ")?;
        let bare = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let (value, comment) = (value.trim(), comment.trim());
        bare.then_some((table, Line { key, value, comment }))
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_key_is_found_with_its_default_and_comment() {
        let found = line("reconcile.interval").unwrap();
        assert_eq!(found.value, "\"5m\"");
        assert!(found.comment.starts_with("[live] time between two passes"));
        assert_eq!(line("backends.any.poll_deadline").unwrap().value, "\"3s\"");
        assert_eq!(line("backends.any.host_key[1]").unwrap().key, "host_key");
        assert_eq!(line("bare_ids").unwrap().value, "\"\"");
        assert_eq!(line("reconcile.poll_deadline"), None);
    }
}
