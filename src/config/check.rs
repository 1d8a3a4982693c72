//! Collects what is wrong with the values of a configuration that could be read.

use std::fmt;
use std::time::Duration;

/// What is wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Full dotted path.
    pub key: String,
    /// What is wrong with it, after the value: "must be …".
    pub what: String,
}

/// The findings so far, and the part of the configuration that is looked at.
#[derive(Debug, Default)]
pub(super) struct Check {
    part: String,
    findings: Vec<Finding>,
}

impl Check {
    /// Names the part to which the keys of the following calls belong; empty for the root.
    pub fn part(&mut self, part: impl Into<String>) -> &mut Self {
        self.part = part.into();
        self
    }

    /// Notes what is wrong with `key` unless `holds`.
    pub fn that(&mut self, holds: bool, key: &str, what: impl fmt::Display) -> &mut Self {
        if !holds {
            let key = match self.part.as_str() {
                "" => key.to_owned(),
                part => format!("{part}.{key}"),
            };
            let what = what.to_string();
            self.findings.push(Finding { key, what });
        }
        self
    }

    /// Notes that a duration lies outside of its bounds, both included.
    pub fn lasts(&mut self, key: &str, value: Duration, bounds: [Duration; 2]) -> &mut Self {
        let [least, most] = bounds;
        let shown = bounds.map(|bound| humantime::format_duration(bound).to_string());
        let what = format!("must be from {} to {}", shown[0], shown[1]);
        self.that((least..=most).contains(&value), key, what)
    }

    /// Notes that a number lies outside of its bounds, both included.
    pub fn counts(&mut self, key: &str, value: usize, [least, most]: [usize; 2]) -> &mut Self {
        let what = format!("must be from {least} to {most}");
        self.that((least..=most).contains(&value), key, what)
    }

    /// All findings, in the order of the calls.
    pub fn findings(self) -> Vec<Finding> {
        self.findings
    }
}

/// A name as Kubernetes wants it for a label of DNS (RFC 1123), of at most `longest` bytes.
pub(super) fn is_dns_label(text: &str, longest: usize) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= longest
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
