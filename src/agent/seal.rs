//! An answer in bytes: sealed by the agent, opened by whoever asked.

use super::challenge::Challenge;
use super::document::{Document, FORMAT, Proven, Report};
use super::keys::{BYTES, Keys};
use crate::volume::{NodeName, Refused, hex};

/// Longest answer in bytes: room for a thousand volumes, more than a kernel has controllers.
pub const ANSWER_MAX: usize = 512 * 1024;

/// What was asked, of whom.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The driver's name.
    pub driver: &'a str,
    /// The node.
    pub node: &'a NodeName,
    /// What must be repeated.
    pub challenge: Challenge,
}

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It is longer than any answer.
    #[error("the answer is longer than {ANSWER_MAX} bytes")]
    Oversized,
    /// It has not the form of an answer.
    #[error("the answer does not begin with 64 hex digits and a line feed")]
    Formless,
    /// Whoever made it has not the cluster Secret, or it was changed on its way.
    #[error("the answer is not sealed with this cluster's Secret")]
    WrongSeal,
    /// It is sealed, and cannot be read.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// It has another version.
    #[error("the answer has format {0}, we read {FORMAT}")]
    OtherFormat(u32),
    /// It answers another question: somebody replays it.
    #[error("the answer is one to another challenge")]
    Replayed,
    /// It is the word of another node.
    #[error("the answer is that of node {0}")]
    OtherNode(NodeName),
    /// It is the word of another driver on that node.
    #[error("the answer is that of driver {0}")]
    OtherDriver(String),
}

/// The answer to a challenge.
///
/// # Errors
/// Where it would be too long to be read.
pub fn seal(report: &Report, keys: &Keys, asked: &Challenge) -> Result<Vec<u8>, Refused> {
    let document = Document::of(report, keys, asked)?;
    let text = serde_json::to_vec(&document)
        .map_err(|error| Refused(format!("the answer cannot be printed: {error}")))?;
    let mut answer = hex(&keys.tag(&text)?).into_bytes();
    answer.push(b'\n');
    answer.extend(text);
    if answer.len() > ANSWER_MAX {
        return Err(Refused(format!("the answer has {} bytes, {ANSWER_MAX} fit", answer.len())));
    }
    Ok(answer)
}

/// Reads an answer, if it is one to what was asked.
///
/// # Errors
/// Where it is not; nothing of what it says is to be believed then.
pub fn open(answer: &[u8], keys: &Keys, asked: Asked<'_>) -> Result<Proven, Unproven> {
    if answer.len() > ANSWER_MAX {
        return Err(Unproven::Oversized);
    }
    let (tag, text) = answer.split_at_checked(BYTES * 2).ok_or(Unproven::Formless)?;
    let tag = unhex(tag).ok_or(Unproven::Formless)?;
    let text = text.strip_prefix(b"\n").ok_or(Unproven::Formless)?;
    if !keys.is_tag(&tag, text) {
        return Err(Unproven::WrongSeal);
    }
    let document: Document =
        serde_json::from_slice(text).map_err(|error| match format_of(text) {
            Some(format) if format != FORMAT => Unproven::OtherFormat(format),
            _ => Unproven::Unreadable(error.to_string()),
        })?;
    if document.format != FORMAT {
        return Err(Unproven::OtherFormat(document.format));
    }
    if document.challenge != asked.challenge.to_string() {
        return Err(Unproven::Replayed);
    }
    if document.node != *asked.node {
        return Err(Unproven::OtherNode(document.node));
    }
    if document.driver != asked.driver {
        return Err(Unproven::OtherDriver(document.driver));
    }
    Ok(Proven { document, challenge: asked.challenge, keys: keys.clone() })
}

/// A later version may have other fields.
fn format_of(text: &[u8]) -> Option<u32> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    u32::try_from(value.get("format")?.as_u64()?).ok()
}

/// Bytes from twice as many lower-case hex digits.
pub(super) fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |b: u8| char::from(b).to_digit(16).filter(|_| !b.is_ascii_uppercase());
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (to, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *to = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}
