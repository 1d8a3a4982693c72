//! The box as a console: version, package, JSON, exit status, lines, sessions. Pure.

use serde_json::Value;

use crate::attachment::static_form::Mode;
use crate::rds::question::{self, Answers};
use crate::rds::ssh::ExecOutput;
use crate::rds::version::{self, has_exact_json};

use super::row::Row;

const UPDATE: &str = "/system/package/update/check-for-updates; /system/package/update/install";

/// What to ask, beside the policies.
pub fn questions() -> [(&'static str, String); 3] {
    let package =
        "/system/package/print as-value proplist=name,disabled where name=\"rose-storage\"";
    let services = "/ip/service/print as-value proplist=name,port,disabled,max-sessions";
    [
        ("package", question::rows(package)),
        ("services", question::rows(services)),
        // A number, a condition and a text of digits: how the box writes them as JSON.
        ("shape", question::json(r#"{"n"=7;"b"=true;"s"="0123"}"#)),
    ]
}

/// The RouterOS release; `Err` is what the box said instead.
pub fn version(answer: Result<&str, &str>) -> Row {
    const CHECK: &str = "version";
    match answer {
        Err(why) => Row::fault(CHECK, format!("the release cannot be read: {why}"))
            .mend("/user/group/print detail (the driver's group needs the policies read and test)"),
        Ok(version) if !has_exact_json(version) => {
            let found = format!("RouterOS {version}: exact JSON needs 7.16");
            Row::fault(CHECK, found).mend(UPDATE)
        }
        Ok(version) if version::mode(version) == Mode::Static => {
            let found = format!(
                "RouterOS {version} cannot set the NQN of an export: volumes are attached in the \
                 static form, and one that was taken from a silent node waits until an operator \
                 vouches for that node; 7.21 has no such limit"
            );
            Row::warning(CHECK, found).mend(UPDATE)
        }
        Ok(version) => Row::ok(CHECK, format!("RouterOS {version}")),
    }
}

/// The package that brings NVMe/TCP; `exports` says whether a row of `/disk` has its properties.
pub fn package(answers: &Answers, exports: Option<bool>) -> Row {
    const CHECK: &str = "package";
    const INSTALL: &str = "/system/package/update/check-for-updates; \
         /system/package/enable rose-storage; /system/package/apply-changes";
    let rows = match rows(answers, "package") {
        Ok(rows) => rows,
        Err(why) => return Row::not_checked(CHECK, format!("the packages cannot be read: {why}")),
    };
    let row = rows.iter().find(|row| row["name"] == "rose-storage");
    let seen = "the disks have the properties of NVMe/TCP exports";
    match (row, exports) {
        (Some(row), _) if truth(&row["disabled"]) => {
            Row::fault(CHECK, "rose-storage is there and disabled").mend(INSTALL)
        }
        (Some(_), Some(true)) => Row::ok(CHECK, format!("rose-storage is installed; {seen}")),
        (Some(_), _) => Row::ok(CHECK, "rose-storage is installed"),
        (None, Some(true)) => {
            Row::warning(CHECK, format!("rose-storage is not listed, yet {seen}")).mend(INSTALL)
        }
        (None, _) => Row::fault(CHECK, "rose-storage is not installed").mend(INSTALL),
    }
}

/// How the box writes JSON. The driver reads every form but one: a text that became a number.
pub fn json(answers: &Answers) -> Row {
    const CHECK: &str = "json";
    let read = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    let value = match answers.get("shape") {
        Some(Ok(text)) => read(text).map_err(|why| format!("{text:?} is no JSON: {why}")),
        Some(Err(why)) => Err(why.clone()),
        None => Err("no answer".to_owned()),
    };
    let value = match value {
        Ok(value) => value,
        Err(why) => return Row::fault(CHECK, format!("no JSON: {why}")).mend(UPDATE),
    };
    if value["s"] != "0123" {
        let found = format!("the text \"0123\" comes back as {}", value["s"]);
        return Row::fault(CHECK, found).mend(UPDATE);
    }
    let number = match &value["n"] {
        Value::Number(n) if n.as_f64() == Some(7.0) => "numbers as numbers",
        Value::String(n) if n == "7" => "numbers as texts",
        other => return Row::fault(CHECK, format!("7 comes back as {other}")).mend(UPDATE),
    };
    let condition = match &value["b"] {
        Value::Bool(true) => "conditions as true and false",
        Value::String(b) if b == "true" => "conditions as \"true\" and \"false\"",
        Value::String(b) if b == "yes" => "conditions as \"yes\" and \"no\"",
        other => return Row::fault(CHECK, format!("true comes back as {other}")).mend(UPDATE),
    };
    Row::ok(CHECK, format!("{number}, {condition}, texts unchanged"))
}

/// A line that fails before its end: `TAG` must not be printed.
pub fn failing_line(tag: &str) -> String {
    format!(":error \"{tag} stop\"; :put \"{tag} end\"")
}

/// What the box does with it. The driver trusts the end mark alone, so only that can be a fault.
pub fn exit_status(output: &ExecOutput, tag: &str) -> Row {
    const CHECK: &str = "exit status";
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    if format!("{out}{err}").contains(&format!("{tag} end")) {
        return Row::fault(CHECK, "a line goes on behind an error").mend(UPDATE);
    }
    let said = format!("{tag} stop");
    let place = match (out.contains(&said), err.contains(&said)) {
        (true, _) => "to standard output",
        (false, true) => "to standard error",
        (false, false) => "nowhere",
    };
    let status =
        output.exit_status.map_or("no exit status".to_owned(), |n| format!("exit status {n}"));
    let found = format!("errors go {place}, with {status}; the driver relies on neither");
    Row::ok(CHECK, found)
}

/// A harmless line of exactly `bytes` bytes.
pub fn long_line(tag: &str, bytes: usize) -> String {
    let frame = format!(":put \"{tag} \"");
    format!(":put \"{tag} {}\"", "x".repeat(bytes.saturating_sub(frame.len())))
}

/// Whether all of it came back.
pub fn is_whole(output: &ExecOutput, tag: &str, bytes: usize) -> bool {
    let expected = long_line(tag, bytes);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    expected.contains(text.trim()) && text.trim().len() + ":put \"\"".len() == bytes
}

/// Shorter lines that are tried when the configured length does not work.
pub const SHORTER_LINES: [usize; 2] = [2048, 1024];

/// The longest line that works, of those that were tried; `None` where none does.
pub fn line_length(configured: usize, works: Option<usize>) -> Row {
    const CHECK: &str = "line length";
    match works {
        Some(bytes) if bytes >= configured => {
            Row::ok(CHECK, format!("a line of {configured} bytes (line_bytes_max) works"))
        }
        Some(bytes) if bytes >= SHORTER_LINES[0] => Row::warning(
            CHECK,
            format!("a line of {configured} bytes (line_bytes_max) does not work, {bytes} do"),
        )
        .mend(format!("line_bytes_max = {bytes} in the configuration")),
        Some(bytes) => Row::fault(
            CHECK,
            format!("lines over {bytes} bytes do not work, the driver needs 2048"),
        )
        .mend(UPDATE),
        None => Row::fault(CHECK, "no line of 1024 bytes works").mend(UPDATE),
    }
}

/// Whether the box allows as many SSH sessions as `lanes` lanes and a poll need: each has a second
/// one while it is renewed, and a failed poll is repeated on a fresh one.
pub fn sessions(answers: &Answers, lanes: usize) -> Row {
    const CHECK: &str = "sessions";
    let needed = 2 * (lanes + 1) + 1;
    let rows = match rows(answers, "services") {
        Ok(rows) => rows,
        Err(why) => return Row::not_checked(CHECK, format!("/ip/service cannot be read: {why}")),
    };
    let ssh = rows.iter().find(|row| row["name"] == "ssh");
    let Some(max) = ssh.and_then(|row| number(&row["max-sessions"])) else {
        return Row::not_checked(CHECK, "the box names no max-sessions for ssh");
    };
    if max >= needed as u64 {
        return Row::ok(CHECK, format!("ssh allows {max} sessions, the driver needs {needed}"));
    }
    Row::warning(CHECK, format!("ssh allows {max} sessions, the driver needs up to {needed}"))
        .mend("/ip/service/set ssh max-sessions=20")
        .mend("lanes in the configuration")
}

/// A service of the box that has taken the port of the exports.
pub fn service_on(answers: &Answers, port: u16) -> Option<String> {
    let rows = rows(answers, "services").ok()?;
    let taken = rows
        .iter()
        .find(|row| number(&row["port"]) == Some(u64::from(port)) && !truth(&row["disabled"]))?;
    Some(taken["name"].as_str().unwrap_or("?").to_owned())
}

pub(super) fn rows(answers: &Answers, name: &str) -> Result<Vec<Value>, String> {
    let text = answers.get(name).ok_or("no answer")?.as_ref().map_err(Clone::clone)?;
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

fn truth(value: &Value) -> bool {
    *value == true || *value == "true" || *value == "yes"
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod test {
    use super::super::row::State::{Fault, NotChecked, Ok as Good, Warning};
    use super::super::row::test::expect;
    use super::*;

    fn answers(name: &str, value: &str) -> Answers {
        Answers::from([(name.to_owned(), Ok(value.to_owned()))])
    }

    #[test]
    fn versions_are_judged_by_what_they_can_do() {
        expect(&version(Ok("7.24.4 (stable)")), Good, "7.24.4", "");
        expect(&version(Ok("7.20.8 (long-term)")), Warning, "static form", "update/install");
        expect(&version(Ok("7.15.3")), Fault, "7.16", "update/install");
        expect(&version(Err("not enough permissions (9)")), Fault, "(9)", "test");
    }

    #[test]
    fn the_package_must_be_there_and_enabled() {
        let on = answers("package", r#"[{"name":"rose-storage","disabled":false}]"#);
        let off = answers("package", r#"[{"name":"rose-storage","disabled":"true"}]"#);
        let none = answers("package", "[]");
        expect(&package(&on, Some(true)), Good, "installed", "");
        expect(&package(&off, Some(true)), Fault, "disabled", "enable rose-storage");
        expect(&package(&none, Some(true)), Warning, "not listed", "enable rose-storage");
        expect(&package(&none, None), Fault, "not installed", "apply-changes");
        expect(&package(&Answers::new(), None), NotChecked, "cannot be read", "");
    }

    #[test]
    fn every_form_of_json_is_known_but_texts_must_stay_texts() {
        let judge = |shape: &str| json(&answers("shape", shape));
        expect(&judge(r#"{"b":true,"n":7,"s":"0123"}"#), Good, "numbers as numbers", "");
        expect(&judge(r#"{"b":"yes","n":"7","s":"0123"}"#), Good, "\"yes\" and \"no\"", "");
        expect(&judge(r#"{"b":"true","n":7.0,"s":"0123"}"#), Good, "\"true\"", "");
        expect(&judge(r#"{"b":true,"n":7,"s":123.000000}"#), Fault, "123", "update");
        expect(&judge(r#"{"b":true,"n":null,"s":"0123"}"#), Fault, "null", "update");
        expect(&judge("b=true;n=7"), Fault, "no JSON", "update");
        expect(&json(&Answers::new()), Fault, "no answer", "update");
    }

    #[test]
    fn only_a_line_that_goes_on_behind_its_error_is_a_fault() {
        let out = |stdout: &str, stderr: &str, exit_status| ExecOutput {
            stdout: stdout.into(),
            stderr: stderr.into(),
            exit_status,
        };
        expect(
            &exit_status(&out("t stop\r\n", "", Some(0)), "t"),
            Good,
            "output, with exit status 0",
            "",
        );
        expect(
            &exit_status(&out("", "t stop", Some(1)), "t"),
            Good,
            "error, with exit status 1",
            "",
        );
        expect(&exit_status(&out("", "", None), "t"), Good, "nowhere, with no exit status", "");
        expect(&exit_status(&out("t stop\nt end", "", Some(0)), "t"), Fault, "goes on", "update");
    }

    #[test]
    fn a_long_line_has_the_length_that_was_asked_for_and_must_come_back_whole() {
        let line = long_line("tag", 2048);
        assert_eq!(line.len(), 2048);
        let printed = line.trim_start_matches(":put \"").trim_end_matches('"');
        let whole = ExecOutput { stdout: format!("{printed}\r\n").into(), ..ExecOutput::default() };
        assert!(is_whole(&whole, "tag", 2048));
        let cut = ExecOutput { stdout: printed[..2000].into(), ..ExecOutput::default() };
        assert!(!is_whole(&cut, "tag", 2048));
        let refused = b"max line length 1024 exceeded!\r\n".to_vec();
        assert!(!is_whole(&ExecOutput { stdout: refused, ..ExecOutput::default() }, "tag", 2048));

        expect(&line_length(4096, Some(4096)), Good, "4096", "");
        expect(&line_length(4096, Some(2048)), Warning, "2048 do", "line_bytes_max = 2048");
        expect(&line_length(4096, Some(1024)), Fault, "1024", "update");
        expect(&line_length(4096, None), Fault, "1024", "update");
    }

    #[test]
    fn sessions_and_services_are_read_from_one_table() {
        let table = |max: u32| {
            let rows = format!(
                r#"[{{"name":"ssh","port":22,"max-sessions":{max},"disabled":false}},
                    {{"name":"www","port":"4420","disabled":"false"}},
                    {{"name":"api","port":8728,"disabled":true}}]"#
            );
            answers("services", &rows)
        };
        expect(&sessions(&table(20), 3), Good, "20 sessions", "");
        expect(&sessions(&table(2), 3), Warning, "up to 9", "max-sessions=20");
        expect(&sessions(&answers("services", "[]"), 3), NotChecked, "no max-sessions", "");
        assert_eq!(service_on(&table(20), 4420), Some("www".to_owned()));
        assert_eq!(service_on(&table(20), 8728), None, "a disabled service takes no port");
    }
}
