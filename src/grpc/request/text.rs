//! Bounds and forbidden characters, for every string of every request.

use std::collections::{BTreeMap, HashMap};

use super::invalid;
use crate::grpc::csi as pb;
use crate::operations::Error;
use crate::volume::Refused;

/// Longest string in bytes, where CSI names no other bound (CSI specification, Size Limits).
pub const TEXT_LENGTH_MAX: usize = 128;
/// Longest node id in bytes (CSI specification, Size Limits).
pub const NODE_ID_LENGTH_MAX: usize = 256;
/// Largest sum of keys and values of a map in bytes (CSI specification, Size Limits).
const MAP_LENGTH_MAX: usize = 4096;
/// Largest sum of all secrets in bytes. A Kubernetes Secret may be larger than CSI allows; we only
/// keep it from growing without end.
const SECRETS_LENGTH_MAX: usize = 1 << 20;

/// Has it a character that ends a line, a quote or a word for RouterOS or a shell? Everything that
/// goes to the box is quoted as well; this is the first of two fences.
fn is_hostile(c: char) -> bool {
    c.is_control() || matches!(c, '"' | '\'' | '`' | '$' | ';' | '\\' | '\u{2028}' | '\u{2029}')
}

/// A string of at most `longest` bytes without hostile characters. It may be empty.
pub fn text<'a>(field: &str, value: &'a str, longest: usize) -> Result<&'a str, Error> {
    if value.len() > longest {
        let what = format!("has {} bytes; at most {longest} are allowed", value.len());
        return Err(invalid(field, Refused::value(value, what)));
    }
    if let Some(bad) = value.chars().find(|&c| is_hostile(c)) {
        let what = format!(
            "has the character U+{:04X}; control characters, quotes, $, ; and \\ are not allowed",
            u32::from(bad)
        );
        return Err(invalid(field, Refused::value(value, what)));
    }
    Ok(value)
}

/// The same, and not empty.
pub fn required<'a>(field: &str, value: &'a str, longest: usize) -> Result<&'a str, Error> {
    if value.is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    text(field, value, longest)
}

/// A map of such strings, sorted, within the bound of a map.
pub fn map(field: &str, map: &HashMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    let length: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if length > MAP_LENGTH_MAX {
        let what = format!("has {length} bytes in all; at most {MAP_LENGTH_MAX} are allowed");
        return Err(invalid(field, what));
    }
    let sorted: BTreeMap<_, _> = map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    for (key, value) in &sorted {
        required(&format!("{field} (a key)"), key, MAP_LENGTH_MAX)?;
        text(&format!("{field}[{}]", shortened(key)), value, MAP_LENGTH_MAX)?;
    }
    Ok(sorted)
}

/// Secrets: bounded, never read and never shown.
pub fn secrets(secrets: &HashMap<String, String>) -> Result<(), Error> {
    let length: usize = secrets.iter().map(|(key, value)| key.len() + value.len()).sum();
    if length > SECRETS_LENGTH_MAX {
        let what = format!("have {length} bytes in all; at most {SECRETS_LENGTH_MAX} are allowed");
        return Err(invalid("secrets", what));
    }
    Ok(())
}

/// No driver of ours changes volumes by parameters (VolumeAttributesClass).
pub fn no_mutable_parameters(parameters: &HashMap<String, String>) -> Result<(), Error> {
    map("mutable_parameters", parameters)?;
    if parameters.is_empty() {
        return Ok(());
    }
    Err(invalid(
        "mutable_parameters",
        "are not supported; remove the VolumeAttributesClass from the claim",
    ))
}

/// Where a volume should be reachable: every node reaches every box, so that it is only looked
/// through.
pub fn topology<'a>(
    field: &str,
    topologies: impl IntoIterator<Item = &'a pb::Topology>,
) -> Result<(), Error> {
    for topology in topologies {
        map(field, &topology.segments)?;
    }
    Ok(())
}

/// A key in an error: it has passed [`text`], but may be long.
fn shortened(key: &str) -> String {
    key.chars().take(80).collect()
}
