//! The effective configuration as TOML that could be loaded again.

use std::fmt::Write as _;

use serde_json::Value;

use super::Config;

/// All keys with their values, tables last.
pub fn toml(config: &Config) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    table(&mut text, "", &serde_json::to_value(config)?);
    Ok(text)
}

fn table(text: &mut String, path: &str, value: &Value) {
    let Some(members) = value.as_object() else {
        return;
    };
    let (tables, values): (Vec<_>, Vec<_>) = members.iter().partition(|(_, v)| v.is_object());
    // Writing to a String cannot fail.
    if !path.is_empty() && !values.is_empty() {
        let _ = writeln!(text, "\n[{path}]");
    }
    for (key, value) in values {
        // The text of JSON is also TOML, but for an unset value.
        let shown = if value.is_null() { "\"\"".to_owned() } else { value.to_string() };
        let _ = writeln!(text, "{key} = {shown}");
    }
    for (key, value) in tables {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        table(text, &path, value);
    }
}
