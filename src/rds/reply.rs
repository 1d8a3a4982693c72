//! What the box printed -> typed rows.
//!
//! The sentinel is judged first: only a line that was run to its end prints `TAG end`. The exit
//! status and the error texts of RouterOS prove nothing (three authors report errors with exit 0,
//! one with exit 1), so they are shown to people and classify nothing. How JSON is typed differs
//! between versions and channels; numbers and bools are read in every form that was ever shown.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::ssh::ExecOutput;
use super::{Counters, Disk, Reply, System};
use crate::volume::ImagePath;

/// How much of an unexpected answer is shown to a person, in characters.
const SHOWN: usize = 300;

/// Reads what was answered under `tag`, to a line of one command or of several. `Err` holds what
/// the box printed instead, shortened.
pub fn read(output: &ExecOutput, tag: &str) -> Result<Reply, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut reply = Reply::default();
    let (mut version, mut uptime, mut ended) = (None, None, false);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((what, value)) = marked(line, tag) else {
            continue;
        };
        match what {
            "error" => reply.complaint = Some(shorten(value)),
            "disks" => reply.disks = disks(&continued(value, &lines[at + 1..], tag))?,
            "image-bytes" => reply.image_bytes = digits(value),
            "images" => reply.image = value.trim().parse().ok().map(|count: u64| count > 0),
            "version" => version = Some(value.trim().to_owned()),
            "uptime" => uptime = duration(value.trim()),
            "end" => ended = true,
            _ => {}
        }
    }
    if !ended {
        return Err(complaint(output, tag));
    }
    reply.system = version.map(|version| System { version, uptime });
    Ok(reply)
}

pub(super) fn marked<'a>(line: &'a str, tag: &str) -> Option<(&'a str, &'a str)> {
    let rest = line.strip_prefix(tag)?.strip_prefix(' ')?;
    Some(rest.split_once(' ').unwrap_or((rest, "")))
}

/// `value` and what follows it without a mark: some boxes may begin a line with every row. Behind
/// the rows there may be other text.
fn continued<'a>(value: &'a str, following: &[&str], tag: &str) -> Cow<'a, str> {
    let unmarked = following.iter().take_while(|line| !line.starts_with(stem(tag)));
    let mut whole = Cow::Borrowed(value);
    for line in unmarked {
        let whole = whole.to_mut();
        whole.push('\n');
        whole.push_str(line);
    }
    whole
}

/// What the tags of one line have in common.
fn stem(tag: &str) -> &str {
    tag.split_once('-').map_or(tag, |(stem, _)| stem)
}

/// What was printed without a mark: what is marked is the answer to this command, or to others in
/// the same line.
pub(super) fn complaint(output: &ExecOutput, tag: &str) -> String {
    let unmarked = |bytes: &Vec<u8>| {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().filter(|line| !line.starts_with(stem(tag)));
        lines.collect::<Vec<_>>().join("\n").trim().to_owned()
    };
    let said =
        [&output.stdout, &output.stderr].map(unmarked).into_iter().find(|text| !text.is_empty());
    let status = output.exit_status.map_or("no exit status".into(), |s| format!("exit {s}"));
    format!("{} ({status})", said.map_or("nothing was printed".into(), |text| shorten(&text)))
}

fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn disks(json: &str) -> Result<Vec<Disk>, String> {
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<Rows>();
    let rows = values.next().unwrap_or_else(|| serde_json::from_str(""));
    let rows = rows.map_err(|error| format!("rows are no JSON: {error}: {}", shorten(json)))?;
    Ok(rows.0)
}

/// Rows that are typed one by one: a table has many, and only one at a time is a tree of JSON.
struct Rows(Vec<Disk>);

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RowByRow)
    }
}

struct RowByRow;

impl<'de> Visitor<'de> for RowByRow {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Rows, A::Error> {
        let mut disks = Vec::new();
        while let Some(row) = rows.next_element::<Map<String, Value>>()? {
            disks.push(disk(&row));
        }
        Ok(Rows(disks))
    }
}

fn disk(row: &Map<String, Value>) -> Disk {
    let text = |key: &str| row.get(key).map(text).unwrap_or_default();
    Disk {
        slot: text("slot"),
        comment: text("comment"),
        image: row.get("file-path").and_then(|path| ImagePath::parse(&self::text(path)).ok()),
        bytes: integer(row, "size").or_else(|| integer(row, "file-size")),
        free: integer(row, "free"),
        mount_point: row.get("mount-point").map(self::text),
        exported: row.get("nvme-tcp-export").and_then(boolean),
        nqn: text("nvme-tcp-server-nqn"),
        allow_host: text("nvme-tcp-server-allow-host-name"),
        port: integer(row, "nvme-tcp-server-port").and_then(|port| u16::try_from(port).ok()),
        disabled: row.get("disabled").and_then(boolean).unwrap_or(false),
        counters: counters(row),
    }
}

