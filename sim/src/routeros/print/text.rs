//! How single values are written for people, and the layouts of settings and samples.

use super::super::value::Value;

/// Thousands separated by one blank: `1 099 511 627 776`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// `50.0GiB`, `1024.0GiB`, `512.0KiB`: one decimal, so digits are lost; GiB is the largest unit.
pub fn human_size(bytes: i64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        if bytes >= 1 << shift {
            let tenths = (i128::from(bytes) * 10 + (1 << (shift - 1))) >> shift;
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
    }
    bytes.to_string()
}

/// Bits per second with decimal prefixes: `0bps`, `12.8Mbps`.
pub fn rate(bits: i64) -> String {
    match bits {
        1_000_000_000.. => format!("{}.{}Gbps", bits / 1_000_000_000, bits / 100_000_000 % 10),
        1_000_000.. => format!("{}.{}Mbps", bits / 1_000_000, bits / 100_000 % 10),
        1_000.. => format!("{}.{}kbps", bits / 1_000, bits / 100 % 10),
        _ => format!("{bits}bps"),
    }
}

/// Properties whose text stands in quotes in `detail`.
const QUOTED: [&str; 17] = [
    "slot",
    "slot-default",
    "parent",
    "fs-label",
    "fs-uuid",
    "model",
    "serial",
    "fw-version",
    "interface",
    "mount-point",
    "raid-member-state",
    "state",
    "raid-uuid",
    "nvme-tcp-server-nqn",
    "nvme-tcp-server-allow-host-name",
    "comment",
    "group",
];

/// A value as `detail` writes it.
pub fn in_detail(name: &str, value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(bytes) if name == "file-size" => human_size(*bytes),
        Value::Number(number) if is_count(name) => grouped(*number),
        Value::Text(text) if QUOTED.contains(&name) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        other => other.to_string(),
    }
}

/// A value as a table or `terse` writes it.
pub fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => in_detail(name, other),
    }
}

fn is_count(name: &str) -> bool {
    matches!(name, "size" | "free")
        || name.ends_with("-inodes")
        || name.ends_with("-ops")
        || name.ends_with("-bytes")
}

/// `/system/resource/print`: names up to a colon, then the values.
pub fn settings(fields: &[(&'static str, Value)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let lines = fields.iter().map(|(name, value)| {
        let value = match value {
            Value::Number(bytes) if name.ends_with("-memory") || name.ends_with("-space") => {
                human_size(*bytes)
            }
            Value::Number(percent) if *name == "cpu-load" => format!("{percent}%"),
            other => plain(name, other),
        };
        format!("{name:>width$}: {value}\n")
    });
    lines.collect()
}

/// `/disk/monitor-traffic once`: names and values both to the right.
pub fn monitor(sample: &[(&'static str, Value)]) -> String {
    let shown: Vec<(&str, String)> = sample
        .iter()
        .map(|(name, value)| match value {
            Value::Number(bits) if name.ends_with("-rate") => (*name, rate(*bits)),
            Value::Number(ms) if name.ends_with("-time") => (*name, format!("{ms}ms")),
            Value::Number(number) => (*name, grouped(*number)),
            other => (*name, other.to_string()),
        })
        .collect();
    let left = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(22);
    let right = shown.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    let lines = shown.iter().map(|(name, value)| format!("{name:>left$}: {value:>right$}"));
    lines.collect::<Vec<_>>().join("\n")
}
