//! Takes out of a transcript what nobody outside may see. Pure.
//!
//! A capture is given to strangers, so it must hold nothing that identifies a device or opens a
//! door: serial numbers, passwords, keys, addresses; NQNs and host NQNs, whose nonces are what lets
//! a host in; comments, which people write for themselves. A value that stands in what was sent is
//! our own and stays: without it a replayed box could not show what was written to it.

use std::net::{IpAddr, SocketAddr};

use crate::attachment::ledger::PREFIX;

const REDACTED: &str = "REDACTED";

/// Whether the value of that property is taken out.
fn is_private(key: &str) -> bool {
    let parts =
        ["serial", "password", "secret", "uuid", "private", "nqn", "host-name", "passphrase"];
    let whole = ["comment", "key", "encryption-key", "label", "fs-label"];
    whole.contains(&key) || key.ends_with("-key") || parts.iter().any(|part| key.contains(part))
}

/// `text` as it may be kept; `sent` is every line that was sent so far.
pub fn redact(text: &str, sent: &str) -> String {
    addresses(&values(text, sent))
}

/// Replaces private values in `"key":"value"`, `key="value"` and `key=value`.
fn values(text: &str, sent: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, key, after)) = next_key(rest) {
        kept.push_str(before);
        let (value, tail) = split_value(after);
        let bare = value.trim_matches('"');
        let private = is_private(key) && !bare.is_empty() && !stands_in(bare, sent);
        match private {
            true => kept.push_str(&replacement(key, value)),
            false => kept.push_str(value),
        }
        rest = tail;
    }
    kept.push_str(rest);
    kept
}

fn stands_in(value: &str, sent: &str) -> bool {
    // Short values would be found in anything.
    value.len() >= 8 && sent.contains(value) || ["true", "false", "yes", "no"].contains(&value)
}

/// Numbers stay numbers, and a record of ours stays one: both are told apart when it is replayed.
fn replacement(key: &str, value: &str) -> String {
    let (open, bare) = match value.strip_prefix('"') {
        Some(inner) => ("\"", inner.trim_end_matches('"')),
        None => ("", value),
    };
    let prefix = if key == "comment" && bare.starts_with(PREFIX) { PREFIX } else { "" };
    match open.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) {
        true => "0".to_owned(),
        false => format!("{open}{prefix}{REDACTED}{open}"),
    }
}

/// The next key with its sign behind it: the text up to the value, the key, and what follows.
fn next_key(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(found) = text[from..].find(['=', ':']) {
        let at = from + found;
        let end = at + 1;
        let named = text[..at].trim_end_matches('"');
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let start = named
            .rfind(|c| !is_name(c))
            .map_or(0, |before| before + named[before..].chars().next().map_or(1, char::len_utf8));
        if start < named.len() {
            let blanks = text[end..].len() - text[end..].trim_start_matches(' ').len();
            let value = end + if text[at..].starts_with(':') { blanks } else { 0 };
            return Some((&text[..value], &named[start..], &text[value..]));
        }
        from = end;
    }
    None
}

/// The value at the beginning of `text`, its quotes included, and the rest.
fn split_value(text: &str) -> (&str, &str) {
    let end = match text.strip_prefix('"') {
        Some(inner) => {
            let mut escaped = false;
            let close = inner.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            close.map_or(text.len(), |close| close + 2)
        }
        None => text.find([' ', ',', ';', '}', ']', '\r', '\n']).unwrap_or(text.len()),
    };
    text.split_at(end)
}

fn addresses(text: &str) -> String {
    let belongs = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(belongs) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !belongs(c)).unwrap_or(from.len()));
        kept.push_str(before);
        let bare = word.trim_end_matches([':', '.']);
        let address = bare.parse::<IpAddr>().is_ok() || bare.parse::<SocketAddr>().is_ok();
        match address && bare.len() > 2 {
            true => {
                kept.push_str("ADDRESS");
                kept.push_str(&word[bare.len()..]);
            }
            false => kept.push_str(word),
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let table = [
            (r#"{"slot":"a","serial":"DD56419883891"}"#, r#"{"slot":"a","serial":"REDACTED"}"#),
            (
                r#"{"nvme-tcp-server-password":"x\"y","size":1}"#,
                r#"{"nvme-tcp-server-password":"REDACTED","size":1}"#,
            ),
            (r#"{"serial-number": 123, "a": 5}"#, r#"{"serial-number": 0, "a": 5}"#),
            ("slot=a serial=DD56 model=x", "slot=a serial=REDACTED model=x"),
            ("serial: DD56\r\nmodel: x", "serial: REDACTED\r\nmodel: x"),
            (r#"comment="rds1 c=4f x=0a1b" size=1"#, r#"comment="rds1 REDACTED" size=1"#),
            (r#"{"comment":"call Bob"}"#, r#"{"comment":"REDACTED"}"#),
            (r#"{"comment":""}"#, r#"{"comment":""}"#),
            (r#"{"nvme-tcp-server-nqn":"nqn.a:b.g1-0a"}"#, r#"{"nvme-tcp-server-nqn":"REDACTED"}"#),
            (
                "from 10.0.0.1:22 and fe80::1, 7.24.4 at 00:01:02",
                "from ADDRESS and ADDRESS, 7.24.4 at 00:01:02",
            ),
            ("to 192.168.88.1.", "to ADDRESS."),
            (
                r#"{"nvme-tcp-export":true,"mounted":true}"#,
                r#"{"nvme-tcp-export":true,"mounted":true}"#,
            ),
        ];
        for (text, expected) in table {
            assert_eq!(redact(text, ""), expected);
        }
    }

    #[test]
    fn what_we_wrote_ourselves_stays() {
        let row = r#"{"comment":"rds-csi-doctor scratch","nvme-tcp-server-nqn":"nqn.x:doctor.g1"}"#;
        let line =
            r#"/disk/set x comment="rds-csi-doctor scratch" nvme-tcp-server-nqn="nqn.x:doctor.g1""#;
        assert_eq!(redact(row, line), row);
        assert!(!redact(row, "other").contains("scratch"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_no_serial_survives(
            before in "\\PC{0,40}", serial in "[A-Z0-9]{6,20}", after in "\\PC{0,40}"
        ) {
            let _ = redact(&before, &after);
            let row = |serial: &str| format!("{{\"serial\":\"{serial}\"}}{after}");
            let kept = redact(&row(&serial), "");
            let starts = kept.starts_with(&row(REDACTED)[..20]);
            prop_assert!(starts, "{}", kept);
        }
    }
}