/// Both are needed to know that nothing is written any more: what has ended, and what has not.
fn counters(row: &Map<String, Value>) -> Option<Counters> {
    Some(Counters {
        writes: integer(row, "write-ops")?,
        reads: integer(row, "read-ops").unwrap_or(0),
        in_flight: integer(row, "in-flight-ops")?,
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match text(value).as_str() {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

/// An exact integer. Forms that were rounded (`1024.0GiB`) are none.
fn integer(row: &Map<String, Value>, key: &str) -> Option<u64> {
    match row.get(key)? {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            // Without json.no-string-conversion numeric strings come as 1234.000000.
            let exact = float.fract() == 0.0 && (0.0..9e15).contains(&float);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            exact.then_some(float as u64)
        }),
        Value::String(text) => digits(text),
        _ => None,
    }
}

/// An integer, with or without blanks between groups of digits.
fn digits(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|c| *c != ' ').collect();
    digits.parse().ok()
}

/// A RouterOS time: `1w2d3h4m5s`, `3d04:05:06` or `00:01:02`, in whole seconds.
fn duration(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut digits = String::new();
    let mut clock = Vec::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let value: u64 = std::mem::take(&mut digits).parse().ok()?;
        match c {
            'w' => seconds = seconds.checked_add(value.checked_mul(604_800)?)?,
            'd' => seconds = seconds.checked_add(value.checked_mul(86_400)?)?,
            'h' => seconds = seconds.checked_add(value.checked_mul(3_600)?)?,
            'm' => seconds = seconds.checked_add(value.checked_mul(60)?)?,
            's' => seconds = seconds.checked_add(value)?,
            ':' => clock.push(value),
            _ => return None,
        }
    }
    if text.is_empty() {
        return None;
    }
    if let [hours, minutes] = clock[..] {
        let rest: u64 = digits.parse().ok()?;
        let clock = hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)?;
        seconds = seconds.checked_add(clock)?.checked_add(rest)?;
    } else if !clock.is_empty() || !digits.is_empty() {
        return None;
    }
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    fn output(stdout: &str) -> ExecOutput {
        ExecOutput { stdout: stdout.as_bytes().to_vec(), ..ExecOutput::default() }
    }

    #[test]
    fn the_sentinel_decides_and_not_the_exit_status() {
        for exit_status in [None, Some(0), Some(1)] {
            let ended = ExecOutput { exit_status, ..output("t disks []\r\nt end\r\n") };
            assert_eq!(read(&ended, "t"), Ok(Reply::default()));
            let broken = ExecOutput { exit_status, ..output("t disks []\r\nno such item\r\n") };
            let said = read(&broken, "t").unwrap_err();
            assert!(said.contains("no such item"), "{said}");
        }
    }

    #[test]
    fn rows_may_stand_on_lines_of_their_own_and_be_followed_by_something_else() {
        for between in ["", "\r\n", "  \r\n\r\n"] {
            let rows = format!("t disks [{{\"slot\":\"a\"}},{between}{{\"slot\":\"b\"}}]");
            let reply = read(&output(&format!("{rows}\r\na message\r\nt end\r\n")), "t").unwrap();
            let slots: Vec<_> = reply.disks.iter().map(|disk| disk.slot.as_str()).collect();
            assert_eq!(slots, ["a", "b"]);
        }
    }

    #[test]
    fn a_sentinel_of_another_exec_does_not_count() {
        assert!(read(&output("other end\r\n"), "t").is_err());
        assert!(read(&output("tt end\r\n"), "t").is_err());
    }

    #[test]
    fn each_command_of_a_line_is_read_by_its_own_tag() {
        let said =
            "t-1 error full\r\nt-1 disks []\r\nt-1 end\r\nt-10 disks []\r\nt-2 end\r\nbad\r\n";
        let read = |tag| read(&output(said), tag);
        assert_eq!(read("t-1").unwrap().complaint.as_deref(), Some("full"));
        assert_eq!(read("t-2").unwrap(), Reply::default());
        for unfinished in ["t-10", "t-3", "t"] {
            assert_eq!(read(unfinished).unwrap_err(), "bad (no exit status)", "{unfinished}");
        }
    }

    #[test]
    fn rows_may_stand_on_lines_of_their_own() {
        for after in ["", "t-1 end\r\n", "\r\n", "warning\r\n"] {
            let said =
                format!("t-0 disks [{{\"slot\":\"a\"}},\r\n{{\"slot\":\"b\"}}]\r\n{after}t-0 end");
            let slots: Vec<_> = read(&output(&said), "t-0").unwrap().disks;
            assert_eq!(slots.iter().map(|disk| disk.slot.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        }
    }

    #[test]
    fn rows_are_read_in_every_form_that_was_shown() {
        let forms = [
            r#"{"slot":"a","size":1073741824,"nvme-tcp-export":true,"nvme-tcp-server-port":4420}"#,
            r#"{"slot":"a","size":"1073741824","nvme-tcp-export":"true","nvme-tcp-server-port":"4420"}"#,
            r#"{"slot":"a","size":"1 073 741 824","nvme-tcp-export":"yes","nvme-tcp-server-port":4420.0}"#,
            r#"{"slot":"a","file-size":1073741824.000000,"nvme-tcp-export":"yes","nvme-tcp-server-port":4420}"#,
        ];
        for form in forms {
            let reply = read(&output(&format!("t disks [{form}]  \r\nt end\r\n")), "t").unwrap();
            let disk = &reply.disks[0];
            assert_eq!(disk.bytes, Some(1 << 30), "{form}");
            assert_eq!((disk.exported, disk.port), (Some(true), Some(4420)), "{form}");
            assert_eq!(disk.counters, None);
        }
    }

    #[test]
    fn a_rounded_size_and_an_unsaid_export_are_no_facts() {
        let row = r#"t disks [{"slot":"a","file-size":"1024.0GiB"}]"#;
        let reply = read(&output(&format!("{row}\nt end")), "t").unwrap();
        assert_eq!((reply.disks[0].bytes, reply.disks[0].exported), (None, None));
    }

    #[test]
    fn rows_on_lines_of_their_own_are_read_and_what_follows_is_not_taken_for_one() {
        let rows = "t disks [{\"slot\":\"a\"},\r\n{\"slot\":\"b\"}]\r\nlog: hello]\r\nt end";
        let reply = read(&output(rows), "t").unwrap();
        let slots: Vec<&str> = reply.disks.iter().map(|disk| disk.slot.as_str()).collect();
        assert_eq!(slots, ["a", "b"]);
        assert!(read(&output("t disks [{\"slot\":\"a\"},\r\nt end"), "t").is_err());
    }

    #[test]
    fn paths_have_no_leading_slash_however_they_were_printed() {
        for path in ["/pool/v/a.img", "pool/v/a.img"] {
            let row = format!(r#"t disks [{{"slot":"a","file-path":"{path}"}}]"#);
            let reply = read(&output(&format!("{row}\nt end")), "t").unwrap();
            assert_eq!(reply.disks[0].image.as_ref().unwrap().as_str(), "pool/v/a.img");
        }
    }

    #[test]
    fn counters_need_what_has_ended_and_what_has_not() {
        let row = r#"t disks [{"slot":"a","write-ops":7,"in-flight-ops":0}]"#;
        let reply = read(&output(&format!("{row}\nt end")), "t").unwrap();
        let counters = Counters { writes: 7, reads: 0, in_flight: 0 };
        assert_eq!(reply.disks[0].counters, Some(counters));
        let reply = read(&output("t disks [{\"slot\":\"a\",\"write-ops\":7}]\nt end"), "t");
        assert_eq!(reply.unwrap().disks[0].counters, None);
    }

    #[test]
    fn uptimes_are_read() {
        let table = [
            ("00:01:02", Some(62)),
            ("3d04:05:06", Some(273_906)),
            ("1w2d3h4m5s", Some(788_645)),
            ("5s", Some(5)),
            ("5s.120ms", None),
            ("", None),
            ("soon", None),
            ("99999999999999999999w", None),
        ];
        for (text, seconds) in table {
            let seconds = seconds.map(Duration::from_secs);
            assert_eq!(duration(text), seconds, "{text}");
        }
    }

    #[test]
    fn an_uptime_that_cannot_be_read_is_not_told_and_is_not_zero() {
        for (said, seconds) in [("1m2s", Some(62)), ("5s.120ms", None), ("a while", None)] {
            let reply = read(&output(&format!("t version 7.24\nt uptime {said}\nt end")), "t");
            let uptime = reply.unwrap().system.unwrap().uptime;
            assert_eq!(uptime, seconds.map(Duration::from_secs), "{said}");
        }
    }

    #[test]
    fn the_size_of_an_image_is_an_exact_integer_or_not_told() {
        for (said, bytes) in
            [("1073741824", Some(1 << 30)), ("1 024", Some(1024)), ("1.0GiB", None)]
        {
            let reply = read(&output(&format!("t image-bytes {said}\r\nt end\r\n")), "t").unwrap();
            assert_eq!(reply.image_bytes, bytes, "{said}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_box_prints_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&ExecOutput { stdout: bytes, ..ExecOutput::default() }, "t");
        }

        #[test]
        fn nothing_marked_as_ours_does_either(rest in "(error|disks|images|image-bytes|version|uptime) .{0,200}") {
            let _ = read(&output(&format!("t {rest}\nt end")), "t");
        }
    }
}
